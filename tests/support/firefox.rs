//! A headless Firefox, which needs no driver: it takes WebDriver's commands itself, as Marionette names them, over loopback. A message is its length,
//! a colon, and a list in JSON.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::orca::Desktop;
use super::webdriver::{Browser, Program, SOON, Wire};

/// Before the first page: it asks for nothing but what it is told to, a camera that shows a test pattern and storage that lasts can be had unasked, and the
/// port is a free one.
const PREFERENCES: &str = r#"
user_pref("marionette.port", 0);
user_pref("remote.log.level", "Info");
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("app.update.auto", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("media.navigator.streams.fake", true);
user_pref("media.navigator.permission.disabled", true);
user_pref("permissions.default.persistent-storage", 1);
"#;

/// A browser with a profile of its own; ended when dropped.
struct Firefox {
    /// Its other processes end with it.
    _process: Program,
    /// The connection, and the number of the last command.
    wire: RefCell<(BufReader<TcpStream>, u64)>,
    _profile: tempfile::TempDir,
}

/// Whether it is there.
pub fn is_installed() -> bool {
    Command::new("firefox-esr").arg("--version").output().is_ok()
}

/// One that nobody sees.
pub fn start() -> Browser {
    with(|command, profile| {
        command.arg("--headless").env("HOME", profile);
    })
}

/// One in a window on this desktop, which a screen reader reads.
pub fn start_on(desktop: &Desktop) -> Browser {
    with(|command, _| desktop.place(command.env("MOZ_ENABLE_WAYLAND", "0").env("GNOME_ACCESSIBILITY", "1")))
}

/// One that goes on past every warning of a certificate, as its user does.
fn with(place: impl FnOnce(&mut Command, &Path)) -> Browser {
    let profile = tempfile::tempdir().unwrap();
    std::fs::write(profile.path().join("user.js"), PREFERENCES).unwrap();
    let mut command = Command::new("firefox-esr");
    command.args(["--marionette", "--remote-allow-system-access", "--no-remote", "--profile"]).arg(profile.path());
    place(&mut command, profile.path());
    let mut process = Program::start(command.stdout(Stdio::piped()));
    let mut said = process.said();
    let stream = TcpStream::connect(("127.0.0.1", port(&mut said))).unwrap();
    // Nobody else reads what it says; a full pipe would stop it.
    std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
    stream.set_read_timeout(Some(SOON * 3)).unwrap();
    let mut reader = BufReader::new(stream);
    assert_eq!(read(&mut reader)["marionetteProtocol"], 3);
    let firefox = Firefox { _process: process, wire: RefCell::new((reader, 0)), _profile: profile };
    let wanted = json!({ "acceptInsecureCerts": true, "timeouts": { "script": SOON.as_millis() } });
    firefox.call("WebDriver:NewSession", &wanted).unwrap_or_else(|error| panic!("no session: {error}"));
    // As narrow as its window can be; what is shown of the page is as high as a phone's screen.
    firefox.call("WebDriver:SetWindowRect", &json!({ "width": 390, "height": 930 })).unwrap();
    Browser::over(firefox)
}

/// "1795987831487 Marionette INFO Listening on port 12345", with tabs between.
fn port(said: &mut impl BufRead) -> u16 {
    let told = said.lines().find_map(|line| Some(line.unwrap().split_once("\tListening on port ")?.1.trim().parse().unwrap()));
    told.expect("Firefox does not listen")
}

fn read(reader: &mut BufReader<TcpStream>) -> Value {
    let mut length = Vec::new();
    reader.read_until(b':', &mut length).unwrap();
    let length = std::str::from_utf8(&length).unwrap().trim_end_matches(':').parse().unwrap();
    let mut message = vec![0; length];
    reader.read_exact(&mut message).unwrap();
    serde_json::from_slice(&message).unwrap()
}

impl Firefox {
    fn call(&self, command: &str, parameters: &Value) -> Result<Value, Value> {
        let (reader, number) = &mut *self.wire.borrow_mut();
        *number += 1;
        let message = json!([0, number, command, parameters]).to_string();
        reader.get_mut().write_all(format!("{}:{message}", message.len()).as_bytes()).unwrap();
        let mut answer = read(reader);
        assert_eq!(answer[1], json!(number), "the answer to another command");
        let [error, result] = [2, 3].map(|place: usize| answer[place].take());
        if error.is_null() { Ok(result) } else { Err(error) }
    }
}

impl Wire for Firefox {
    fn ask(&self, method: &str, what: &str, body: Option<&Value>) -> Result<Value, Value> {
        let mut parameters = body.cloned().unwrap_or_else(|| json!({}));
        let words: Vec<&str> = what.split('/').collect();
        let command = match (method, &words[..]) {
            ("GET", ["url"]) => "GetCurrentURL",
            ("POST", ["url"]) => "Navigate",
            ("GET", ["screenshot"]) => "TakeScreenshot",
            ("POST", ["execute", "sync"]) => "ExecuteScript",
            ("POST", ["execute", "async"]) => "ExecuteAsyncScript",
            ("POST", ["moz", "context"]) => {
                parameters["value"] = parameters["context"].take();
                return self.call("Marionette:SetContext", &parameters);
            }
            ("POST", ["element"]) => "FindElement",
            ("POST", ["element", id, action]) => {
                parameters["id"] = json!(id);
                match *action {
                    "click" => "ElementClick",
                    "clear" => "ElementClear",
                    "value" => "ElementSendKeys",
                    other => panic!("{other}: no test has needed it yet"),
                }
            }
            other => panic!("{other:?}: no test has needed it yet"),
        };
        self.call(&format!("WebDriver:{command}"), &parameters).map(|mut result| result["value"].take())
    }
}
