//! Input devices: buttons and beepers.
//!
//! Buttons are read through the evdev event stream, stamped by the kernel's monotonic clock. Lost events (SYN_DROPPED) are told as such, the
//! real level is asked by EVIOCGKEY. Auto-repeat (value 2) is no edge.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use evdev::raw_stream::{EventStream, RawDevice};
use evdev::{EventType, InputEvent, KeyCode, SoundCode, SynchronizationCode};

use crate::core::gesture::Level;
use crate::core::pattern::matches;
use crate::core::time::Monotonic;
use crate::sys::button::{Edge, Hardware, News, Port, before, readable};
use crate::sys::clock;
use crate::sys::nodes::Nodes;

/// Events taken at once; more than these at once are treated as lost.
const MOST_AT_ONCE: usize = 1024;

/// Names listed in a complaint.
const MOST_NAMED: usize = 8;

mod ioctl {
    nix::ioctl_write_ptr!(eviocsclockid, b'E', 0xa0, nix::libc::c_int);
}

/// An input device as an operator knows it.
#[derive(Debug)]
pub struct Found {
    /// Its node, `/dev/input/event3`.
    pub node: PathBuf,
    /// The kernel's name of it.
    pub name: String,
    /// The names of its links below `/dev/input/by-path`.
    pub links: Vec<String>,
    device: RawDevice,
}

impl Found {
    /// The keys and buttons that it can send.
    #[must_use]
    pub fn keys(&self) -> Vec<KeyCode> {
        self.device.supported_keys().map(|keys| keys.iter().collect()).unwrap_or_default()
    }

    /// Its events, stamped by the monotonic clock. To be called within a tokio runtime.
    ///
    /// # Errors
    /// As the kernel's.
    pub fn into_events(self) -> io::Result<Events> {
        let stamped = stamp_monotonic(&self.device);
        Ok(Events { stream: self.device.into_event_stream()?, stamped })
    }

    fn is(&self, pattern: &str) -> bool {
        matches(pattern, &self.name) || self.links.iter().any(|link| matches(pattern, link))
    }
}

/// All input devices, in the order of their numbers, or why they cannot be opened. `root` is where `dev` is.
#[must_use]
pub fn devices(root: &Path) -> Vec<Result<Found, String>> {
    found(root, false)
}

fn found(root: &Path, write: bool) -> Vec<Result<Found, String>> {
    let folder = root.join("dev/input");
    let mut numbers: Vec<u32> = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_prefix("event")?.parse().ok())
        .collect();
    numbers.sort_unstable();
    numbers.into_iter().map(|number| open(&folder, &folder.join(format!("event{number}")), write)).collect()
}

fn open(folder: &Path, node: &Path, write: bool) -> Result<Found, String> {
    let file = OpenOptions::new().read(true).write(write).open(node);
    let device = file.and_then(RawDevice::try_from).map_err(|error| format!("{}: {error}", node.display()))?;
    let name = device.name().unwrap_or_default().to_owned();
    Ok(Found { node: node.to_path_buf(), name, links: links(&folder.join("by-path"), node), device })
}

fn links(folder: &Path, node: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let leads_to_node = |entry: &fs::DirEntry| fs::read_link(entry.path()).is_ok_and(|to| to.file_name() == node.file_name());
    entries.filter(leads_to_node).filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// A key by its kernel name (`KEY_RESTART`, `BTN_1`) or its number.
///
/// # Errors
/// There is no such key.
pub fn key(text: &str) -> Result<KeyCode, String> {
    let number = || text.parse().ok().filter(|code| *code < 0x300).map(KeyCode::new);
    KeyCode::from_str(text).ok().or_else(number).ok_or_else(|| format!("\"{text}\" is no key: give a name like KEY_RESTART or a number"))
}

/// The kernel name of a key, or its number where it has none.
#[must_use]
pub fn key_name(key: KeyCode) -> String {
    let name = format!("{key:?}");
    if name.starts_with("unknown") { key.code().to_string() } else { name }
}

/// Whether the events of the device are stamped by the monotonic clock from now on.
fn stamp_monotonic(device: &RawDevice) -> bool {
    // SAFETY: EVIOCSCLOCKID reads one int through the pointer, which is valid for the call; the descriptor is open as long as `device` is.
    unsafe { ioctl::eviocsclockid(device.as_raw_fd(), &nix::libc::CLOCK_MONOTONIC) }.is_ok()
}

/// The events of one device.
pub struct Events {
    stream: EventStream,
    stamped: bool,
}

impl Events {
    /// The next event, with the monotonic time at which it happened, where that is known.
    ///
    /// # Errors
    /// The device is gone.
    pub async fn next(&mut self) -> io::Result<(InputEvent, Option<Monotonic>)> {
        let event = self.stream.next_event().await?;
        Ok((event, self.stamp(&event)))
    }

    /// The next event if there is one already.
    async fn queued(&mut self) -> Option<io::Result<InputEvent>> {
        let at_once = std::future::poll_fn(|context| match self.stream.poll_event(context) {
            Poll::Ready(event) => Poll::Ready(Some(event)),
            Poll::Pending => Poll::Ready(None),
        });
        match at_once.await {
            None if readable(self.stream.device().as_fd()) => Some(self.stream.next_event().await),
            event => event,
        }
    }

    fn stamp(&self, event: &InputEvent) -> Option<Monotonic> {
        // With another clock set, the "system time" of the crate is that clock's, cut to microseconds: never earlier than it was.
        let since = event.timestamp().duration_since(SystemTime::UNIX_EPOCH).ok()?;
        self.stamped.then(|| Monotonic(since + Duration::from_micros(1)))
    }
}

/// A key of an input device, as a button.
pub struct Key {
    root: PathBuf,
    device: String,
    key: Result<KeyCode, String>,
    grab: bool,
    nodes: Nodes,
}

impl Key {
    /// The fields of the board profile; `root` is where `dev` is. To be called within a tokio runtime.
    #[must_use]
    pub fn new(root: &Path, device: &str, key_text: &str, grab: bool) -> Self {
        let folders = ["dev", "dev/input", "dev/input/by-path"].map(|folder| root.join(folder));
        Self { root: root.into(), device: device.into(), key: key(key_text), grab, nodes: Nodes::new(folders.into()) }
    }

    fn missing(&self, key: KeyCode, present: &[Result<Found, String>]) -> String {
        let key = key_name(key);
        if let Some(found) = present.iter().flatten().find(|found| found.is(&self.device)) {
            let keys: Vec<_> = found.keys().into_iter().take(MOST_NAMED).map(key_name).collect();
            return format!("the input device \"{}\" has no {key}, but {}", found.name, keys.join(", "));
        }
        let name = |found: &Result<Found, String>| found.as_ref().map_or_else(Clone::clone, |found| format!("\"{}\"", found.name));
        let names: Vec<_> = present.iter().take(MOST_NAMED).map(name).collect();
        let names = if names.is_empty() { "none".into() } else { names.join(", ") };
        format!("no input device \"{}\" with {key} (there are: {names}); twostep recovery identify shows what each sends", self.device)
    }
}

impl Hardware for Key {
    type Port = KeyPort;

    fn open(&mut self) -> Result<KeyPort, String> {
        let key = self.key.clone()?;
        let mut present = devices(&self.root);
        let fits = |found: &mut Result<Found, String>| found.as_ref().is_ok_and(|f| f.is(&self.device) && f.keys().contains(&key));
        let fitting = present.extract_if(.., fits).next();
        let Some(Ok(mut found)) = fitting else { return Err(self.missing(key, &present)) };
        self.nodes.opened(&found.node);
        if self.grab
            && let Err(error) = found.device.grab()
        {
            log::warn!("button: \"{}\" cannot be taken for ourselves, others act on it too: {error}", found.name);
        }
        let name = found.name.clone();
        let events = found.into_events().map_err(|error| format!("the input device \"{name}\" cannot be read: {error}"))?;
        Ok(KeyPort { events, key })
    }

    async fn changed(&mut self) {
        self.nodes.changed().await;
    }

    async fn gone(&mut self) {
        self.nodes.gone().await;
    }
}

/// An opened [`Key`].
pub struct KeyPort {
    events: Events,
    key: KeyCode,
}

impl KeyPort {
    fn take(&self, event: &InputEvent, news: &mut News) {
        let (kind, code) = (event.event_type(), event.code());
        if kind == EventType::SYNCHRONIZATION && code == SynchronizationCode::SYN_DROPPED.0 {
            news.lost = true;
        } else if kind == EventType::KEY && code == self.key.code() {
            let level = match event.value() {
                0 => Level::Released,
                1 => Level::Pressed,
                _ => return,
            };
            news.edges.push(Edge { level, stamp: self.events.stamp(event) });
        }
    }
}

impl Port for KeyPort {
    async fn news(&mut self, deadline: Option<Monotonic>) -> io::Result<News> {
        let mut news = News::default();
        let mut next = before(deadline, self.events.stream.next_event()).await;
        if next.is_none() {
            next = self.events.queued().await;
        }
        let mut taken = 0;
        while let Some(event) = next {
            self.take(&event?, &mut news);
            taken += 1;
            if taken == MOST_AT_ONCE {
                news.lost = true;
                break;
            }
            next = self.events.queued().await;
        }
        Ok(news)
    }

    fn now(&self) -> Monotonic {
        clock::monotonic()
    }

    fn level(&mut self) -> io::Result<Level> {
        let pressed = self.events.stream.device().get_key_state()?.contains(self.key);
        Ok(if pressed { Level::Pressed } else { Level::Released })
    }
}

/// An input device that sounds.
#[derive(Debug)]
pub struct Beeper {
    device: RawDevice,
    tone: bool,
}

impl Beeper {
    /// The first device of that name (`*` stands for any text) that knows SND_TONE or SND_BELL. `root` is where `dev` is.
    ///
    /// # Errors
    /// There is none.
    pub fn open(root: &Path, name: &str) -> Result<Self, String> {
        for found in found(root, true).into_iter().flatten().filter(|found| found.is(name)) {
            let knows = |sound| found.device.supported_sounds().is_some_and(|sounds| sounds.contains(sound));
            let tone = knows(SoundCode::SND_TONE);
            if tone || knows(SoundCode::SND_BELL) {
                return Ok(Self { device: found.device, tone });
            }
        }
        Err(format!("no input device \"{name}\" that beeps can be opened"))
    }

    /// Sounds at `hertz` (where the device has tones) until told otherwise; 0 is silence.
    ///
    /// # Errors
    /// The device is gone.
    pub fn sound(&mut self, hertz: u16) -> io::Result<()> {
        let (code, value) = if self.tone { (SoundCode::SND_TONE, hertz) } else { (SoundCode::SND_BELL, u16::from(hertz > 0)) };
        // The report ends the event for whoever reads this device.
        let report = InputEvent::new(EventType::SYNCHRONIZATION.0, SynchronizationCode::SYN_REPORT.0, 0);
        self.device.send_events(&[InputEvent::new(EventType::SOUND.0, code.0, value.into()), report])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_by_name_and_by_number() {
        assert_eq!(key("KEY_RESTART"), Ok(KeyCode::KEY_RESTART));
        assert_eq!(key("408"), Ok(KeyCode::KEY_RESTART));
        assert_eq!(key("BTN_1").map(key_name), Ok("BTN_1".to_owned()));
        assert_eq!(key("600").map(key_name), Ok(key_name(KeyCode::new(600))));
        assert!(key("KEY_RESET").is_err_and(|e| e.contains("\"KEY_RESET\" is no key")));
        assert!(key("768").is_err() && key("-1").is_err());
    }

    #[test]
    fn no_input_devices_at_all_is_said_with_the_way_out() {
        let root = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _within = runtime.enter();
        let mut hardware = Key::new(root.path(), "gpio_keys", "KEY_RESTART", false);
        let reason = hardware.open().err().unwrap();
        assert!(reason.contains("\"gpio_keys\" with KEY_RESTART (there are: none)") && reason.contains("identify"), "{reason}");
    }
}
