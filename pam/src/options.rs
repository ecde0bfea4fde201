//! The words behind `pam_twostep.so` in a PAM configuration.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::qr::Form;

/// How long the engine may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(15);
const LONGEST: u64 = 120;

/// What a line configures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `service=`: the name that the engine knows the service by, in place of PAM's.
    pub service: Option<String>,
    /// `debug`: log what is decided, also where it is nothing to worry about.
    pub debug: bool,
    /// `timeout=`: how long the engine may take for an answer, and the phone after Enter.
    pub timeout: Duration,
    /// `users=`: no other account is asked.
    pub users: Option<Vec<String>>,
    /// `exclude_group=`: its members are not asked.
    pub exclude_groups: Vec<String>,
    /// `qr=`: how a QR code is drawn.
    pub qr: Form,
    /// `trust_address`: offer not to verify again from this address.
    pub trust_address: bool,
    /// `dir=`: the folder with the daemon's sockets.
    pub dir: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            service: None,
            debug: false,
            timeout: TIMEOUT,
            users: None,
            exclude_groups: Vec::new(),
            qr: Form::Blocks,
            trust_address: false,
            dir: "/run/twostep".into(),
        }
    }
}

/// A word that can't be obeyed. A misspelt exception or service must not pass unnoticed, so nobody is let in by such a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no such option.
    Unknown(String),
    /// `nullok`: who needs a second step is the engine's decision.
    Nullok,
    /// The option's value can't be taken, and what it may be.
    Value(&'static str, &'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(word) => write!(f, "there is no option {word:?}; see pam_twostep(8)"),
            Self::Nullok => f.write_str("nullok is not taken: the engine knows who has no second step, and lets them pass"),
            Self::Value(option, may) => write!(f, "{option} must be {may}"),
        }
    }
}

impl Options {
    /// Reads the words of a line.
    ///
    /// # Errors
    /// The first word that can't be obeyed.
    pub fn parse<'a>(words: impl Iterator<Item = &'a str>) -> Result<Self, Fault> {
        let mut options = Self::default();
        for word in words {
            let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
            match (name, value) {
                ("debug", None) => options.debug = true,
                ("trust_address", None) => options.trust_address = true,
                ("nullok", _) => return Err(Fault::Nullok),
                ("service", Some(value)) => options.service = Some(service(value)?),
                ("timeout", Some(value)) => options.timeout = timeout(value)?,
                ("users", Some(value)) => options.users = Some(names("users", value)?),
                ("exclude_group", Some(value)) => options.exclude_groups.extend(names("exclude_group", value)?),
                ("qr", Some("utf8")) => options.qr = Form::Blocks,
                ("qr", Some("ascii")) => options.qr = Form::Ascii,
                ("qr", Some("none")) => options.qr = Form::None,
                ("qr", _) => return Err(Fault::Value("qr", "utf8, ascii or none")),
                ("dir", Some(value)) if value.starts_with('/') => options.dir = value.into(),
                ("dir", _) => return Err(Fault::Value("dir", "an absolute path")),
                _ => return Err(Fault::Unknown(word.into())),
            }
        }
        Ok(options)
    }

    /// The exception that this line makes of an account, in words for the log. `uid` looks a name up, `is_member` a group.
    ///
    /// It is made only of accounts that are known, by their uid: another spelling of a name is no way round. Where it is not known whether a
    /// listed name is this account, it may be.
    pub fn exception(&self, user: &str, uid: impl Fn(&str) -> Option<u32>, is_member: impl Fn(&str) -> bool) -> Option<String> {
        if let Some(listed) = &self.users
            && let Some(own) = uid(user)
            && listed.iter().all(|name| uid(name).is_some_and(|other| other != own))
        {
            return Some("users= does not name this account".into());
        }
        let group = self.exclude_groups.iter().find(|group| is_member(group))?;
        Some(format!("exclude_group= names {group}"))
    }
}

fn service(value: &str) -> Result<String, Fault> {
    let fits = (1..=64).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_graphic());
    if fits { Ok(value.into()) } else { Err(Fault::Value("service", "a name of 1 to 64 characters")) }
}

fn timeout(value: &str) -> Result<Duration, Fault> {
    let seconds = value.parse().ok().filter(|seconds| (1..=LONGEST).contains(seconds));
    seconds.map(Duration::from_secs).ok_or(Fault::Value("timeout", "1 to 120 seconds"))
}

fn names(option: &'static str, value: &str) -> Result<Vec<String>, Fault> {
    let names: Vec<String> = value.split(',').map(str::to_owned).collect();
    if names.iter().any(String::is_empty) { Err(Fault::Value(option, "names with commas between them")) } else { Ok(names) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, Fault> {
        Options::parse(line.split_whitespace())
    }

    #[test]
    fn a_line_without_options_asks_everybody() {
        let options = parse("").unwrap();
        assert_eq!(options, Options::default());
        assert_eq!(options.exception("alice", uid, |_| true), None);
    }

    #[test]
    fn each_option_is_obeyed() {
        let options =
            parse("debug service=ssh timeout=3 users=alice,bob exclude_group=robots qr=ascii trust_address dir=/srv/run").unwrap();
        let expected = Options {
            service: Some("ssh".into()),
            debug: true,
            timeout: Duration::from_secs(3),
            users: Some(vec!["alice".into(), "bob".into()]),
            exclude_groups: vec!["robots".into()],
            qr: Form::Ascii,
            trust_address: true,
            dir: "/srv/run".into(),
        };
        assert_eq!(options, expected);
    }

    /// A directory that does not care for case, and an account with two names.
    fn uid(name: &str) -> Option<u32> {
        match name.to_lowercase().as_str() {
            "alice" | "alice@nas" | "twin" => Some(1001),
            "bob" => Some(1002),
            "carol" => Some(1003),
            _ => None,
        }
    }

    #[test]
    fn exceptions_are_only_those_named() {
        let options = parse("users=alice,bob exclude_group=robots").unwrap();
        assert_eq!(options.exception("alice", uid, |_| false), None);
        assert!(options.exception("carol", uid, |_| false).unwrap().contains("users="));
        assert!(options.exception("alice", uid, |group| group == "robots").unwrap().contains("robots"));
    }

    #[test]
    fn another_spelling_or_name_of_a_listed_account_is_no_exception() {
        let options = parse("users=alice,bob").unwrap();
        for name in ["Alice", "ALICE", "alice@nas", "twin", "Bob"] {
            assert_eq!(options.exception(name, uid, |_| false), None, "{name}");
        }
        assert_eq!(parse("users=Twin").unwrap().exception("alice", uid, |_| false), None);
    }

    #[test]
    fn where_a_name_is_not_known_everybody_is_asked() {
        let options = parse("users=alice,gone").unwrap();
        assert_eq!(options.exception("carol", uid, |_| false), None);
        assert_eq!(parse("users=alice").unwrap().exception("mallory", uid, |_| false), None);
        assert_eq!(parse("users=alice").unwrap().exception("carol", |_| None, |_| false), None);
    }

    #[test]
    fn what_is_misspelt_lets_nobody_in_and_is_named() {
        for (line, word) in [
            ("user=alice", "user=alice"),
            ("debug=1", "debug=1"),
            ("nullok", "engine"),
            ("timeout=0", "120"),
            ("timeout=x", "120"),
            ("timeout=", "120"),
            ("timeout", "timeout"),
            ("users=", "commas"),
            ("users=a,,b", "commas"),
            ("exclude_group=", "commas"),
            ("qr=svg", "ascii"),
            ("qr", "ascii"),
            ("dir=run", "absolute"),
            ("dir", "absolute"),
            ("service=", "64"),
            ("service", "service"),
        ] {
            let fault = parse(line).expect_err(line).to_string();
            assert!(fault.contains(word), "{line}: {fault}");
        }
    }

    #[test]
    fn the_manual_page_names_each_option() {
        let page = include_str!("../../docs/pam_twostep.8");
        for option in
            ["service=", "users=", "exclude_group=", "timeout=", "qr=utf8", "qr=ascii", "qr=none", "trust_address", "dir=", "debug"]
        {
            assert!(page.lines().any(|line| line.starts_with(".B") && line.contains(option)), "{option}");
        }
    }
}
