//! Lights and beeps while the button is held, and after.
//!
//! A light may be slow (an I²C chip, a microcontroller on a serial line), so nothing is switched by whoever calls
//! [`Feedback::show`]: a thread does it, which ends as soon as nothing is to be shown and gives the lights back as they were. Between presses
//! there is no thread and no open device. A light that fails is logged once and left out.
//!
//! ```text
//!  show ──► (no thread: start one) ──► play the newest pattern ──► wait for the next, at most LINGER ──► give back, end
//!                                              ▲                                │
//!                                              └────────────────────────────────┘
//! ```
#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::config::board::{self, Board};
use crate::supervisor::buttons::line_id;
use crate::sys::gpio::{Output, Place};
use crate::sys::input::Beeper;
use crate::sys::leds::Led;

/// How long a borrowed light waits for the next pattern: a little longer than from tick to tick.
const LINGER: Duration = Duration::from_millis(1500);

/// The stack of the thread, in bytes: it calls nothing deep.
const STACK: usize = 128 * 1024;

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Once a second while the button is held: one short flash and beep.
    Tick,
    /// The press fired: five quick flashes and beeps, then one of two seconds.
    Fired,
    /// What the press was to do failed: three slow, low ones.
    Failed,
    /// Nothing: lights are given back at once.
    Off,
}

impl Pattern {
    /// How long on and then off, in milliseconds, in turn.
    fn steps(self) -> &'static [(u64, u64)] {
        match self {
            Self::Tick => &[(100, 0)],
            Self::Fired => &[(100, 100), (100, 100), (100, 100), (100, 100), (100, 100), (2000, 0)],
            Self::Failed => &[(700, 400), (700, 400), (700, 0)],
            Self::Off => &[],
        }
    }

    /// Whether it is shown to its end.
    fn insists(self) -> bool {
        matches!(self, Self::Fired | Self::Failed)
    }

    /// The pitch of a beep.
    fn hertz(self) -> u16 {
        match self {
            Self::Fired => 2000,
            Self::Failed => 300,
            Self::Tick | Self::Off => 1000,
        }
    }
}

/// The board's lights and beepers.
#[derive(Debug, Clone)]
pub struct Feedback(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    lights: Vec<board::Feedback>,
    root: PathBuf,
    slot: Mutex<Slot>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Slot {
    next: Option<Pattern>,
    running: bool,
    /// For each light, whether its failure was logged.
    failed: Vec<bool>,
}

/// A borrowed light, and its place in the profile.
struct Light {
    place: usize,
    means: Means,
}

enum Means {
    Led(Led),
    Pin(Output),
    Beeper(Beeper),
}

impl Feedback {
    /// The lights of the board's profile. `root` is where `dev` and `sys` are: `/`. Nothing is opened before it is needed.
    #[must_use]
    pub fn open(board: &Board, root: &Path) -> Self {
        let slot = Slot { failed: vec![false; board.feedback.len()], ..Slot::default() };
        Self(Arc::new(Shared { lights: board.feedback.clone(), root: root.into(), slot: slot.into(), news: Condvar::new() }))
    }

    /// Shows a pattern. [`Pattern::Fired`] and [`Pattern::Failed`] are shown to their end, unless one follows the other; the others give
    /// way to whatever comes. Never waits for a light, never fails.
    pub fn show(&self, pattern: Pattern) {
        let mut slot = self.0.lock();
        if self.0.lights.is_empty() || (!slot.running && pattern == Pattern::Off) {
            return;
        }
        if !pattern.insists() && slot.next.is_some_and(Pattern::insists) {
            return;
        }
        slot.next = Some(pattern);
        if slot.running {
            self.0.news.notify_all();
            return;
        }
        let shared = Arc::clone(&self.0);
        let started = thread::Builder::new().name("feedback".into()).stack_size(STACK).spawn(move || shared.play());
        match started {
            Ok(_) => slot.running = true,
            Err(error) => log::warn!("feedback: no thread for it: {error}"),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread, from its first pattern to its end.
    fn play(&self) {
        loop {
            let mut lights = self.borrow();
            while let Some(pattern) = self.next().filter(|pattern| *pattern != Pattern::Off) {
                self.run(pattern, &mut lights);
            }
            drop(lights);
            let mut slot = self.lock();
            // Something may have come in while the lights were given back.
            if slot.next.is_none_or(|next| next == Pattern::Off) {
                (slot.next, slot.running) = (None, false);
                self.news.notify_all();
                return;
            }
        }
    }

    /// The next pattern; none where it does not come in time.
    fn next(&self) -> Option<Pattern> {
        let waited = self.news.wait_timeout_while(self.lock(), LINGER, |slot| slot.next.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.next.take()
    }

    /// Waits, and says whether the pattern may go on.
    fn pause(&self, pattern: Pattern, ms: u64) -> bool {
        let gives_way = |slot: &Slot| slot.next.is_some_and(|next| next.insists() || !pattern.insists());
        let waited = self.news.wait_timeout_while(self.lock(), Duration::from_millis(ms), |slot| !gives_way(slot));
        !gives_way(&waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    fn run(&self, pattern: Pattern, lights: &mut Vec<Light>) {
        for (on, off) in pattern.steps() {
            self.switch(lights, Some(pattern.hertz()));
            let go_on = self.pause(pattern, *on);
            self.switch(lights, None);
            if !go_on || !self.pause(pattern, *off) {
                return;
            }
        }
    }

    /// Switches all lights, on with that pitch or off; those that fail are left out.
    fn switch(&self, lights: &mut Vec<Light>, hertz: Option<u16>) {
        lights.retain_mut(|light| light.means.switch(hertz).map_err(|error| self.failed(light.place, &error.to_string())).is_ok());
    }

    fn borrow(&self) -> Vec<Light> {
        let open = |(place, light)| match Means::open(light, &self.root) {
            Ok(means) => Some(Light { place, means }),
            Err(reason) => {
                self.failed(place, &reason);
                None
            }
        };
        self.lights.iter().enumerate().filter_map(open).collect()
    }

    fn failed(&self, place: usize, reason: &str) {
        if !std::mem::replace(&mut self.lock().failed[place], true) {
            log::warn!("feedback: {:?}: {reason}", self.lights[place]);
        }
    }
}

impl Means {
    fn open(light: &board::Feedback, root: &Path) -> Result<Self, String> {
        match light {
            board::Feedback::Led { name } => Led::open(root, name).map(Self::Led).map_err(|error| error.to_string()),
            board::Feedback::Beeper { device } => Beeper::open(root, device).map(Self::Beeper),
            board::Feedback::Gpio { chip, line, active_low } => {
                Place { chip: chip.clone(), line: line_id(line), active_low: *active_low }.output(root).map(Self::Pin)
            }
        }
    }

    fn switch(&mut self, hertz: Option<u16>) -> io::Result<()> {
        match self {
            Self::Led(led) => led.set(hertz.is_some()),
            Self::Pin(pin) => pin.set(hertz.is_some()),
            Self::Beeper(beeper) => beeper.sound(hertz.unwrap_or(0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::sys::clock;

    fn board(feedback: Vec<board::Feedback>) -> Board {
        Board {
            name: "Board".into(),
            origin: "test".into(),
            detect: board::Detect::default(),
            buttons: Vec::new(),
            feedback,
            sticker: None,
        }
    }

    fn led(root: &Path, name: &str) -> (board::Feedback, PathBuf) {
        let folder = root.join("sys/class/leds").join(name);
        fs::create_dir_all(&folder).unwrap();
        for (file, text) in [("brightness", "3"), ("max_brightness", "9"), ("trigger", "none [heartbeat]")] {
            fs::write(folder.join(file), text).unwrap();
        }
        (board::Feedback::Led { name: name.into() }, folder)
    }

    fn await_end(feedback: &Feedback) {
        let slot = feedback.0.lock();
        let waited = feedback.0.news.wait_timeout_while(slot, Duration::from_secs(60), |slot| slot.running).unwrap();
        assert!(!waited.1.timed_out(), "the thread ends by itself");
    }

    #[test]
    fn a_light_flashes_and_is_given_back_by_a_thread_that_ends() {
        let root = tempfile::tempdir().unwrap();
        let (light, folder) = led(root.path(), "red");
        let feedback = Feedback::open(&board(vec![light]), root.path());
        let state = || ["brightness", "trigger"].map(|file| fs::read_to_string(folder.join(file)).unwrap());
        let end = clock::monotonic() + Duration::from_secs(60);
        // A light is given back after a while without a tick, also to one who is late with it.
        while state() != ["9", "none"] {
            assert!(clock::monotonic() < end, "{:?}", state());
            feedback.show(Pattern::Tick);
            thread::yield_now();
        }
        feedback.show(Pattern::Off);
        await_end(&feedback);
        assert_eq!(fs::read_to_string(folder.join("brightness")).unwrap(), "3");
        assert_eq!(fs::read_to_string(folder.join("trigger")).unwrap(), "heartbeat");
    }

    #[test]
    fn a_release_does_not_cut_off_what_tells_the_firing() {
        let feedback = Feedback::open(&board(vec![board::Feedback::Led { name: "red".into() }]), Path::new("/nowhere"));
        // No thread: what is shown stays where it was put.
        feedback.0.lock().running = true;
        for (shown, next) in [
            (Pattern::Tick, Pattern::Tick),
            (Pattern::Off, Pattern::Off),
            (Pattern::Fired, Pattern::Fired),
            (Pattern::Off, Pattern::Fired),
            (Pattern::Failed, Pattern::Failed),
            (Pattern::Tick, Pattern::Failed),
        ] {
            feedback.show(shown);
            assert_eq!(feedback.0.lock().next, Some(next));
        }
        for (playing, next, goes_on) in [
            (Pattern::Fired, Pattern::Off, true),
            (Pattern::Fired, Pattern::Failed, false),
            (Pattern::Tick, Pattern::Off, false),
            (Pattern::Tick, Pattern::Fired, false),
        ] {
            feedback.0.lock().next = Some(next);
            assert_eq!(feedback.0.pause(playing, 1), goes_on, "{playing:?}, {next:?}");
        }
    }

    #[test]
    fn lights_that_are_not_there_do_no_harm() {
        let root = tempfile::tempdir().unwrap();
        let absent = [
            board::Feedback::Led { name: "absent".into() },
            board::Feedback::Gpio { chip: "absent".into(), line: board::Line::Offset(1), active_low: false },
            board::Feedback::Beeper { device: "absent".into() },
        ];
        let (light, folder) = led(root.path(), "red");
        let feedback = Feedback::open(&board(absent.into_iter().chain([light]).collect()), root.path());
        feedback.show(Pattern::Tick);
        feedback.show(Pattern::Off);
        await_end(&feedback);
        assert_eq!(feedback.0.lock().failed, [true, true, true, false]);
        assert_eq!(fs::read_to_string(folder.join("brightness")).unwrap(), "3");
    }

    #[test]
    fn a_board_without_lights_needs_no_thread() {
        let feedback = Feedback::open(&board(Vec::new()), Path::new("/"));
        feedback.show(Pattern::Tick);
        assert!(!feedback.0.lock().running);
    }
}
