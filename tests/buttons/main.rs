//! Buttons as a user presses them: the simulated one always, input devices through uinput and GPIO lines through gpio-sim where the
//! kernel has them (it skips loudly where not; `tests/vm` always has them).

use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::sync::mpsc;
use twostep::config;
use twostep::config::board::{Board, Button, Detect, Feedback, Line};
use twostep::core::gesture::{Event, Ignored, State};
use twostep::supervisor::buttons::{ButtonEvent, Buttons, Kind, NotSimulated};
use twostep::sys::clock;

mod feedback;
mod gpio;
mod identify;
mod input;
#[path = "../support/skip.rs"]
mod skip;

use skip::{Lack, skipped};

const HOLD: Duration = Duration::from_millis(1200);

/// Longer than any test may take.
const LONG: Duration = Duration::from_secs(300);

fn settings() -> config::Button {
    config::Button { hold: HOLD, grace: Duration::ZERO, cooldown: Duration::from_millis(1), ..config::Button::default() }
}

/// For presses that must not fire, however long a machine that stalls makes them.
fn patient() -> config::Button {
    config::Button { hold: LONG, ..settings() }
}

fn board(buttons: Vec<Button>, feedback: Vec<Feedback>) -> Board {
    Board { name: "Board".into(), origin: "test".into(), detect: Detect::default(), buttons, feedback, sticker: None }
}

fn simulated(name: &str) -> Button {
    Button::Simulated { name: name.into() }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), future).await.expect("it takes no minute") })
}

/// Watched buttons, and what they said.
struct Watched {
    buttons: Buttons,
    events: Events,
}

struct Events(mpsc::Receiver<ButtonEvent>);

impl Watched {
    fn new(buttons: Vec<Button>, settings: &config::Button, root: &Path) -> Self {
        let (sender, events) = mpsc::channel(64);
        Self { buttons: Buttons::start(&board(buttons, Vec::new()), settings, root, sender), events: Events(events) }
    }

    async fn next(&mut self) -> Event {
        self.events.next().await
    }

    async fn until(&mut self, kind: impl Fn(&Event) -> bool) -> Event {
        self.events.until(kind).await
    }

    fn is_silent(&mut self) -> bool {
        self.said_only(|_| false)
    }

    /// Whether all that was said meanwhile is of that kind.
    fn said_only(&mut self, kind: impl Fn(&Event) -> bool) -> bool {
        std::iter::from_fn(|| self.events.0.try_recv().ok()).all(|said| kind(&said.event))
    }
}

impl Events {
    async fn next(&mut self) -> Event {
        self.0.recv().await.expect("the buttons are watched").event
    }

    /// Everything up to the first event of that kind, which is returned.
    async fn until(&mut self, kind: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = self.next().await;
            if kind(&event) {
                return event;
            }
            assert!(!matches!(event, Event::Fired { .. }), "it fired");
        }
    }
}

/// What is awaited, with the first simulated button held until it has come.
async fn while_held<T>(buttons: &Buttons, awaited: impl Future<Output = T>) -> T {
    tokio::select! {
        _ = buttons.press(LONG) => unreachable!("held for longer"),
        come = awaited => come,
    }
}

fn is_fired(event: &Event) -> bool {
    matches!(event, Event::Fired { .. })
}

fn is_released(event: &Event) -> bool {
    matches!(event, Event::Released { .. })
}

fn is_missing(event: &Event) -> bool {
    matches!(event, Event::Missing { .. })
}

#[test]
fn a_long_press_fires_once_while_it_is_still_held() {
    block_on(async {
        let mut watched = Watched::new(vec![simulated("reset")], &settings(), Path::new("/nowhere"));
        assert_eq!(watched.next().await, Event::Ready);
        let start = clock::monotonic();
        let Watched { buttons, events } = &mut watched;
        let fired = async {
            assert_eq!(events.next().await, Event::Pressed);
            events.until(is_fired).await
        };
        let Event::Fired { held } = while_held(buttons, fired).await else { unreachable!() };
        assert!(held >= HOLD && held < clock::monotonic() - start, "{held:?}");
        assert!(matches!(watched.next().await, Event::Released { fired: true, held } if held >= HOLD));
        assert!(watched.is_silent());
        assert_eq!(watched.buttons.sources(), [("reset".into(), Kind::Simulated, State::Ready)]);
    });
}

#[test]
fn a_short_press_does_not_fire() {
    block_on(async {
        let mut watched = Watched::new(vec![simulated("reset")], &patient(), Path::new("/nowhere"));
        watched.buttons.press(HOLD).await.unwrap();
        assert!(matches!(watched.until(is_released).await, Event::Released { fired: false, .. }));
    });
}

#[test]
fn a_press_right_after_the_start_is_ignored() {
    block_on(async {
        let settings = config::Button { grace: Duration::from_secs(30), ..settings() };
        let mut watched = Watched::new(vec![simulated("reset")], &settings, Path::new("/nowhere"));
        assert_eq!(watched.next().await, Event::Ready);
        let ignored = while_held(&watched.buttons, watched.events.next()).await;
        assert_eq!(ignored, Event::Ignored { reason: Ignored::Grace });
        assert!(matches!(watched.next().await, Event::Released { fired: false, .. }));
    });
}

#[test]
fn whoever_gives_up_pressing_releases() {
    block_on(async {
        let mut watched = Watched::new(vec![simulated("reset")], &patient(), Path::new("/nowhere"));
        assert_eq!(watched.next().await, Event::Ready);
        assert_eq!(while_held(&watched.buttons, watched.events.next()).await, Event::Pressed);
        assert!(matches!(watched.until(is_released).await, Event::Released { fired: false, .. }));
    });
}

#[test]
fn each_source_has_its_own_state() {
    block_on(async {
        let absent = Button::Input { name: "front".into(), device: "absent".into(), key: "KEY_RESTART".into(), grab: false };
        let mut watched = Watched::new(vec![simulated("reset"), absent, simulated("second")], &patient(), Path::new("/nowhere"));
        for _ in 0..3 {
            watched.next().await;
        }
        let pressed = while_held(&watched.buttons, watched.events.0.recv()).await;
        assert_eq!(pressed, Some(ButtonEvent { source: "reset".into(), event: Event::Pressed }));
        let states = watched.buttons.sources().into_iter().map(|(name, _, state)| (name, state)).collect::<Vec<_>>();
        let expected = [("reset", State::Held), ("front", State::Missing), ("second", State::Ready)];
        assert_eq!(states, expected.map(|(name, state)| (name.to_owned(), state)));
    });
}

#[test]
fn a_board_of_real_buttons_cannot_be_pressed_by_command() {
    block_on(async {
        let real = Button::Input { name: "reset".into(), device: "absent".into(), key: "KEY_RESTART".into(), grab: false };
        let watched = Watched::new(vec![real], &settings(), Path::new("/nowhere"));
        assert_eq!(watched.buttons.press(HOLD).await, Err(NotSimulated));
    });
}

/// Times this thread has gone to sleep.
fn sleeps() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).expect("the kernel counts them");
    line.trim().parse().unwrap()
}

#[test]
fn idle_buttons_never_wake_up() {
    block_on(async {
        let root = tempfile::tempdir().unwrap();
        // What is missing is looked for by the clock too, more and more seldom; what is there is not.
        let mut watched = Watched::new(vec![simulated("reset"), simulated("front")], &settings(), root.path());
        for _ in 0..2 {
            watched.next().await;
        }
        let mut woken = Vec::new();
        // The sleep of this test is up to three: on the way to its end tokio looks at it twice. What the machine adds, waiting for a page of the program
        // say, is not there each time; a clock would be.
        while woken.iter().all(|times| *times > 3) {
            assert!(woken.len() < 3, "{woken:?} wake-ups");
            let before = sleeps();
            tokio::time::sleep(Duration::from_secs(6)).await;
            woken.push(sleeps() - before);
        }
    });
}

/// Whether hardware can be made and opened; says so where not.
fn may_make(what: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skipped(Lack::Root, format_args!("only root can make {what}"));
    }
    root
}
