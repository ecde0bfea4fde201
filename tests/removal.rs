//! What the package's removal does to an account that a press has brought back.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

#[path = "support/script.rs"]
mod script;

/// A machine whose commands note what they are told; `twostep` says that the account is in this state.
fn machine(state: &str) -> tempfile::TempDir {
    machine_saying(state, "", "true")
}

/// The same, with what `twostep` says before that, and how it turns the account off.
fn machine_saying(state: &str, before: &str, disable: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let said = format!(r#"{{"board":"simulated",{before}"sources":[{{"state":"ready"}}],"account":{{"name":"admin","state":"{state}"}}}}"#);
    let twostep = format!("case \"$*\" in *status*) echo '{said}';; *disable*) {disable};; esac");
    for (name, script) in [("twostep", twostep.as_str()), ("pam-auth-update", ""), ("deb-systemd-invoke", "")] {
        let text = format!("#!/bin/sh\necho \"{name} $*\" >> '{}/told'\n{script}\n", folder.path().display());
        script::lay(&folder.path().join(name), 0o755, &text);
    }
    folder
}

fn remove(machine: &Path, by: &str) -> (Output, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/debian/prerm");
    let mut command = Command::new("sh");
    command.arg(script).arg("remove").env("PATH", format!("{}:/usr/bin:/bin", machine.display())).env("SUDO_USER", by);
    (command.output().unwrap(), fs::read_to_string(machine.join("told")).unwrap())
}

#[test]
fn an_account_with_the_password_on_the_sticker_does_not_outlive_the_package() {
    let machine = machine("recovered");
    let (output, told) = remove(machine.path(), "alice");
    assert!(output.status.success(), "{output:?}");
    assert!(told.contains("twostep recovery disable\n"), "{told}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("admin was on with the password on the sticker"), "{output:?}");
}

#[test]
fn an_account_with_a_password_of_its_own_stays_on() {
    for state in ["active", "disabled", "missing"] {
        let machine = machine(state);
        let (output, told) = remove(machine.path(), "alice");
        assert!(output.status.success() && !told.contains("disable"), "{state}: {told}");
    }
}

#[test]
fn an_account_that_can_not_be_turned_off_is_named() {
    let machine = machine_saying("recovered", "", "exit 1");
    let (output, told) = remove(machine.path(), "alice");
    assert!(output.status.success() && told.contains("twostep recovery disable\n"), "{told}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("admin is still on with the password on the sticker"), "{output:?}");
}

/// It may have one of its own.
#[test]
fn an_account_of_whose_password_nobody_can_tell_is_left_alone() {
    for before in [r#""configuration":"twostepd.toml:2: …","#, r#""configuration":null,"reason":"there is no default password: …","#] {
        let machine = machine_saying("recovered", before, "true");
        let (output, told) = remove(machine.path(), "admin");
        assert!(output.status.success() && !told.contains("disable"), "{told}");
    }
}

#[test]
fn who_removes_it_as_the_recovered_account_is_not_thrown_out_halfway() {
    let machine = machine("recovered");
    let (output, told) = remove(machine.path(), "admin");
    assert!(!output.status.success() && !told.contains("disable"), "{told}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("passwd"), "{output:?}");
}
