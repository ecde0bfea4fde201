//! Home folders and login shells on a network mount that is away.

use super::*;

/// Of a disk, the paths that end so do not answer, as on a network mount that is away, until the other end is dropped.
struct Hanging(Vec<&'static str>, Mutex<mpsc::Receiver<()>>);

impl Hanging {
    fn at(ends: &[&'static str]) -> (mpsc::Sender<()>, Self) {
        let (answer, hangs) = mpsc::channel();
        (answer, Self(ends.to_vec(), Mutex::new(hangs)))
    }
}

impl Disk for Hanging {
    fn before(&self, _: Step, path: &Path) -> io::Result<()> {
        if self.0.iter().any(|end| path.ends_with(end)) {
            let _ = self.1.lock().unwrap().recv();
        }
        Ok(())
    }
}

/// A press on this disk; one that waited for it would never come back.
fn press_in_time(etc: &Arc<Etc>, accounts: &Arc<Accounts>) -> BroughtBack {
    let (come, back) = mpsc::channel();
    let (pressed, accounts) = (Arc::clone(etc), Arc::clone(accounts));
    std::thread::spawn(move || come.send(pressed.press_with(&accounts)));
    back.recv_timeout(SOON).expect("the press waits for the disk").unwrap()
}

fn words(back: &BroughtBack) -> Vec<String> {
    back.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn a_home_folder_that_does_not_answer_is_not_waited_for() {
    let etc = Arc::new(Etc::new().without("passwd", "admin"));
    let (answer, disk) = Hanging::at(&["home"]);
    let accounts = Arc::new(etc.accounts(disk));
    let back = press_in_time(&etc, &accounts);
    let home = etc.path("home");
    let told = format!("its home folder {} does not answer (a network mount that is away?); it was not made", home.display());
    assert_eq!((back.created, words(&back), home.exists()), (true, vec![told], false));
    assert_eq!((etc.state(), etc.line("shadow", "admin")), (State::Active, format!("admin:{HASH}:{TODAY}:::14:::")));
    // Nor is the lock kept: another tool can turn the account off.
    etc.accounts_waiting(SOON, RealDisk).turn_off("admin").unwrap();
    drop(answer);
}

#[test]
fn a_shell_that_does_not_answer_is_replaced_and_that_is_told() {
    let etc = Arc::new(Etc::new().with("passwd", "/home/admin:/bin/sh", "/home/admin:/mnt/away/bash"));
    let (answer, disk) = Hanging::at(&["away/bash"]);
    let accounts = Arc::new(etc.accounts(disk));
    let told = "its login shell /mnt/away/bash does not answer (a network mount that is away?) and was replaced: chsh -s /mnt/away/bash gives it back";
    assert_eq!(words(&press_in_time(&etc, &accounts)), [told]);
    assert_eq!(etc.line("passwd", "admin"), "admin:x:1001:1001:,,,:/home/admin:/bin/sh");
    assert_eq!(etc.state(), State::Active);
    drop(answer);
}

#[test]
fn where_neither_shell_answers_the_account_is_back_with_its_own() {
    let etc = Arc::new(Etc::new().with("passwd", "/home/admin:/bin/sh", "/home/admin:/mnt/away/bash"));
    let (answer, disk) = Hanging::at(&["away/bash", "bin/sh"]);
    let accounts = Arc::new(etc.accounts(disk));
    let told = "/bin/sh does not answer (a network mount that is away?): the account keeps its login shell (recovery.shell)";
    assert_eq!(words(&press_in_time(&etc, &accounts)), [told]);
    assert!(etc.line("passwd", "admin").ends_with(":/mnt/away/bash"));
    assert_eq!(etc.state(), State::Active);
    drop(answer);
}
