//! What `twostepd validate` tells.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use twostep::config::validate::validate;

use super::*;

#[test]
fn validate_tells_configurations_from_profiles_and_names_each_file() {
    let folder = tempfile::tempdir().unwrap();
    let paths = Paths::scratch(folder.path());
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        file
    };
    let profile = "name = \"a\"\norigin = \"b\"\nbutton = []\n";
    let good = [write("any.toml", "[button]\nhold = \"4s\"\n"), write("other.toml", profile), write("board-configs/a.toml", profile)];
    let run = |files: &[std::path::PathBuf]| {
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let verdict = validate(files, &paths, &mut out, &mut errors).unwrap();
        (verdict, String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap())
    };
    let (verdict, out, errors) = run(&good);
    assert!(verdict && errors.is_empty(), "{out}{errors}");
    assert_eq!(out.lines().filter(|line| line.ends_with(": ok")).count(), 3, "{out}");

    let bad =
        [write("bad.toml", "[button]\nhodl = \"4s\"\n"), write("board-configs/bad.toml", "[button]\nhold = \"4s\"\n"), good[0].clone()];
    let (verdict, out, errors) = run(&bad);
    assert!(!verdict);
    // Whoever throws the good news away still sees the reasons.
    assert!(errors.contains("bad.toml:2: unknown key \"hodl\"") && !errors.contains("any.toml"), "{errors}");
    assert!(out.contains("any.toml: ok") && out.lines().count() == 1, "{out}");
    assert!(!run(&[folder.path().join("absent.toml")]).0);

    // Without files: all that is installed, where the configuration may be absent.
    assert!(!run(&[]).0);
    fs::remove_file(folder.path().join("board-configs/bad.toml")).unwrap();
    let (verdict, out, _) = run(&[]);
    assert!(verdict && out.lines().count() == 1, "{out}");
    write("config/twostepd.toml", "hold = 3");
    write("config/board.toml", "name = 3");
    let (verdict, _, errors) = run(&[]);
    assert!(!verdict && errors.contains("config/twostepd.toml:1: ") && errors.contains("config/board.toml:1: "), "{errors}");
}

#[test]
fn validate_notes_a_home_folder_that_the_shipped_unit_keeps_out_of_reach() {
    let unit = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/twostepd.service")).unwrap();
    for line in ["ProtectHome=yes", "ProtectSystem=strict", "StateDirectory=twostep"] {
        assert!(unit.lines().any(|l| l == line), "the notes speak of {line}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("twostepd.toml");
    let said = |home: &str| {
        fs::write(&file, format!("[recovery]\nhome = \"{home}\"\n")).unwrap();
        let mut out = Vec::new();
        let good = validate(std::slice::from_ref(&file), &Paths::scratch(folder.path()), &mut out, &mut Vec::new()).unwrap();
        assert!(good, "another init may do it");
        String::from_utf8(out).unwrap()
    };
    assert!(said("/home/admin").contains("ProtectHome=yes") && said("/root").contains("ProtectHome=yes"));
    assert!(said("/srv/admin").contains("ProtectSystem=strict") && said("/homes/admin").contains("ProtectSystem=strict"));
    assert_eq!(said("/var/lib/twostep/home"), format!("{}: ok\n", file.display()));
}

#[test]
fn validate_notes_what_would_keep_phones_from_the_pages() {
    let unit = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/twostep-web.service")).unwrap();
    for line in ["ProtectSystem=strict", "RuntimeDirectory=twostep-web", "User=twostep-web", "CapabilityBoundingSet="] {
        assert!(unit.lines().any(|l| l == line), "the notes speak of {line}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("twostepd.toml");
    let (certificate, key) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
    let said = |text: &str| {
        fs::write(&file, text).unwrap();
        let mut out = Vec::new();
        assert!(validate(std::slice::from_ref(&file), &Paths::scratch(folder.path()), &mut out, &mut Vec::new()).unwrap());
        String::from_utf8(out).unwrap().lines().skip(1).map(|line| line.rsplit_once(": note: ").unwrap().1.to_owned()).collect::<Vec<_>>()
    };
    let phone = "[phone]\naddress = \"https://nas.example:8443\"\n[web]\n";
    assert_eq!(said(phone), [""; 0]);
    assert!(said("[web]\nlisten = \"[::]:443\"")[0].contains("phone.address is not set"));
    assert!(said("[phone]\naddress = \"https://nas.example\"")[0].contains("phones open port 443"));
    assert!(said("[phone]\naddress = \"https://nas.example\"\n[web]\nlisten = \"[::]:443\"")[0].contains("CAP_NET_BIND_SERVICE"));
    assert!(said(&format!("{phone}socket = \"/srv/web.sock\""))[0].contains("/run/twostep-web"));
    assert_eq!(said(&format!("{phone}socket = \"/run/twostep-web/web.sock\"")), [""; 0]);
    let files = format!("{phone}certificate = \"{}\"\nkey = \"{}\"", certificate.display(), key.display());
    let missing = said(&files);
    assert!(missing[0].starts_with("web.certificate: /") && missing[1].starts_with("web.key: /"), "{missing:?}");
    for file in [&certificate, &key] {
        fs::write(file, "").unwrap();
        fs::set_permissions(file, PermissionsExt::from_mode(0o644)).unwrap();
    }
    assert!(said(&files)[0].starts_with("web.key: everybody"));
    fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    match fs::metadata(&key).unwrap().uid() {
        0 => assert!(said(&files)[0].contains("chgrp twostep-web")),
        _ => assert_eq!(said(&files), [""; 0]),
    }
}
