//! The default password: which secret of the sticker a press sets, and where it came from.
//!
//! It is resolved at the start, so that trouble is known early, and again at each press, since an adapter may have been exchanged.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use std::{error, fmt};

use log::warn;
use nix::fcntl::OFlag;
use nix::unistd::geteuid;
use zeroize::Zeroizing;

use crate::config;
use crate::config::board::Board;
use crate::core::adapter::{self, Choice, First, Mac};
use crate::proto::secret::Secret;
use crate::sys::adapters::{self, Nvmem};
use crate::sys::patience::{NoAnswer, Patience};

/// The longest default password, in bytes.
const MAX_LENGTH: usize = 128;

/// How long the source is waited for where others wait meanwhile, for the account or its state.
const PATIENCE: Duration = Duration::from_secs(5);

/// And for a press, which nothing waits for: longer than a disk takes to spin up.
const PATIENCE_OF_A_PRESS: Duration = Duration::from_secs(20);

/// What a press would set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultPassword {
    /// The password itself.
    pub password: Secret,
    /// The interface whose address it is made from, where there is one.
    pub interface: Option<String>,
    /// Where it came from, for people: `permanent address`, `nvmem qnap-mcu-eeprom0`, `file …`. Never the address.
    pub origin: String,
}

/// There is no default password that anybody could know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoStableAddress {
    /// Why, and the way out; without any address. The words "there is no default password" come before it.
    pub reason: String,
}

impl fmt::Display for NoStableAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no default password: {}", self.reason)
    }
}

impl error::Error for NoStableAddress {}

/// Where the default password is looked for at whatever time: a file on a network mount that is away keeps nobody waiting for long. A clone knows that
/// it hangs, too.
#[derive(Clone)]
pub struct Source {
    find: Arc<dyn Fn() -> Result<DefaultPassword, NoStableAddress> + Send + Sync>,
    /// What is said where it does not answer.
    silent: String,
    patience: Patience,
    /// How long a press waits.
    of_a_press: Duration,
}

impl Source {
    /// As the configuration says; `root` is where `sys` is.
    #[must_use]
    pub fn new(config: &config::Recovery, board: &Board, root: &Path) -> Self {
        let silent = match &config.password.file {
            Some(file) => format!("{file}: it does not answer (a network mount that is away?)"),
            None => "the network adapters do not answer".into(),
        };
        let (config, board, root) = (config.clone(), board.clone(), root.to_owned());
        Self::asking(move || resolve(&config, &board, &root), silent, [PATIENCE, PATIENCE_OF_A_PRESS])
    }

    /// By `find`, which is waited for at most so long, and so long by a press; where it does not answer, `silent` is said.
    #[must_use]
    pub fn asking(
        find: impl Fn() -> Result<DefaultPassword, NoStableAddress> + Send + Sync + 'static,
        silent: String,
        [limit, of_a_press]: [Duration; 2],
    ) -> Self {
        Self { find: Arc::new(find), silent, patience: Patience::new(limit), of_a_press }
    }

    /// The default password as it is now. Blocks, but not for long.
    ///
    /// # Errors
    /// As [`resolve`], and where the source does not answer.
    pub fn find(&self) -> Result<DefaultPassword, NoStableAddress> {
        self.find_with(&self.patience)
    }

    /// The same for a press, which waits longer.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn find_for_a_press(&self) -> Result<DefaultPassword, NoStableAddress> {
        self.find_with(&self.patience.insisting(self.of_a_press))
    }

    fn find_with(&self, patience: &Patience) -> Result<DefaultPassword, NoStableAddress> {
        let find = Arc::clone(&self.find);
        patience.ask("source", move || find()).unwrap_or_else(|no_answer| {
            let reason = match no_answer {
                NoAnswer::Silent => self.silent.clone(),
                NoAnswer::NoThread(_) => no_answer.to_string(),
            };
            Err(NoStableAddress { reason })
        })
    }
}

/// Finds the default password. `root` is where `sys` is. Blocks for a few files and kernel calls.
///
/// # Errors
/// Where the configured file is no good, or no adapter has a stable address.
pub fn resolve(config: &config::Recovery, board: &Board, root: &Path) -> Result<DefaultPassword, NoStableAddress> {
    let source = &config.password;
    if let Some(file) = &source.file {
        let refused = |reason| NoStableAddress { reason: format!("{file}: {reason}") };
        let password = from_file(Path::new(file)).map_err(refused)?;
        return Ok(DefaultPassword { password, interface: None, origin: format!("file {file}") });
    }
    let first = find(source, board, root)?;
    for refused in &first.passed_over {
        warn!("first adapter: passed over {refused}");
    }
    let mut origin = first.origin.to_string();
    if first.mac.is_local() {
        origin.push_str(", locally administered: it may not be the one on the sticker");
    }
    Ok(DefaultPassword { password: fill(&source.template, first.mac), interface: first.interface, origin })
}

fn find(source: &config::Password, board: &Board, root: &Path) -> Result<First, NoStableAddress> {
    let choice = match (&source.mac, &source.interface) {
        (Some(mac), _) => {
            let reason = "recovery.password.mac is no address: write it like 24:5E:BE:00:00:01";
            Choice::Mac(Mac::from_str(mac).map_err(|_| NoStableAddress { reason: reason.into() })?)
        }
        (None, Some(interface)) => Choice::Interface(interface.clone()),
        (None, None) => Choice::Board,
    };
    let sticker = board.sticker.as_ref().map(|s| Nvmem { device: &s.nvmem, offset: s.offset, length: s.length });
    adapter::first(&adapters::facts(root, sticker), &choice).map_err(|refusal| NoStableAddress { reason: refusal.to_string() })
}

/// The template with the address in it.
fn fill(template: &str, mac: Mac) -> Secret {
    let forms = [
        ("{mac}", Zeroizing::new(mac.upper(""))),
        ("{mac:lower}", Zeroizing::new(mac.upper("").to_lowercase())),
        ("{mac:colons}", Zeroizing::new(mac.upper(":"))),
    ];
    // Each placeholder is shorter than 17 characters, and at least five long: this never grows, so that no copy stays behind.
    let mut password = String::with_capacity(template.len() * 4);
    let mut rest = template;
    while let Some(next) = rest.chars().next() {
        match forms.iter().find(|(placeholder, _)| rest.starts_with(placeholder)) {
            Some((placeholder, form)) => {
                password.push_str(form);
                rest = &rest[placeholder.len()..];
            }
            None => {
                password.push(next);
                rest = &rest[next.len_utf8()..];
            }
        }
    }
    Secret::new(password)
}

/// The first line of a file that only its owner can read. Blocks for a file.
///
/// # Errors
/// Why it is not used.
pub fn from_file(path: &Path) -> Result<Secret, String> {
    // Not blocking: a pipe in its place must not hold up the press.
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path).map_err(|e| e.to_string())?;
    guarded(&file)?;
    let mut bytes = Zeroizing::new([0; MAX_LENGTH + 2]);
    let length = read_up_to(file, bytes.as_mut_slice()).map_err(|e| e.to_string())?;
    let line = bytes[..length].split(|b| *b == b'\n').next().unwrap_or_default().trim_ascii();
    match line {
        [] => Err("its first line is empty".into()),
        line if line.len() > MAX_LENGTH => Err(format!("its first line is longer than {MAX_LENGTH} characters")),
        line if !line.iter().all(|b| (b' '..=b'~').contains(b)) => Err("its first line holds other than printable ASCII characters".into()),
        line => Ok(Secret::new(String::from_utf8_lossy(line).into_owned())),
    }
}

/// Whether nobody else can read or change the file. Root's own, or that of the user who runs a demo.
fn guarded(file: &File) -> Result<(), String> {
    let about = file.metadata().map_err(|e| e.to_string())?;
    if !about.is_file() {
        return Err("it is no file".into());
    }
    if about.uid() != 0 && about.uid() != geteuid().as_raw() {
        return Err("it must belong to root".into());
    }
    if about.mode() & 0o077 != 0 {
        return Err("others can read or change it: chmod 600".into());
    }
    Ok(())
}

fn read_up_to(mut file: File, bytes: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < bytes.len() {
        match file.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(length)
}
