//! A headless browser, driven by W3C WebDriver's commands: Chromium through chromedriver, over loopback; Firefox and WebKit by `firefox.rs`
//! and `webkit.rs` beside this.
//!
//! What has to be waited for is waited for inside the page, by an observer of its changes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

/// How long a test waits for what must come at once: long enough for several browsers that share less than one core.
pub const SOON: Duration = Duration::from_secs(120);

/// So many pages are asked one after the other, at most, whether it has come.
const PAGES: usize = 10;

/// So often something is done again that the page was drawing anew.
const AGAIN: usize = 500;

/// What WebDriver says then: nothing was done.
const MOVED: [&str; 4] = ["no such element", "stale element reference", "element not interactable", "element click intercepted"];

/// The member that names an element in the protocol.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Ends once the expression is true in the page. It stands in the script itself, since the page's policy forbids making code of a text.
fn wait(expression: &str) -> String {
    format!(
        "const done = arguments[0];
        const holds = () => {{ try {{ return {expression}; }} catch {{ return false; }} }};
        if (holds()) return done(true);
        const observer = new MutationObserver(() => {{ if (holds()) {{ observer.disconnect(); done(true); }} }});
        observer.observe(document, {{ subtree: true, childList: true, attributes: true, characterData: true }});"
    )
}

/// What carries the commands to a browser with a profile of its own, which ends when this is dropped.
pub trait Wire {
    /// A command about the open page, in the words of WebDriver: `what` comes after the session in its address. The error is an object.
    fn ask(&self, method: &str, what: &str, body: Option<&Value>) -> Result<Value, Value>;
}

/// Whoever sits in front of a page.
pub struct Browser(Box<dyn Wire>);

/// What Chromium is started with.
pub struct Setting<'a> {
    /// The fingerprint of the one key (SHA-256 of its SPKI, base64) whose certificate is trusted without an authority.
    pub trusted_key: &'a str,
    /// The picture that the camera shows, in YUV4MPEG2.
    pub camera: &'a Path,
    /// Whether every page may use it, unasked.
    pub is_camera_allowed: bool,
}

/// Whether both programs are there.
pub fn is_installed() -> bool {
    ["chromium", "chromedriver"].iter().all(|program| Command::new(program).arg("--version").output().is_ok())
}

impl Browser {
    pub fn start(setting: &Setting<'_>) -> Self {
        Self::over(Chromium::start(setting))
    }

    pub fn over(wire: impl Wire + 'static) -> Self {
        Self(Box::new(wire))
    }

    pub fn open(&self, url: &str) {
        self.post("url", &json!({ "url": url }));
    }

    /// Runs a script in the page; its value is that of its `return`.
    pub fn run(&self, script: &str, arguments: &[Value]) -> Value {
        self.post("execute/sync", &json!({ "script": script, "args": arguments }))
    }

    /// Waits until an expression is true in the page.
    #[track_caller]
    pub fn until(&self, expression: &str) {
        let script = json!({ "script": wait(expression), "args": [] });
        let mut answers = (0..PAGES).map(|_| self.0.ask("POST", "execute/async", Some(&script)));
        // A page that goes away meanwhile takes the question with it: then the next one is asked.
        let last = answers.find(|answer| answer.as_ref().err().is_none_or(|error| error["error"] == "script timeout"));
        if !matches!(last, Some(Ok(_))) {
            let text = self.run("return document.body.innerText", &[]);
            panic!("never true: {expression}\nThe page says:\n{}", text.as_str().unwrap_or_default());
        }
    }

    /// Waits until something with this test id is to be seen.
    #[track_caller]
    pub fn see(&self, id: &str) {
        self.until(&format!("document.querySelector('[data-testid=\"{id}\"]')?.checkVisibility()"));
    }

    /// The text of what has this test id.
    #[track_caller]
    pub fn text(&self, id: &str) -> String {
        let script = "return document.querySelector(`[data-testid='${arguments[0]}']`)?.innerText";
        let shown = || {
            self.see(id);
            self.run(script, &[json!(id)]).as_str().map(|text| text.trim().to_owned())
        };
        (0..AGAIN).find_map(|_| shown()).unwrap_or_else(|| panic!("{id} is gone whenever it is looked at"))
    }

    /// Waits until what has this test id can be tapped.
    #[track_caller]
    pub fn see_enabled(&self, id: &str) {
        self.until(&format!("document.querySelector('[data-testid=\"{id}\"]:enabled, a[data-testid=\"{id}\"], summary[data-testid=\"{id}\"]')?.checkVisibility()"));
    }

    /// Taps it, as soon as it can be tapped.
    #[track_caller]
    pub fn tap(&self, id: &str) {
        self.does(id, Self::see_enabled, &[("click", json!({}))]);
    }

    /// Types in place of what is there.
    #[track_caller]
    pub fn write(&self, id: &str, text: &str) {
        self.does(id, Self::see, &[("clear", json!({})), ("value", json!({ "text": text }))]);
    }

    /// Does something to it once it is `ready`, and once more where the page has drawn it anew meanwhile.
    #[track_caller]
    fn does(&self, id: &str, ready: impl Fn(&Self, &str), actions: &[(&str, Value)]) {
        for _ in 0..AGAIN {
            ready(self, id);
            match self.try_to(id, actions) {
                Ok(()) => return,
                Err(error) if error["error"].as_str().is_some_and(|error| MOVED.contains(&error)) => {}
                Err(error) => panic!("{id}: {error}"),
            }
        }
        panic!("{id} is never at rest");
    }

    fn try_to(&self, id: &str, actions: &[(&str, Value)]) -> Result<(), Value> {
        let by = json!({ "using": "css selector", "value": format!("[data-testid='{id}']") });
        let found = self.0.ask("POST", "element", Some(&by))?;
        let element = found[ELEMENT].as_str().unwrap();
        actions.iter().try_for_each(|(action, body)| self.0.ask("POST", &format!("element/{element}/{action}"), Some(body)).map(drop))
    }

    /// A request about the open page, in the words of WebDriver.
    #[track_caller]
    pub fn request(&self, method: &str, what: &str, body: Option<&Value>) -> Value {
        self.0.ask(method, what, body).unwrap_or_else(|error| panic!("{method} {what}: {error}"))
    }

    #[track_caller]
    fn post(&self, what: &str, body: &Value) -> Value {
        self.request("POST", what, Some(body))
    }
}

/// A program that is ended when dropped, from the moment on that it runs: also where what comes after its start fails.
pub struct Program(pub Child);

impl Program {
    /// Heard where its output is piped; it is asked nothing, and its complaints are not kept.
    pub fn start(command: &mut Command) -> Self {
        let started = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn();
        Self(started.unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display())))
    }

    /// What it says, once.
    pub fn said(&mut self) -> BufReader<ChildStdout> {
        BufReader::new(self.0.stdout.take().unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Chromium, and its driver.
struct Chromium {
    _driver: Program,
    port: u16,
    session: String,
    _profile: tempfile::TempDir,
}

impl Chromium {
    fn start(setting: &Setting<'_>) -> Self {
        let profile = tempfile::tempdir().unwrap();
        // It takes a free port of IPv4, and ends where the same of IPv6 is not free: then another has better luck.
        let (driver, port) = (0..5).find_map(|_| driver()).expect("chromedriver ends at once");
        let mut arguments = vec![
            "--headless=new".to_owned(),
            "--disable-dev-shm-usage".into(),
            "--use-fake-device-for-media-stream".into(),
            format!("--use-file-for-fake-video-capture={}", setting.camera.display()),
            "--no-proxy-server".into(),
            format!("--user-data-dir={}", profile.path().display()),
            format!("--ignore-certificate-errors-spki-list={}", setting.trusted_key),
        ];
        if nix::unistd::getuid().is_root() {
            // Chromium's own sandbox refuses root.
            arguments.push("--no-sandbox".into());
        }
        if setting.is_camera_allowed {
            arguments.push("--use-fake-ui-for-media-stream".into());
        }
        let phone = json!({ "deviceMetrics": { "width": 390, "height": 844, "pixelRatio": 2.0, "touch": true, "mobile": true } });
        let options = json!({ "args": arguments, "mobileEmulation": phone });
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": options, "timeouts": { "script": SOON.as_millis() },
        } } });
        let mut chromium = Self { _driver: driver, port, session: String::new(), _profile: profile };
        let made = chromium.call("POST", "/session", Some(&wanted)).unwrap_or_else(|error| panic!("no session: {error}"));
        chromium.session = made["sessionId"].as_str().unwrap().to_owned();
        chromium
    }

    #[track_caller]
    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Value> {
        call(self.driver(), method, path, body)
    }

    fn driver(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }
}

/// A command to a driver: what it answers, or its error, an object.
#[track_caller]
pub fn call(driver: SocketAddr, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Value> {
    let answer = asked(driver, method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"));
    let value = serde_json::from_str::<Value>(&answer).unwrap()["value"].take();
    if value["error"].is_string() { Err(value) } else { Ok(value) }
}

/// The body of the driver's answer.
pub fn asked(driver: SocketAddr, method: &str, path: &str, body: Option<&Value>) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(driver)?;
    stream.set_read_timeout(Some(SOON * 3))?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes())?;
    let mut answer = String::new();
    // It says the length, and may leave the connection open all the same.
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().map_err(std::io::Error::other)?
            }
            Some(_) => {}
            None if line.trim().is_empty() => break,
            None => {}
        }
    }
    reader.take(length).read_to_string(&mut answer)?;
    Ok(answer)
}

impl Wire for Chromium {
    fn ask(&self, method: &str, what: &str, body: Option<&Value>) -> Result<Value, Value> {
        self.call(method, &format!("/session/{}/{what}", self.session), body)
    }
}

/// The driver, and the port that it listens on. None where it has ended at once.
fn driver() -> Option<(Program, u16)> {
    let mut driver = Program::start(Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()));
    let mut said = driver.said();
    let port = port(&mut said)?;
    // Nobody else reads what it says; a full pipe would stop it.
    std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
    Some((driver, port))
}

/// "ChromeDriver was started successfully on port 12345."
fn port(said: &mut impl BufRead) -> Option<u16> {
    said.lines().find_map(|line| {
        let line = line.unwrap();
        let (_, port) = line.split_once("successfully on port ")?;
        Some(port.trim_end_matches('.').parse().unwrap())
    })
}

impl Drop for Chromium {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            // It ends the browser; a driver that is killed leaves it running. One that says nothing any more is what the test fails for.
            let _ = asked(self.driver(), "DELETE", &format!("/session/{}", self.session), None);
        }
    }
}
