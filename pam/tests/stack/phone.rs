//! A phone at real logins: headless Chromium plays it, against the real twostep-web; ssh asks through the real module.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use crate::camera;
use crate::nas::{self, App, Nas, SOON};
use crate::place::{Place, lacks};
use crate::port::Port;
use crate::skip::{Lack, skipped};
use crate::ssh::{INTERACTIVE, SSH, SshServer, with_password};
use crate::terminal::{Terminal, is_in, is_out};
use crate::webdriver::{self, Browser, Setting};

pub mod terminals;

/// twostep-web's own user, here and in the folder of the NAS.
const WEB: &str = "twostep-web:x:990:990::/:/usr/sbin/nologin\n";

pub const ALICE: (&str, &str) = ("alice", "wonderland");
const BOB: (&str, &str) = ("bob", "builder");

/// The people of the demo.
const PEOPLE: &str = "root:x:0:0::/:/bin/sh\nadmin:x:1000:1000::/:/bin/sh\nalice:x:1001:1001::/:/bin/sh\nbob:x:1002:1002::/:/bin/sh\n";

fn missing() -> bool {
    let needed = [&SSH[..], &["/usr/bin/setpriv", "/usr/bin/openssl"]].concat();
    if !webdriver::is_installed() {
        skipped(Lack::Package, "no Chromium with its driver here (apt install chromium chromium-driver)");
        return true;
    }
    lacks(&needed)
}

/// The shipped configuration with this line in the place of the `address` that it shows, and a listener on the loopback.
fn configuration(address: &str, port: &Port) -> String {
    let shipped = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd/twostepd.toml")).unwrap();
    let lines = shipped.lines().map(|line| match line {
        _ if line.starts_with("#   address = ") => address.to_owned(),
        _ if line.starts_with("#listen = ") => format!("listen = \"{}\"", port.address),
        _ => line.to_owned(),
    });
    let text: String = lines.map(|line| line + "\n").collect();
    assert!(text.contains(address) && text.contains("\nlisten = "), "{text}");
    text
}

/// A NAS with a phone's address, ssh's server, and alice's phone.
pub struct Scene {
    pub nas: Nas,
    pub place: Place,
    _web: Web,
    pub phone: Browser,
    address: String,
    _port: Port,
}

impl Scene {
    /// `number`: as in the configuration; `options`: of the module.
    pub fn start(number: &str, options: &str) -> Self {
        let port = Port::at([127, 0, 0, 1]);
        let address = format!("https://localhost:{}", port.address.port());
        let text = configuration(&format!("address = \"{address}\"\nnumber = \"{number}\""), &port);
        Self::configured(&text, (address, port), options)
    }

    fn configured(text: &str, (address, port): (String, Port), options: &str) -> Self {
        let nas = Nas::start_with(|folder| {
            fs::create_dir(folder.join("etc")).unwrap();
            fs::write(folder.join("etc/passwd"), format!("{PEOPLE}{WEB}")).unwrap();
            fs::write(folder.join("twostepd.toml"), text).unwrap();
        });
        let place = Place::new(&nas);
        place.add_people(WEB);
        place.protect("sshd", &nas, options);
        // Where it was built, alice may not come. Not copied by this process: what another test starts meanwhile would keep the copy open for
        // writing, and then it can't be run.
        let installed = Command::new("install").args(["-m", "755"]).arg(nas::built("twostep")).arg(place.path("twostep")).status();
        assert!(installed.unwrap().success());
        let web = Web::start(&nas, &place);
        let (_, trusted_key) = certificate(&address);
        let phone = Browser::start(&Setting { trusted_key: &trusted_key, camera: &film(&place), is_camera_allowed: true });
        Self { nas, place, _web: web, phone, address, _port: port }
    }

    /// Somebody points the phone at a drawn QR code, and scans it.
    #[track_caller]
    fn scan(&self, drawing: &str) {
        camera::film(&film(&self.place), &camera::drawn(drawing), 6);
        self.phone.tap("scan");
    }

    /// Somebody runs this at a terminal; `command` begins with the program's name.
    fn at_a_terminal(&self, user: &str, command: &str) -> Terminal {
        let id = if user == "alice" { "1001" } else { "1002" };
        let (program, folder) = (self.place.path("twostep").display().to_string(), self.nas.folder.path().display().to_string());
        let (uid, gid) = (format!("--reuid={id}"), format!("--regid={id}"));
        let mut words = vec!["/usr/bin/setpriv", &uid, &gid, "--clear-groups", program.as_str(), "--dir", &folder];
        words.extend(command.strip_prefix("twostep ").unwrap().split(' '));
        Terminal::open(self.place.command(&words))
    }

    /// The same, of a command that asks for the password.
    fn runs(&self, (user, password): (&str, &str), command: &str) -> Terminal {
        let mut terminal = self.at_a_terminal(user, command);
        terminal.expect("Password: ");
        terminal.type_line(password);
        terminal
    }

    /// The terminal draws a QR code, the phone scans it; `confirm` is what the method wants on both sides.
    #[track_caller]
    fn pairs(&self, terminal: &mut Terminal, confirm: impl FnOnce(&Browser, &mut Terminal)) {
        terminal.expect("Scan the QR code with the phone, or open there:\n");
        assert!(terminal.expect("\n").starts_with(&format!("{}/pair#1.", self.address)));
        let drawing = drawing(terminal);
        self.phone.open(&self.address);
        self.scan(&drawing);
        self.phone.write("name", "Alice's phone");
        self.phone.tap("pair");
        confirm(&self.phone, terminal);
        terminal.expect("paired: Alice's phone\n");
        self.phone.tap("done");
    }

    /// alice sets up at a terminal, with the phone in the other hand.
    #[track_caller]
    pub fn set_up(&self, command: &str, confirm: impl FnOnce(&Browser, &mut Terminal)) -> App {
        let mut terminal = self.runs(ALICE, command);
        self.pairs(&mut terminal, confirm);
        terminal.expect("or type in: ");
        let app = App::with_key(&terminal.expect("\n"));
        terminal.expect("Code that the app shows: ");
        terminal.type_line(&app.code(0));
        finishes(terminal, ALICE);
        self.phone.see("scan");
        app
    }

    /// alice logs in by ssh, and is asked for her second step next.
    #[track_caller]
    pub fn ssh(&self) -> Terminal {
        with_password(&SshServer::start(&self.place, INTERACTIVE), "alice")
    }

    /// The same, with the number that she is shown.
    #[track_caller]
    fn ssh_with_number(&self) -> (Terminal, String) {
        let mut terminal = self.ssh();
        let number = number_of(&mut terminal);
        (terminal, number)
    }

    /// What a command of bob's says, that asks nothing.
    #[track_caller]
    fn says(&self, command: &str, words: &str) -> String {
        let (well, said) = self.at_a_terminal("bob", command).end();
        assert!(well && said.contains(words), "{command}: {said}");
        said
    }

    fn closes_the_outcome(&self) {
        self.phone.see("outcome");
        self.phone.tap("close");
    }
}

/// twostep-web, ended when dropped.
struct Web {
    process: Child,
    log: PathBuf,
}

impl Web {
    /// As the unit starts it: as root, and it becomes its own user.
    fn start(nas: &Nas, place: &Place) -> Self {
        let (notices, log) = (place.path("notify"), place.path("twostep-web.log"));
        let notify = UnixDatagram::bind(&notices).unwrap();
        fs::set_permissions(&notices, PermissionsExt::from_mode(0o777)).unwrap();
        let mut command = place.command(&[nas::built("twostep-web").to_str().unwrap()]);
        command.args(options(nas, place)).env("NOTIFY_SOCKET", &notices).stderr(fs::File::create(&log).unwrap());
        let web = Self { process: command.spawn().unwrap(), log };
        notify.set_read_timeout(Some(SOON)).unwrap();
        let mut said = [0; 256];
        let length = notify.recv(&mut said).expect("twostep-web gets ready");
        assert!(said[..length].starts_with(b"READY=1"), "{}", String::from_utf8_lossy(&said[..length]));
        web
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("twostep-web's log:\n{}", fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

/// What names its files here.
fn options(nas: &Nas, place: &Place) -> [String; 6] {
    let at = |path: PathBuf| path.display().to_string();
    let (config, socket) = (nas.folder.path().join("twostepd.toml"), nas.folder.path().join("twostep.sock"));
    ["--config".into(), at(config), "--socket".into(), at(socket), "--state".into(), at(place.path("web"))]
}

/// The film of the phone's camera.
fn film(place: &Place) -> PathBuf {
    place.path("camera.y4m")
}

/// The fingerprint of the certificate that a browser is shown at `address`, and that of its key, as Chromium wants it.
fn certificate(address: &str) -> (String, String) {
    let place = address.strip_prefix("https://").unwrap();
    let run = |script: &str| {
        let output = Command::new("sh").args(["-c", script, "sh", place]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    const SHOWN: &str = "openssl s_client -connect \"$1\" </dev/null 2>/dev/null | openssl x509 -noout";
    let fingerprint = run(&format!("{SHOWN} -fingerprint -sha256"));
    let key = run(&format!("{SHOWN} -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | openssl base64"));
    (fingerprint.split_once('=').unwrap().1.to_owned(), key)
}

/// A QR code that the command draws: as many lines as make it square, since nothing comes after it for a while.
#[track_caller]
fn drawing(terminal: &mut Terminal) -> String {
    let first = terminal.expect("\n");
    let side = camera::drawn(&first)[0].len();
    (1..side.div_ceil(2)).fold(first, |drawn, _| format!("{drawn}\n{}", terminal.expect("\n")))
}

/// Whoever sets up or changes gives the password once more.
#[track_caller]
fn finishes(mut terminal: Terminal, (_, password): (&str, &str)) {
    terminal.expect("Password, once more: ");
    terminal.type_line(password);
    let (well, words) = terminal.end();
    assert!(well && words.contains("2-step verification is on: "), "{words}");
}

/// The number that is shown.
#[track_caller]
pub fn number_of(terminal: &mut Terminal) -> String {
    terminal.expect("Approve this login on your phone: the number is ");
    terminal.expect(" (then press Enter, ? for other ways): ")
}

#[track_caller]
pub fn compares(phone: &Browser, terminal: &mut Terminal) {
    terminal.expect("The number is ");
    assert_eq!(terminal.expect(":"), phone.text("number"));
    phone.tap("approve");
}

/// A scene, where all is here that it needs; see [`Scene::start`].
fn scene(number: &str, options: &str) -> Option<Scene> {
    (!missing()).then(|| Scene::start(number, options))
}

/// alice chooses the phone's code, and types the one that it shows.
fn sets_up_online_code(scene: &Scene) {
    scene.set_up("twostep setup --method online-code", |phone, terminal| {
        terminal.expect("Code that the phone shows: ");
        terminal.type_line(&phone.text("code"));
    });
}

pub const APPROVAL: &str = "twostep setup --method login-approval";

#[test]
fn ssh_shows_the_number_of_the_phone_and_goes_on_once_it_is_approved_there() {
    let Some(scene) = scene("compare", "") else { return };
    scene.set_up(APPROVAL, compares);
    let (mut terminal, number) = scene.ssh_with_number();
    assert_eq!(
        (scene.phone.text("number"), scene.phone.text("service"), scene.phone.text("remote")),
        (number, "sshd".into(), "127.0.0.1".into())
    );
    scene.phone.tap("approve");
    scene.closes_the_outcome();
    terminal.type_line("");
    is_in(terminal);
    // Whoever presses Enter first waits.
    let (mut terminal, number) = scene.ssh_with_number();
    terminal.type_line("");
    assert_eq!(scene.phone.text("number"), number);
    scene.phone.tap("approve");
    is_in(terminal);
    scene.closes_the_outcome();
    // A newer login takes the place of one that is open.
    let (mut older, _) = scene.ssh_with_number();
    let (mut newer, number) = scene.ssh_with_number();
    older.type_line("");
    let words = is_out(older);
    assert!(words.contains("another login took its place: log in again."), "{words}");
    scene.phone.until(&format!("document.querySelector('[data-testid=number]').innerText === '{number}'"));
    scene.phone.tap("approve");
    newer.type_line("");
    is_in(newer);
    scene.closes_the_outcome();
    // Denied, and told so at once; the next login tells it too, and goes another way.
    let (mut terminal, _) = scene.ssh_with_number();
    terminal.type_line("");
    scene.phone.tap("deny");
    let words = is_out(terminal);
    assert!(words.contains("The login was denied on the phone"), "{words}");
    scene.closes_the_outcome();
    let mut terminal = scene.ssh();
    terminal.expect("127.0.0.1");
    terminal.expect("? for other ways): ");
    terminal.type_line("?");
    terminal.expect("Ways to verify:\n");
    terminal.expect("(Enter: Login Approval): ");
    terminal.type_line("security");
    terminal.expect("Enter the code that your authenticator app shows");
    terminal.interrupt();
    is_out(terminal);
}

#[test]
fn ssh_asks_again_where_the_phone_takes_its_time_and_refuses_a_wrong_number() {
    let Some(scene) = scene("typed", "timeout=5") else { return };
    scene.set_up(APPROVAL, |phone, terminal| {
        terminal.expect("The number is ");
        phone.write("number-input", &terminal.expect(":"));
        phone.tap("approve");
    });
    let (mut terminal, number) = scene.ssh_with_number();
    terminal.type_line("");
    terminal.expect(&format!("Not approved yet.\nApprove this login on your phone: the number is {number} (then"));
    scene.phone.write("number-input", &number);
    scene.phone.tap("approve");
    scene.closes_the_outcome();
    terminal.type_line("");
    is_in(terminal);
    let (mut terminal, number) = scene.ssh_with_number();
    terminal.type_line("");
    scene.phone.write("number-input", if number == "10" { "11" } else { "10" });
    scene.phone.tap("approve");
    let words = is_out(terminal);
    assert!(words.contains("or the number was wrong"), "{words}");
}

#[test]
fn the_phone_scans_the_qr_code_that_ssh_shows() {
    let Some(scene) = scene("compare", "") else { return };
    scene.set_up("twostep setup --method qr-code", |phone, _| phone.see("done"));
    let shown = |terminal: &mut Terminal| {
        terminal.expect("(alice@127.0.0.1) \n");
        let drawing = terminal.expect(&format!("{}/scan#1.", scene.address));
        terminal.expect("\nScan the QR code with your phone, and approve there (then press Enter, ? for other ways): ");
        drawing
    };
    for options in ["", "qr=ascii"] {
        scene.place.protect("sshd", &scene.nas, options);
        let mut terminal = scene.ssh();
        let drawing = shown(&mut terminal);
        assert_eq!(drawing.contains("##"), options == "qr=ascii", "{drawing}");
        scene.scan(&drawing);
        assert_eq!(scene.phone.text("service"), "sshd", "shown before anything is decided");
        terminal.type_line("");
        scene.phone.tap("approve");
        is_in(terminal);
        scene.closes_the_outcome();
    }
    // Drawn or not, what is in it can be opened.
    scene.place.protect("sshd", &scene.nas, "qr=none");
    let mut terminal = scene.ssh();
    terminal.expect(&format!("(alice@127.0.0.1) \n{}", scene.address));
    let rest = terminal.expect("\n");
    terminal.expect("Open this address on your phone, and approve there (then press Enter");
    scene.phone.open(&format!("{}{rest}", scene.address));
    scene.phone.tap("deny");
    scene.phone.see("outcome");
    terminal.type_line("");
    is_out(terminal);
}

#[test]
fn ssh_takes_the_code_that_the_phone_shows() {
    let Some(scene) = scene("compare", "") else { return };
    sets_up_online_code(&scene);
    let mut terminal = scene.ssh();
    terminal.expect("Enter the code that your phone shows (? for other ways): ");
    scene.phone.tap("show-code");
    let code = scene.phone.text("code");
    terminal.type_line(if code == "000000" { "000001" } else { "000000" });
    terminal.expect("Wrong code.\nEnter the code that your phone shows");
    terminal.type_line(&code);
    is_in(terminal);
}

/// The section of README as people read it: what goes into the configuration, the commands without their comments, and those of the text below.
fn pair_a_phone() -> (String, Vec<String>, Vec<String>) {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let section = readme.split_once("\n## Pair a phone\n").unwrap().1.split_once("\n## ").unwrap().0;
    let [_, setting, _, commands, text] = section.split("```\n").collect::<Vec<_>>()[..] else { panic!("{section}") };
    let commands = commands.lines().map(|line| line.split('#').next().unwrap().trim().to_owned());
    let quoted = text.split('`').skip(1).step_by(2).filter(|quoted| quoted.starts_with("twostep "));
    (setting.trim().to_owned(), commands.collect(), quoted.map(|quoted| quoted.replace('\n', " ")).collect())
}

/// What is another here: the NAS's name and port; the demo's file in the place of `/etc/twostep/twostepd.toml`; whoever runs the test in the place of
/// sudo. `systemctl restart` is a start of both programs, since systemd does not run here.
#[test]
fn readme_s_pair_a_phone_leads_to_a_login_that_is_approved() {
    if missing() {
        return;
    }
    let (setting, commands, quoted) = pair_a_phone();
    let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
    let ["sudo systemctl restart twostepd twostep-web", fingerprint, setup, "ssh alice@nas"] = commands[..] else { panic!("{commands:?}") };
    let port = Port::at([127, 0, 0, 1]);
    let address = format!("https://localhost:{}", port.address.port());
    assert!(setting.contains("https://nas.example.org:8443"), "{setting}");
    let text = configuration(&setting.replace("https://nas.example.org:8443", &address), &port);
    let scene = Scene::configured(&text, (address, port), "");

    let words: Vec<&str> = fingerprint.split(' ').collect();
    let ["sudo", program, flag] = words[..] else { panic!("{fingerprint}") };
    let output = Command::new(nas::built(program)).arg(flag).args(options(&scene.nas, &scene.place)).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.lines().next(), Some(&*certificate(&scene.address).0), "what the phone's browser shows");

    scene.set_up(setup, compares);
    let (mut terminal, shown) = scene.ssh_with_number();
    assert_eq!(scene.phone.text("number"), shown);
    scene.phone.tap("approve");
    terminal.type_line("");
    is_in(terminal);
    scene.closes_the_outcome();
    goes_on_to_bob(&scene, &quoted);
}

/// bob has a second step already; then his phone is lost.
#[track_caller]
fn goes_on_to_bob(scene: &Scene, quoted: &[String]) {
    let [change, prefer, list, remove] = quoted else { panic!("{quoted:?}") };
    let app = scene.nas.enrol("bob");
    let mut terminal = scene.runs(BOB, change);
    terminal.expect("Enter the code that your authenticator app shows: ");
    terminal.type_line(&app.code(0));
    scene.pairs(&mut terminal, compares);
    finishes(terminal, BOB);
    let mut terminal = with_password(&SshServer::start(&scene.place, INTERACTIVE), "bob");
    let shown = number_of(&mut terminal);
    assert_eq!((scene.phone.text("number"), scene.phone.text("account")), (shown, "bob".into()));
    scene.phone.tap("approve");
    terminal.type_line("");
    is_in(terminal);
    scene.closes_the_outcome();
    scene.says(&format!("{prefer} security-code"), "the Security Code is asked for first");
    scene.says(&format!("{prefer} login-approval"), "the Login Approval is asked for first");
    let listed = scene.says(list, "Alice's phone (phone)");
    let id = listed.split_whitespace().next().unwrap();
    let mut terminal = scene.runs(BOB, &remove.replace("ID", id));
    scene.phone.tap("approve");
    terminal.expect("that phone answers for this account no more");
    assert!(terminal.end().0);
}
