//! WebKit, the engine of Safari and of every browser on iOS, as its GTK port has it: in a window on a screen that nobody sees, driven by WebDriver's
//! commands over loopback.

use std::ffi::OsStr;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::display::{PACE, Screen, XVFB};
use super::webdriver::{Browser, Program, SOON, Wire, asked, call};

const DRIVER: &str = "WebKitWebDriver";

/// The driver, its screen, and a home of their own; ended when dropped. The browser is the driver's own choice, the package's small one.
struct WebKit {
    driver: Program,
    _screen: Screen,
    address: SocketAddr,
    session: String,
    _home: tempfile::TempDir,
}

/// Whether all three programs are there.
pub fn is_installed() -> bool {
    let runs = [DRIVER, XVFB].iter().all(|program| Command::new(program).arg("-help").output().is_ok());
    runs && browser().is_none_or(|file| file.exists())
}

/// The browser that the driver starts: it has its place in itself. It comes with WebKit's library, which the driver runs without.
fn browser() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    let driver = std::env::split_paths(&folders).map(|folder| folder.join(DRIVER)).find(|file| file.is_file())?;
    let program = std::fs::read(driver).ok()?;
    let texts = program.split(|byte| *byte == 0);
    texts.into_iter().find(|text| text.ends_with(b"/MiniBrowser")).map(|text| PathBuf::from(OsStr::from_bytes(text)))
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
