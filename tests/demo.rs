//! What somebody sees who tries the product out with `twostepd demo`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

#[path = "support/patience.rs"]
mod patience;

use patience::{Lines, stop};

/// The demo in this folder, to its end: only for folders and files that it refuses, where it does not stay up.
fn refused(folder: &Path) -> String {
    let Output { status, stderr, .. } = demo(folder).arg("--once").output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    said
}

fn demo(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twostepd"));
    command.args(["demo", "--dir"]).arg(folder);
    command
}

/// A demo that stays up; ended when dropped.
struct Up(Child);

impl Up {
    /// In this folder, and what it said before it was ready, with the words on how to go on.
    fn start(folder: &Path) -> (Self, String) {
        let mut child = demo(folder).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        let mut lines = Lines::new("the demo", child.stdout.take().unwrap());
        while !said.contains("recovery disable") {
            let line = lines.next().unwrap_or_else(|| panic!("it ended: {said}"));
            said.push_str(&line);
            said.push('\n');
        }
        (Self(child), said)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        stop(&mut self.0);
    }
}

#[test]
fn a_folder_with_somebodys_files_is_refused_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let photo = folder.path().join("tour/photos/a.jpg");
    fs::create_dir_all(photo.parent().unwrap()).unwrap();
    fs::write(&photo, "precious").unwrap();
    let said = refused(folder.path());
    assert!(said.contains("absent or an empty folder"), "{said}");
    assert_eq!(fs::read_to_string(&photo).unwrap(), "precious");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something was laid into it");
}

#[test]
fn a_folder_that_others_may_write_into_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let said = refused(folder.path());
    assert!(said.contains("chmod go-w"), "{said}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "something was laid into it");
}

#[test]
fn the_demo_says_how_to_go_on_and_what_is_done_in_its_folder_stays() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("nas");
    let (up, said) = Up::start(&folder);
    for (name, password) in [("alice", "wonderland"), ("bob", "builder")] {
        assert!(said.contains(&format!("{name}'s password is \"{password}\"")), "nobody can set up {name}'s second step: {said}");
    }
    assert!(said.contains("This machine is fresh; the tour used another one."), "{said}");
    drop(up);
    assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o7777, 0o700);

    let own = folder.join("tour/notes");
    fs::create_dir_all(own.parent().unwrap()).unwrap();
    fs::write(&own, "mine").unwrap();
    // Whatever its configuration says counts.
    let file = folder.join("twostepd.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(
        &file,
        text.replace("[recovery]\n", "[recovery]\naccount = \"nasadmin\"\n").replace("[button]\n", "[button]\nhold = \"4s\"\n"),
    )
    .unwrap();
    let (_up, said) = Up::start(&folder);
    let mut root = twostep::client::Client::connect(&folder.join("recovery.sock"), std::time::Duration::from_secs(60)).unwrap();
    let status: twostep::proto::recovery::Status = root.call("io.twostep.Recovery.Status", &twostep::proto::varlink::Empty {}).unwrap();
    assert_eq!((status.account.name.as_str(), status.hold_ms), ("nasadmin", 4000));
    assert!(said.contains("This machine is as it was left; the tour used another one."), "{said}");
    assert_eq!(fs::read_to_string(&own).unwrap(), "mine");
}

#[test]
fn a_tour_without_a_folder_leaves_nothing_behind() {
    let run = Command::new(env!("CARGO_BIN_EXE_twostepd")).args(["demo", "--once"]).output().unwrap();
    let said = String::from_utf8(run.stdout).unwrap();
    assert!(run.status.success(), "{said}{}", String::from_utf8_lossy(&run.stderr));
    let folder = said.lines().next().and_then(|line| line.rsplit_once(" in ")).map(|(_, folder)| Path::new(folder)).unwrap();
    assert!(folder.is_absolute() && !folder.exists(), "{} is still there", folder.display());
}

/// One word of `twostep` to the demo in this folder: its exit code, and what it said on both.
fn twostep(folder: &Path, words: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_twostep")).arg("--dir").arg(folder).args(words).output().unwrap();
    (status.code(), [stdout, stderr].map(|said| String::from_utf8(said).unwrap()).concat())
}

#[test]
fn a_press_that_has_no_password_to_set_is_told_and_noted_with_the_way_out() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("nas");
    let (_up, _) = Up::start(&folder);
    let (code, said) = twostep(&folder, &["recovery", "status"]);
    assert!(code == Some(0) && said.contains("armed, hold 3.000 s") && said.contains("no press yet"), "{said}");
    assert!(!said.contains("))"), "brackets in brackets: {said}");

    let adapters = folder.join("root/sys/class/net");
    fs::remove_dir_all(&adapters).unwrap();
    fs::create_dir(&adapters).unwrap();
    let why = "there is no default password: there is no network interface. Give one in the configuration";
    let (code, said) = twostep(&folder, &["recovery", "status"]);
    assert!(code == Some(0) && said.contains("not armed") && said.contains(why), "{said}");
    let (code, said) = twostep(&folder, &["recovery", "show-password"]);
    assert!(code == Some(1) && said.starts_with(&format!("twostep: {why}")), "{said}");

    let (code, said) = twostep(&folder, &["recovery", "press"]);
    assert!(code == Some(1) && said.contains(&format!("refused: {why}")), "{said}");
    let (_, said) = twostep(&folder, &["recovery", "status"]);
    assert!(said.contains(&format!("by reset: refused: {why}")), "{said}");
    let (code, said) = twostep(&folder, &["recovery", "press", "100ms"]);
    assert!(code == Some(0) && said.contains("did not fire"), "{said}");
}
