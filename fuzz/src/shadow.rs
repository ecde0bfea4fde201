//! An edit of an account file changes the account's own line, or adds one, and every other byte stays.

use twostep::core::shadow::{self, NewAccount, PasswordHash};
use twostep::core::time::Wall;

const NOW: Wall = Wall(1_800_000_000);

/// The first byte chooses names; the rest is the file, whichever it is.
pub fn check(input: &[u8]) {
    let (choice, file) = input.split_at(input.len().min(1));
    let name = ["admin", "a", "_nas-1.x", "root"][usize::from(choice.first().copied().unwrap_or(0)) % 4];
    let hash = PasswordHash::new("$6$salt$hash".into()).expect("a hash");

    let on = edited(file, name, |text| shadow::with_password(text, name, &hash, Some(20_000)));
    let entry = shadow::shadow_entry(&on, name).expect("the line is there");
    assert!(entry.password == b"$6$salt$hash" && entry.is_usable(NOW));
    let off = edited(&on, name, |text| shadow::with_account_off(text, name));
    assert_eq!(lines(&on).len(), lines(&off).len(), "a second line of the name");
    let entry = shadow::shadow_entry(&off, name).expect("the line is there");
    assert!(entry.password == shadow::OFF && !entry.is_usable(NOW) && !entry.is_usable(Wall(0)));
    edited(file, name, |text| shadow::with_account_off(text, name));

    let shadowed = edited(file, name, |text| shadow::with_shadowed_password(text, name, Some("/bin/sh")));
    assert_eq!(lines(&shadowed).len(), lines(file).len(), "passwd gets no line");
    assert_eq!(shadow::passwd_entry(&shadowed, name).is_some(), shadow::passwd_entry(file, name).is_some());
    for edit in [shadow::with_member, shadow::with_shadow_member] {
        let joined = edited(file, name, |text| edit(text, name, "admin"));
        assert_eq!(lines(&joined).len(), lines(file).len(), "a group's file gets no line");
    }
    let joined = shadow::with_member(file, name, "admin");
    assert!(shadow::group_entry(&joined, name).is_none_or(|group| group.has("admin")));
    edited(file, name, |text| shadow::with_group_shadow(text, name));
    added(file, name);
}

/// What is added is found, where the file had none.
fn added(file: &[u8], name: &str) {
    if shadow::passwd_entry(file, name).is_none() {
        let new = NewAccount { name, uid: 1000, gid: 100, home: "/", shell: "/bin/sh" };
        let passwd = shadow::with_account(file, &new);
        one_line_is_other(file, &passwd, name);
        assert_eq!(shadow::passwd_entry(&passwd, name).map(|entry| (entry.uid, entry.gid)), Some((1000, 100)));
    }
    if shadow::group_entry(file, name).is_none() {
        let group = shadow::with_group(file, name, 100);
        one_line_is_other(file, &group, name);
        assert_eq!(shadow::group_entry(&group, name).map(|entry| entry.gid), Some(100));
    }
    let range = shadow::id_range(file);
    assert!(*range.start() >= 1 && range.start() <= range.end());
    if let Some(id) = shadow::free_id(file, file, 1000..=1100) {
        assert!((1000..=1100).contains(&id) && !shadow::uses_uid(file, id), "{id} is used");
    }
}

/// Does it once and again: the second time changes nothing.
fn edited(file: &[u8], name: &str, edit: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let once = edit(file);
    one_line_is_other(file, &once, name);
    assert_eq!(edit(&once), once, "done again, it is another");
    once
}

fn lines(file: &[u8]) -> Vec<&[u8]> {
    file.split_inclusive(|byte| *byte == b'\n').collect()
}

/// At most one line of the file is another, the first of that name that counts, or one was added; the others stand as they stood.
fn one_line_is_other(before: &[u8], after: &[u8], name: &str) {
    let (mut old, mut new) = (lines(before), lines(after));
    while let (Some(a), Some(b)) = (old.first(), new.first())
        && a == b
    {
        old.remove(0);
        new.remove(0);
    }
    while let (Some(a), Some(b)) = (old.last(), new.last())
        && a == b
    {
        old.pop();
        new.pop();
    }
    // White space as isspace(3) knows it: a vertical tab is some.
    let space = |line: &[u8]| line.iter().take_while(|byte| matches!(byte, b' ' | b'\t'..=b'\r')).count();
    let own = |line: &[u8]| line[space(line)..].strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&b':'));
    match (old.as_slice(), new.as_slice()) {
        ([], []) => {}
        ([], [line]) => assert!(own(line) && line.ends_with(b"\n"), "a line of somebody else was added"),
        // A last line that was not ended is ended by the new one.
        ([last], [ended, line]) => {
            assert!(!last.ends_with(b"\n") && [last, b"\n".as_slice()].concat() == *ended, "another line was changed");
            assert!(own(line) && line.ends_with(b"\n"));
        }
        ([a], [b]) => {
            assert!(own(a) && own(b), "a line of somebody else was changed");
            assert_eq!(a.ends_with(b"\n"), b.ends_with(b"\n"), "the line's end was changed");
        }
        (old, new) => panic!("{} lines became {}", old.len(), new.len()),
    }
}
