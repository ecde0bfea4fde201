//! What an operator sees who writes the configuration file.

use std::fs;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use twostep::config::board::Board;
use twostep::config::paths::Paths;
use twostep::config::{Config, Error, HashMethod, MOST_CONNECTIONS};
use twostep::supervisor::password::NoStableAddress;
use twostep::supervisor::recovery::Recovery;

mod validate;

/// The errors of a configuration, a line each.
fn refusal(text: &str) -> String {
    Config::parse(text, "twostepd.toml").expect_err("must be refused").to_string()
}

fn shipped() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/twostepd.toml")).unwrap()
}

#[test]
fn as_many_connections_as_the_engine_has_room_for_are_taken_and_one_more_is_refused_with_that_number() {
    let config = |connections: usize| Config::parse(&format!("[socket]\nconnections = {connections}"), "twostepd.toml");
    assert_eq!(config(MOST_CONNECTIONS).unwrap().socket.connections, MOST_CONNECTIONS);
    let refused = config(MOST_CONNECTIONS + 1).unwrap_err().to_string();
    assert!(refused.contains("socket.connections: 897 is out of range: give 2 to 896"), "{refused}");
    let files = twostep::sys::sandbox::Limits::new(Path::new("/")).files;
    for connections in [65, 512, MOST_CONNECTIONS] {
        let socket = config(connections).unwrap().socket;
        let taken = socket.connections + socket.slow_readers();
        assert!(files >= u64::try_from(taken).unwrap() + 96, "{connections}: its database and users' names need files too");
    }
}

#[test]
fn half_of_the_units_tasks_are_left_to_the_button() {
    let unit = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/twostepd.service")).unwrap();
    let all: usize = unit.lines().find_map(|line| line.strip_prefix("TasksMax=")).unwrap().parse().unwrap();
    assert!(all >= 2 * twostep::engine::TASKS, "{all}");
}

#[test]
fn an_empty_file_means_the_defaults_and_a_mistyped_path_means_nothing() {
    assert_eq!(Config::parse("", "x").unwrap(), Config::default());
    let folder = tempfile::tempdir().unwrap();
    // The defaults would switch a button on that the right file has switched off.
    let mistyped = folder.path().join("twostpd.toml");
    let error = Config::load(&mistyped).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: cannot be read", mistyped.display())), "{error}");
    assert!(!Config::load_or_salvage(&mistyped).unwrap_err().config.button.enabled);
    let installed = Paths::system().configuration();
    if !installed.exists() {
        assert_eq!(Config::load(&installed).unwrap(), Config::default());
    }
    // A folder in its place is no missing file.
    assert!(matches!(Config::load(folder.path()), Err(Error::Read { .. })));
}

#[test]
fn values_are_taken_as_written() {
    let config = Config::parse(
        "[button]\nhold = \"5s\"\n[recovery]\nwindow = \"1h 30m\"\nhash = \"sha512\"\npassword.mac = \"24:5e:be:00:00:01\"\n[grant]\nlogin = [\"www-data\"]",
        "x",
    )
    .unwrap();
    assert_eq!(config.button.hold, Duration::from_secs(5));
    assert_eq!(config.recovery.window, Duration::from_secs(5400));
    assert_eq!(config.recovery.hash, HashMethod::Sha512);
    assert_eq!(config.recovery.password.mac.as_deref(), Some("24:5e:be:00:00:01"));
    assert_eq!(config.grant.login, ["www-data"]);
}

#[test]
fn the_shipped_file_shows_every_key_with_its_default() {
    let text = shipped();
    assert_eq!(Config::parse(&text, "twostepd.toml").unwrap(), Config::default(), "the shipped file must change nothing");
    let uncommented: String = text.lines().map(|line| line.strip_prefix('#').filter(|l| !l.starts_with(' ')).unwrap_or(line)).fold(
        String::new(),
        |mut whole, line| {
            whole.push_str(line);
            whole.push('\n');
            whole
        },
    );
    assert_eq!(Config::parse(&uncommented, "twostepd.toml").unwrap(), Config::default(), "a shown default must be the default");
    let mut missing = Vec::new();
    keys(&serde_json::to_value(Config::default()).unwrap(), &mut |key, optional| {
        let shown = if optional { format!("\n#   {key} = ") } else { format!("\n#{key} = ") };
        if !text.contains(&shown) {
            missing.push(key.to_owned());
        }
    });
    assert!(missing.is_empty(), "not shown: {missing:?}");
}

/// Calls `each` with every key that is no section, and whether it has no default.
fn keys(value: &serde_json::Value, each: &mut impl FnMut(&str, bool)) {
    for (key, value) in value.as_object().unwrap() {
        if value.is_object() { keys(value, each) } else { each(key, value.is_null()) }
    }
}

#[test]
fn an_unknown_key_is_told_with_file_line_and_the_nearest_known_one() {
    assert_eq!(refusal("\n\n[recovry]\n"), "twostepd.toml:3: unknown key \"recovry\": did you mean \"recovery\"?");
    assert_eq!(refusal("[button]\nenabled = true\nhodl = \"3s\""), "twostepd.toml:3: unknown key \"hodl\": did you mean \"hold\"?");
    assert!(refusal("router = 1").starts_with("twostepd.toml:1: unknown key \"router\": known here are log, button, recovery"));
}

#[test]
fn a_key_in_the_wrong_section_is_told_where_it_belongs() {
    assert_eq!(refusal("hold = \"3s\""), "twostepd.toml:1: unknown key \"hold\" here: did you mean \"button.hold\"?");
    assert_eq!(refusal("[recovery]\nmac = \"x\""), "twostepd.toml:2: unknown key \"mac\" here: did you mean \"recovery.password.mac\"?");
}

#[test]
fn all_that_is_wrong_is_told_at_once_in_the_order_of_the_lines() {
    let errors = refusal("[button]\nhodl = 1\nfeedback = \"no\"\nhold = 3\n[recovery]\nhash = \"md5\"\nwindow = \"soon\"\n");
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!(lines.len(), 5, "{errors}");
    assert_eq!(lines[1], "twostepd.toml:3: button.feedback: expected true or false");
    assert_eq!(lines[2], "twostepd.toml:4: button.hold: expected a time span in quotes, like \"3s\" or \"1h\"");
    assert_eq!(lines[3], "twostepd.toml:6: recovery.hash: unknown value \"md5\": it is one of yescrypt, sha512");
    assert!(lines[4].starts_with("twostepd.toml:7: recovery.window: \"soon\" is no time span"), "{errors}");
}

#[test]
fn a_misspelt_key_hides_no_wrong_value() {
    let errors = refusal(
        "[button]\nhold = \"300ms\"\n[recovery]\nacount = \"nas\"\naccount = \"root\"\npassword.mac = \"nonsense\"\n[mail]\nport = 99999\n",
    );
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!(lines.len(), 5, "{errors}");
    assert!(lines[0].starts_with("twostepd.toml:2: button.hold: 300ms is out of range"), "{errors}");
    assert!(lines[1].starts_with("twostepd.toml:4: unknown key \"acount\""), "{errors}");
    assert!(lines[2].starts_with("twostepd.toml:5: recovery.account: this account is never opened"), "{errors}");
    assert!(lines[3].starts_with("twostepd.toml:6: recovery.password.mac: no address"), "{errors}");
    assert_eq!(lines[4], "twostepd.toml:8: mail.port: expected a port, 1 to 65535");
    // What only seems to be missing, since it is misspelt, is told once.
    assert_eq!(refusal("[mail]\nhots = \"mail.example\"\nfrom = \"nas@example.org\"").lines().count(), 1);
}

/// What is left of a wrong file: whether the button is watched, and its hold.
fn button_with(text: &str) -> (bool, Duration, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("twostepd.toml");
    fs::write(&file, text).unwrap();
    let salvaged = Config::load_or_salvage(&file).expect_err("must be refused");
    assert!(salvaged.certain || !salvaged.config.button.enabled, "{text}");
    (salvaged.config.button.enabled, salvaged.config.button.hold, salvaged.to_string().replace(&file.display().to_string(), "FILE"))
}

#[test]
fn a_slip_in_another_section_leaves_the_button_as_it_is_configured() {
    for slip in [
        "[mail]\nhots = \"x\"",
        "[mail]\nhost = mail.example.org\nfrom = \"nas@example.org\"",
        "[mial]\nhost = \"x\"",
        "[mail\nhost = \"x\"",
        "[log]\nlevel = \"loud\"",
        "[socket]\nconnections = 0",
        "[grant]\nlogin = [\"a\"",
        "[web]\nlisten = \"\"\"never closed",
        "[phone]\naddress = 1\n[web]\nport = 1\n[mail]\nhost = \"",
        "[mail]\nfrom = \"\"\"nas\n@example.org\"\"\"",
    ] {
        let (on, hold, said) = button_with(&format!("[button]\nhold = \"5s\"\n{slip}\n"));
        assert!(on && hold == Duration::from_secs(5), "{slip}: {said}");
        assert!(said.starts_with("FILE:") && said.lines().last().unwrap().ends_with("the reset button is not affected"), "{slip}: {said}");
        let (on, _, said) = button_with(&format!("[button]\nenabled = false\n{slip}\n"));
        assert!(!on && said.ends_with("the reset button is off, as it says"), "{slip}: {said}");
    }
    let (_, _, said) = button_with("[button]\n[mail]\nhots = \"x\"");
    assert!(said.starts_with("FILE:3: unknown key \"hots\": did you mean \"host\"?\n"), "{said}");
}

#[test]
fn a_file_that_may_say_that_the_button_is_off_switches_it_off() {
    for doubt in [
        "[button]\nenabeld = false",
        "[button]\nhold = \"300ms\"",
        "[buton]\nenabled = false",
        "[reset_button]\nenabled = false",
        "[mail]\nenabled = false",
        "enabled = false",
        "button = false",
        "[recovery]\nacount = \"nasadmin\"",
        "[recovery]\naccount = \"root\"",
        "[recovery]\naccount = \"nas admin\"",
        "[recovery]\nshell = \"bash\"",
        "[recovery]\nhome = \"home/admin\"\nwindow = \"48h\"",
        "[recovery]\npassword = []",
        // Broken syntax in, or just before, what it may be about.
        "[button]\nenabled = fasle",
        "[button\nenabled = false",
        "[buton\nenabeld = false",
        "[mail]\nhost = x\nbutton]\nenabled = false",
        "[recovery]\naccount = nasadmin",
        "button.enabled = false\n[mail]\nhost = x\n[button]",
        "[web]\nlisten = \"\"\"never closed\n[button]\nenabled = false",
        "[button]\nenabled = false\n[button]\nenabled = true",
        // A string that was to end in its line, and ends behind what it swallows.
        "[mail]\nfrom = \"\"\"nas@example.org\n[button]\nenabled = false\n[web]\nlisten = \"\"\"0.0.0.0:1\"\"\"\n[phone]\naddress = \"\"\"",
        "[grant]\nlogin = [\"www-data\", \'\'\'nas\n[recovery]\naccount = \"nasadmin\"\n[grant]\nlogin = \'\'\']",
    ] {
        let (on, _, said) = button_with(doubt);
        assert!(!on, "{doubt}: {said}");
        the_daemon_runs_by_what_is_left_of(doubt);
    }
    let (_, _, said) = button_with("[button]\nenabeld = false");
    assert!(said.ends_with("neither does the reset button, which this may be about"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    assert!(!Config::load_or_salvage(folder.path()).unwrap_err().config.button.enabled, "a folder in its place");
    let many: String = (0..30).map(|i| format!("[mail]\nx{i} = 1\n")).collect();
    assert!(!button_with(&many).0);
}

/// The window of an earlier press has to end, whatever the file says by now.
fn the_daemon_runs_by_what_is_left_of(text: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("twostepd.toml");
    fs::write(&file, text).unwrap();
    let left = Config::load_or_salvage(&file).expect_err("must be refused").config;
    let nobodys = || Err(NoStableAddress { reason: "none here".into() });
    if let Err(refused) = Recovery::open(Paths::scratch(folder.path()), left.recovery, Box::new(nobodys)) {
        panic!("{text}: {refused}");
    }
}

#[test]
fn broken_syntax_is_told_with_its_line() {
    assert!(refusal("[log]\nlevel = info\n").starts_with("twostepd.toml:2: "));
    assert!(refusal("[log]\n[log]\n").starts_with("twostepd.toml:2: duplicate key"));
}

#[test]
fn a_section_written_as_a_list_is_refused() {
    assert_eq!(refusal("log = [\"auto\", \"info\"]"), "twostepd.toml:1: \"log\" is a section: write [log]");
    assert!(refusal("recovery.password = []").contains("\"password\" is a section"));
}

#[test]
fn each_value_has_its_bounds() {
    let bad = [
        ("button", "hold = \"900ms\""),
        ("button", "hold = \"21s\""),
        ("button", "debounce = \"201ms\""),
        ("button", "stuck_after = \"3s\""),
        ("button", "stuck_after = \"1day\""),
        ("button", "grace = \"1h\""),
        ("button", "cooldown = \"2h\""),
        ("recovery", "account = \"root\""),
        ("recovery", "account = \"toor\""),
        ("recovery", "account = \"twostep\""),
        ("recovery", "account = \"\""),
        ("recovery", "account = \"ad:min\""),
        ("recovery", "account = \"-admin\""),
        ("recovery", "account = \"adm\\nin\""),
        ("recovery", "administrators = []"),
        ("recovery", "administrators = [\"wheel:0\"]"),
        ("recovery", "window = \"59s\""),
        ("recovery", "window = \"25h\""),
        ("recovery", "lock_wait = \"61s\""),
        ("recovery", "hook_time = \"0s\""),
        ("recovery", "shell = \"sh\""),
        ("recovery", "shell = \"/bin/sh:x\""),
        ("recovery", "shell = \"/usr/sbin/nologin\""),
        ("recovery", "home = \"home\""),
        ("recovery.password", "template = \"admin\""),
        ("recovery.password", "template = \"{mca}\""),
        ("recovery.password", "template = \"{mac}\\n\""),
        ("recovery.password", "file = \"secret\""),
        ("recovery.password", "mac = \"24:5E:BE:00:00\""),
        ("recovery.password", "mac = \"25:5E:BE:00:00:01\""),
        ("recovery.password", "mac = \"00:00:00:00:00:00\""),
        ("recovery.password", "interface = \"a/b\""),
        ("recovery.password", "interface = \"a234567890123456\""),
        ("socket", "connections = 0"),
        ("socket", "connections = 897"),
        ("socket", "connections_per_uid = 897"),
        ("socket", "connections_per_uid = 0"),
        ("socket", "reserved = 512"),
        ("socket", "reserved = 0"),
        ("socket", "idle = \"0s\""),
        ("login", "trust_by_address = [\"smb\", \"\"]"),
        ("login", "trust_by_address = [\"smb\\n\"]"),
        ("grant", "login = [\"a b\"]"),
        ("grant", "authenticator = [\"\"]"),
    ];
    for (section, line) in bad {
        let key = line.split_once(' ').unwrap().0;
        let error = refusal(&format!("[{section}]\n{line}\n"));
        assert!(error.contains(&format!("twostepd.toml:2: {section}.{key}: ")), "{line}: {error}");
        the_daemon_runs_by_what_is_left_of(&format!("[{section}]\n{line}\n"));
    }
}

#[test]
fn a_service_that_is_trusted_by_address_has_a_name_that_a_login_can_have() {
    let named = |name: &str| format!("[login]\ntrust_by_address = [\"{name}\"]\n");
    let longest = "s".repeat(256);
    for name in ["smbd", "file server", &longest] {
        assert_eq!(Config::parse(&named(name), "x").unwrap().login.trust_by_address, [name]);
    }
    let refused = refusal(&named(&format!("{longest}s")));
    assert!(refused.contains("twostepd.toml:2: login.trust_by_address: ") && refused.contains("256 bytes"), "{refused}");
}

#[test]
fn a_mail_server_is_named_in_whole_and_not_talked_to_in_the_open() {
    let whole = "host = \"mail.example.org\"\nfrom = \"nas@example.org\"\n";
    let bad = [
        ("port = 25", "mail: no mail server is named"),
        ("from = \"nas@example.org\"", "mail: no mail server is named"),
        ("host = \"a b\"\nfrom = \"nas@example.org\"", "mail.host: "),
        ("host = \"mail.example.org\"", "mail.from: give"),
        ("host = \"mail.example.org\"\nfrom = \"nas\"", "mail.from: no address"),
        (&format!("{whole}port = 0"), "mail.port: 0"),
        (&format!("{whole}security = \"none\""), "mail.security: \"none\" is for a server on this machine"),
        (&format!("{whole}user = \"nas\""), "mail.user: give both"),
        (&format!("{whole}ca_file = \"ca.pem\""), "mail.ca_file: give a full path"),
    ];
    for (lines, text) in bad {
        let error = refusal(&format!("[mail]\n{lines}\n"));
        assert!(error.contains(text), "{lines}: {error}");
    }
    for good in [whole, "host = \"::1\"\nfrom = \"a@b\"\nsecurity = \"none\"", "host = \"localhost\"\nfrom = \"a@b\"\nsecurity = \"none\""]
    {
        assert!(Config::parse(&format!("[mail]\n{good}"), "x").is_ok(), "{good}");
    }
    let ports = ["starttls", "tls", "none"].map(|security| {
        let text = format!("mail = {{ host = \"localhost\", from = \"a@b\", security = \"{security}\" }}");
        Config::parse(&text, "x").unwrap().mail.port()
    });
    assert_eq!(ports, [587, 465, 25]);
}

#[test]
fn the_edges_of_the_bounds_are_good() {
    for good in [
        "[button]\nhold = \"1s\"",
        "[button]\nhold = \"20s\"\ndebounce = \"200ms\"",
        "[button]\ndebounce = \"0s\"",
        "[recovery]\nwindow = \"60s\"\nlock_wait = \"60s\"",
        "[recovery]\nwindow = \"24h\"",
        "[recovery.password]\ntemplate = \"nas-{mac:lower}\"",
        "[recovery.password]\ntemplate = \"unused\"\nfile = \"/etc/twostep/sticker\"",
        "[socket]\nconnections = 2\nconnections_per_uid = 1\nreserved = 1",
    ] {
        assert!(Config::parse(good, "x").is_ok(), "{good}: {}", refusal(good));
    }
}

#[test]
fn two_sources_of_the_password_are_refused() {
    let error = refusal("[recovery.password]\nmac = \"24:5E:BE:00:00:01\"\ninterface = \"eth0\"\n");
    assert!(error.contains("at most one of \"file\", \"mac\" and \"interface\""), "{error}");
}

#[test]
fn the_address_is_neither_in_an_error_nor_in_the_debug_form() {
    let config = Config::parse("recovery.password.mac = \"24:5E:BE:12:34:56\"", "x").unwrap();
    assert!(!format!("{config:?}").contains("12:34"), "{config:?}");
    for wrong in ["\"24:5E:BE:12:34:5\"", "24512345", "[\"24:5E:BE:12:34:56\"]", "\"25:5E:BE:12:34:56\""] {
        let error = refusal(&format!("recovery.password.mac = {wrong}"));
        assert!(error.contains("recovery.password.mac") && !error.contains("1234") && !error.contains("12:34"), "{error}");
    }
}

#[test]
fn a_file_that_is_far_too_large_is_refused_unread() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("twostepd.toml");
    fs::write(&file, "# padding\n".repeat(10_000)).unwrap();
    assert!(Config::load(&file).unwrap_err().to_string().contains("larger than 64 KiB"));
    fs::write(&file, b"\xff\xfe").unwrap();
    assert!(Config::load(&file).unwrap_err().to_string().contains("UTF-8"));
}

#[test]
fn deep_nesting_is_refused_and_does_no_harm() {
    for text in [
        format!("a = {}", "[".repeat(60_000)),
        "a.".repeat(30_000) + "b = 1",
        "a = {b = ".repeat(6_000),
        format!("[{}a]", "a.".repeat(30_000)),
    ] {
        assert!(Config::parse(&text, "x").is_err());
        assert!(Board::parse(&text, "x").is_err());
    }
}

/// Texts that look like the files: keys, tables and values of ours, well and badly put together.
fn nearly_toml() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "log",
        "button",
        "recovery",
        "hold",
        "kind",
        "name",
        "device",
        "key",
        "line",
        "chip",
        "detect",
        "=",
        "= ",
        "[",
        "[[",
        "]",
        "]]",
        ".",
        "\n",
        "\n",
        "\"input\"",
        "\"gpio\"",
        "'x'",
        "\"3s\"",
        "\"",
        "{",
        "}",
        ",",
        "7",
        "-1",
        "1e400",
        "true",
        "#",
        "mac",
        "password",
        "\u{0}",
        "é",
        "template",
        "\"{mac}\"",
        "sticker",
        "origin",
        "nvmem",
        "offset",
        "99999999999999999999",
    ]);
    prop::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn no_text_ever_brings_the_parsers_down(any in any::<String>(), near in nearly_toml()) {
        for text in [any, near] {
            for result in [Config::parse(&text, "x").map(drop), Board::parse(&text, "x").map(drop)] {
                if let Err(error) = result {
                    let lines = text.lines().count().max(1) + 1;
                    prop_assert!(!error.problems().is_empty());
                    prop_assert!(error.problems().iter().all(|p| p.line <= lines && !p.text.is_empty()));
                }
            }
        }
    }

    #[test]
    fn what_is_accepted_survives_the_handover_as_it_is(hold in 1000_u64..=20_000, reserved in 1_usize..=64, name in "[a-z_][a-z0-9_-]{0,31}") {
        prop_assume!(name != "root" && name != "toor" && name != "twostep");
        let text = format!("[button]\nhold = \"{hold}ms\"\n[socket]\nreserved = {reserved}\n[recovery]\naccount = \"{name}\"\n");
        let config = Config::parse(&text, "x").unwrap();
        prop_assert_eq!(&config.recovery.account, &name);
        let again: Config = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
        prop_assert_eq!(config, again);
    }
}
