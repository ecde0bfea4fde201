//! The configuration file and the board profiles: text in, checked values out.
//!
//! Unknown keys are refused with the file, the line and the nearest known key.
#![forbid(unsafe_code)]

pub mod board;
mod check;
pub mod detect;
mod document;
mod duration;
mod error;
mod fault;
mod nearest;
mod notes;
pub mod paths;
mod phone;
mod place;
mod salvage;
pub mod validate;

use std::fmt;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::document::Document;
use self::duration::human;
pub use self::error::{Error, Problem};
pub use self::phone::{NumberEntry, Phone, Web};
pub use self::salvage::Salvaged;

/// The whole of `twostepd.toml`. Every key has a default: an empty file is a valid configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where log lines go.
    pub log: Log,
    /// The button and what a hold means.
    pub button: Button,
    /// What a press brings back.
    pub recovery: Recovery,
    /// Who may open how many connections.
    pub socket: Socket,
    /// Which local users may speak for others.
    pub grant: Grant,
    /// The second step of logins.
    pub login: Login,
    /// Codes by e-mail.
    pub mail: Mail,
    /// The methods that need a phone.
    pub phone: Phone,
    /// How the phone's pages are served.
    pub web: Web,
}

/// What the supervisor hands to the engine at its start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handover {
    /// The checked configuration.
    pub config: Config,
    /// Where everything is.
    pub paths: paths::Paths,
    /// The uid that counts as root beside 0: whoever runs a demo.
    pub owner: u32,
}

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `auto`: syslog where a log daemon answers, else stderr.
    pub target: LogTarget,
    /// `error`, `warn`, `info` or `debug`.
    pub level: LogLevel,
}

/// See [`Log::target`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogTarget {
    /// Syslog where a log daemon answers, else stderr.
    #[default]
    Auto,
    /// Syslog, connected again whenever the log daemon comes back.
    Syslog,
    /// Stderr with the journal's level prefix.
    Stderr,
}

/// See [`Log::level`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Only what failed.
    Error,
    /// And what an operator should look at.
    Warn,
    /// And what happened.
    #[default]
    Info,
    /// And how it happened.
    Debug,
}

/// What a hold of the button means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Button {
    /// `false`: the button is not watched at all.
    pub enabled: bool,
    /// The hold that fires. 1 s to 20 s.
    #[serde(with = "human")]
    pub hold: Duration,
    /// A level must last this long to count as a change. At most 200 ms.
    #[serde(with = "human")]
    pub debounce: Duration,
    /// A hold longer than this is a stuck button: nothing more happens until it was released.
    #[serde(with = "human")]
    pub stuck_after: Duration,
    /// Presses that begin earlier than this after the start are ignored.
    #[serde(with = "human")]
    pub grace: Duration,
    /// Presses that begin earlier than this after a fired press are ignored.
    #[serde(with = "human")]
    pub cooldown: Duration,
    /// Whether LEDs and beepers of the board are used.
    pub feedback: bool,
}

/// What a press brings back, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recovery {
    /// The account.
    pub account: String,
    /// Members of any of these groups are administrators; the account is put into the first that exists.
    pub administrators: Vec<String>,
    /// How long the account stays on while the default password is still set.
    #[serde(with = "human")]
    pub window: Duration,
    /// Whether the first login must choose another password.
    pub must_change_password: bool,
    /// How the password is hashed.
    pub hash: HashMethod,
    /// The login shell of an account that has none, or one that refuses logins.
    pub shell: String,
    /// The home folder of an account that is made anew.
    pub home: String,
    /// How long another tool may hold the account files' lock before the press is reported as failed, and how long a lock file of shadow-utils
    /// beside them is waited for before it is passed over as left over. At most 60 s.
    #[serde(with = "human")]
    pub lock_wait: Duration,
    /// How long one hook may run.
    #[serde(with = "human")]
    pub hook_time: Duration,
    /// Where the default password comes from.
    pub password: Password,
}

/// See [`Recovery::hash`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HashMethod {
    /// yescrypt (`$y$`).
    #[default]
    Yescrypt,
    /// SHA-512 crypt (`$6$`).
    Sha512,
}

/// Where the default password comes from. At most one of `file`, `mac` and `interface` is given; with none it is the board's adapter.
///
/// The address is not in its `Debug` form.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Password {
    /// `{mac}` becomes the address in upper case without separators, `{mac:lower}` in lower case, `{mac:colons}` with colons.
    pub template: String,
    /// A file whose first line is the password (another sticker secret).
    pub file: Option<String>,
    /// The address itself, as on the sticker.
    pub mac: Option<String>,
    /// The interface whose permanent address is on the sticker.
    pub interface: Option<String>,
}

/// The most that `socket.connections` may be. The engine can have 1024 files open (its sandbox): the rest is for [slow readers](Socket::slow_readers),
/// for its database, for looking users up and for mail.
pub const MOST_CONNECTIONS: usize = 896;

/// The files kept for replies that wait until their caller reads, which take one more each, however many connections are configured.
const SLOW_READERS: usize = 32;

/// Caps on the shared socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Socket {
    /// Connections in all, at most [`MOST_CONNECTIONS`].
    pub connections: usize,
    /// Connections of one uid that is neither root nor granted.
    pub connections_per_uid: usize,
    /// Connections that only root and granted login services may take; carriers, who have one for each phone, may not.
    pub reserved: usize,
    /// A connection without a call for this long is closed.
    #[serde(with = "human")]
    pub idle: Duration,
}

impl Socket {
    /// How many replies may wait at a time until their caller reads: for as many files as fewer connections are configured than could be, and some.
    #[must_use]
    pub fn slow_readers(&self) -> usize {
        MOST_CONNECTIONS.saturating_sub(self.connections) + SLOW_READERS
    }
}

/// The second step of logins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Login {
    /// Services whose clients keep no token (a file server): the engine itself may remember their address as a trusted device.
    pub trust_by_address: Vec<String>,
}

/// The mail server that codes are sent through. Without `host` none are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mail {
    /// Its name, or its address.
    pub host: Option<String>,
    /// Its port; absent: see [`port`](Self::port).
    pub port: Option<u16>,
    /// How the connection is protected.
    pub security: MailSecurity,
    /// The sender's address.
    pub from: Option<String>,
    /// Who logs in there; absent: nobody does.
    pub user: Option<String>,
    /// A file of root's whose first line is that user's password.
    pub password_file: Option<String>,
    /// Certificates (PEM) trusted in place of the system's.
    pub ca_file: Option<String>,
}

impl Mail {
    /// The configured port, or the usual one: 587 for STARTTLS, 465 for TLS, 25 for neither.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(match self.security {
            MailSecurity::Starttls => 587,
            MailSecurity::Tls => 465,
            MailSecurity::None => 25,
        })
    }
}

/// See [`Mail::security`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailSecurity {
    /// TLS after STARTTLS (RFC 3207); a server without it gets no mail.
    #[default]
    Starttls,
    /// TLS from the first byte on (RFC 8314).
    Tls,
    /// None, for a server on this machine.
    None,
}

/// Which local users may speak for others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grant {
    /// Login services: they may start logins of any account.
    pub login: Vec<String>,
    /// Carriers between the phone and the engine.
    pub authenticator: Vec<String>,
}

/// The user of twostep-web.
pub const WEB_USER: &str = "twostep-web";

impl Config {
    /// Reads the configuration file. That of an installed system may be missing, and then means the defaults; whoever names another one means one
    /// that is there.
    ///
    /// # Errors
    /// Where it can't be read, or anything in it is wrong.
    pub fn load(file: &Path) -> Result<Self, Error> {
        Self::load_or_salvage(file).map_err(|salvaged| salvaged.error)
    }

    /// As [`load`](Self::load), for those who need no more than `[button]`, `[recovery]` and `[log]`.
    ///
    /// # Errors
    /// As [`load`](Self::load), with what is left of the file.
    pub fn load_or_salvage(file: &Path) -> Result<Self, Box<Salvaged>> {
        let text = match text_of(file) {
            Ok(text) => text,
            Err(Error::Read { reason, .. })
                if reason.kind() == io::ErrorKind::NotFound && file == paths::Paths::system().configuration() =>
            {
                return Ok(Self::default());
            }
            Err(error) => return Err(Box::new(salvage::nothing(error))),
        };
        let name = file.to_string_lossy();
        Self::parse(&text, &name).map_err(|_| Box::new(salvage::text(&text, &name)))
    }

    /// Reads a configuration from its text; `name` is what the errors call it.
    ///
    /// # Errors
    /// Where anything in it is wrong: all of it, with the lines.
    pub fn parse(text: &str, name: &str) -> Result<Self, Error> {
        let invalid = |problems| Error::Invalid { file: name.to_owned(), problems };
        let document = Document::parse(text).map_err(invalid)?;
        let shape = serde_json::to_value(Self::default()).unwrap_or_default();
        document.judge(document.read(&shape), check::config).sound().map_err(invalid)
    }
}

/// A file's text, capped.
fn text_of(file: &Path) -> Result<String, Error> {
    let read = |e| Error::Read { file: file.to_string_lossy().into_owned(), reason: e };
    let mut bytes = Vec::new();
    let cap = document::MAX_BYTES as u64 + 1;
    std::fs::File::open(file).and_then(|f| f.take(cap).read_to_end(&mut bytes)).map_err(read)?;
    String::from_utf8(bytes).map_err(|_| read(io::Error::new(io::ErrorKind::InvalidData, "it is no text in UTF-8")))
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Password")
            .field("template", &self.template)
            .field("file", &self.file)
            .field("mac", &self.mac.as_ref().map(|_| "…"))
            .field("interface", &self.interface)
            .finish()
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { target: LogTarget::Auto, level: LogLevel::Info }
    }
}

impl Default for Button {
    fn default() -> Self {
        Self {
            enabled: true,
            hold: Duration::from_secs(3),
            debounce: Duration::from_millis(20),
            stuck_after: Duration::from_secs(30),
            grace: Duration::from_secs(2),
            cooldown: Duration::from_secs(5),
            feedback: true,
        }
    }
}

impl Default for Recovery {
    fn default() -> Self {
        Self {
            account: "admin".into(),
            administrators: ["administrators", "sudo", "wheel"].map(String::from).into(),
            window: Duration::from_secs(3600),
            must_change_password: false,
            hash: HashMethod::Yescrypt,
            shell: "/bin/sh".into(),
            home: "/var/lib/twostep/home".into(),
            lock_wait: Duration::from_secs(15),
            hook_time: Duration::from_secs(30),
            password: Password::default(),
        }
    }
}

impl Default for Password {
    fn default() -> Self {
        Self { template: "{mac}".into(), file: None, mac: None, interface: None }
    }
}

impl Default for Grant {
    /// twostep-web carries what it can't decide, and its user is made by the package alone: where there is no such user, nothing is granted.
    fn default() -> Self {
        Self { login: Vec::new(), authenticator: vec![WEB_USER.into()] }
    }
}

impl Default for Socket {
    fn default() -> Self {
        Self { connections: 512, connections_per_uid: 32, reserved: 64, idle: Duration::from_secs(300) }
    }
}
