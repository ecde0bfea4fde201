//! GPIO lines: buttons by event or polled, and output pins.
//!
//! Buttons with an interrupt are read through gpio-cdev's asynchronous events, the others through linux-embedded-hal's `CdevPin`. Both are
//! requested with the line's polarity, so a level is already "pressed" or "released". The kernel's queue of 16 events drops the
//! newest: a full queue is told as lost edges. Its time stamps are monotonic since Linux 5.7 only and used from there on.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use embedded_hal::digital::{InputPin, OutputPin};
use futures_core::Stream;
use gpio_cdev::{AsyncLineEventHandle, Chip, Error, EventRequestFlags, EventType, Line, LineEvent, LineRequestFlags};
use linux_embedded_hal::CdevPin;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::core::gesture::Level;
use crate::core::time::Monotonic;
use crate::sys::button::{Edge, Hardware, News, Port, before, readable};
use crate::sys::clock;
use crate::sys::nodes::Nodes;

/// What other programs see as the user of our lines.
const CONSUMER: &str = "twostepd";

/// Events that the kernel keeps for us (`DECLARE_KFIFO(events, struct gpioevent_data, 16)`).
const KERNEL_QUEUE: usize = 16;

/// Where a line is: the chip's label, name or path, and the line's offset or name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The chip's label, its name (`gpiochip0`) or its path.
    pub chip: String,
    /// The line's offset or name.
    pub line: LineId,
    /// Whether low means pressed, or on.
    pub active_low: bool,
}

/// A line, by offset or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineId {
    /// Its offset on the chip.
    Offset(u32),
    /// Its name.
    Name(String),
}

/// All GPIO chips, in the order of their numbers, or why they cannot be opened. `root` is where `dev` is.
#[must_use]
pub fn chips(root: &Path) -> Vec<Result<Chip, String>> {
    let folder = root.join("dev");
    let mut numbers: Vec<u32> = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_prefix("gpiochip")?.parse().ok())
        .collect();
    numbers.sort_unstable();
    let open = |number| {
        let node = folder.join(format!("gpiochip{number}"));
        Chip::new(&node).map_err(|error| format!("{}: {error}", node.display()))
    };
    numbers.into_iter().map(open).collect()
}

impl Place {
    fn find(&self, root: &Path) -> Result<Line, String> {
        let present = chips(root);
        let path = self.chip.strip_prefix('/').map(|rest| root.join(rest));
        let is = |chip: &Chip| chip.label() == self.chip || chip.name() == self.chip || path.as_deref() == Some(chip.path());
        let mut fitting = present.iter().flatten().filter(|chip| is(chip));
        match (fitting.next(), fitting.next()) {
            (Some(chip), None) => self.line_of(chip),
            (Some(_), Some(_)) => Err(format!("two GPIO chips are called \"{}\": give the name or the path", self.chip)),
            (None, _) => {
                let mut reason = format!("no GPIO chip \"{}\" (there are:", self.chip);
                for chip in &present {
                    let _ = match chip {
                        Ok(chip) => write!(reason, " {} \"{}\"", chip.name(), chip.label()),
                        Err(error) => write!(reason, " {error}"),
                    };
                }
                Err(reason + if present.is_empty() { " none)" } else { ")" })
            }
        }
    }

    fn line_of(&self, chip: &Chip) -> Result<Line, String> {
        let named = |name: &str| {
            let is = |line: &Line| line.info().is_ok_and(|info| info.name() == Some(name));
            chip.lines().find(is).ok_or_else(|| format!("the GPIO chip \"{}\" has no line \"{name}\"", self.chip))
        };
        match &self.line {
            LineId::Name(name) => named(name),
            LineId::Offset(offset) => {
                let line = chip.lines().nth(usize::try_from(*offset).unwrap_or(usize::MAX));
                line.ok_or_else(|| format!("the GPIO chip \"{}\" has {} lines, and none at {offset}", self.chip, chip.num_lines()))
            }
        }
    }

    fn flags(&self, direction: LineRequestFlags) -> LineRequestFlags {
        if self.active_low { direction | LineRequestFlags::ACTIVE_LOW } else { direction }
    }

    /// Takes the line as an output that is off.
    ///
    /// # Errors
    /// Why it cannot be used, in words for an operator.
    pub fn output(&self, root: &Path) -> Result<Output, String> {
        let line = self.find(root)?;
        let handle = line.request(self.flags(LineRequestFlags::OUTPUT), 0, CONSUMER).map_err(|error| explain(&line, &error))?;
        let pin = CdevPin::new(handle).map_err(|error| explain(&line, &error))?;
        Ok(Output { pin, active_low: self.active_low })
    }
}

/// Why a line cannot be had, and what to do.
fn explain(line: &Line, error: &Error) -> String {
    let place = format!("GPIO line {} of {}", line.offset(), line.chip().name());
    // The crate keeps its error's kind to itself, and the source is of another nix than ours: its text begins with the errno's name.
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    match cause.split(':').next().unwrap_or_default() {
        "EBUSY" => {
            let consumer = line.info().ok().and_then(|info| info.consumer().map(str::to_owned)).unwrap_or_default();
            claimed(&place, &consumer)
        }
        "ENODEV" | "ENXIO" | "EOPNOTSUPP" => format!("{place} has no interrupt ({cause}): set poll_ms = 50"),
        "EINVAL" | "ENOTTY" => format!("{place}: {cause}; the kernel may lack CONFIG_GPIO_CDEV_V1"),
        _ => format!("{place}: {error}"),
    }
}

fn claimed(place: &str, consumer: &str) -> String {
    let plain = consumer.to_ascii_lowercase().replace('_', "-");
    if plain.contains("gpio-keys") {
        return format!("{place} is claimed by gpio-keys: use kind = \"input\"");
    }
    // The driver gives the button's label as the consumer where the device tree has one.
    format!("{place} is claimed by \"{consumer}\": if that is the kernel's key driver, use kind = \"input\"")
}

/// Whether this kernel stamps GPIO events by the monotonic clock: since Linux 5.7.
fn stamps_monotonic(release: &str) -> bool {
    let mut numbers = release.split(['.', '-', '+']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (5, 7)
}

/// A GPIO line, as a button.
pub struct Gpio {
    root: PathBuf,
    place: Place,
    poll: Option<Duration>,
    nodes: Nodes,
}

impl Gpio {
    /// The fields of the board profile; `poll`: the interval, for lines without an interrupt. `root` is where `dev` is.
    /// To be called within a tokio runtime.
    #[must_use]
    pub fn new(root: &Path, place: Place, poll: Option<Duration>) -> Self {
        Self { root: root.into(), place, poll, nodes: Nodes::new(vec![root.join("dev")]) }
    }
}

impl Hardware for Gpio {
    type Port = GpioPort;

    fn open(&mut self) -> Result<GpioPort, String> {
        let line = self.place.find(&self.root)?;
        self.nodes.opened(line.chip().path());
        let flags = self.place.flags(LineRequestFlags::INPUT);
        match self.poll {
            None => EventPort::open(&line, flags).map(GpioPort::Events).map_err(|error| explain(&line, &error)),
            Some(every) => PolledPort::open(&line, flags, self.place.active_low, every).map(GpioPort::Polled),
        }
    }

    async fn changed(&mut self) {
        self.nodes.changed().await;
    }

    async fn gone(&mut self) {
        self.nodes.gone().await;
    }
}

/// An opened [`Gpio`].
pub enum GpioPort {
    /// The kernel tells edges.
    Events(EventPort),
    /// It does not.
    Polled(PolledPort),
}

impl Port for GpioPort {
    async fn news(&mut self, deadline: Option<Monotonic>) -> io::Result<News> {
        match self {
            Self::Events(port) => port.news(deadline).await,
            Self::Polled(port) => port.news(deadline).await,
        }
    }

    fn now(&self) -> Monotonic {
        clock::monotonic()
    }

    fn level(&mut self) -> io::Result<Level> {
        match self {
            Self::Events(port) => port.level(),
            Self::Polled(port) => port.level(),
        }
    }
}

fn level(pressed: bool) -> Level {
    if pressed { Level::Pressed } else { Level::Released }
}

/// A line whose edges the kernel tells.
pub struct EventPort {
    events: AsyncLineEventHandle,
    stamped: bool,
}

impl EventPort {
    /// Takes the line. To be called within a tokio runtime.
    ///
    /// # Errors
    /// As the kernel's.
    pub fn open(line: &Line, flags: LineRequestFlags) -> Result<Self, Error> {
        let events = AsyncLineEventHandle::new(line.events(flags, EventRequestFlags::BOTH_EDGES, CONSUMER)?)?;
        let stamped = nix::sys::utsname::uname().is_ok_and(|name| stamps_monotonic(&name.release().to_string_lossy()));
        Ok(Self { events, stamped })
    }

    async fn next(&mut self) -> io::Result<LineEvent> {
        let event = std::future::poll_fn(|context| Pin::new(&mut self.events).poll_next(context)).await;
        event.ok_or(io::ErrorKind::UnexpectedEof)?.map_err(io::Error::other)
    }

    async fn queued(&mut self) -> Option<io::Result<LineEvent>> {
        let at_once = std::future::poll_fn(|context| match Pin::new(&mut self.events).poll_next(context) {
            Poll::Ready(event) => Poll::Ready(event.map(|event| event.map_err(io::Error::other))),
            Poll::Pending => Poll::Ready(None),
        });
        match at_once.await {
            None if readable(self.events.as_ref().as_fd()) => Some(self.next().await),
            event => event,
        }
    }

    fn edge(&self, event: &LineEvent) -> Edge {
        let stamp = self.stamped.then(|| Monotonic(Duration::from_nanos(event.timestamp())));
        Edge { level: level(event.event_type() == EventType::RisingEdge), stamp }
    }

    /// See [`Port::news`].
    ///
    /// # Errors
    /// The line is gone.
    pub async fn news(&mut self, deadline: Option<Monotonic>) -> io::Result<News> {
        let mut edges = Vec::new();
        let mut next = before(deadline, self.next()).await;
        if next.is_none() {
            next = self.queued().await;
        }
        while let Some(event) = next {
            edges.push(self.edge(&event?));
            // A line that never rests must not keep us from asking for its level.
            next = if edges.len() < KERNEL_QUEUE { self.queued().await } else { None };
        }
        let lost = edges.len() >= KERNEL_QUEUE;
        Ok(News { edges, lost })
    }

    /// See [`Port::level`].
    ///
    /// # Errors
    /// The line is gone.
    pub fn level(&self) -> io::Result<Level> {
        self.events.as_ref().get_value().map(|value| level(value == 1)).map_err(io::Error::other)
    }
}

/// A line that is asked again and again.
pub struct PolledPort {
    pin: CdevPin,
    active_low: bool,
    every: Interval,
    last: Level,
    asked: Monotonic,
}

impl PolledPort {
    fn open(line: &Line, flags: LineRequestFlags, active_low: bool, every: Duration) -> Result<Self, String> {
        let pin = line.request(flags, 0, CONSUMER).and_then(CdevPin::new).map_err(|error| explain(line, &error))?;
        let mut every = interval(every.max(Duration::from_millis(1)));
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut port = Self { pin, active_low, every, last: Level::Released, asked: clock::monotonic() };
        port.level().map_err(|error| error.to_string())?;
        Ok(port)
    }

    fn level(&mut self) -> io::Result<Level> {
        // The pin speaks of volts, not of the request's polarity.
        let pressed = if self.active_low { self.pin.is_low() } else { self.pin.is_high() };
        self.last = pressed.map(level).map_err(io::Error::other)?;
        Ok(self.last)
    }

    async fn news(&mut self, deadline: Option<Monotonic>) -> io::Result<News> {
        before(deadline, self.every.tick()).await;
        let now = clock::monotonic();
        // Where we were kept from asking for long, a release may have gone unseen.
        let lost = now - self.asked > self.every.period() * 4 + Duration::from_millis(200);
        self.asked = now;
        let (last, level) = (self.last, self.level()?);
        let edges = if level == last { Vec::new() } else { vec![Edge { level, stamp: None }] };
        Ok(News { edges, lost })
    }
}

/// A free line, claimed to see what it does: by event, or polled where it has no interrupt.
pub struct FreeLine(GpioPort, Level);

impl FreeLine {
    /// Claims it as an input, without any polarity. To be called within a tokio runtime.
    ///
    /// # Errors
    /// Why it cannot be used, in words for an operator.
    pub fn claim(line: &Line) -> Result<Self, String> {
        let mut port = match EventPort::open(line, LineRequestFlags::INPUT) {
            Ok(port) => GpioPort::Events(port),
            Err(_) => GpioPort::Polled(PolledPort::open(line, LineRequestFlags::INPUT, false, Duration::from_millis(50))?),
        };
        let level = port.level().map_err(|error| error.to_string())?;
        Ok(Self(port, level))
    }

    /// Whether it has no interrupt.
    #[must_use]
    pub fn polled(&self) -> bool {
        matches!(self.0, GpioPort::Polled(_))
    }

    /// Whether it is high, as last seen.
    #[must_use]
    pub fn is_high(&self) -> bool {
        self.1 == Level::Pressed
    }

    /// Waits until its level is another one, and says whether it is high now.
    ///
    /// # Errors
    /// The line is gone.
    pub async fn changed(&mut self) -> io::Result<bool> {
        let before = self.1;
        while self.1 == before {
            self.0.news(None).await?;
            self.1 = self.0.level()?;
        }
        Ok(self.is_high())
    }
}

/// A line that drives a light or a buzzer.
pub struct Output {
    pin: CdevPin,
    active_low: bool,
}

impl Output {
    /// Switches it.
    ///
    /// # Errors
    /// The line is gone.
    pub fn set(&mut self, on: bool) -> io::Result<()> {
        let done = if on == self.active_low { self.pin.set_low() } else { self.pin.set_high() };
        done.map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_gpio_keys_is_explained() {
        assert_eq!(
            claimed("GPIO line 13 of gpiochip0", "gpio_keys"),
            "GPIO line 13 of gpiochip0 is claimed by gpio-keys: use kind = \"input\""
        );
        assert!(claimed("GPIO line 13 of gpiochip0", "Reset Button").contains("\"Reset Button\": if that is the kernel's key driver"));
    }

    #[test]
    fn time_stamps_are_trusted_since_linux_5_7() {
        for (release, trusted) in
            [("5.7.0", true), ("6.1.0-18-amd64", true), ("6.12-rc1", true), ("5.6.19", false), ("4.2.8", false), ("", false)]
        {
            assert_eq!(stamps_monotonic(release), trusted, "{release}");
        }
    }

    #[test]
    fn no_chip_at_all_is_said() {
        let root = tempfile::tempdir().unwrap();
        let place = Place { chip: "gpio0".into(), line: LineId::Offset(13), active_low: true };
        assert_eq!(place.output(root.path()).err().as_deref(), Some("no GPIO chip \"gpio0\" (there are: none)"));
    }
}
