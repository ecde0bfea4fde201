//! `twostep recovery identify`: which buttons this machine has, and what each sends, so that an operator can write a board profile.
//!
//! It talks to no daemon and changes nothing; GPIO lines are claimed only where asked, and only free inputs. Beside a running daemon it sees
//! what the daemon sees, except for devices that the daemon has taken for itself (`grab`).

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use evdev::{EventType, KeyCode};
use gpio_cdev::{Chip, Line, LineDirection, LineInfo};
use tokio::sync::mpsc;

use super::output::{self, Shown};
use crate::core::gesture::Level;
use crate::core::time::Monotonic;
use crate::log::is_hidden;
use crate::sys::clock;
use crate::sys::gpio::{self, FreeLine};
use crate::sys::input::{self, Found, key_name};

/// Keys listed of one device.
const MOST_KEYS: usize = 12;

/// Edges after which a line is taken to float.
const MOST_EDGES: u32 = 200;

/// What `twostep recovery identify` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// End after this many seconds; Ctrl-C ends earlier
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub seconds: u64,
    /// Also listen on GPIO lines: claims every free input line meanwhile
    #[arg(long)]
    pub gpio: bool,
}

/// Lists buttons, then shows what is pressed. `root` is where `dev` is: `/`. Fails where nothing can be listened to.
#[must_use]
pub fn run(root: &Path, args: &Args) -> ExitCode {
    let out = &mut io::stdout();
    match identify(root, args, out) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Whoever reads has enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            output::say(format_args!("twostep: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// As [`run`], into `out`; says whether there was anything to listen to.
///
/// # Errors
/// As `out`'s, or the runtime's.
pub fn identify(root: &Path, args: &Args, out: &mut impl Write) -> io::Result<bool> {
    let devices = input::devices(root);
    list_devices(&devices, out)?;
    let chips = gpio::chips(root);
    list_chips(&chips, out)?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let (sender, presses) = mpsc::channel(64);
        let mut listening = listen_to_devices(devices, &sender, out)?;
        if args.gpio {
            listening += listen_to_lines(root, &sender, out)?;
        }
        // Only the listeners hold it from here on.
        drop(sender);
        if listening == 0 {
            let hint = if args.gpio || chips.is_empty() { "" } else { " Try --gpio." };
            writeln!(out, "\nThere is nothing to listen to.{hint}")?;
            return Ok(false);
        }
        writeln!(out, "\nPress the button now, and release it. (Listening for {} s; Ctrl-C ends.)", args.seconds)?;
        out.flush()?;
        tokio::select! {
            pressed = show(presses, out) => pressed?,
            _ = tokio::signal::ctrl_c() => {}
            () = tokio::time::sleep(Duration::from_secs(args.seconds)) => {}
        }
        Ok(true)
    })
}

fn list_devices(devices: &[Result<Found, String>], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "Input devices:{}", if devices.is_empty() { " none" } else { "" })?;
    for device in devices {
        match device {
            Err(error) => writeln!(out, "  {error}")?,
            Ok(device) => {
                let links = device.links.iter().fold(String::new(), |links, link| links + "  by-path " + link);
                writeln!(out, "  {}  \"{}\"{links}", device.node.display(), Shown(&device.name))?;
                writeln!(out, "      {}", keys(&device.keys()))?;
            }
        }
    }
    Ok(())
}

fn keys(keys: &[KeyCode]) -> String {
    if keys.is_empty() {
        return "no keys".into();
    }
    let named: Vec<_> = keys.iter().take(MOST_KEYS).map(|key| key_text(*key)).collect();
    let more = keys.len().saturating_sub(MOST_KEYS);
    named.join(", ") + &if more > 0 { format!(", and {more} more") } else { String::new() }
}

fn key_text(key: KeyCode) -> String {
    format!("{} ({})", key_name(key), key.code())
}

fn list_chips(chips: &[Result<Chip, String>], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "GPIO chips:{}", if chips.is_empty() { " none" } else { "" })?;
    for chip in chips {
        match chip {
            Err(error) => writeln!(out, "  {error}")?,
            Ok(chip) => list_lines(chip, out)?,
        }
    }
    Ok(())
}

/// Lines that have a name or a user; the others are counted.
fn list_lines(chip: &Chip, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "  {}  \"{}\", {} lines", chip.name(), chip.label(), chip.num_lines())?;
    let mut plain = 0;
    for line in chip.lines() {
        match line.info() {
            Ok(info) if info.name().is_none() && !info.is_kernel() => plain += 1,
            Ok(info) => writeln!(out, "      {:>3}  {}", line.offset(), line_text(&info))?,
            Err(error) => writeln!(out, "      {:>3}  {error}", line.offset())?,
        }
    }
    if plain > 0 {
        writeln!(out, "      {plain} without a name, and free")?;
    }
    Ok(())
}

fn line_text(info: &LineInfo) -> String {
    let mut text = format!("\"{}\"", info.name().unwrap_or_default());
    text += if info.direction() == LineDirection::In { "  input" } else { "  output" };
    text += if info.is_active_low() { ", active low" } else { "" };
    match (info.is_kernel(), info.consumer()) {
        (true, consumer) => text + &format!(", used by \"{}\"", consumer.unwrap_or("the kernel")),
        (false, _) => text + ", free",
    }
}

/// Where a press came from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Source {
    Key { device: String, key: u16, only: bool },
    Line { chip: String, line: u32, name: Option<String>, active_low: bool, polled: bool },
}

/// What a listener has to say.
#[derive(Debug)]
enum Heard {
    Edge { source: Source, level: Level, at: Monotonic },
    Ended { what: String, why: String },
}

/// Listens to all devices that have keys.
fn listen_to_devices(devices: Vec<Result<Found, String>>, sender: &mpsc::Sender<Heard>, out: &mut impl Write) -> io::Result<usize> {
    let names: Vec<String> = devices.iter().flatten().map(|device| device.name.clone()).collect();
    let mut listening = 0;
    for device in devices.into_iter().flatten() {
        let keys = device.keys();
        if keys.is_empty() {
            continue;
        }
        // A name that two devices have would be no good in a profile.
        let unique = names.iter().filter(|name| **name == device.name).count() == 1;
        let called = if unique { device.name.clone() } else { device.links.first().unwrap_or(&device.name).clone() };
        let node = device.node.clone();
        match device.into_events() {
            Ok(events) => {
                tokio::spawn(listen_to_device(events, called, keys.len() == 1, sender.clone()));
                listening += 1;
            }
            Err(error) => writeln!(out, "{}: {error}", node.display())?,
        }
    }
    Ok(listening)
}

async fn listen_to_device(mut events: input::Events, device: String, only: bool, sender: mpsc::Sender<Heard>) {
    loop {
        let heard = match events.next().await {
            Ok((event, stamp)) if event.event_type() == EventType::KEY && event.value() < 2 => {
                let source = Source::Key { device: device.clone(), key: event.code(), only };
                let level = if event.value() == 1 { Level::Pressed } else { Level::Released };
                Heard::Edge { source, level, at: stamp.unwrap_or_else(clock::monotonic) }
            }
            Ok(_) => continue,
            Err(error) => {
                let _ = sender.send(Heard::Ended { what: format!("\"{device}\""), why: error.to_string() }).await;
                return;
            }
        };
        if sender.send(heard).await.is_err() {
            return;
        }
    }
}

/// Listens on all free input lines.
fn listen_to_lines(root: &Path, sender: &mpsc::Sender<Heard>, out: &mut impl Write) -> io::Result<usize> {
    let mut listening = 0;
    for chip in gpio::chips(root).into_iter().flatten() {
        let free = |line: &Line| line.info().is_ok_and(|info| !info.is_kernel() && info.direction() == LineDirection::In);
        for line in chip.lines().filter(free) {
            match FreeLine::claim(&line) {
                Ok(claimed) => {
                    tokio::spawn(listen_to_line(claimed, line, sender.clone()));
                    listening += 1;
                }
                Err(reason) => writeln!(out, "{reason}")?,
            }
        }
    }
    Ok(listening)
}

async fn listen_to_line(mut claimed: FreeLine, line: Line, sender: mpsc::Sender<Heard>) {
    let what = format!("{} line {}", line.chip().name(), line.offset());
    // Nobody presses yet, so the level that it rests at tells the polarity.
    let active_low = claimed.is_high();
    let source = Source::Line {
        chip: line.chip().label().to_owned(),
        line: line.offset(),
        name: line.info().ok().and_then(|info| info.name().map(str::to_owned)),
        active_low,
        polled: claimed.polled(),
    };
    let mut edges = 0;
    let why = loop {
        match claimed.changed().await {
            Ok(high) => {
                edges += 1;
                let level = if high == active_low { Level::Released } else { Level::Pressed };
                if sender.send(Heard::Edge { source: source.clone(), level, at: clock::monotonic() }).await.is_err() {
                    return;
                }
            }
            Err(error) => break error.to_string(),
        }
        if edges == MOST_EDGES {
            break "it never rests: nothing seems to be connected".into();
        }
    };
    let _ = sender.send(Heard::Ended { what, why }).await;
}

/// Shows what is heard, and after the first release of each button what a profile needs.
async fn show(mut heard: mpsc::Receiver<Heard>, out: &mut impl Write) -> io::Result<()> {
    let (mut pressed, mut described): (Vec<(Source, Monotonic)>, HashSet<Source>) = Default::default();
    while let Some(heard) = heard.recv().await {
        match heard {
            Heard::Ended { what, why } => writeln!(out, "{}: {why}", Shown(what))?,
            Heard::Edge { source, level: Level::Pressed, at } => {
                writeln!(out, "{} pressed", Shown(source.text()))?;
                pressed.retain(|(held, _)| *held != source);
                pressed.push((source, at));
            }
            Heard::Edge { source, level: Level::Released, at } => {
                let since = pressed.iter().position(|(held, _)| *held == source).map(|place| pressed.swap_remove(place).1);
                let held = since.map_or(String::new(), |since| format!(" after {:.3} s", (at - since).as_secs_f64()));
                writeln!(out, "{} released{held}", Shown(source.text()))?;
                if since.is_some() && described.insert(source.clone()) {
                    writeln!(out, "\n{}", source.profile())?;
                }
            }
        }
        out.flush()?;
    }
    Ok(())
}

impl Source {
    fn text(&self) -> String {
        match self {
            Self::Key { device, key, .. } => format!("\"{device}\": {}", key_text(KeyCode::new(*key))),
            Self::Line { chip, line, name: Some(name), .. } => format!("\"{chip}\" line {line} \"{name}\""),
            Self::Line { chip, line, .. } => format!("\"{chip}\" line {line}"),
        }
    }

    /// The part of a board profile that says this button.
    fn profile(&self) -> String {
        let mut text = String::from("[[button]]\n");
        // Writing to a String cannot fail.
        let _ = match self {
            Self::Key { device, key, only } => {
                let key = quoted(&key_name(KeyCode::new(*key)));
                let _ = write!(text, "kind = \"input\"\nname = \"reset\"\ndevice = {}\nkey = {key}\n", quoted(device));
                if *only {
                    writeln!(text, "grab = true")
                } else {
                    writeln!(text, "# Not grab: the device has other keys. Keep logind off this one (HandleRebootKey=ignore and the like).")
                }
            }
            Self::Line { chip, line, active_low, polled, .. } => {
                let _ = write!(text, "kind = \"gpio\"\nname = \"reset\"\nchip = {}\nline = {line}\n", quoted(chip));
                let _ = writeln!(text, "active_low = {active_low}");
                if *polled { writeln!(text, "poll_ms = 50") } else { Ok(()) }
            }
        };
        text
    }
}

/// A TOML basic string (TOML 1.0, "String").
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if is_hidden(c) => drop(write!(quoted, "\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::board::Button;

    #[derive(serde::Deserialize)]
    struct Profile {
        button: Vec<Button>,
    }

    fn pasted(source: &Source) -> Button {
        let mut profile: Profile = toml::from_str(&source.profile()).unwrap();
        profile.button.remove(0)
    }

    #[test]
    fn what_it_prints_can_be_pasted_into_a_profile() {
        let odd = "a \"name\" with \\ and \t in it";
        let key = Source::Key { device: odd.into(), key: KeyCode::KEY_RESTART.code(), only: true };
        assert_eq!(pasted(&key), Button::Input { name: "reset".into(), device: odd.into(), key: "KEY_RESTART".into(), grab: true });
        let shared = Source::Key { device: "qnap8528".into(), key: KeyCode::BTN_2.code(), only: false };
        assert_eq!(pasted(&shared), Button::Input { name: "reset".into(), device: "qnap8528".into(), key: "BTN_2".into(), grab: false });
        let line = Source::Line { chip: "gpio0".into(), line: 13, name: None, active_low: true, polled: true };
        let expected = Button::Gpio {
            name: "reset".into(),
            chip: "gpio0".into(),
            line: crate::config::board::Line::Offset(13),
            active_low: true,
            poll_ms: 50,
        };
        assert_eq!(pasted(&line), expected);
    }

    #[test]
    fn a_press_is_shown_live_and_described_once() {
        let source = Source::Key { device: "gpio_keys".into(), key: KeyCode::KEY_RESTART.code(), only: true };
        let (sender, heard) = mpsc::channel(8);
        let mut out = Vec::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            for (level, ms) in [(Level::Pressed, 1000), (Level::Released, 4214), (Level::Pressed, 5000), (Level::Released, 5100)] {
                let at = Monotonic(Duration::from_millis(ms));
                sender.send(Heard::Edge { source: source.clone(), level, at }).await.unwrap();
            }
            drop(sender);
            show(heard, &mut out).await.unwrap();
        });
        let out = String::from_utf8(out).unwrap();
        assert!(
            out.starts_with("\"gpio_keys\": KEY_RESTART (408) pressed\n\"gpio_keys\": KEY_RESTART (408) released after 3.214 s\n"),
            "{out}"
        );
        assert_eq!(out.matches("[[button]]").count(), 1, "{out}");
    }

    #[test]
    fn a_machine_without_buttons_is_told_so() {
        let root = tempfile::tempdir().unwrap();
        let mut out = Vec::new();
        let listened = identify(root.path(), &Args { seconds: 1, gpio: false }, &mut out).unwrap();
        assert!(!listened);
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out, "Input devices: none\nGPIO chips: none\n\nThere is nothing to listen to.\n");
    }
}
