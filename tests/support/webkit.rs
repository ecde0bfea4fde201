//! WebKit, the engine of Safari and of every browser on iOS, as its GTK port has it: in a window on a screen that nobody sees, driven by WebDriver's
//! commands over loopback.

use std::io::BufRead;
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::webdriver::{Browser, Program, SOON, Wire, asked, call};

const DRIVER: &str = "WebKitWebDriver";
const SCREEN: &str = "Xvfb";
/// How often the driver is tried.
const PACE: Duration = Duration::from_millis(20);

/// The driver, its screen, and a home of their own; ended when dropped. The browser is the driver's own choice, the package's small one.
struct WebKit {
    driver: Program,
    _screen: Screen,
    address: SocketAddr,
    session: String,
    _home: tempfile::TempDir,
}

/// Whether both programs are there.
pub fn is_installed() -> bool {
    [DRIVER, SCREEN].iter().all(|program| Command::new(program).arg("-help").output().is_ok())
}

/// One that goes on past every warning of a certificate, as its user does. Its driver listens at this address, which must be free.
pub fn start(address: SocketAddr) -> Browser {
    let home = tempfile::tempdir().unwrap();
    let screen = Screen::start();
    let mut command = Command::new(DRIVER);
    command.arg(format!("--host={}", address.ip())).arg(format!("--port={}", address.port()));
    command.env("DISPLAY", &screen.name).env("HOME", home.path()).env("XDG_RUNTIME_DIR", home.path());
    // What is set on somebody's desktop.
    for name in ["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"] {
        command.env_remove(name);
    }
    command.env("GDK_BACKEND", "x11");
    let driver = Program::start(command.stdout(Stdio::null()));
    let mut webkit = WebKit { driver, _screen: screen, address, session: String::new(), _home: home };
    // It does not say when it listens.
    let mut tries = 0..SOON.as_millis() / PACE.as_millis();
    while TcpStream::connect(address).is_err() {
        assert!(tries.next().is_some() && webkit.driver.0.try_wait().unwrap().is_none(), "{DRIVER} does not listen");
        std::thread::park_timeout(PACE);
    }
    let wanted = json!({ "capabilities": { "alwaysMatch": { "acceptInsecureCerts": true, "timeouts": { "script": SOON.as_millis() } } } });
    let made = call(address, "POST", "/session", Some(&wanted)).unwrap_or_else(|error| panic!("no session: {error}"));
    webkit.session = made["sessionId"].as_str().unwrap().to_owned();
    // As narrow as its window can be.
    webkit.ask("POST", "window/rect", Some(&json!({ "width": 390, "height": 930 }))).unwrap();
    Browser::over(webkit)
}

/// A screen in memory alone; ended when dropped, and with it the browser on it.
struct Screen {
    server: Program,
    /// What DISPLAY is set to.
    name: String,
}

impl Screen {
    fn start() -> Self {
        let mut command = Command::new(SCREEN);
        command.args(["-displayfd", "1", "-screen", "0", "800x1000x24", "-nolisten", "tcp"]);
        let mut server = Program::start(command.stdout(Stdio::piped()));
        let mut number = String::new();
        server.said().read_line(&mut number).unwrap();
        assert!(!number.is_empty(), "{SCREEN} does not start");
        Self { server, name: format!(":{}", number.trim()) }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Killed, it would leave its socket behind in the folder that all screens share.
        if let Ok(None) = self.server.0.try_wait() {
            let _ = kill(Pid::from_raw(self.server.0.id().cast_signed()), Signal::SIGTERM);
            let _ = self.server.0.wait();
        }
    }
}

impl Wire for WebKit {
    fn ask(&self, method: &str, what: &str, body: Option<&Value>) -> Result<Value, Value> {
        call(self.address, method, &format!("/session/{}/{what}", self.session), body)
    }
}

impl Drop for WebKit {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            // It ends the browser; a driver that is killed leaves it running. One that says nothing any more is what the test fails for.
            let _ = asked(self.address, "DELETE", &format!("/session/{}", self.session), None);
        }
    }
}
