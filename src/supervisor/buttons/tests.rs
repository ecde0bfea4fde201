//! Sources that come, go and fail.

use std::future::Future;

use super::*;
use crate::core::gesture::Ignored;
use crate::core::gesture::Level::{self, Pressed, Released};
use crate::core::time::Monotonic;
use crate::sys::button::fake::{Fake, Step};

const SETTINGS: Settings = Settings {
    hold: Duration::from_secs(3),
    debounce: Duration::from_millis(20),
    stuck_after: Duration::from_secs(30),
    grace: Duration::from_secs(2),
    cooldown: Duration::from_secs(5),
};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// What a source says while its hardware plays the script.
fn said(steps: Vec<Step>) -> Vec<Event> {
    let hardware = Fake::new(steps);
    let (sender, mut events) = mpsc::channel(100);
    let reporter = Reporter { source: "reset".into(), state: watch::channel(State::Missing).0, events: sender };
    let gesture = Gesture::new(SETTINGS, Monotonic::default());
    block_on(async {
        // It never ends by itself: the script does, and then nothing is left to wait for.
        tokio::select! {
            biased;
            () = attend(hardware.clone(), gesture, reporter) => {}
            () = std::future::ready(()) => {}
        }
    });
    hardware.assert_played();
    std::iter::from_fn(|| events.try_recv().ok()).map(|event| event.event).collect()
}

fn edge(until: u64, level: Level) -> [Step; 2] {
    [Step::News { deadline: None, until, edges: vec![(level, Some(until))], lost: false }, Step::Level(Ok(level))]
}

fn due(deadline: u64, level: Level) -> [Step; 2] {
    let news = Step::News { deadline: Some(deadline), until: deadline, edges: Vec::new(), lost: false };
    [news, Step::Level(Ok(level))]
}

fn opened(level: Level) -> [Step; 2] {
    [Step::Open(Ok(())), Step::Level(Ok(level))]
}

fn held(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn the_level_is_read_again_before_firing() {
    let mut steps = Vec::new();
    steps.extend(opened(Released));
    steps.extend(edge(10_000, Pressed));
    steps.extend([10_020, 11_000, 12_000].into_iter().flat_map(|at| due(at, Pressed)));
    // The release event was lost.
    steps.extend(due(13_000, Released));
    assert_eq!(
        said(steps),
        [
            Event::Ready,
            Event::Pressed,
            Event::Holding { held: held(1000) },
            Event::Holding { held: held(2000) },
            Event::Released { held: held(2000), fired: false }
        ]
    );
}

#[test]
fn a_held_button_fires_at_its_own_deadline() {
    let mut steps = Vec::new();
    steps.extend(opened(Released));
    steps.extend(edge(10_000, Pressed));
    steps.extend([10_020, 11_000, 12_000, 13_000].into_iter().flat_map(|at| due(at, Pressed)));
    let fired = said(steps).into_iter().filter(|event| matches!(event, Event::Fired { .. })).collect::<Vec<_>>();
    assert_eq!(fired, [Event::Fired { held: held(3000) }]);
}

#[test]
fn a_device_that_vanishes_while_held_and_comes_back_held_does_not_fire() {
    let mut steps = Vec::new();
    steps.extend(opened(Released));
    steps.extend(edge(10_000, Pressed));
    steps.extend(due(10_020, Pressed));
    steps.extend([Step::Fails { until: 10_500 }, Step::Open(Err("no such device")), Step::Changed { until: 10_600 }]);
    steps.extend([Step::Open(Err("no such device")), Step::Changed { until: 10_700 }]);
    steps.extend(opened(Pressed));
    steps.extend(due(40_700, Pressed));
    let said = said(steps);
    assert_eq!(said[..2], [Event::Ready, Event::Pressed]);
    assert!(matches!(&said[2], Event::Missing { reason } if reason.starts_with("the device is gone")), "{said:?}");
    assert_eq!(said[3..], [Event::Ignored { reason: Ignored::HeldBefore }, Event::Stuck { held: held(30_000) }]);
}

#[test]
fn a_device_that_is_not_there_is_said_once_and_found_when_it_comes() {
    let mut steps = Vec::new();
    for until in [100, 200, 300] {
        steps.extend([Step::Open(Err("none")), Step::Changed { until }]);
    }
    steps.extend([Step::Open(Err("not this one")), Step::Changed { until: 400 }]);
    steps.extend(opened(Released));
    let missing = |reason: &str| Event::Missing { reason: reason.into() };
    assert_eq!(said(steps), [missing("none"), missing("not this one"), Event::Ready]);
}

#[test]
fn a_device_that_is_replaced_is_opened_anew() {
    let mut steps = Vec::new();
    steps.extend(opened(Released));
    steps.push(Step::Gone { until: 500 });
    steps.extend(opened(Released));
    assert_eq!(said(steps), [Event::Ready, Event::Missing { reason: "the device is gone".into() }, Event::Ready]);
}

#[test]
fn a_device_that_fails_at_once_is_not_opened_again_and_again() {
    let failing = || [Step::Open(Ok(())), Step::Level(Err(io::ErrorKind::Other))];
    let mut steps = Vec::new();
    steps.extend(failing());
    steps.push(Step::Changed { until: 7_000 });
    steps.extend(failing());
    assert_eq!(said(steps).len(), 1);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the runtime's own clock, which stands still")]
fn a_line_that_somebody_else_held_is_found_without_any_device_that_comes() {
    let mut steps = Vec::new();
    for _ in 0..12 {
        steps.extend([Step::Open(Err("busy")), Step::Unchanged]);
    }
    steps.extend([Step::Open(Ok(())), Step::Level(Err(io::ErrorKind::Other)), Step::Unchanged]);
    steps.extend(opened(Released));
    let hardware = Fake::new(steps);
    let (sender, mut events) = mpsc::channel(100);
    let reporter = Reporter { source: "reset".into(), state: watch::channel(State::Missing).0, events: sender };
    let watching = attend(hardware.clone(), Gesture::new(SETTINGS, Monotonic::default()), reporter);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let took = runtime.block_on(async {
        let begin = tokio::time::Instant::now();
        let expected = async {
            assert_eq!(events.recv().await.unwrap().event, Event::Missing { reason: "busy".into() });
            assert!(matches!(events.recv().await.unwrap().event, Event::Missing { reason } if reason.contains("gone")));
            assert_eq!(events.recv().await.unwrap().event, Event::Ready);
            begin.elapsed()
        };
        tokio::select! {
            () = watching => panic!("given up"),
            took = tokio::time::timeout(Duration::from_secs(7200), expected) => took.expect("found within two hours"),
        }
    });
    hardware.assert_played();
    // 1, 2, 4, … 256, then 300 seconds; the timer is late by a millisecond at most.
    let due = Duration::from_secs(511 + 4 * 300);
    assert!(took >= due && took < due + Duration::from_secs(1), "{took:?}");
}

#[test]
fn lost_edges_start_the_hold_anew() {
    let mut steps = Vec::new();
    steps.extend(opened(Released));
    steps.extend(edge(10_000, Pressed));
    steps.extend(due(10_020, Pressed));
    steps.extend([Step::News { deadline: Some(11_000), until: 10_900, edges: Vec::new(), lost: true }, Step::Level(Ok(Pressed))]);
    steps.extend([11_900, 12_900, 13_900].into_iter().flat_map(|at| due(at, Pressed)));
    assert_eq!(said(steps).last(), Some(&Event::Fired { held: held(3000) }));
}

#[test]
fn nothing_is_watched_where_the_button_is_not_enabled() {
    let board = Board {
        name: "Board".into(),
        origin: "test".into(),
        detect: board::Detect::default(),
        buttons: vec![board::Button::Simulated { name: "simulated".into() }],
        feedback: Vec::new(),
        sticker: None,
    };
    let settings = config::Button { enabled: false, ..config::Button::default() };
    block_on(async {
        let buttons = Buttons::start(&board, &settings, Path::new("/"), mpsc::channel(1).0);
        assert_eq!(buttons.sources(), []);
        assert_eq!(buttons.press(Duration::ZERO).await, Err(NotSimulated));
    });
}
