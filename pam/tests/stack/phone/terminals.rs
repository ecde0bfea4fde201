//! The programs that ask at a terminal of their own.

use super::*;
use crate::terminal::IN;

/// The programs that ask at a terminal of their own: su into alice's account, sudo of hers, and the console's login.
pub const AT_A_TERMINAL: [&str; 3] = ["su", "sudo", "login"];

impl Scene {
    /// alice has given her password to one of those, and is asked for her second step next.
    #[track_caller]
    pub fn beside_ssh(&self, program: &str) -> Terminal {
        let mut terminal = opens(&self.place, program);
        terminal.expect(if program == "sudo" { "password for alice: " } else { "Password: " });
        terminal.type_line(ALICE.1);
        terminal
    }
}

/// One of them, which asks for alice's password first.
pub fn opens(place: &Place, program: &str) -> Terminal {
    let go_in = format!("echo {IN}");
    let command = match program {
        "su" => format!("exec /usr/bin/setpriv --reuid=1002 --regid=1002 --clear-groups su alice -c '{go_in}'"),
        "sudo" => format!("exec /usr/bin/setpriv --reuid=1001 --regid=1001 --clear-groups sudo {go_in}"),
        _ => "exec /usr/bin/login alice".into(),
    };
    Terminal::open(place.command(&["/bin/sh", "-c", &command]))
}

/// The console gives a shell, the others do what they were asked for.
#[track_caller]
pub fn is_in_by(program: &str, mut terminal: Terminal) {
    if program == "login" {
        terminal.expect("$ ");
        terminal.type_line(&format!("echo {IN}; exit"));
        terminal.expect(&format!("\n{IN}"));
        return;
    }
    is_in(terminal);
}

/// A [`scene`] with all of them.
pub fn scene_of_terminals(number: &str, options: &str) -> Option<Scene> {
    if lacks(&["/usr/bin/su", "/usr/bin/sudo", "/usr/bin/login", "/usr/bin/setpriv"]) { None } else { scene(number, options) }
}

#[test]
fn su_sudo_and_login_show_the_number_and_let_in_what_is_approved() {
    let Some(scene) = scene_of_terminals("compare", "") else { return };
    scene.set_up(APPROVAL, compares);
    for program in AT_A_TERMINAL {
        let mut terminal = scene.beside_ssh(program);
        let before = terminal.expect("Approve this login on your phone: the number is ");
        assert_eq!(before, "\n", "{program}: on the next line, and nothing else");
        let number = terminal.expect(" (then press Enter, ? for other ways): ");
        assert_eq!((scene.phone.text("number"), scene.phone.text("service")), (number, program.into()));
        // Approved first, or waited for.
        if program == "su" {
            terminal.type_line("");
            scene.phone.tap("approve");
        } else {
            scene.phone.tap("approve");
            scene.phone.see("outcome");
            terminal.type_line("");
        }
        is_in_by(program, terminal);
        scene.closes_the_outcome();
    }
}

#[test]
fn the_phone_scans_the_qr_code_that_a_terminal_draws() {
    let Some(scene) = scene_of_terminals("compare", "") else { return };
    scene.set_up("twostep setup --method qr-code", |phone, _| phone.see("done"));
    for (program, options) in [("su", ""), ("sudo", ""), ("sudo", "qr=ascii"), ("login", ""), ("login", "qr=ascii")] {
        if program != "su" {
            scene.place.protect(program, &scene.nas, options);
        }
        let mut terminal = scene.beside_ssh(program);
        let drawing = terminal.expect(&format!("{}/scan#1.", scene.address));
        let drawing = drawing.strip_prefix("\n\n").unwrap_or_else(|| panic!("{program}: it begins on a line of its own: {drawing:?}"));
        assert_eq!(drawing.contains("##"), options == "qr=ascii", "{drawing}");
        terminal.expect("\nScan the QR code with your phone, and approve there (then press Enter, ? for other ways): ");
        scene.scan(drawing);
        assert_eq!(scene.phone.text("service"), program);
        scene.phone.tap("approve");
        terminal.type_line("");
        is_in_by(program, terminal);
        scene.closes_the_outcome();
    }
}

#[test]
fn su_sudo_and_login_take_the_code_that_the_phone_shows() {
    let Some(scene) = scene_of_terminals("compare", "") else { return };
    sets_up_online_code(&scene);
    for program in AT_A_TERMINAL {
        let mut terminal = scene.beside_ssh(program);
        terminal.expect("Enter the code that your phone shows (? for other ways): ");
        scene.phone.tap("show-code");
        terminal.type_line(&scene.phone.text("code"));
        is_in_by(program, terminal);
        scene.phone.tap("close");
    }
}
