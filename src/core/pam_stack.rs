//! A PAM configuration as text, and whether its second step can be got round.
//!
//! A stack is followed as Linux-PAM follows it (pam.conf(5)), over every outcome that its modules may have, with the second step failing or left
//! out: where that can still end in success, the second step is by-passable, and the module that made it so is named.
//!
//! This module reads no files, and knows nothing of what other modules do, but for a few: `pam_deny` never succeeds, `pam_permit` always does,
//! and `pam_rootok` lets root in, who is asked for nothing.

mod text;
mod ways;

use text::include;
use ways::{End, Impression, follow};

/// The module that is looked for.
pub const OURS: &str = "pam_twostep.so";

/// Modules that check a password, or what stands for it.
const PASSWORDS: [&str; 8] = [
    "pam_unix.so",
    "pam_sss.so",
    "pam_winbind.so",
    "pam_ldap.so",
    "pam_krb5.so",
    "pam_kanidm.so",
    "pam_himmelblau.so",
    "pam_systemd_home.so",
];

/// A stack's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Who it is.
    Auth,
    /// Whether the account may be used.
    Account,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Account => "account",
        }
    }
}

/// What a control makes of a module's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Ignore,
    Bad,
    Die,
    Ok,
    Done,
    Reset,
    Jump(usize),
}

/// What a control makes of each outcome that a module may have.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Actions {
    success: Action,
    /// `new_authtok_reqd`: as good as success, but that the password has to be changed.
    renew: Action,
    ignore: Action,
    /// Of every other outcome that is named, and of those that are not. A module says in more than one way that it failed.
    failures: Vec<Action>,
}

/// A line of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    Module { actions: Actions, name: String, words: Vec<String>, is_quiet: bool },
    Substack(Vec<Self>),
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A line can't be read: the file, and the line's number.
    Unreadable(String, usize),
    /// A file, the service's own or one that is included, can't be read.
    Missing(String),
    /// Too long, or nested too deep.
    TooLong,
}

/// What the account lines of a service come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// They don't have the module.
    Absent,
    /// Nobody passes whom it refuses.
    Holds,
    /// Somebody may pass all the same; by this module, where one is to blame.
    ByPassable(Option<String>),
}

/// What the auth lines of a service come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is no second step.
    Absent,
    /// Nobody gets in without it.
    InForce,
    /// It stands more than once: two codes are asked for.
    Doubled,
    /// It comes before a password was checked, or without one.
    BeforePassword,
    /// Somebody may get in without it; by this module, where one is to blame.
    ByPassable(Option<String>),
}

/// A service, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    auth: Vec<Line>,
    account: Vec<Line>,
}

impl Service {
    /// Reads a service's file; `read` gives the text of any file of the same folder, by its name.
    ///
    /// # Errors
    /// [`Fault`]
    pub fn parse(name: &str, read: &dyn Fn(&str) -> Option<String>) -> Result<Self, Fault> {
        let stack = |kind| {
            let mut lines = Vec::new();
            include(name, kind, read, 0, &mut lines).map(|()| lines)
        };
        Ok(Self { auth: stack(Kind::Auth)?, account: stack(Kind::Account)? })
    }

    /// Whether anybody is asked who they are.
    #[must_use]
    pub fn asks(&self) -> bool {
        !self.auth.is_empty()
    }

    /// What its account lines come to. The module refuses there whoever came by a way that left the auth lines out. More than one of its lines is
    /// no fault: they say the same.
    #[must_use]
    pub fn guard(&self) -> Guard {
        if ours(&self.account).next().is_none() {
            return Guard::Absent;
        }
        open_end(&self.account).map_or(Guard::Holds, |end| Guard::ByPassable(end.by))
    }

    /// Whether a dash before one of the module's lines keeps it out of the log where the module is missing. That still is a failure, of which the
    /// control decides.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        is_quiet(&self.auth) || is_quiet(&self.account)
    }

    /// The exceptions that the module's lines of this kind make by themselves, as they are written.
    #[must_use]
    pub fn exceptions(&self, kind: Kind) -> Vec<String> {
        let is_exception = |word: &&String| word.starts_with("users=") || word.starts_with("exclude_group=");
        let lines = match kind {
            Kind::Auth => &self.auth,
            Kind::Account => &self.account,
        };
        ours(lines).flat_map(|words| words.iter().filter(is_exception).cloned()).collect()
    }

    /// What its auth lines come to.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match ours(&self.auth).count() {
            0 => return Verdict::Absent,
            1 => {}
            _ => return Verdict::Doubled,
        }
        let names: Vec<&str> = modules(&self.auth).map(|(name, _)| name).collect();
        let place = names.iter().position(|name| *name == OURS).unwrap_or_default();
        if !names[..place].iter().any(|name| PASSWORDS.contains(name)) {
            return Verdict::BeforePassword;
        }
        open_end(&self.auth).map_or(Verdict::InForce, |end| Verdict::ByPassable(end.by))
    }
}

/// A success without the second step. Where a module is to blame for one, that.
fn open_end(lines: &[Line]) -> Option<End> {
    let ends = follow(lines, &End { impression: Impression::Undefined, over: false, by: None });
    let mut open: Vec<End> = ends.into_iter().filter(|end| end.impression == Impression::Positive).collect();
    let blamed = open.iter().position(|end| end.by.is_some()).unwrap_or_default();
    (!open.is_empty()).then(|| open.swap_remove(blamed))
}

/// All modules of a stack, with their words.
fn modules(lines: &[Line]) -> Box<dyn Iterator<Item = (&str, &[String])> + '_> {
    Box::new(lines.iter().flat_map(|line| match line {
        Line::Module { name, words, .. } => Box::new(std::iter::once((name.as_str(), words.as_slice()))),
        Line::Substack(lines) => modules(lines),
    }))
}

fn is_quiet(lines: &[Line]) -> bool {
    lines.iter().any(|line| match line {
        Line::Module { name, is_quiet, .. } => name == OURS && *is_quiet,
        Line::Substack(lines) => is_quiet(lines),
    })
}

fn ours(lines: &[Line]) -> impl Iterator<Item = &[String]> {
    modules(lines).filter(|(name, _)| *name == OURS).map(|(_, words)| words)
}

#[cfg(test)]
mod tests {
    use super::text::LONGEST;
    use super::*;

    const COMMON: &str = "auth [success=1 default=ignore] pam_unix.so nullok\nauth requisite pam_deny.so\nauth required pam_permit.so\n\
                          auth optional pam_cap.so\n";
    const LINE: &str = "auth [success=ok ignore=ignore default=die] pam_twostep.so";

    fn service(text: &str) -> Service {
        let read = |name: &str| match name {
            "it" => Some(text.to_owned()),
            "common-auth" => Some(COMMON.to_owned()),
            "common-account" => Some("account required pam_unix.so\n".to_owned()),
            _ => None,
        };
        Service::parse("it", &read).unwrap()
    }

    fn verdict(text: &str) -> Verdict {
        service(text).verdict()
    }

    fn by(module: &str) -> Verdict {
        Verdict::ByPassable(Some(module.into()))
    }

    #[test]
    fn the_shipped_lines_are_in_force_where_they_say_that_they_belong() {
        assert_eq!(verdict("@include common-auth\n@include common-account\n"), Verdict::Absent);
        assert_eq!(verdict(&format!("@include common-auth\n{LINE}\n@include common-account\n")), Verdict::InForce);
        assert_eq!(verdict(&format!("auth substack common-auth\n{LINE}\nauth optional pam_ssh_add.so\n")), Verdict::InForce);
        // Root needs no password for su either.
        assert_eq!(verdict(&format!("auth sufficient pam_rootok.so\n@include common-auth\n{LINE}\n")), Verdict::InForce);
        for control in ["required", "requisite"] {
            assert_eq!(verdict(&format!("@include common-auth\nauth {control} /lib/security/pam_twostep.so debug\n")), Verdict::InForce);
        }
    }

    #[test]
    fn a_control_that_does_not_hold_is_found() {
        for control in ["optional", "sufficient", "[success=ok default=ignore]", "[success=done default=ignore]", "[default=reset]"] {
            let found = verdict(&format!("@include common-auth\nauth {control} pam_twostep.so\nauth required pam_permit.so\n"));
            assert!(matches!(found, Verdict::ByPassable(_)), "{control}: {found:?}");
        }
    }

    #[test]
    fn each_way_to_fail_has_to_end_the_login() {
        for control in [
            "success=ok ignore=ignore authinfo_unavail=ignore default=die",
            "success=ok ignore=ignore default=die maxtries=reset",
            "success=ok ignore=ignore conv_err=1 default=die",
            "success=ok ignore=ignore module_unknown=ignore default=die",
            "success=ok auth_err=die default=ignore",
            "success=ok auth_err=die default=ignore default=die",
        ] {
            let found = verdict(&format!("@include common-auth\nauth [{control}] pam_twostep.so\nauth required pam_permit.so\n"));
            assert!(matches!(found, Verdict::ByPassable(None)), "{control}: {found:?}");
        }
        for control in
            ["success=ok new_authtok_reqd=ok ignore=ignore user_unknown=bad default=die", "success=ok ignore=ignore auth_err=bad"]
        {
            let found = verdict(&format!("@include common-auth\nauth [{control}] pam_twostep.so\nauth required pam_permit.so\n"));
            assert_eq!(found, Verdict::InForce, "{control}");
        }
        // Another module's too: this one lets in past the line while a directory is down.
        let past = "auth [success=ok authinfo_unavail=1 default=die] pam_sss.so\n";
        assert_eq!(verdict(&format!("auth required pam_unix.so\n{past}{LINE}\n")), by("pam_sss.so"));
    }

    #[test]
    fn a_dash_is_seen_and_leaves_the_line_in_force() {
        let quiet = service(&format!("@include common-auth\n-{LINE}\n"));
        assert!(quiet.is_quiet() && quiet.verdict() == Verdict::InForce);
        assert!(service(&format!("@include common-auth\n{LINE}\n-account required pam_twostep.so\n")).is_quiet());
        assert!(!service(&format!("-auth optional pam_cap.so\n@include common-auth\n{LINE}\n")).is_quiet());
    }

    #[test]
    fn a_module_that_ends_or_jumps_past_it_is_named() {
        let unix = "auth required pam_unix.so\n";
        assert_eq!(verdict(&format!("{unix}auth sufficient pam_ssh_agent_auth.so\n{LINE}\n")), by("pam_ssh_agent_auth.so"));
        assert_eq!(
            verdict(&format!("{unix}auth [success=1 default=ignore] pam_succeed_if.so user = bob\n{LINE}\n")),
            by("pam_succeed_if.so")
        );
        assert_eq!(verdict(&format!("auth sufficient pam_unix.so\n{LINE}\n")), by("pam_unix.so"));
        assert_eq!(verdict(&format!("auth [success=end default=ignore] pam_unix.so\n{LINE}\n")), by("pam_unix.so"));
        // A jump that lands on it is none past it.
        assert_eq!(
            verdict(&format!("auth [success=1 default=ignore] pam_unix.so\nauth requisite pam_deny.so\n{LINE}\n")),
            Verdict::InForce
        );
    }

    #[test]
    fn what_ends_a_substack_does_not_end_the_stack() {
        let read = |name: &str| match name {
            "it" => Some(format!("auth substack inner\n{LINE}\n")),
            "inner" => Some("auth sufficient pam_unix.so\n".to_owned()),
            _ => None,
        };
        assert_eq!(Service::parse("it", &read).unwrap().verdict(), Verdict::InForce);
    }

    /// `reset` forgets what came since the substack began, and no more.
    #[test]
    fn a_reset_in_a_substack_leaves_the_password_s_success_standing() {
        let verdict = |control: &str| {
            let inner = format!("auth {control} pam_twostep.so\n");
            let read = |name: &str| match name {
                "it" => Some("auth required pam_unix.so\nauth substack inner\n".to_owned()),
                "inner" => Some(inner.clone()),
                _ => None,
            };
            Service::parse("it", &read).unwrap().verdict()
        };
        assert_eq!(verdict("[success=ok ignore=ignore default=reset]"), Verdict::ByPassable(None));
        assert_eq!(verdict("[success=ok ignore=ignore default=die]"), Verdict::InForce);
    }

    #[test]
    fn a_jump_past_the_last_line_lets_nobody_in() {
        let jump =
            |count: u32| format!("auth required pam_unix.so\nauth [success={count} default=die] pam_succeed_if.so user = bob\n{LINE}\n");
        assert_eq!(verdict(&jump(1)), by("pam_succeed_if.so"));
        assert_eq!(verdict(&jump(2)), Verdict::InForce);
    }

    #[test]
    fn an_exception_in_brackets_is_seen() {
        let it = service(&format!("@include common-auth\n{LINE} [exclude_group=robots,a b\\]c] debug\n"));
        assert_eq!(it.exceptions(Kind::Auth), ["exclude_group=robots,a b]c"]);
        let it = service(&format!("@include common-auth\n{LINE} [users=alice"));
        assert_eq!(it.exceptions(Kind::Auth), ["users=alice"]);
    }

    #[test]
    fn doubled_and_misplaced_lines_are_found() {
        assert_eq!(verdict(&format!("@include common-auth\n{LINE}\n{LINE}\n")), Verdict::Doubled);
        assert_eq!(verdict(&format!("{LINE}\n@include common-auth\n")), Verdict::BeforePassword);
        assert_eq!(verdict(&format!("{LINE}\nauth required pam_permit.so\n")), Verdict::BeforePassword);
    }

    #[test]
    fn exceptions_and_account_lines_are_seen() {
        let it = service(&format!(
            "@include common-auth\n{LINE} users=alice debug exclude_group=robots\naccount required pam_twostep.so users=bob\n"
        ));
        assert_eq!(it.exceptions(Kind::Auth), ["users=alice", "exclude_group=robots"]);
        assert_eq!(it.exceptions(Kind::Account), ["users=bob"]);
        assert!(it.guard() == Guard::Holds && it.asks());
        assert!(!service("session required pam_unix.so\n").asks());
    }

    #[test]
    fn an_account_line_that_does_not_hold_is_found() {
        let guard = |lines: &str| service(&format!("@include common-auth\n{LINE}\n{lines}\n")).guard();
        let held = "account [success=ok ignore=ignore default=die] pam_twostep.so";
        assert_eq!(guard("@include common-account"), Guard::Absent);
        assert_eq!(guard(&format!("{held}\n@include common-account")), Guard::Holds);
        assert_eq!(guard(&format!("{held}\n{held}\naccount required pam_permit.so")), Guard::Holds);
        for control in
            ["optional", "sufficient", "[success=ok default=ignore]", "[success=ok ignore=ignore perm_denied=ignore default=die]"]
        {
            assert_eq!(guard(&format!("account {control} pam_twostep.so\n@include common-account")), Guard::ByPassable(None), "{control}");
        }
        assert_eq!(
            guard(&format!("account sufficient pam_localuser.so\n{held}\n@include common-account")),
            Guard::ByPassable(Some("pam_localuser.so".into()))
        );
        // As Debian writes it: who has to change the password is let in at once, so the line belongs before it.
        let unix = "account [success=1 new_authtok_reqd=done default=ignore] pam_unix.so\naccount requisite pam_deny.so\naccount required pam_permit.so";
        assert_eq!(guard(&format!("{unix}\n{held}")), Guard::ByPassable(Some("pam_unix.so".into())));
        assert_eq!(guard(&format!("{held}\n{unix}")), Guard::Holds);
    }

    #[test]
    fn comments_and_continued_lines_are_read_as_pam_does() {
        assert_eq!(verdict("@include common-auth\n# auth required pam_twostep.so\n"), Verdict::Absent);
        assert_eq!(verdict("@include common-auth # the password\nauth \\\n  required \\\n  pam_twostep.so\n"), Verdict::InForce);
        assert_eq!(verdict("@include common-auth\nAUTH Required pam_twostep.so\n"), Verdict::InForce);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let fault = |text: &str| Service::parse("it", &|name: &str| (name == "it").then(|| text.to_owned())).unwrap_err();
        assert_eq!(fault("\nauth maybe pam_unix.so\n"), Fault::Unreadable("it".into(), 2));
        assert_eq!(fault("auth [success=ok pam_unix.so\n"), Fault::Unreadable("it".into(), 1));
        assert_eq!(fault("auth required\n"), Fault::Unreadable("it".into(), 1));
        assert_eq!(fault("@include nothing\n"), Fault::Missing("nothing".into()));
        assert_eq!(fault("@include it\n"), Fault::TooLong);
        assert_eq!(fault(&"auth required pam_unix.so\n".repeat(LONGEST + 1)), Fault::TooLong);
    }
}
