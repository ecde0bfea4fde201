//! Whatever the account files hold.

use super::*;

/// What glibc's getspent(3) makes of the first line of this name: the password and the days (-1: empty).
fn glibc_reads(shadow: &Path, name: &str) -> Option<(String, [libc::c_long; 6])> {
    let path = CString::new(shadow.to_str().unwrap()).unwrap();
    let mut room = [0; 4096];
    // SAFETY: spwd is plain data for which zero is a valid value.
    let mut entry: libc::spwd = unsafe { std::mem::zeroed() };
    let mut found = std::ptr::null_mut();
    // SAFETY: both texts end in NUL; the stream is closed below.
    let stream = unsafe { libc::fopen(path.as_ptr(), c"re".as_ptr()) };
    assert!(!stream.is_null());
    let mut answer = None;
    // SAFETY: the stream is open, and entry, room and found outlive the call.
    while answer.is_none() && unsafe { libc::fgetspent_r(stream, &mut entry, room.as_mut_ptr(), room.len(), &mut found) } == 0 {
        // SAFETY: after a success the name points to a text in `room`.
        if unsafe { CStr::from_ptr(entry.sp_namp) }.to_bytes() == name.as_bytes() {
            // SAFETY: as above; only the password of a NIS line can be null.
            let password = unsafe { CStr::from_ptr(entry.sp_pwdp) };
            let days = [entry.sp_lstchg, entry.sp_min, entry.sp_max, entry.sp_warn, entry.sp_inact, entry.sp_expire];
            answer = Some((password.to_str().unwrap().to_owned(), days));
        }
    }
    // SAFETY: it was opened above and is not used again.
    unsafe { libc::fclose(stream) };
    answer
}

fn hash() -> PasswordHash {
    PasswordHash::new(HASH.into()).unwrap()
}

/// Every line but admin's first one, byte for byte.
fn lines_of_others(text: &[u8]) -> Vec<Vec<u8>> {
    let mut own = 0;
    let is_own = |line: &&[u8]| {
        let start = line.iter().position(|b| !b" \t\x0b\x0c\r".contains(b)).unwrap_or(line.len());
        own += usize::from(line[start..].starts_with(b"admin:"));
        line[start..].starts_with(b"admin:") && own == 1
    };
    let lines = text.split(|&b| b == b'\n');
    let mut is_own = is_own;
    let mut kept: Vec<Vec<u8>> = lines.filter(|line| !is_own(line)).map(<[u8]>::to_vec).collect();
    // What follows the last line feed is no line where nothing is there.
    while kept.last().is_some_and(Vec::is_empty) {
        kept.pop();
    }
    kept
}

/// Files as they are found, and worse: doubles, comments, NIS lines, other line ends, broken lines, bytes that are no UTF-8.
fn any_file() -> impl Strategy<Value = Vec<u8>> {
    let name = proptest::sample::select(vec!["admin", "root", "adminx", " admin", "\t#admin", "+", "-admin", "#admin", ""]);
    let field = prop_oneof![
        Just(b"".to_vec()),
        Just(b"x".to_vec()),
        Just(b"!".to_vec()),
        Just(b"19000".to_vec()),
        Just(b"admin".to_vec()),
        Just(b"root,admin".to_vec()),
        Just(b"7\r".to_vec()),
        proptest::collection::vec(any::<u8>().prop_filter("one line", |b| *b != b'\n'), 0..6),
    ];
    let line = (name, proptest::collection::vec(field, 0..10)).prop_map(|(name, fields)| {
        let mut line = name.as_bytes().to_vec();
        for field in fields {
            line.push(b':');
            line.extend(field);
        }
        line
    });
    (proptest::collection::vec(line, 0..8), any::<bool>()).prop_map(|(lines, finished)| {
        let mut text = lines.join(&b'\n');
        if finished && !text.is_empty() {
            text.push(b'\n');
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_byte_of_anybody_elses_shadow_line_ever_changes(text in any_file()) {
        let others = lines_of_others(&text);
        let on = shadow::with_password(&text, "admin", &hash(), Some(TODAY));
        prop_assert_eq!(lines_of_others(&on), &others[..]);
        prop_assert_eq!(shadow::shadow_entry(&on, "admin").unwrap().password, HASH.as_bytes());
        prop_assert_eq!(shadow::with_password(&on, "admin", &hash(), Some(TODAY)), &on[..]);
        let off = shadow::with_account_off(&on, "admin");
        prop_assert_eq!(lines_of_others(&off), &others[..]);
        prop_assert!(!shadow::shadow_entry(&off, "admin").unwrap().is_usable(NOW));
        prop_assert_eq!(shadow::with_account_off(&off, "admin"), off);
    }

    #[test]
    fn no_byte_of_anybody_elses_passwd_line_ever_changes(text in any_file()) {
        let once = shadow::with_shadowed_password(&text, "admin", Some("/bin/sh"));
        let numbered = |text: &[u8]| text.split(|&b| b == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
        let changed: Vec<_> = numbered(&text).into_iter().zip(numbered(&once)).filter(|(old, new)| old != new).collect();
        prop_assert_eq!(numbered(&text).len(), numbered(&once).len());
        prop_assert!(changed.len() <= 1 && changed.iter().all(|(old, _)| old.trim_ascii_start().starts_with(b"admin:")));
        prop_assert_eq!(shadow::with_shadowed_password(&once, "admin", Some("/bin/sh")), once);
    }

    #[test]
    fn joining_a_group_only_adds_the_name(text in any_file()) {
        let joined = shadow::with_member(&text, "root", "admin");
        let grown = joined.len() - text.len();
        prop_assert!([0, 5, 6].contains(&grown));
        let at = text.iter().zip(&joined).position(|(old, new)| old != new).unwrap_or(text.len());
        let is_insertion = (0..=at).rev().any(|at| joined[..at] == text[..at] && joined[at + grown..] == text[at..]);
        prop_assert!(is_insertion);
        prop_assert!(shadow::group_entry(&text, "root").is_none() || shadow::group_entry(&joined, "root").unwrap().has("admin"));
        prop_assert_eq!(shadow::with_member(&joined, "root", "admin"), joined);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_c_library_reads_the_recovered_line_whatever_the_file_was(text in any_file()) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), shadow::with_password(&text, "admin", &hash(), Some(TODAY))).unwrap();
        let (password, days) = glibc_reads(file.path(), "admin").expect("the line counts");
        prop_assert_eq!(password, HASH);
        prop_assert_eq!((days[0], days[1], days[2], days[4], days[5]), (TODAY, -1, -1, -1, -1));
        fs::write(file.path(), shadow::with_account_off(&text, "admin")).unwrap();
        let (password, days) = glibc_reads(file.path(), "admin").expect("the line counts");
        prop_assert_eq!((password.as_str(), days[5]), ("!", 1));
    }
}
