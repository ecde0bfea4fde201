//! Which board a machine is taken for, and what the shipped profiles say.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use twostep::config::board::{Board, Button, Feedback, Line};
use twostep::config::detect::{Boards, Machine, NoBoard};
use twostep::config::paths::Paths;
use twostep::config::validate::validate;

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("board-configs")
}

fn boards() -> Boards {
    Boards::load_dir(&shipped()).unwrap()
}

/// A machine with this device tree.
fn tree(compatible: &[&str]) -> Machine {
    Machine { compatible: compatible.iter().map(ToString::to_string).collect(), ..Machine::default() }
}

/// The name of the only profile that fits.
fn name_of(boards: &Boards, machine: &Machine) -> String {
    let fitting = boards.fitting(machine);
    assert_eq!(fitting.len(), 1, "{machine}: {:?}", fitting.iter().map(|b| &b.name).collect::<Vec<_>>());
    fitting[0].name.clone()
}

fn profile(name: &str, detect: &str) -> Board {
    Board::parse(&format!("name = \"{name}\"\norigin = \"test\"\nbutton = []\n[detect]\n{detect}\n"), name).unwrap()
}

fn refusal(text: &str) -> String {
    Board::parse(text, "board.toml").expect_err("must be refused").to_string()
}

/// A profile with one button of these lines; they begin at line 4.
fn with_button(lines: &str) -> String {
    format!("name = \"a\"\norigin = \"b\"\n[[button]]\n{lines}\n")
}

#[test]
fn every_shipped_file_is_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<PathBuf> = fs::read_dir(shipped()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.push(root.join("systemd/twostepd.toml"));
    let mut errors = Vec::new();
    assert!(validate(&files, &Paths::scratch(root), &mut Vec::new(), &mut errors).unwrap(), "{}", String::from_utf8_lossy(&errors));
}

#[test]
fn there_are_enough_profiles_and_each_says_where_it_is_from() {
    let boards = boards();
    assert!(boards.refused.is_empty(), "{:?}", boards.refused);
    assert!(boards.profiles.len() >= 25);
    let mut names: Vec<&str> = boards.profiles.iter().map(|b| b.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), boards.profiles.len(), "each name once");
    for board in boards.profiles.iter().filter(|board| !board.detect.compatible.is_empty()) {
        assert!(
            board.origin.split(", ").all(|file| file.starts_with("arch/") && file.contains(".dts")),
            "{}: {}",
            board.name,
            board.origin
        );
    }
}

#[test]
fn boards_are_recognised_by_what_their_device_trees_say() {
    let boards = boards();
    for (compatible, name) in [
        (&["qnap,ts133", "rockchip,rk3566"][..], "QNAP TS-133"),
        (&["qnap,ts233", "rockchip,rk3568"], "QNAP TS-233"),
        (&["qnap,ts433", "rockchip,rk3568"], "QNAP TS-433"),
        (&["qnap,ts219", "marvell,kirkwood"], "QNAP TS-11x, TS-21x"),
        (&["qnap,ts419", "marvell,kirkwood"], "QNAP TS-41x"),
        (&["netgear,readynas-102", "marvell,armada370", "marvell,armada-370-xp"], "NETGEAR ReadyNAS 102"),
        (&["netgear,readynas-104", "marvell,armada370", "marvell,armada-370-xp"], "NETGEAR ReadyNAS 104"),
        (&["netgear,readynas-2120", "marvell,armadaxp-mv78230", "marvell,armadaxp"], "NETGEAR ReadyNAS 2120"),
        (&["netgear,readynas-duo-v2", "netgear,readynas", "marvell,kirkwood"], "NETGEAR ReadyNAS Duo v2"),
        (&["netgear,readynas-nv+-v2", "netgear,readynas", "marvell,kirkwood"], "NETGEAR ReadyNAS NV+ v2"),
        (&["zyxel,nsa310", "marvell,kirkwood-88f6281", "marvell,kirkwood"], "Zyxel NSA310, NSA310a"),
        (&["zyxel,nsa310a", "zyxel,nsa310", "marvell,kirkwood"], "Zyxel NSA310, NSA310a"),
        (&["zyxel,nsa310s", "marvell,kirkwood-88f6702", "marvell,kirkwood"], "Zyxel NSA310S"),
        (&["zyxel,nsa320", "marvell,kirkwood-88f6281", "marvell,kirkwood"], "Zyxel NSA320"),
        (&["zyxel,nsa325", "marvell,kirkwood-88f6282", "marvell,kirkwood"], "Zyxel NSA325"),
        (&["dlink,dns-320-a1", "dlink,dns-320", "dlink,dns-kirkwood", "marvell,kirkwood"], "D-Link DNS-320 (revision A1)"),
        (&["dlink,dns-325-a1", "dlink,dns-325", "dlink,dns-kirkwood", "marvell,kirkwood"], "D-Link DNS-325 (revision A1)"),
        (&["raidsonic,ib-nas6210-b", "raidsonic,ib-nas6220-b", "raidsonic,ib-nas62x0"], "RaidSonic ICY BOX IB-NAS62x0"),
        (&["seagate,blackarmor-nas220", "marvell,kirkwood-88f6192"], "Seagate BlackArmor NAS220"),
        (&["linksys,nslu2", "intel,ixp42x"], "Linksys NSLU2"),
        (&["friendlyarm,cm3588-nas", "friendlyarm,cm3588", "rockchip,rk3588"], "FriendlyElec CM3588 NAS"),
    ] {
        assert_eq!(name_of(&boards, &tree(compatible)), name);
    }
    assert!(boards.fitting(&tree(&["globalscale,sheevaplug", "marvell,kirkwood"])).is_empty(), "a board without a profile");
    assert!(boards.fitting(&Machine::default()).is_empty(), "a machine that says nothing");
}

#[test]
fn every_entry_of_every_shipped_profile_leads_to_that_profile() {
    let boards = boards();
    for board in &boards.profiles {
        for compatible in &board.detect.compatible {
            assert_eq!(name_of(&boards, &tree(&[&compatible.replace('*', "")])), board.name);
        }
    }
}

#[test]
fn an_x86_qnap_is_recognised_by_dmi_and_another_makers_ts_is_not() {
    let boards = boards();
    let machine = |vendor: &str, product: &[&str]| Machine {
        vendor: vendor.into(),
        product: product.iter().map(ToString::to_string).collect(),
        ..Machine::default()
    };
    assert_eq!(name_of(&boards, &machine("QNAP Systems, Inc.", &["TS-453E"])), "QNAP x86");
    assert_eq!(name_of(&boards, &machine("QNAP Systems, Inc.", &["Default string", "TVS-872X"])), "QNAP x86");
    assert!(boards.fitting(&machine("Acme", &["TS-453E"])).is_empty());
    assert!(boards.fitting(&machine("QNAP Systems, Inc.", &["QuTS"])).is_empty());
}

#[test]
fn a_fault_in_the_second_button_is_not_laid_at_the_firsts_door() {
    let line = |value: &str| {
        let first = "kind = \"input\"\nname = \"reset\"\ndevice = \"gpio_keys\"\nkey = \"KEY_RESTART\"\n";
        let second = "[[button]]\nkind = \"gpio\"\nname = \"line\"\nchip = \"gpiochip0\"\nline = ";
        refusal(&with_button(&format!("{first}{second}{value}")))
    };
    let expected = "expected the line's offset (a number) or its name (a text in quotes)";
    assert_eq!(line("true"), format!("board.toml:12: button.line: {expected}"));
    assert_eq!(line("2818446744073709551615"), "board.toml:12: button.line: expected a smaller number");
}

#[test]
fn the_simulated_board_is_never_detected() {
    let boards = boards();
    let simulated = boards.profiles.iter().find(|b| b.name == "simulated").expect("there is one");
    assert!(matches!(simulated.buttons.as_slice(), [Button::Simulated { .. }]));
    let text = with_button("kind = \"simulated\"\nname = \"reset\"\n[detect]\nmodel = [\"x\"]");
    assert!(refusal(&text).starts_with("board.toml:6: detect: a simulated board is never detected"), "{}", refusal(&text));
}

#[test]
fn a_line_is_given_only_where_it_is_certain() {
    for board in boards().profiles {
        let lines = board.buttons.iter().filter(|b| matches!(b, Button::Gpio { .. })).count();
        let uncertain = ["qnap,ts219", "qnap,ts133", "qnap,ts233", "qnap,ts433"];
        if board.detect.compatible.iter().any(|c| uncertain.contains(&c.as_str())) {
            assert_eq!(lines, 0, "{}", board.name);
        }
        if lines > 0 {
            assert!(matches!(board.buttons[0], Button::Input { .. }), "{}: the input device comes first", board.name);
        }
        assert!(board.buttons.iter().all(|b| !matches!(b, Button::Input { grab: true, .. })), "{}: other keys may hang on it", board.name);
    }
}

#[test]
fn the_odd_boards_are_as_the_tree_says() {
    let boards = boards();
    let find = |compatible: &str| boards.fitting(&tree(&[compatible]))[0].clone();
    let nas220 = find("seagate,blackarmor-nas220");
    assert!(matches!(&nas220.buttons[0], Button::Input { key, .. } if key == "KEY_POWER"));
    assert!(matches!(&nas220.buttons[1], Button::Gpio { active_low: false, line: Line::Offset(29), .. }));
    let cm3588 = find("friendlyarm,cm3588-nas");
    assert!(matches!(&cm3588.buttons[0], Button::Input { key, .. } if key == "KEY_VENDOR"));
    let ts433 = find("qnap,ts433");
    let sticker = ts433.sticker.expect("the sticker's address is in the controller's memory");
    assert_eq!((sticker.nvmem.as_str(), sticker.offset, sticker.length), ("qnap-mcu-eeprom*", 0x24, 17));
    assert!(ts433.feedback.contains(&Feedback::Beeper { device: "qnap-mcu".into() }));
}

#[test]
fn of_several_profiles_the_most_specific_wins() {
    let fitting = |profiles: &[Board], machine: &Machine| -> Vec<String> {
        let boards = Boards { profiles: profiles.to_vec(), refused: Vec::new() };
        boards.fitting(machine).iter().map(|b| b.name.clone()).collect()
    };
    let mut machine = tree(&["qnap,ts433-4g", "qnap,ts433", "rockchip,rk3568"]);
    machine.model = "QNAP TS-433-4G".into();
    let chip = profile("chip", "compatible = [\"rockchip,rk3568\"]");
    let family = profile("family", "compatible = [\"rockchip,rk3568\", \"qnap,ts433\"]");
    let glob = profile("glob", "compatible = [\"qnap,ts433-4g*\"]");
    let exact = profile("exact", "compatible = [\"qnap,ts433-4g\"]");
    let both = profile("both", "compatible = [\"rockchip,rk3568\"]\nmodel = [\"QNAP TS-433*\"]");
    let other = profile("other", "compatible = [\"qnap,ts433-4g\"]\nmodel = [\"QNAP TS-133\"]");
    let mut all = vec![chip.clone()];
    assert_eq!(fitting(&all, &machine), ["chip"]);
    for (better, name) in [(family, "family"), (glob, "glob"), (exact.clone(), "exact"), (both, "both"), (other, "both")] {
        all.insert(0, better);
        assert_eq!(fitting(&all, &machine), [name]);
        all.reverse();
        assert_eq!(fitting(&all, &machine), [name], "whatever the order");
    }
    let twin = Board { name: "twin".into(), ..exact.clone() };
    assert_eq!(fitting(&[exact, twin], &machine).len(), 2, "none of two equals is taken");
}

/// A scratch installation with the shipped profiles and a device tree of this board.
fn installation(compatible: &str) -> (tempfile::TempDir, Paths) {
    let folder = tempfile::tempdir().unwrap();
    let paths = Paths::scratch(folder.path());
    symlink(shipped(), &paths.boards).unwrap();
    let base = paths.root.join("sys/firmware/devicetree/base");
    fs::create_dir_all(&base).unwrap();
    fs::create_dir_all(&paths.config).unwrap();
    fs::write(base.join("compatible"), compatible).unwrap();
    fs::write(base.join("model"), "A Board\0").unwrap();
    (folder, paths)
}

#[test]
fn the_machine_is_read_below_the_root() {
    let (_folder, paths) = installation("qnap,ts433\0rockchip,rk3568\0");
    let dmi = paths.root.join("sys/class/dmi/id");
    fs::create_dir_all(&dmi).unwrap();
    fs::write(dmi.join("sys_vendor"), "Acme\n").unwrap();
    fs::write(dmi.join("product_name"), "TS-1\n").unwrap();
    fs::write(dmi.join("board_name"), " \n").unwrap();
    let machine = Machine::read(&paths.root);
    assert_eq!(machine.compatible, ["qnap,ts433", "rockchip,rk3568"]);
    assert_eq!((machine.model.as_str(), machine.vendor.as_str()), ("A Board", "Acme"));
    assert_eq!(machine.product, ["TS-1"]);
    assert_eq!(Board::of_this_machine(&paths).unwrap().name, "QNAP TS-433");
    // This very machine: whatever it is, it is read without fail.
    let _ = Machine::read(Path::new("/")).to_string();
}

#[test]
fn the_operators_own_profile_overrides_what_was_detected() {
    let (_folder, paths) = installation("qnap,ts433\0");
    fs::write(paths.board(), "name = \"mine\"\norigin = \"me\"\nbutton = []\n").unwrap();
    assert_eq!(Board::of_this_machine(&paths).unwrap().name, "mine");
    // A wrong one is not passed over: the operator has said that the detected profile is not the one.
    fs::write(paths.board(), "name = \"mine\"\nbuton = []\n").unwrap();
    let error = Board::of_this_machine(&paths).unwrap_err();
    assert!(matches!(error, NoBoard::Refused(_)));
    assert!(error.to_string().contains("board.toml:2: unknown key \"buton\": did you mean \"button\"?"), "{error}");
}

#[test]
fn an_unknown_machine_is_told_what_was_seen_and_what_to_do() {
    let (_folder, paths) = installation("acme,nas\0acme,soc\0");
    let error = Board::of_this_machine(&paths).unwrap_err().to_string();
    let (board, template) = (paths.board(), paths.boards.join("template.toml"));
    for wanted in
        ["\"acme,nas\", \"acme,soc\"", "A Board", "twostep recovery identify", board.to_str().unwrap(), template.to_str().unwrap()]
    {
        assert!(error.contains(wanted), "{wanted} in: {error}");
    }
}

#[test]
fn a_broken_profile_does_not_take_the_others_with_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.toml"), "name = 1").unwrap();
    fs::copy(shipped().join("qnap-ts433.toml"), folder.path().join("b.toml")).unwrap();
    fs::write(folder.path().join("notes.txt"), "no profile").unwrap();
    let boards = Boards::load_dir(folder.path()).unwrap();
    assert_eq!((boards.profiles.len(), boards.refused.len()), (1, 1));
}

#[test]
fn each_mistake_in_a_profile_is_told_with_its_line() {
    let gpio = "kind = \"gpio\"\nname = \"reset\"\nchip = \"gpiochip0\"\n";
    for (text, expected) in [
        (with_button("kind = \"inptu\""), "board.toml:4: button.kind: unknown value \"inptu\": did you mean \"input\"?"),
        (with_button("name = \"a\""), "board.toml:3: the key \"kind\" is missing in button"),
        (
            with_button("kind = \"input\"\nname = \"a\"\ndevice = \"k\"\nkey = \"KEY_A\"\ngarb = true"),
            "board.toml:8: unknown key \"garb\": did you mean \"grab\"?",
        ),
        (with_button("kind = \"input\"\nname = \"a\"\ndevice = \"k\"\nkey = 408"), "board.toml:7: button.key: expected a text in quotes"),
        (
            with_button("kind = \"input\"\nname = \"a\"\ndevice = \"k\"\nkey = \"KEY_RESET\""),
            "board.toml:7: button.key: \"KEY_RESET\" is no key: give a name like KEY_RESTART or a number",
        ),
        (with_button(gpio), "board.toml:3: the key \"line\" is missing in button"),
        (
            with_button(&format!("{gpio}line = true")),
            "board.toml:7: button.line: expected the line's offset (a number) or its name (a text in quotes)",
        ),
        (
            with_button(&format!("{gpio}line = 3\npoll_ms = 5")),
            "board.toml:8: button.poll_ms: 5 is out of range: give 0 (wait for events) or 10 to 200",
        ),
        (
            with_button(&format!("{gpio}line = 3\npoll_ms = 201")),
            "board.toml:8: button.poll_ms: 201 is out of range: give 0 (wait for events) or 10 to 200",
        ),
        (with_button(&format!("{gpio}line = 4000")), "board.toml:7: button.line: give an offset below 1024, or the line's name"),
        (
            with_button(&format!("{gpio}line = 3\n[[button]]\n{gpio}line = 4")),
            "board.toml:10: button.name: another button is called \"reset\" as well: give each its own name",
        ),
        (
            "name = \"a\"\norigin = \"b\"\n".into(),
            "board.toml: button: no [[button]]: describe one, or write \"button = []\" where the board has none",
        ),
    ] {
        assert_eq!(refusal(&text), expected, "{text}");
    }
}

#[test]
fn sticker_feedback_and_detection_are_checked_too() {
    let with = |lines: &str| refusal(&format!("name = \"a\"\norigin = \"b\"\nbutton = []\n{lines}\n"));
    assert!(with("[sticker]\nnvmem = \"e\"\noffset = 0\nlength = 8").starts_with("board.toml:7: sticker.length: give 17"));
    assert!(with("[sticker]\nnvmem = \"../e\"\noffset = 0\nlength = 6").starts_with("board.toml:5: sticker.nvmem: "));
    assert!(with("[sticker]\nnvmem = \"e\"\noffset = 99999999\nlength = 6").starts_with("board.toml:6: sticker.offset: "));
    assert!(with("[[feedback]]\nkind = \"led\"\nname = \"../x\"").starts_with("board.toml:6: feedback.name: "));
    assert!(with("[detect]\nmodel = [\"*\"]").starts_with("board.toml:4: detect: an entry that fits every board"));
    assert!(with("[detect]\nmodle = [\"a\"]").starts_with("board.toml:5: unknown key \"modle\": did you mean \"model\"?"));
}

#[test]
fn several_mistakes_in_several_buttons_are_told_at_once() {
    let gpio = "kind = \"gpio\"\nname = \"NAME\"\nchip = 7\nline = 3\npolling = 1\n";
    let errors = refusal(&with_button(&format!("{}[[button]]\n{}", gpio.replace("NAME", "a"), gpio.replace("NAME", "b"))));
    let lines: Vec<&str> = errors.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(lines, ["board.toml:6", "board.toml:8", "board.toml:12", "board.toml:14"], "{errors}");
}
