//! The texts of passwd, group, shadow and gshadow: a text in, the edited text out.
//!
//! An edit changes the bytes of the account's own line, or adds that line, or adds the account's name to a group's list of members. Every
//! other byte stays: comments, odd lines, NIS lines (`+`, `-`), doubles, other line ends, bytes that are no UTF-8, a missing last line feed.
//! So nothing here parses a whole file into records and prints it again.
//!
//! The first line of a name counts, as for getpwnam(3) and getspnam(3); a new line goes before the first NIS line, where shadow-utils put it.
//! passwd(5), shadow(5), group(5) and gshadow(5) give the fields. A line that the C library skips (a comment, a uid that is no number) is
//! nobody's and stays as it is. Exception: the first shadow line of the name is rewritten however broken it is, which makes it count.
//!
//! What this does not do: read or write files, judge whether an edit is allowed, or know groups and users of a domain.

use std::fmt;
use std::ops::{Range, RangeInclusive};

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::time::Wall;

/// A clock that shows an earlier time (2026-01-01) is wrong: this program did not exist then.
pub const EARLIEST: Wall = Wall(1_767_225_600);

/// What stands in the password field of an account that is off: no password matches it, and no hash hides behind it.
pub const OFF: &[u8] = b"!";

/// The day in shadow(5)'s expire field of an account that is off: 1970-01-02, since the meaning of 0 is not settled.
const EXPIRED: i64 = 1;

const SECONDS_PER_DAY: i64 = 86_400;

/// A password hash in crypt(5) form that can stand in a shadow line.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(try_from = "String", into = "String")]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Checks that the text is a hash of a named method (`$…$…`) and fits into one field of one line.
    ///
    /// # Errors
    /// Where it is not.
    pub fn new(text: String) -> Result<Self, NotAHash> {
        let fits = text.len() <= 512 && text.bytes().all(|b| b.is_ascii_graphic() && b != b':');
        if fits && text.starts_with('$') && text.matches('$').count() >= 3 { Ok(Self(text)) } else { Err(NotAHash) }
    }

    /// A hash that no password gives, of a method that there is not.
    #[must_use]
    pub fn of_nobody() -> Self {
        Self("$none$$".into())
    }

    /// The text of the field.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

impl TryFrom<String> for PasswordHash {
    type Error = NotAHash;
    fn try_from(text: String) -> Result<Self, NotAHash> {
        Self::new(text)
    }
}

impl From<PasswordHash> for String {
    fn from(hash: PasswordHash) -> Self {
        hash.0.clone()
    }
}

/// The text is no password hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAHash;

impl fmt::Display for NotAHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a password hash in crypt(5) form")
    }
}

impl std::error::Error for NotAHash {}

/// Whether `name` can name an account in these files, in a path and in a log line: a letter or `_`, then letters, digits, `_`, `-`, `.`, at
/// most 32 in all.
#[must_use]
pub fn is_account_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= 32
        && bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

/// Whether `text` can stand in a field of passwd as a path: absolute, without `:` and control characters.
#[must_use]
pub fn is_path_field(text: &str) -> bool {
    text.starts_with('/') && !text.bytes().any(|b| b == b':' || b.is_ascii_control())
}

/// The day number of shadow(5) at this time; none where the clock is plainly wrong.
#[must_use]
pub fn day(now: Wall) -> Option<i64> {
    (now >= EARLIEST).then(|| now.0.div_euclid(SECONDS_PER_DAY))
}

/// An account's entry in passwd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswdEntry<'a> {
    /// `x`: the hash is in shadow.
    pub password: &'a [u8],
    /// The user id.
    pub uid: u32,
    /// The id of the primary group.
    pub gid: u32,
    /// The login shell; empty stands for /bin/sh.
    pub shell: &'a [u8],
}

/// What a shadow line says about an account.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ShadowEntry<'a> {
    /// The password field.
    pub password: &'a [u8],
    /// The day from which on the account is expired.
    pub expire: Option<i64>,
}

impl ShadowEntry<'_> {
    /// Whether a password can match at this time: the field holds a hash, and the account is not expired. Without a believable clock an
    /// expiry counts where it is in the past of any clock.
    #[must_use]
    pub fn is_usable(&self, now: Wall) -> bool {
        let today = day(now.max(EARLIEST)).unwrap_or_default();
        !matches!(self.password.first(), Some(b'!' | b'*')) && self.expire.is_none_or(|day| day > today)
    }
}

/// A group's entry in group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupEntry<'a> {
    /// The group id.
    pub gid: u32,
    members: &'a [u8],
}

impl GroupEntry<'_> {
    /// Whether the account is in the list of members.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        lists(self.members, name)
    }
}

/// The account's entry in passwd.
#[must_use]
pub fn passwd_entry<'a>(passwd: &'a [u8], name: &str) -> Option<PasswdEntry<'a>> {
    let line = &passwd[own_line(passwd, name, is_passwd)?];
    let fields = fields::<7>(line);
    Some(PasswdEntry { password: fields[1], uid: number(fields[2])?, gid: number(fields[3])?, shell: fields[6] })
}

/// The account's entry in shadow.
#[must_use]
pub fn shadow_entry<'a>(shadow: &'a [u8], name: &str) -> Option<ShadowEntry<'a>> {
    let line = &shadow[own_line(shadow, name, any)?];
    let fields = fields::<9>(line);
    let expire = std::str::from_utf8(fields[7]).ok().and_then(|text| text.parse().ok()).filter(|&day: &i64| day >= 0);
    Some(ShadowEntry { password: fields[1], expire })
}

/// The group's entry in group.
#[must_use]
pub fn group_entry<'a>(group: &'a [u8], name: &str) -> Option<GroupEntry<'a>> {
    let line = &group[own_line(group, name, is_group)?];
    let fields = fields::<4>(line);
    Some(GroupEntry { gid: number(fields[2])?, members: fields[3] })
}

/// shadow with the account's password set, its ageing and expiry cleared; its warning time and reserved field are kept.
///
/// `changed` is the day of the last change: today, 0 where the first login must choose another password, none where ageing must stay off
/// because the clock is wrong.
#[must_use]
pub fn with_password(shadow: &[u8], name: &str, hash: &PasswordHash, changed: Option<i64>) -> Vec<u8> {
    let changed = changed.map(|day| day.to_string()).unwrap_or_default();
    with_own_line(shadow, name, any, |old| {
        let (warn, reserved) = (digits(old[5]), digits(old[8]));
        [name.as_bytes(), hash.expose().as_bytes(), changed.as_bytes(), b"", b"", warn, b"", b"", reserved].join(&b':')
    })
}

/// shadow with the account off: no hash at all, expired. The numbers of its ageing are kept.
#[must_use]
pub fn with_account_off(shadow: &[u8], name: &str) -> Vec<u8> {
    let expired = EXPIRED.to_string();
    with_own_line(shadow, name, any, |old| {
        let kept = |field: usize| digits(old[field]);
        [name.as_bytes(), OFF, kept(2), kept(3), kept(4), kept(5), kept(6), expired.as_bytes(), kept(8)].join(&b':')
    })
}

/// passwd with the account's hash looked for in shadow, and with this login shell where one is given. Without an entry it stays as it is.
#[must_use]
pub fn with_shadowed_password(passwd: &[u8], name: &str, shell: Option<&str>) -> Vec<u8> {
    let Some(range) = own_line(passwd, name, is_passwd) else { return passwd.to_vec() };
    let mut fields = fields::<7>(&passwd[range.clone()]);
    fields[1] = b"x";
    fields[6] = shell.map_or(fields[6], str::as_bytes);
    splice(passwd, range, &fields.join(&b':'))
}

/// An account that passwd does not have yet.
#[derive(Clone, Copy, Debug)]
pub struct NewAccount<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its user id.
    pub uid: u32,
    /// The id of its primary group.
    pub gid: u32,
    /// Its home folder.
    pub home: &'a str,
    /// Its login shell.
    pub shell: &'a str,
}

/// passwd with the account added.
#[must_use]
pub fn with_account(passwd: &[u8], new: &NewAccount<'_>) -> Vec<u8> {
    let NewAccount { name, uid, gid, home, shell } = new;
    with_line(passwd, format!("{name}:x:{uid}:{gid}:NAS administrator:{home}:{shell}").as_bytes())
}

/// group with a group added.
#[must_use]
pub fn with_group(group: &[u8], name: &str, gid: u32) -> Vec<u8> {
    with_line(group, format!("{name}:x:{gid}:").as_bytes())
}

/// gshadow with a group added that has no password; one that is there stays as it is.
#[must_use]
pub fn with_group_shadow(gshadow: &[u8], name: &str) -> Vec<u8> {
    match own_line(gshadow, name, is_gshadow) {
        Some(_) => gshadow.to_vec(),
        None => with_line(gshadow, format!("{name}:!::").as_bytes()),
    }
}

/// group with the account among the group's members; without the group it stays as it is.
#[must_use]
pub fn with_member(group: &[u8], of: &str, name: &str) -> Vec<u8> {
    own_line(group, of, is_group).map_or_else(|| group.to_vec(), |line| enlist(group, line, name))
}

/// gshadow with the account among the group's members; without the group it stays as it is.
#[must_use]
pub fn with_shadow_member(gshadow: &[u8], of: &str, name: &str) -> Vec<u8> {
    own_line(gshadow, of, is_gshadow).map_or_else(|| gshadow.to_vec(), |line| enlist(gshadow, line, name))
}

/// An id that neither passwd (as user or primary group) nor group uses: the one after the highest used in the range, as useradd(8) takes it,
/// so that files left by a deleted account get no new owner; at the end of the range the lowest free one.
#[must_use]
pub fn free_id(passwd: &[u8], group: &[u8], range: RangeInclusive<u32>) -> Option<u32> {
    let ids = |line: &[u8]| -> [Option<u32>; 2] {
        let fields = fields::<7>(line);
        [number(fields[2]), number(fields[3])]
    };
    let users = lines(passwd).flat_map(|line| ids(&passwd[line])).flatten();
    let groups = lines(group).filter_map(|line| ids(&group[line])[0]);
    let used: std::collections::BTreeSet<u32> = users.chain(groups).filter(|id| range.contains(id)).collect();
    let next = used.last().map_or(*range.start(), |highest| highest.saturating_add(1));
    if range.contains(&next) && !used.contains(&next) { Some(next) } else { range.clone().find(|id| !used.contains(id)) }
}

/// Whether passwd has an entry with this user id.
#[must_use]
pub fn uses_uid(passwd: &[u8], uid: u32) -> bool {
    lines(passwd).any(|line| number(fields::<7>(&passwd[line])[2]) == Some(uid))
}

/// The ids of ordinary accounts by login.defs(5): UID_MIN to UID_MAX, 1000 to 60000 where it does not say.
#[must_use]
pub fn id_range(login_defs: &[u8]) -> RangeInclusive<u32> {
    let value = |key: &[u8]| {
        let mut words = lines(login_defs).map(|line| login_defs[line].split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()));
        words.find_map(|mut line| if line.next() == Some(key) { number(line.next()?) } else { None })
    };
    let (least, most) = (value(b"UID_MIN").unwrap_or(1000), value(b"UID_MAX").unwrap_or(60000));
    if least >= 1 && least <= most { least..=most } else { 1000..=60000 }
}

/// Whether this login shell turns logins away by its name, or by being no path at all. An empty one stands for /bin/sh.
#[must_use]
pub fn shell_refuses(shell: &[u8]) -> bool {
    let program = shell.rsplit(|&b| b == b'/').next().unwrap_or_default();
    let is_path = shell.first() == Some(&b'/') && !shell.iter().any(u8::is_ascii_control);
    !shell.is_empty() && (!is_path || matches!(program, b"nologin" | b"false" | b"true" | b"sync" | b"halt" | b"shutdown"))
}

/// Whether a line with these fields counts.
type Counts = fn(&[u8]) -> bool;

fn any(line: &[u8]) -> bool {
    line.contains(&b':')
}

fn is_passwd(line: &[u8]) -> bool {
    let fields = fields::<7>(line);
    number(fields[2]).is_some() && number(fields[3]).is_some()
}

fn is_group(line: &[u8]) -> bool {
    number(fields::<4>(line)[2]).is_some()
}

fn is_gshadow(line: &[u8]) -> bool {
    line.iter().filter(|&&b| b == b':').count() >= 3
}

/// The lines, without their line feeds.
fn lines(text: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = text.get(start..).filter(|rest| !rest.is_empty())?;
        let length = rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
        let line = start..start + length;
        start = line.end + 1;
        Some(line)
    })
}

/// isspace(3) of the C locale, which the C library skips at the start of a line and of a number.
fn without_space(line: &[u8]) -> &[u8] {
    let text = line.iter().position(|b| !matches!(b, b' ' | b'\t'..=b'\r'));
    text.map_or(&[], |start| &line[start..])
}

/// The first line of this name that counts.
fn own_line(text: &[u8], name: &str, counts: Counts) -> Option<Range<usize>> {
    lines(text).find(|line| {
        let line = &text[line.clone()];
        let rest = without_space(line).strip_prefix(name.as_bytes());
        rest.is_some_and(|rest| rest.first() == Some(&b':')) && counts(line)
    })
}

/// The first `N` fields; those that are missing are empty, the last one takes the rest of the line.
fn fields<const N: usize>(line: &[u8]) -> [&[u8]; N] {
    let mut parts = line.splitn(N, |&b| b == b':');
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

fn number(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(without_space(field)).ok()?.parse().ok()
}

/// The field where it is a plain number; what is none would make the C library skip the line.
fn digits(field: &[u8]) -> &[u8] {
    if field.len() <= 9 && field.iter().all(u8::is_ascii_digit) { field } else { b"" }
}

fn with_own_line(text: &[u8], name: &str, counts: Counts, edit: impl FnOnce([&[u8]; 9]) -> Vec<u8>) -> Vec<u8> {
    match own_line(text, name, counts) {
        Some(range) => splice(text, range.clone(), &edit(fields(&text[range]))),
        None => with_line(text, &edit(fields(b""))),
    }
}

fn with_line(text: &[u8], line: &[u8]) -> Vec<u8> {
    let nis = lines(text).find(|line| matches!(without_space(&text[line.clone()]).first(), Some(b'+' | b'-')));
    let at = nis.map_or(text.len(), |line| line.start);
    let unfinished = at == text.len() && !text.is_empty() && !text.ends_with(b"\n");
    let new: &[&[u8]] = if unfinished { &[b"\n", line, b"\n"] } else { &[line, b"\n"] };
    splice(text, at..at, &new.concat())
}

fn splice(text: &[u8], range: Range<usize>, new: &[u8]) -> Vec<u8> {
    [&text[..range.start], new, &text[range.end..]].concat()
}

fn lists(members: &[u8], name: &str) -> bool {
    members.split(|&b| b == b',').any(|member| without_space(member) == name.as_bytes())
}

/// Adds the name to the fourth field. In a line that ends in white space it goes to the front, where nothing clings to it.
fn enlist(text: &[u8], range: Range<usize>, name: &str) -> Vec<u8> {
    let line = &text[range.clone()];
    let members = fields::<4>(line)[3];
    if lists(members, name) {
        return text.to_vec();
    }
    let separators = line.iter().filter(|&&b| b == b':').count();
    let colon: &[u8] = if separators < 3 { b":" } else { b"" };
    let start = range.end - members.len();
    match members.last() {
        None => splice(text, range.end..range.end, &[colon, name.as_bytes()].concat()),
        Some(b' ' | b'\t'..=b'\r') => splice(text, start..start, &[name.as_bytes(), b","].concat()),
        Some(_) => splice(text, range.end..range.end, &[b",", name.as_bytes()].concat()),
    }
}

#[cfg(test)]
mod tests;
