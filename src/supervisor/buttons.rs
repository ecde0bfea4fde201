//! The button sources of a board, each with its own gesture.
//!
//! One task per source: it finds the hardware, feeds its edges and its real level to the source's gesture, keeps the gesture's
//! deadline, and sends what the gesture says. While nothing is pressed it sleeps: hardware that comes and goes is told by the
//! kernel. Only hardware that is missing is also looked for by the clock ([`FIRST_PAUSE`]): what held it may let go of it, or what it failed
//! of may pass, without any device that comes or goes. It does not log, act or show anything: whoever receives the events does.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;

use crate::config;
use crate::config::board::{self, Board};
use crate::core::gesture::{Event, Gesture, Settings, State};
use crate::sys::button::{Finger, Hardware, News, Port, simulated};
use crate::sys::clock;
use crate::sys::gpio::{Gpio, LineId, Place};
use crate::sys::input::Key;

/// Hardware that fails sooner than this after it was opened counts as missing still.
const SHORT_LIVED: Duration = Duration::from_secs(1);

/// How long after a failure missing hardware is looked for again, where no device comes or goes before; doubled with each failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// How long [`Buttons::press`] waits for the watching to begin, and for the release to be noticed.
const NOTICED: Duration = Duration::from_secs(2);

/// What happened at one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ButtonEvent {
    /// The source's name in the board profile.
    pub source: Arc<str>,
    /// What happened.
    pub event: Event,
}

/// How a source is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A key of an input device.
    Input,
    /// A GPIO line.
    Gpio,
    /// No hardware.
    Simulated,
}

/// The board has no simulated button.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotSimulated;

/// The watched buttons. Dropping it ends the watching.
#[derive(Debug)]
pub struct Buttons {
    sources: Vec<Source>,
    /// The simulated ones; the first is the one that is pressed.
    simulated: Vec<(Mutex<Finger>, watch::Receiver<State>)>,
    /// Ended by its drop.
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Source {
    name: Arc<str>,
    kind: Kind,
    state: watch::Receiver<State>,
}

fn gesture_settings(button: &config::Button) -> Settings {
    Settings {
        hold: button.hold,
        debounce: button.debounce,
        stuck_after: button.stuck_after,
        grace: button.grace,
        cooldown: button.cooldown,
    }
}

/// The line of a board, as `sys` names it.
pub(super) fn line_id(line: &board::Line) -> LineId {
    match line {
        board::Line::Offset(offset) => LineId::Offset(*offset),
        board::Line::Name(name) => LineId::Name(name.clone()),
    }
}

impl Buttons {
    /// Watches the board's buttons, one task each on the current tokio runtime; none where the button is not enabled. `root` is where `dev`
    /// is: `/`. The start-up grace begins now.
    #[must_use]
    pub fn start(board: &Board, settings: &config::Button, root: &Path, events: mpsc::Sender<ButtonEvent>) -> Self {
        let mut buttons = Self { sources: Vec::new(), simulated: Vec::new(), tasks: JoinSet::new() };
        let start = clock::monotonic();
        for button in board.buttons.iter().filter(|_| settings.enabled) {
            let gesture = Gesture::new(gesture_settings(settings), start);
            let (state, seen) = watch::channel(State::Missing);
            let reporter = Reporter { source: button.name().into(), state, events: events.clone() };
            let name = Arc::clone(&reporter.source);
            let kind = match button {
                board::Button::Input { device, key, grab, .. } => {
                    buttons.tasks.spawn(attend(Key::new(root, device, key, *grab), gesture, reporter));
                    Kind::Input
                }
                board::Button::Gpio { chip, line, active_low, poll_ms, .. } => {
                    let place = Place { chip: chip.clone(), line: line_id(line), active_low: *active_low };
                    let poll = (*poll_ms > 0).then(|| Duration::from_millis(*poll_ms));
                    buttons.tasks.spawn(attend(Gpio::new(root, place, poll), gesture, reporter));
                    Kind::Gpio
                }
                board::Button::Simulated { .. } => {
                    let (finger, hardware) = simulated();
                    buttons.tasks.spawn(attend(hardware, gesture, reporter));
                    buttons.simulated.push((Mutex::new(finger), seen.clone()));
                    Kind::Simulated
                }
            };
            buttons.sources.push(Source { name, kind, state: seen });
        }
        buttons
    }

    /// Each source's name, kind and state, in the profile's order.
    #[must_use]
    pub fn sources(&self) -> Vec<(String, Kind, State)> {
        self.sources.iter().map(|source| (source.name.to_string(), source.kind, *source.state.borrow())).collect()
    }

    /// Presses the first simulated button for `hold` in real time, and answers when its release was noticed. Presses at the same time
    /// follow each other. A caller that gives up releases.
    ///
    /// # Errors
    /// The board has none.
    pub async fn press(&self, hold: Duration) -> Result<(), NotSimulated> {
        let (finger, state) = self.simulated.first().ok_or(NotSimulated)?;
        let (finger, mut state) = (finger.lock().await, state.clone());
        // Pressed before it is watched, it would be held at the start.
        let _ = tokio::time::timeout(NOTICED, state.wait_for(|state| *state != State::Missing)).await;
        let held = finger.press();
        tokio::time::sleep(hold).await;
        drop(held);
        // Late or not, the press is over.
        let _ = tokio::time::timeout(NOTICED, state.wait_for(|state| *state != State::Held)).await;
        Ok(())
    }
}

impl Kind {
    /// As in `io.twostep.Recovery`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Gpio => "gpio",
            Self::Simulated => "simulated",
        }
    }
}

impl fmt::Display for NotSimulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this board has no simulated button")
    }
}

impl std::error::Error for NotSimulated {}

/// Where a source's news goes.
struct Reporter {
    source: Arc<str>,
    state: watch::Sender<State>,
    events: mpsc::Sender<ButtonEvent>,
}

/// Nobody listens any more.
struct Unheard;

impl Reporter {
    /// Whether the last that was said is that the hardware is there.
    fn seen(&self) -> bool {
        *self.state.borrow() != State::Missing
    }

    async fn say(&self, state: State, events: impl IntoIterator<Item = Event>) -> Result<(), Unheard> {
        self.state.send_if_modified(|before| std::mem::replace(before, state) != state);
        for event in events {
            let tick = matches!(event, Event::Holding { .. });
            let event = ButtonEvent { source: Arc::clone(&self.source), event };
            if tick {
                // A tick that is late is worth nothing.
                let _ = self.events.try_send(event);
            } else {
                self.events.send(event).await.map_err(|_| Unheard)?;
            }
        }
        Ok(())
    }
}

/// Watches one source, until nobody listens.
async fn attend(mut hardware: impl Hardware, mut gesture: Gesture, reporter: Reporter) {
    let mut absence = Absence::new();
    loop {
        match hardware.open() {
            Ok(mut port) => {
                let opened = port.now();
                let Ok(end) = follow(&mut hardware, &mut port, &mut gesture, &reporter).await else { return };
                gesture.vanish();
                let lived = port.now() - opened >= SHORT_LIVED;
                let (reason, retry) = match end {
                    // It may be back already, and that it is would not be told again.
                    End::Gone => ("the device is gone".into(), true),
                    End::Failed(error) => (format!("the device is gone: {error}"), lived),
                };
                if lived {
                    absence = Absence::new();
                }
                if absence.is_news(&reason, reporter.seen()) && reporter.say(State::Missing, [Event::Missing { reason }]).await.is_err() {
                    return;
                }
                absence.gone = true;
                if retry {
                    continue;
                }
            }
            Err(reason) => {
                let news = absence.is_news(&reason, false);
                if news && reporter.say(State::Missing, [Event::Missing { reason }]).await.is_err() {
                    return;
                }
            }
        }
        absence.wait(&mut hardware).await;
    }
}

/// Hardware that is missing: what was said of it, and when it is looked for again.
struct Absence {
    said: Option<String>,
    /// That it is gone was said just now; why it can't be opened then need not be.
    gone: bool,
    pause: Duration,
}

impl Absence {
    fn new() -> Self {
        Self { said: None, gone: false, pause: FIRST_PAUSE }
    }

    /// Whether this reason must be said: said once, it need not be for each attempt, unless the hardware was `seen` in between.
    fn is_news(&mut self, reason: &str, seen: bool) -> bool {
        let news = seen || (!std::mem::take(&mut self.gone) && self.said.as_deref() != Some(reason));
        self.said = Some(reason.into());
        news
    }

    /// Waits until it is worth looking again: a device came or went, or the pause is over.
    async fn wait(&mut self, hardware: &mut impl Hardware) {
        self.pause = match tokio::time::timeout(self.pause, hardware.changed()).await {
            Ok(()) => FIRST_PAUSE,
            Err(_) => (self.pause * 2).min(LONGEST_PAUSE),
        };
    }
}

/// Why an opened source is followed no longer.
enum End {
    /// Its node is gone, or is another one.
    Gone,
    /// It could not be read.
    Failed(io::Error),
}

/// Follows an opened source until it is gone.
async fn follow<H: Hardware>(hw: &mut H, port: &mut H::Port, gesture: &mut Gesture, reporter: &Reporter) -> Result<End, Unheard> {
    let mut events = match port.level() {
        Ok(level) => gesture.appear(port.now(), level),
        Err(error) => return Ok(End::Failed(error)),
    };
    loop {
        reporter.say(gesture.state(), events).await?;
        let news = tokio::select! {
            biased;
            news = port.news(gesture.deadline()) => news,
            () = hw.gone() => return Ok(End::Gone),
        };
        events = match news.and_then(|news| learn(port, gesture, &news)) {
            Ok(events) => events,
            Err(error) => return Ok(End::Failed(error)),
        };
    }
}

/// Edges first, then the real level: what is due is decided by that alone.
fn learn(port: &mut impl Port, gesture: &mut Gesture, news: &News) -> io::Result<Vec<Event>> {
    let now = port.now();
    let mut events: Vec<_> = news.edges.iter().flat_map(|edge| gesture.edge(now, edge.stamp, edge.level)).collect();
    let level = port.level()?;
    events.extend(if news.lost { gesture.resync(now, level) } else { gesture.timer(now, level) });
    Ok(events)
}

#[cfg(test)]
mod tests;
