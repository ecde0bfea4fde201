//! The default password.

use std::os::unix::fs::PermissionsExt;

use twostep::config::board::{Board, Sticker};
use twostep::config::{self, Config};
use twostep::supervisor::password::{self, DefaultPassword};

use super::*;

fn board(sticker: Option<Sticker>) -> Board {
    let mut board = Board::parse("name = \"test\"\norigin = \"test\"\nbutton = []\n", "test").unwrap();
    board.sticker = sticker;
    board
}

fn recovery(lines: &str) -> config::Recovery {
    Config::parse(&format!("[recovery.password]\n{lines}\n"), "test").unwrap().recovery
}

fn resolve(machine: &Machine, lines: &str) -> Result<DefaultPassword, String> {
    password::resolve(&recovery(lines), &board(None), machine.root()).map_err(|e| e.to_string())
}

#[test]
fn the_password_is_the_address_as_the_template_says() {
    let machine = Machine::new();
    machine.adapter("eth0", 1, "platform/1.ethernet").permanent(A);
    let made = resolve(&machine, "").unwrap();
    assert_eq!(made.password.expose(), "245EBE00000A");
    assert_eq!((made.interface.as_deref(), made.origin.as_str()), (Some("eth0"), "permanent address"));
    for (template, password) in [
        ("{mac:lower}", "245ebe00000a"),
        ("{mac:colons}", "24:5E:BE:00:00:0A"),
        ("Nas-{mac}!", "Nas-245EBE00000A!"),
        ("{mac}{mac:lower}", "245EBE00000A245ebe00000a"),
    ] {
        assert_eq!(resolve(&machine, &format!("template = \"{template}\"")).unwrap().password.expose(), password);
    }
    assert_eq!(resolve(&machine, "mac = \"24-5e-be-00-00-0c\"").unwrap().password.expose(), "245EBE00000C");
}

#[test]
fn neither_the_origin_nor_the_debug_form_tells_the_password() {
    let machine = Machine::new();
    machine.adapter("eth0", 1, "platform/1.ethernet").current("d2:5e:be:00:00:0a", 0);
    let made = resolve(&machine, "").unwrap();
    assert!(made.origin.contains("locally administered"), "{}", made.origin);
    for shown in [format!("{made:?}"), format!("{:?}", machine.first()), format!("{:?}", facts(machine.root(), None))] {
        assert!(!shown.to_lowercase().contains("be:00") && !shown.to_lowercase().contains("be00"), "{shown}");
    }
}

#[test]
fn the_boards_sticker_is_asked_unless_the_operator_chose_otherwise() {
    let machine = Machine::new();
    machine.adapter("eth0", 1, "platform/1.ethernet").permanent(B);
    machine.nvmem("qnap-mcu-eeprom0", &eeprom(A));
    let board = board(Some(Sticker { nvmem: "qnap-mcu-eeprom*".into(), offset: 0x24, length: 17 }));
    let made = password::resolve(&recovery(""), &board, machine.root()).unwrap();
    assert_eq!((made.password.expose(), made.origin.as_str()), ("245EBE00000A", "nvmem qnap-mcu-eeprom0"));
    let chosen = password::resolve(&recovery("interface = \"eth0\""), &board, machine.root()).unwrap();
    assert_eq!(chosen.password.expose(), "245EBE00000B");
}

#[test]
fn without_a_stable_address_there_is_no_password_and_the_reason_is_told() {
    let machine = Machine::new();
    machine.adapter("eth0", 1, "platform/1.ethernet").current(A, 1);
    let error = resolve(&machine, "").unwrap_err();
    assert!(error.contains("eth0: its address is random") && error.contains("recovery.password"), "{error}");
    assert!(resolve(&machine, "interface = \"eth9\"").unwrap_err().contains("eth9: there is no such interface"));
}

#[test]
fn the_password_may_be_the_first_line_of_a_guarded_file() {
    let machine = Machine::new();
    let file = machine.root().join("sticker");
    let line = format!("file = \"{}\"", file.display());
    let write = |text: &[u8], mode: u32| {
        let _ = fs::remove_file(&file);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    };
    assert!(resolve(&machine, &line).unwrap_err().contains("sticker: No such file"));
    for (text, password) in [
        (&b"Cloud Key 42\n"[..], "Cloud Key 42"),
        (b"  K3Y\r\nsecond line\n", "K3Y"),
        (b"no newline", "no newline"),
        ([&[b'x'; 128][..], b"\r\n"].concat().as_slice(), "x".repeat(128).as_str()),
    ] {
        write(text, 0o600);
        let made = resolve(&machine, &line).unwrap();
        assert_eq!(made.password.expose(), password);
        assert_eq!((made.interface, made.origin), (None, format!("file {}", file.display())));
    }
    for (text, reason) in [
        (&b""[..], "empty"),
        (b"\nsecond line\n", "empty"),
        (b"  \n", "empty"),
        (&[b'x'; 129], "longer than 128"),
        (&[b'x'; 100_000], "longer than 128"),
        ("sch\u{f6}n\n".as_bytes(), "printable ASCII"),
        (b"a\tb\n", "printable ASCII"),
        (b"a\0b\n", "printable ASCII"),
    ] {
        write(text, 0o600);
        let error = resolve(&machine, &line).unwrap_err();
        assert!(error.contains(reason), "{error}");
        assert!(!error.contains("xxx") && !error.contains("sch"), "{error}");
    }
    for (mode, good) in [(0o400, true), (0o600, true), (0o640, false), (0o644, false), (0o660, false), (0o602, false), (0o601, false)] {
        write(b"secret\n", mode);
        assert_eq!(resolve(&machine, &line).is_ok(), good, "{mode:o}");
    }
}

#[test]
fn a_file_of_somebody_else_and_what_is_no_file_are_refused() {
    let machine = Machine::new();
    let folder = format!("file = \"{}\"", machine.root().display());
    assert!(resolve(&machine, &folder).unwrap_err().contains("it is no file"));
    let pipe = machine.root().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR).unwrap();
    assert!(resolve(&machine, &format!("file = \"{}\"", pipe.display())).unwrap_err().contains("it is no file"));
    let file = machine.root().join("sticker");
    fs::write(&file, "secret\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&file, Some(12_345), None).unwrap();
        let error = resolve(&machine, &format!("file = \"{}\"", file.display())).unwrap_err();
        assert!(error.contains("must belong to root"), "{error}");
    } else {
        skipped(Lack::Root, "only root can give a file away");
    }
}
