//! sshd's configuration (sshd_config(5)) as text, and what it means for a second step that PAM asks for.
//!
//! Two things can go wrong beside PAM's own lines. A way in that leaves PAM's auth lines out (a key, and whatever else stands for a password)
//! passes the second step by, unless the account lines stop it. And where keyboard-interactive is off, nobody can be asked for a code.
//!
//! What holds for everybody is best known to sshd itself (`sshd -T`): what is not set anywhere is another thing with each distribution, so where
//! sshd does not tell it, it is not judged. Match blocks are read from the file. Who they are for is not looked at: each set of them is
//! tried, as if somebody were all that they name.
//!
//! `PermitRootLogin` opens no way of its own: root's keys and passwords go through the same lines as all others.
//!
//! This module reads no files and runs no sshd.

use std::fmt;
use std::iter::Peekable;
use std::str::Chars;

/// How deep files may include others, how many Match blocks there may be, and how many that matter here.
const DEEPEST: usize = 16;
const LONGEST: usize = 4096;
const BLOCKS: usize = 8;

/// The service whose PAM configuration sshd uses, where it does not say another (`PAMServiceName`, since 9.8).
const SERVICE: &str = "sshd";

const NAME: &str = "pamservicename";

/// What is looked at.
const KEYWORDS: [&str; 8] = [
    "authenticationmethods",
    "gssapiauthentication",
    "hostbasedauthentication",
    "kbdinteractiveauthentication",
    "kerberosauthentication",
    NAME,
    "pubkeyauthentication",
    "usepam",
];

/// A way in that leaves PAM's auth lines out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The user's own key.
    Key,
    /// The client's host is believed.
    HostBased,
    /// A ticket.
    Gssapi,
    /// A password that sshd itself takes to Kerberos.
    Kerberos,
}

impl Way {
    const ALL: [Self; 4] = [Self::Key, Self::HostBased, Self::Gssapi, Self::Kerberos];

    fn keyword(self) -> &'static str {
        match self {
            Self::Key => "pubkeyauthentication",
            Self::HostBased => "hostbasedauthentication",
            Self::Gssapi => "gssapiauthentication",
            Self::Kerberos => "kerberosauthentication",
        }
    }

    /// Whether it is what a word of `AuthenticationMethods` names.
    fn is(self, method: &str) -> bool {
        match self {
            Self::Key => method == "publickey",
            Self::HostBased => method == "hostbased",
            Self::Gssapi => method.starts_with("gssapi"),
            Self::Kerberos => method == "password",
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "A key",
            Self::HostBased => "A host that is believed (HostbasedAuthentication)",
            Self::Gssapi => "A ticket (GSSAPIAuthentication)",
            Self::Kerberos => "A Kerberos password (KerberosAuthentication)",
        })
    }
}

/// What can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A line that is none: the file, and the line's number.
    Unreadable(String, usize),
    /// An Include that can't be followed.
    Include(String),
    /// Too many Match blocks, or files that include themselves.
    TooLong,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(file, line) => write!(f, "{file}, line {line}, is no line of sshd's"),
            Self::Include(pattern) => write!(f, "Include {pattern} can't be followed"),
            Self::TooLong => f.write_str("too many Match blocks, or a file that includes itself"),
        }
    }
}

/// Settings by keyword in small letters; of more than one, the first counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Settings(Vec<(String, String)>);

impl Settings {
    fn get(&self, keyword: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == keyword).map(|(_, value)| value.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Block {
    /// As it is written behind `Match`.
    who: String,
    settings: Settings,
}

/// sshd's configuration; by default one in which nothing is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    global: Settings,
    blocks: Vec<Block>,
    /// Whether `global` is all that sshd has, so that what is missing is off.
    is_whole: bool,
}

/// A file that was found, by name and text.
pub type Found = (String, String);

/// What a configuration means; None where it does not tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The PAM service that is used.
    pub service: String,
    /// Others that Match blocks name, and with whom they are for. The one above may be used for them all the same: see [`Config::judge`].
    pub others: Vec<(String, String)>,
    /// Whether PAM is asked at all.
    pub uses_pam: Option<bool>,
    /// Whether a question can be asked.
    pub asks: Option<bool>,
    /// Whom else no question can be asked, as written behind `Match`.
    pub unasked: Vec<String>,
    /// Ways that leave the auth lines out: with whom they are for, if it is not everybody.
    pub ways: Vec<(Way, Option<String>)>,
    /// Why the Match blocks are not looked at, where they are not.
    pub left_out: Option<String>,
}

impl Config {
    /// Reads a configuration; `find` gives the files that an `Include` pattern names, in order.
    ///
    /// # Errors
    /// [`Fault`]
    pub fn parse(file: &str, text: &str, find: &dyn Fn(&str) -> Option<Vec<Found>>) -> Result<Self, Fault> {
        let mut config = Self::default();
        config.add(file, text, find, (None, 0))?;
        config.blocks.retain(|block| !block.settings.0.is_empty());
        Ok(config)
    }

    /// The same, with what sshd itself says (`sshd -T`) of what holds for everybody.
    #[must_use]
    pub fn with_told(mut self, told: &str) -> Self {
        let settings = told.lines().filter_map(|line| line.split_once(' ')).map(|(keyword, value)| (keyword.to_lowercase(), value.into()));
        self.global = Settings(settings.collect());
        self.is_whole = true;
        self
    }

    /// `block` is where the lines of the file belong to until its first `Match`.
    fn add(
        &mut self,
        file: &str,
        text: &str,
        find: &dyn Fn(&str) -> Option<Vec<Found>>,
        (mut block, depth): (Option<usize>, usize),
    ) -> Result<(), Fault> {
        if depth > DEEPEST {
            return Err(Fault::TooLong);
        }
        let outer = block.map(|index: usize| self.blocks[index].who.clone());
        for (line, number) in text.lines().zip(1..) {
            let unreadable = || Fault::Unreadable(file.into(), number);
            let mut words = words(line).ok_or_else(unreadable)?.into_iter();
            let Some(keyword) = words.next().map(|word| word.to_lowercase()) else { continue };
            let words: Vec<String> = words.collect();
            match keyword.as_str() {
                _ if words.is_empty() => return Err(unreadable()),
                "match" => {
                    let who = [outer.as_slice(), &words].concat().join(" ");
                    // Ends the block before, and is for everybody itself.
                    let is_all = words.len() == 1 && words[0].eq_ignore_ascii_case("all") && outer.is_none();
                    self.blocks.push(Block { who: if is_all { String::new() } else { who }, settings: Settings::default() });
                    block = Some(self.blocks.len() - 1);
                }
                "include" => {
                    for pattern in &words {
                        for (name, text) in find(pattern).ok_or_else(|| Fault::Include(pattern.clone()))? {
                            self.add(&name, &text, find, (block, depth + 1))?;
                        }
                    }
                }
                _ => self.set(block, &keyword, words.join(" ")),
            }
            if self.blocks.len() > LONGEST {
                return Err(Fault::TooLong);
            }
        }
        Ok(())
    }

    fn set(&mut self, block: Option<usize>, keyword: &str, value: String) {
        let keyword = match keyword {
            "challengeresponseauthentication" | "skeyauthentication" => "kbdinteractiveauthentication",
            other => other,
        };
        let settings = block.map_or(&mut self.global, |index| &mut self.blocks[index].settings);
        if KEYWORDS.contains(&keyword) && settings.get(keyword).is_none() {
            settings.0.push((keyword.into(), value));
        }
    }

    /// What it means. Of too many Match blocks, only those for everybody are looked at.
    ///
    /// `UsePAM` has no place in a Match block. `PAMServiceName` had none in sshd 10.4, has one in 10.5, which then does without it, and counts in
    /// later ones (servconf.h: `SSHCFG_GLOBAL`; `SSHCFG_ALL` with `SSHCFG_COPY_NONE`; with `SSHCFG_COPY_MATCH`). So all services that are
    /// named may be used.
    #[must_use]
    pub fn judge(&self) -> Judged {
        let service = self.global.get(NAME).unwrap_or(SERVICE);
        let (always, mut some): (Vec<&Block>, Vec<&Block>) = self.blocks.iter().partition(|block| block.who.is_empty());
        some.retain(|block| block.settings.0.iter().any(|(keyword, _)| keyword != NAME));
        let left_out = (some.len() > BLOCKS).then(|| format!("{} of them matter, {BLOCKS} are the most that can be judged", some.len()));
        if left_out.is_some() {
            some.clear();
        }
        let for_all = self.login(&always);
        let mut judged = Judged {
            service: service.into(),
            others: self.others(service),
            uses_pam: self.login(&[]).flag("usepam"),
            asks: for_all.asks(),
            unasked: Vec::new(),
            ways: for_all.ways().map(|way| (way, None)).collect(),
            left_out,
        };
        for set in 1..1_usize << some.len() {
            let of_set = |block: &&Block| some.iter().position(|other| std::ptr::eq(*other, *block)).is_some_and(|n| set & (1 << n) != 0);
            let blocks: Vec<&Block> = self.blocks.iter().filter(|block| block.who.is_empty() || of_set(block)).collect();
            let login = self.login(&blocks);
            let who = || blocks.iter().map(|block| block.who.as_str()).filter(|who| !who.is_empty()).collect::<Vec<_>>().join(" and ");
            if judged.asks != Some(false) && login.asks() == Some(false) && set.is_power_of_two() {
                judged.unasked.push(who());
            }
            for way in login.ways() {
                if judged.ways.iter().all(|(known, _)| *known != way) {
                    judged.ways.push((way, Some(who())));
                }
            }
        }
        judged
    }

    fn others(&self, service: &str) -> Vec<(String, String)> {
        let mut others: Vec<(String, String)> = Vec::new();
        for block in &self.blocks {
            let who = if block.who.is_empty() { "all" } else { &block.who };
            match block.settings.get(NAME) {
                Some(name) if name != service && others.iter().all(|(known, _)| known != name) => others.push((name.into(), who.into())),
                _ => {}
            }
        }
        others
    }

    fn login<'a>(&'a self, blocks: &[&'a Block]) -> Login<'a> {
        let layers = blocks.iter().map(|block| &block.settings).chain([&self.global]).collect();
        Login { layers, is_whole: self.is_whole }
    }
}

/// What holds for one login: of more than one, the first that sets a thing.
struct Login<'a> {
    layers: Vec<&'a Settings>,
    is_whole: bool,
}

impl Login<'_> {
    fn get(&self, keyword: &str) -> Option<&str> {
        self.layers.iter().find_map(|settings| settings.get(keyword))
    }

    fn flag(&self, keyword: &str) -> Option<bool> {
        match self.get(keyword).map(str::to_lowercase).as_deref() {
            Some("yes" | "true") => Some(true),
            Some("no" | "false") => Some(false),
            Some(_) => None,
            None => self.is_whole.then_some(false),
        }
    }

    /// The lists of which one has to be gone through; None where one method is enough, whichever.
    fn lists(&self) -> Option<Vec<Vec<&str>>> {
        let value = self.get("authenticationmethods").filter(|value| !value.eq_ignore_ascii_case("any"))?;
        let method = |word: &'_ str| word.split(':').next().unwrap_or_default().len();
        Some(value.split_whitespace().map(|list| list.split(',').map(|word| &word[..method(word)]).collect()).collect())
    }

    fn asks(&self) -> Option<bool> {
        if self.lists().is_some_and(|lists| !lists.iter().any(|list| list.contains(&"keyboard-interactive"))) {
            return Some(false);
        }
        self.flag("kbdinteractiveauthentication")
    }

    /// A key, where nothing is said of it, is a way; the others are off everywhere until they are turned on.
    fn is_open(&self, way: Way) -> bool {
        self.flag(way.keyword()).unwrap_or(way == Way::Key || self.get(way.keyword()).is_some())
    }

    /// The ways that alone are enough, each named by the first of a list.
    fn ways(&self) -> impl Iterator<Item = Way> {
        let open = || Way::ALL.into_iter().filter(|way| self.is_open(*way));
        let by = |list: &[&str]| {
            let is_by_open = |method: &&str| open().any(|way| way.is(method));
            list.iter().all(is_by_open).then(|| open().find(|way| list.first().is_some_and(|method| way.is(method))))
        };
        let ways: Vec<Way> = match self.lists() {
            None => open().collect(),
            Some(lists) => lists.iter().filter_map(|list| by(list).flatten()).collect(),
        };
        ways.into_iter()
    }
}

/// The words of a line as sshd (since 8.7) splits it: the keyword, with or without a `=` behind it, and its arguments; none where it is empty or a
/// comment. None where a quote is not closed.
fn words(line: &str) -> Option<Vec<String>> {
    let line = line.trim();
    let line = line.strip_prefix('=').unwrap_or(line).trim_start();
    if line.is_empty() || line.starts_with('#') {
        return Some(Vec::new());
    }
    let (keyword, rest) = keyword(line)?;
    let (mut words, mut letters) = (vec![keyword.to_owned()], rest.chars().peekable());
    loop {
        while letters.next_if(is_blank).is_some() {}
        match letters.peek() {
            None | Some('#') => return Some(words),
            Some(_) => words.push(argument(&mut letters)?),
        }
    }
}

/// The first word, and what is behind it. Unlike the others it knows no escapes, and double quotes only around all of it.
fn keyword(line: &str) -> Option<(&str, &str)> {
    if let Some(quoted) = line.strip_prefix('"') {
        return quoted.split_once('"').filter(|(keyword, _)| !keyword.is_empty() && !keyword.starts_with('#'));
    }
    let end = line.find([' ', '\t', '=', '"']).unwrap_or(line.len());
    let (keyword, rest) = line.split_at(end);
    let rest = rest.trim_start_matches([' ', '\t']);
    (!line[end..].starts_with('"')).then(|| (keyword, rest.strip_prefix('=').unwrap_or(rest)))
}

/// One argument: quotes of both kinds may stand anywhere in it, and a backslash escapes them and itself, and outside of quotes a space.
fn argument(letters: &mut Peekable<Chars>) -> Option<String> {
    let (mut word, mut quote) = (String::new(), None);
    while let Some(letter) = letters.next_if(|next| quote.is_some() || !is_blank(next)) {
        match letter {
            '\\' => {
                let is_escaped = |next: &char| matches!(next, '\'' | '"' | '\\') || quote.is_none() && *next == ' ';
                word.push(letters.next_if(is_escaped).unwrap_or(letter));
            }
            '"' | '\'' if quote.is_none() => quote = Some(letter),
            _ if quote == Some(letter) => quote = None,
            _ => word.push(letter),
        }
    }
    quote.is_none().then_some(word)
}

fn is_blank(letter: &char) -> bool {
    matches!(letter, ' ' | '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `sshd -T` says it where nothing but PAM is turned on.
    const TOLD: &str = "port 22\nusepam yes\nkbdinteractiveauthentication yes\npubkeyauthentication yes\npasswordauthentication no\n\
                        hostbasedauthentication no\npermitrootlogin without-password\nauthenticationmethods any\n";

    fn config(text: &str) -> Config {
        let find = |pattern: &str| match pattern {
            "sshd_config.d/*.conf" => Some(vec![
                ("a.conf".to_owned(), "KbdInteractiveAuthentication yes\nMatch User bob\nPubkeyAuthentication no\n".to_owned()),
                ("b.conf".to_owned(), "UsePAM yes\n".to_owned()),
            ]),
            "itself" => Some(vec![("itself".to_owned(), "Include itself\n".to_owned())]),
            "none" => Some(vec![]),
            _ => None,
        };
        Config::parse("sshd_config", text, &find).unwrap()
    }

    fn told(text: &str, told: &str) -> Judged {
        config(text).with_told(told).judge()
    }

    fn ways(text: &str) -> Vec<(Way, Option<String>)> {
        told(text, TOLD).ways
    }

    #[test]
    fn what_sshd_tells_is_what_holds() {
        let judged = told("UsePAM no\nPubkeyAuthentication no\n", TOLD);
        assert_eq!(judged.service, "sshd");
        assert_eq!((judged.uses_pam, judged.asks, judged.ways), (Some(true), Some(true), vec![(Way::Key, None)]));
        let off = told(
            "",
            &TOLD.replace("usepam yes", "usepam no").replace("kbdinteractiveauthentication yes", "kbdinteractiveauthentication no"),
        );
        assert_eq!((off.uses_pam, off.asks), (Some(false), Some(false)));
        assert_eq!(told("", &format!("{TOLD}pamservicename ssh-outside\n")).service, "ssh-outside");
    }

    #[test]
    fn of_what_stands_only_in_the_file_no_default_is_guessed() {
        let judged = config("Port 22\n").judge();
        assert_eq!((judged.uses_pam, judged.asks), (None, None));
        assert_eq!(judged.ways, [(Way::Key, None)], "a key may pass");
        let judged = config("UsePAM yes\nUsePAM no\nChallengeResponseAuthentication=no\nPubkeyAuthentication \"no\" # keys\n").judge();
        assert_eq!((judged.uses_pam, judged.asks, judged.ways), (Some(true), Some(false), vec![]));
    }

    #[test]
    fn included_files_count_where_they_stand_and_a_match_in_one_ends_with_it() {
        let judged = config("Include sshd_config.d/*.conf\nKbdInteractiveAuthentication no\n").judge();
        assert_eq!((judged.uses_pam, judged.asks), (Some(true), Some(true)));
        assert_eq!(config("UsePAM no\nInclude none sshd_config.d/*.conf\n").judge().uses_pam, Some(false));
        // In a Match block they are for those whom it names.
        let judged = config("UsePAM yes\nKbdInteractiveAuthentication no\nMatch User alice\nInclude sshd_config.d/*.conf\n").judge();
        assert_eq!(judged.asks, Some(false));
    }

    #[test]
    fn each_way_that_leaves_the_auth_lines_out_is_found() {
        for (keyword, way) in
            [("hostbasedauthentication", Way::HostBased), ("gssapiauthentication", Way::Gssapi), ("kerberosauthentication", Way::Kerberos)]
        {
            let open = TOLD.replace("pubkeyauthentication yes", "pubkeyauthentication no").replace("hostbasedauthentication no\n", "");
            assert_eq!(told("", &open).ways, []);
            assert_eq!(told("", &format!("{open}{keyword} yes\n")).ways, [(way, None)]);
        }
    }

    #[test]
    fn lists_of_methods_are_ways_only_where_no_question_is_in_them() {
        let with = |methods: &str| told("", &TOLD.replace("methods any", &format!("methods {methods}")));
        for methods in
            ["publickey,keyboard-interactive", "keyboard-interactive:pam", "publickey,password", "hostbased keyboard-interactive"]
        {
            assert_eq!(with(methods).ways, [], "{methods}");
        }
        for methods in ["publickey", "publickey,publickey", "keyboard-interactive publickey"] {
            assert_eq!(with(methods).ways, [(Way::Key, None)], "{methods}");
        }
        assert_eq!(with("publickey,password").asks, Some(false));
        assert_eq!(with("publickey publickey,keyboard-interactive:pam").asks, Some(true));
    }

    #[test]
    fn match_blocks_open_ways_for_some_and_close_them_for_none() {
        let both = "AuthenticationMethods publickey,keyboard-interactive";
        // As README has it: keys alone still pass sshd for admin.
        assert_eq!(ways(&format!("Match User *,!admin\n{both}\n")), [(Way::Key, None)]);
        let closed = TOLD.replace("methods any", "methods publickey,keyboard-interactive");
        assert_eq!(told("Match User backup\nX11Forwarding no\n", &closed).ways, []);
        assert_eq!(told("Match User backup\nAuthenticationMethods publickey\n", &closed).ways, [(Way::Key, Some("User backup".into()))]);
        let two = "Match User a\nHostbasedAuthentication yes\nMatch Address 192.0.2.0/24\nAuthenticationMethods hostbased\n";
        assert_eq!(told(two, &closed).ways, [(Way::HostBased, Some("User a and Address 192.0.2.0/24".into()))]);
        assert_eq!(ways(&format!("Match all\n{both}\n")), []);
        assert_eq!(told("Match Group robots\nKbdInteractiveAuthentication no\n", TOLD).unasked, ["Group robots"]);
        // Of two that name one person, the first counts.
        assert_eq!(
            told("Match User a\nAuthenticationMethods keyboard-interactive\nMatch all\nAuthenticationMethods publickey\n", TOLD).ways,
            [(Way::Key, None)]
        );
    }

    /// sshd_config(5) of OpenSSH 9.8 and later: "Specifies the service name used for Pluggable Authentication Modules (PAM) authentication,
    /// authorisation and session controls when UsePAM is enabled. The default is sshd". For Match, see [`Config::judge`].
    #[test]
    fn each_service_is_found_that_a_match_block_may_put_in_the_place_of_the_usual_one() {
        let named = |text: &str, said: &str| {
            let judged = told(text, said);
            (judged.service, judged.others)
        };
        let pair = |name: &str, who: &str| (name.to_owned(), who.to_owned());
        let text = "Match User backup\nPAMServiceName ssh-backup\nMatch Address 192.0.2.0/24\nPAMServiceName sshd\n\
                    Match User b\npamservicename=ssh-backup\n";
        assert_eq!(named(text, TOLD), ("sshd".into(), vec![pair("ssh-backup", "User backup")]));
        let other = format!("{TOLD}pamservicename ssh-outside\n");
        let all = vec![pair("ssh-backup", "User backup"), pair("sshd", "Address 192.0.2.0/24")];
        assert_eq!(named(text, &other), ("ssh-outside".into(), all));
        assert_eq!(named("Match all\nPAMServiceName ssh-all\n", TOLD), ("sshd".into(), vec![pair("ssh-all", "all")]));
        // They hide nothing else, however many.
        let many: String = (0..=BLOCKS).map(|n| format!("Match User u{n}\nPAMServiceName s{n}\n")).collect();
        let judged = told(&many, TOLD);
        assert_eq!((judged.others.len(), judged.left_out), (BLOCKS + 1, None));
    }

    /// servconf.c: "Directive 'UsePAM' is not allowed within a Match block".
    #[test]
    fn pam_is_not_turned_off_for_some() {
        assert_eq!(config("UsePAM yes\nMatch all\nUsePAM no\n").judge().uses_pam, Some(true));
    }

    #[test]
    fn quotes_and_backslashes_are_taken_as_sshd_takes_them() {
        for line in [
            "PubkeyAuthentication 'no'",
            "PubkeyAuthentication=\"no\"",
            "PubkeyAuthentication n'o' # keys",
            "\"PubkeyAuthentication\" no",
            "=PubkeyAuthentication no",
        ] {
            assert_eq!(config(line).judge().ways, [], "{line}");
        }
        let all = |line: &str| words(line).unwrap_or_default();
        assert_eq!(all("Banner 'a b' \"c d\"e f#g"), ["Banner", "a b", "c de", "f#g"]);
        assert_eq!(all(r#"Banner \' \" \\ a\ b DOMAIN\bob 'a\ b' "\"""#), ["Banner", "'", "\"", "\\", "a b", r"DOMAIN\bob", r"a\ b", "\""]);
        assert_eq!(all("Banner '' x"), ["Banner", "", "x"]);
        for line in ["# it's", "   ", "#\"x", "="] {
            assert_eq!(words(line), Some(Vec::new()), "{line}");
        }
        for line in ["Banner 'x", "Banner \"x'", "Banner x'", "\"Banner x"] {
            assert_eq!(words(line), None, "{line}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let fault = |text: &str| {
            Config::parse("sshd_config", text, &|pattern: &str| match pattern {
                "itself" => Some(vec![("itself".to_owned(), "Include itself\n".to_owned())]),
                _ => None,
            })
            .unwrap_err()
        };
        assert_eq!(fault("\nUsePAM\n"), Fault::Unreadable("sshd_config".into(), 2));
        assert_eq!(fault("Banner \"x\n"), Fault::Unreadable("sshd_config".into(), 1));
        assert_eq!(fault("Include elsewhere\n"), Fault::Include("elsewhere".into()));
        assert_eq!(fault("Include itself\n"), Fault::TooLong);
        let many: String = (0..=BLOCKS).map(|n| format!("Match User u{n}\nPubkeyAuthentication yes\n")).collect();
        let judged = config(&format!("UsePAM no\n{many}Match all\nPubkeyAuthentication no\n")).judge();
        assert_eq!((judged.uses_pam, judged.left_out.is_some(), judged.ways), (Some(false), true, vec![]));
    }
}
