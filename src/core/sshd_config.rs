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
mod tests;
