//! Lines of passwd, group and shadow.

use super::*;

fn text(edited: Vec<u8>) -> String {
    String::from_utf8(edited).unwrap()
}

fn on(shadow: &str) -> String {
    text(with_password(shadow.as_bytes(), "admin", &PasswordHash::new("$6$a$b".into()).unwrap(), Some(20000)))
}

#[test]
fn warning_time_and_reserved_field_stay_and_everything_else_is_cleared() {
    assert_eq!(on("admin:!:1:2:3:4:5:6:7\n"), "admin:$6$a$b:20000:::4:::7\n");
    assert_eq!(on("admin:!:1:2:3:4:5:6:\r\n"), "admin:$6$a$b:20000:::4:::\n");
}

#[test]
fn a_missing_last_line_feed_stays_missing_where_the_line_is_there() {
    assert_eq!(on("root:*:1::::::\nadmin:!:1::::::"), "root:*:1::::::\nadmin:$6$a$b:20000::::::");
    assert_eq!(on("root:*:1::::::"), "root:*:1::::::\nadmin:$6$a$b:20000::::::\n");
    assert_eq!(on(""), "admin:$6$a$b:20000::::::\n");
}

#[test]
fn the_first_of_two_lines_counts() {
    assert_eq!(on("admin:!:1::::::\nadmin:*:1::::::\n"), "admin:$6$a$b:20000::::::\nadmin:*:1::::::\n");
    let two = b"admin:x:oops:1::/:/bin/sh\nadmin:x:7:8::/:/bin/sh\nadmin:x:9:9::/:/bin/sh\n";
    assert_eq!(passwd_entry(two, "admin").map(|entry| (entry.uid, entry.gid)), Some((7, 8)));
}

#[test]
fn a_new_line_goes_before_the_nis_lines() {
    assert_eq!(on("root:*:1::::::\n+@admins\n-admin\n+\n"), "root:*:1::::::\nadmin:$6$a$b:20000::::::\n+@admins\n-admin\n+\n");
}

#[test]
fn comments_and_longer_names_are_not_the_account() {
    let shadow = "#admin:!:1::::::\nadministrator:!:1::::::\nadmin\n";
    assert_eq!(on(shadow), format!("{shadow}admin:$6$a$b:20000::::::\n"));
}

#[test]
fn a_member_is_added_once_wherever_the_list_ends() {
    let joined = |line: &str| text(with_member(line.as_bytes(), "sudo", "admin"));
    assert_eq!(joined("sudo:x:27:"), "sudo:x:27:admin");
    assert_eq!(joined("sudo:x:27"), "sudo:x:27:admin");
    assert_eq!(joined("sudo:x:27:bob\n"), "sudo:x:27:bob,admin\n");
    assert_eq!(joined("sudo:x:27:bob\r\n"), "sudo:x:27:admin,bob\r\n");
    assert_eq!(joined("sudo:x:27:bob, admin\n"), "sudo:x:27:bob, admin\n");
    assert_eq!(joined("sudo:x:27:administrator\n"), "sudo:x:27:administrator,admin\n");
    assert_eq!(joined("wheel:x:28:\n"), "wheel:x:28:\n");
}

#[test]
fn a_new_id_is_above_all_used_ones_and_inside_the_range() {
    let passwd = b"root:x:0:0::/:\na:x:1000:1005::/:\nnobody:x:65534:65534::/:\n";
    assert_eq!(free_id(passwd, b"a:x:1003:\n", 1000..=60000), Some(1006));
    assert_eq!(free_id(passwd, b"", 1000..=1005), Some(1001));
    assert_eq!(free_id(passwd, b"", 1000..=1000), None);
    assert_eq!(free_id(b"", b"", 1000..=60000), Some(1000));
}

#[test]
fn login_defs_gives_the_range_and_nonsense_does_not() {
    assert_eq!(id_range(b""), 1000..=60000);
    assert_eq!(id_range(b"#UID_MIN 5\nUID_MIN 500\n UID_MAX\t600 # most\n"), 500..=600);
    assert_eq!(id_range(b"UID_MIN 0\nUID_MAX 10\n"), 1000..=60000);
    assert_eq!(id_range(b"UID_MIN 700\nUID_MAX 600\n"), 1000..=60000);
}

#[test]
fn usable_means_a_hash_and_no_expiry_in_the_past() {
    let usable = |line: &str, now| shadow_entry(line.as_bytes(), "admin").unwrap().is_usable(Wall(now));
    let today = day(EARLIEST).unwrap();
    assert!(usable("admin:$6$a$b:1::::::", EARLIEST.0));
    assert!(usable("admin::1::::::", EARLIEST.0));
    assert!(usable(&format!("admin:$6$a$b:1:::::{}:", today + 1), EARLIEST.0));
    assert!(!usable(&format!("admin:$6$a$b:1:::::{today}:"), EARLIEST.0));
    assert!(!usable("admin:$6$a$b:1:::::1:", 0));
    assert!(!usable("admin:!$6$a$b:1::::::", EARLIEST.0));
    assert!(!usable("admin:*:1::::::", EARLIEST.0));
}

#[test]
fn only_hashes_fit_into_the_field() {
    for text in ["", "x", "!", "$6$a", "$6$a$b:", "$6$a$b\nroot", "abJnggxhB/yWI"] {
        assert_eq!(PasswordHash::new(text.into()), Err(NotAHash), "{text:?}");
    }
}

#[test]
fn names_that_could_be_something_else_are_no_account_names() {
    for name in ["", "-rf", "+", "a:b", "a\nb", "..", "../x", "a/b", "a,b", "0", "a b", "ä", "abcdefghijklmnopqrstuvwxyz1234567"] {
        assert!(!is_account_name(name), "{name:?}");
    }
    assert!(["admin", "Admin", "_nas", "nas-admin.1"].iter().all(|name| is_account_name(name)));
}
