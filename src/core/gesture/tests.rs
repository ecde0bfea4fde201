//! Presses, bounces, stuck buttons, and any order of them.

use proptest::prelude::*;

use super::*;

const SETTINGS: Settings = Settings {
    hold: Duration::from_secs(3),
    debounce: Duration::from_millis(20),
    stuck_after: Duration::from_secs(30),
    grace: Duration::from_secs(2),
    cooldown: Duration::from_secs(5),
};

fn ms(ms: u64) -> Monotonic {
    Monotonic(Duration::from_millis(ms))
}

fn held(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A button whose edges arrive at once and whose deadlines are kept.
struct Button {
    gesture: Gesture,
    level: Level,
    said: Vec<(u64, Event)>,
}

impl Button {
    fn new(level: Level) -> Self {
        let mut gesture = Gesture::new(SETTINGS, ms(0));
        let said = gesture.appear(ms(0), level).into_iter().map(|e| (0, e)).collect();
        Self { gesture, level, said }
    }

    fn say(&mut self, at: Monotonic, events: Vec<Event>) {
        let at = u64::try_from(at.0.as_millis()).unwrap();
        self.said.extend(events.into_iter().map(|e| (at, e)));
    }

    fn pass(&mut self, until: u64) {
        while let Some(due) = self.gesture.deadline().filter(|due| *due <= ms(until)) {
            let events = self.gesture.timer(due, self.level);
            self.say(due, events);
        }
    }

    fn set(&mut self, at: u64, level: Level) {
        self.pass(at.saturating_sub(1));
        self.level = level;
        let events = self.gesture.edge(ms(at), Some(ms(at)), level);
        self.say(ms(at), events);
        let events = self.gesture.timer(ms(at), level);
        self.say(ms(at), events);
    }

    fn press(&mut self, from: u64, to: u64) {
        self.set(from, Level::Pressed);
        self.set(to, Level::Released);
        self.pass(to + 100);
    }

    fn fired(&self) -> Vec<u64> {
        self.said.iter().filter(|(_, e)| matches!(e, Event::Fired { .. })).map(|(at, _)| *at).collect()
    }
}

#[test]
fn three_seconds_fire_once_while_still_held() {
    let mut button = Button::new(Level::Released);
    button.press(10_000, 14_000);
    assert_eq!(
        button.said,
        [
            (0, Event::Ready),
            (10_020, Event::Pressed),
            (11_000, Event::Holding { held: held(1000) }),
            (12_000, Event::Holding { held: held(2000) }),
            (13_000, Event::Fired { held: held(3000) }),
            (14_020, Event::Released { held: held(4000), fired: true }),
        ]
    );
    assert_eq!(button.gesture.state(), State::Ready);
    assert_eq!(button.gesture.deadline(), None, "an idle button needs no timer");
}

#[test]
fn a_press_of_2_8_seconds_does_nothing() {
    let mut button = Button::new(Level::Released);
    button.press(10_000, 12_800);
    assert!(button.fired().is_empty());
    assert_eq!(button.said.last(), Some(&(12_820, Event::Released { held: held(2800), fired: false })));
}

#[test]
fn a_tap_shorter_than_the_debounce_is_nothing_at_all() {
    let mut button = Button::new(Level::Released);
    button.press(10_000, 10_015);
    assert_eq!(button.said, [(0, Event::Ready)]);
}

#[test]
fn a_bouncing_press_counts_from_the_last_bounce() {
    let mut button = Button::new(Level::Released);
    for (at, level) in [(0, Level::Pressed), (2, Level::Released), (3, Level::Pressed), (9, Level::Released)] {
        button.set(10_000 + at, level);
    }
    button.press(10_011, 14_000);
    assert_eq!(button.fired(), [13_011]);
    assert_eq!(button.said.iter().filter(|(_, e)| *e == Event::Pressed).count(), 1);
}

#[test]
fn a_short_bounce_during_the_hold_is_forgiven_but_does_not_count_as_hold() {
    let mut button = Button::new(Level::Released);
    button.set(10_000, Level::Pressed);
    button.set(11_500, Level::Released);
    button.press(11_505, 14_000);
    assert_eq!(button.fired(), [13_005]);
}

#[test]
fn a_release_of_the_debounce_time_ends_the_press() {
    let mut button = Button::new(Level::Released);
    button.set(10_000, Level::Pressed);
    button.set(12_900, Level::Released);
    button.press(12_920, 15_000);
    assert!(button.fired().is_empty());
    assert!(button.said.contains(&(12_920, Event::Released { held: held(2900), fired: false })), "{:?}", button.said);
}

#[test]
fn a_line_that_floats_never_fires() {
    let mut button = Button::new(Level::Released);
    button.set(10_000, Level::Pressed);
    for step in 0..400 {
        button.set(10_050 + 30 * step, if step % 2 == 0 { Level::Released } else { Level::Pressed });
        button.set(10_055 + 30 * step, if step % 2 == 0 { Level::Pressed } else { Level::Released });
        button.set(10_060 + 30 * step, Level::Pressed);
    }
    assert!(button.fired().is_empty());
}

#[test]
fn a_lost_release_does_not_fire() {
    let mut gesture = Gesture::new(SETTINGS, ms(0));
    let _ = gesture.appear(ms(0), Level::Released);
    let _ = gesture.edge(ms(10_000), None, Level::Pressed);
    assert_eq!(gesture.timer(ms(10_020), Level::Pressed), [Event::Pressed]);
    let _ = gesture.timer(ms(12_000), Level::Pressed);
    let events = gesture.timer(ms(13_000), Level::Released);
    assert_eq!(events, [Event::Released { held: held(2000), fired: false }]);
    assert_eq!(gesture.state(), State::Ready);
}

#[test]
fn a_lost_release_followed_by_a_press_starts_the_hold_anew() {
    let mut gesture = Gesture::new(SETTINGS, ms(0));
    let _ = gesture.appear(ms(0), Level::Released);
    let _ = gesture.edge(ms(10_000), Some(ms(10_000)), Level::Pressed);
    let _ = gesture.timer(ms(10_020), Level::Pressed);
    let _ = gesture.timer(ms(11_000), Level::Pressed);
    let _ = gesture.edge(ms(11_900), Some(ms(11_900)), Level::Pressed);
    assert!(!gesture.timer(ms(13_000), Level::Pressed).iter().any(|e| matches!(e, Event::Fired { .. })));
    assert_eq!(gesture.timer(ms(14_900), Level::Pressed), [Event::Fired { held: held(3000) }]);
}

#[test]
fn lost_edges_start_the_hold_anew() {
    let mut gesture = Gesture::new(SETTINGS, ms(0));
    let _ = gesture.appear(ms(0), Level::Released);
    let _ = gesture.edge(ms(10_000), Some(ms(10_000)), Level::Pressed);
    let _ = gesture.timer(ms(10_020), Level::Pressed);
    let _ = gesture.resync(ms(12_500), Level::Pressed);
    assert_eq!(gesture.deadline(), Some(ms(13_500)), "the next tick");
    assert_eq!(gesture.timer(ms(13_000), Level::Pressed), []);
    assert_eq!(gesture.timer(ms(15_500), Level::Pressed), [Event::Fired { held: held(3000) }]);
}

#[test]
fn a_stall_with_a_release_in_it_does_not_fire_without_time_stamps() {
    let mut gesture = Gesture::new(SETTINGS, ms(0));
    let _ = gesture.appear(ms(0), Level::Released);
    let _ = gesture.edge(ms(10_000), None, Level::Pressed);
    let _ = gesture.timer(ms(10_020), Level::Pressed);
    // Two seconds later both edges are read at once.
    let mut events = gesture.edge(ms(12_900), None, Level::Released);
    events.extend(gesture.edge(ms(12_900), None, Level::Pressed));
    events.extend(gesture.timer(ms(13_100), Level::Pressed));
    assert_eq!(events, [Event::Released { held: held(20), fired: false }, Event::Pressed]);
}

#[test]
fn a_late_wake_up_still_measures_the_real_hold() {
    let mut gesture = Gesture::new(SETTINGS, ms(0));
    let _ = gesture.appear(ms(0), Level::Released);
    let mut events = gesture.edge(ms(12_500), Some(ms(10_000)), Level::Pressed);
    events.extend(gesture.timer(ms(12_500), Level::Pressed));
    assert_eq!(events, [Event::Pressed, Event::Holding { held: held(2500) }]);
    assert_eq!(gesture.deadline(), Some(ms(13_000)));
}

#[test]
fn it_does_not_fire_a_nanosecond_too_early() {
    let mut gesture = Gesture::new(SETTINGS, ms(0));
    let _ = gesture.appear(ms(0), Level::Released);
    let _ = gesture.edge(ms(10_000), Some(ms(10_000)), Level::Pressed);
    let _ = gesture.timer(ms(12_500), Level::Pressed);
    let early = Monotonic(ms(13_000).0 - Duration::from_nanos(1));
    assert_eq!(gesture.timer(early, Level::Pressed), []);
    assert_eq!(gesture.timer(ms(13_000), Level::Pressed), [Event::Fired { held: held(3000) }]);
}

#[test]
fn a_stamp_from_before_the_level_was_last_read_does_not_lengthen_the_hold() {
    let mut gesture = Gesture::new(SETTINGS, ms(0));
    let _ = gesture.appear(ms(10_000), Level::Released);
    let _ = gesture.edge(ms(10_100), Some(ms(4_000)), Level::Pressed);
    assert_eq!(gesture.deadline(), Some(ms(10_020)), "the press began when the level was last known to be released, at the earliest");
    let mut gesture = Gesture::new(SETTINGS, ms(0));
    let _ = gesture.appear(ms(10_000), Level::Released);
    let _ = gesture.edge(ms(10_100), Some(ms(99_000)), Level::Pressed);
    assert_eq!(gesture.deadline(), Some(ms(10_120)), "and not in the future");
}

#[test]
fn a_release_with_lost_edges_in_it_is_not_a_stable_one() {
    let mut button = Button::new(Level::Released);
    button.set(10_000, Level::Pressed);
    button.pass(13_000);
    button.set(13_100, Level::Released);
    let events = button.gesture.resync(ms(13_119), Level::Released);
    button.say(ms(13_119), events);
    assert_eq!(button.gesture.deadline(), Some(ms(13_139)));
    button.pass(14_000);
    assert!(matches!(button.said.last(), Some((13_139, Event::Released { fired: true, .. }))), "{:?}", button.said);
}

#[test]
fn held_at_the_start_waits_for_a_release() {
    let mut button = Button::new(Level::Pressed);
    button.set(10_000, Level::Released);
    button.pass(11_000);
    assert_eq!(button.said, [(0, Event::Ignored { reason: Ignored::HeldBefore }), (10_020, Event::Ready)]);
    button.press(12_000, 15_500);
    assert_eq!(button.fired(), [15_000]);
}

#[test]
fn held_at_the_start_for_too_long_is_stuck() {
    let mut button = Button::new(Level::Pressed);
    button.pass(100_000);
    assert_eq!(button.said.last(), Some(&(30_000, Event::Stuck { held: held(30_000) })));
    assert_eq!(button.gesture.state(), State::Stuck);
    assert_eq!(button.gesture.deadline(), None);
}

#[test]
fn a_stuck_button_fired_once_and_counts_again_after_a_stable_release() {
    let mut button = Button::new(Level::Released);
    button.set(10_000, Level::Pressed);
    button.pass(60_000);
    assert_eq!(button.fired(), [13_000]);
    assert_eq!(button.said.last(), Some(&(40_000, Event::Stuck { held: held(30_000) })));
    button.set(70_000, Level::Released);
    button.press(70_010, 80_000);
    assert_eq!(button.fired(), [13_000], "the release was too short");
    assert_eq!(button.said.last(), Some(&(80_020, Event::Ready)));
    button.press(90_000, 93_500);
    assert_eq!(button.fired(), [13_000, 93_000]);
}

#[test]
fn presses_in_the_grace_and_in_the_cool_down_are_ignored_and_later_ones_count() {
    let mut button = Button::new(Level::Released);
    button.press(1_900, 6_000);
    assert!(button.fired().is_empty());
    assert!(button.said.contains(&(1_920, Event::Ignored { reason: Ignored::Grace })));
    button.press(10_000, 13_100);
    button.press(17_900, 22_000);
    assert!(button.said.contains(&(17_920, Event::Ignored { reason: Ignored::Cooldown })));
    button.press(23_000, 26_100);
    assert_eq!(button.fired(), [13_000, 26_000]);
}

#[test]
fn a_device_that_vanishes_while_held_never_fires() {
    let mut button = Button::new(Level::Released);
    button.set(10_000, Level::Pressed);
    button.pass(11_000);
    button.gesture.vanish();
    assert_eq!(button.gesture.deadline(), None);
    assert_eq!(button.gesture.timer(ms(13_000), Level::Pressed), []);
    let events = button.gesture.appear(ms(14_000), Level::Pressed);
    assert_eq!(events, [Event::Ignored { reason: Ignored::HeldBefore }]);
    button.pass(20_000);
    button.set(20_000, Level::Released);
    button.press(21_000, 24_500);
    assert_eq!(button.fired(), [24_000]);
}

#[test]
fn the_cool_down_outlives_the_device() {
    let mut button = Button::new(Level::Released);
    button.press(10_000, 13_100);
    button.gesture.vanish();
    let _ = button.gesture.appear(ms(14_000), Level::Released);
    button.press(14_500, 18_000);
    assert_eq!(button.fired(), [13_000]);
}

/// What the button really did: levels in turn, beginning with released, each with its length in microseconds.
struct Truth(Vec<u64>);

impl Truth {
    fn level(&self, at: u64) -> Level {
        let mut end = 0;
        let passed = self.0.iter().take_while(|span| {
            end += **span;
            end <= at
        });
        if passed.count() % 2 == 0 { Level::Released } else { Level::Pressed }
    }

    fn edges(&self) -> Vec<(u64, Level)> {
        let mut at = 0;
        let ends = self.0.iter().map(|span| {
            at += span;
            at
        });
        ends.enumerate().map(|(n, at)| (at, if n % 2 == 0 { Level::Pressed } else { Level::Released })).collect()
    }

    /// Whether, at `at`, the button has been pressed for `hold`, not counting bounces of at most `debounce` in all.
    fn held(&self, at: u64, settings: &Settings) -> bool {
        let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap();
        let (mut end, mut pressed, mut released) = (at, 0, 0);
        for (from, level) in self.edges().into_iter().filter(|(from, _)| *from <= at).rev() {
            match level {
                Level::Pressed => pressed += end - from,
                Level::Released => released += end - from,
            }
            end = from;
            if released > micros(settings.debounce) {
                return false;
            }
            if pressed >= micros(settings.hold) {
                return true;
            }
        }
        false
    }

    /// Whether it was released for the debounce time somewhere between.
    fn released(&self, from: u64, to: u64, settings: &Settings) -> bool {
        self.edges().windows(2).any(|pair| {
            let span = pair[1].0.min(to).saturating_sub(pair[0].0.max(from));
            pair[0].1 == Level::Released && u128::from(span) >= settings.debounce.as_micros()
        })
    }
}

/// A watcher that wakes up late, loses edges when its queue of 16 is full, and loses single releases without knowing.
struct Watcher {
    truth: Truth,
    stamps: bool,
    lateness: Vec<u64>,
    lose_release: Vec<bool>,
}

impl Watcher {
    fn run(self, settings: Settings) -> Result<(), TestCaseError> {
        let at = |us: u64| Monotonic(Duration::from_micros(us));
        let end: u64 = self.truth.0.iter().sum::<u64>() + 40_000_000;
        let edges = self.truth.edges();
        let (mut now, mut next, mut wakes, mut fired): (u64, usize, usize, Option<u64>) = (0, 0, 0, None);
        let mut gesture = Gesture::new(settings, at(0));
        let mut events = gesture.appear(at(0), self.truth.level(0));
        while now < end {
            let due = gesture.deadline().map_or(end, |d| u64::try_from(d.0.as_micros()).unwrap());
            let wake = due.min(edges.get(next).map_or(end, |(at, _)| *at)).max(now) + self.lateness[wakes % self.lateness.len()];
            now = wake;
            wakes += 1;
            let queue: Vec<_> = edges[next..].iter().take_while(|(at, _)| *at <= now).collect();
            next += queue.len();
            for (n, (when, level)) in queue.iter().take(16).enumerate() {
                if *level == Level::Released && self.lose_release[(next + n) % self.lose_release.len()] {
                    continue;
                }
                events.extend(gesture.edge(at(now), self.stamps.then(|| at(*when)), *level));
            }
            let level = self.truth.level(now);
            events.extend(if queue.len() > 16 { gesture.resync(at(now), level) } else { gesture.timer(at(now), level) });
            for event in events.drain(..) {
                if let Event::Fired { held } = event {
                    prop_assert_eq!(level, Level::Pressed);
                    prop_assert!(held >= settings.hold);
                    prop_assert!(self.truth.held(now, &settings), "fired at {} us: {:?}", now, self.truth.0);
                    if let Some(before) = fired {
                        prop_assert!(self.truth.released(before, now, &settings), "fired twice: {:?}", self.truth.0);
                        prop_assert!(now - before >= u64::try_from(settings.cooldown.as_micros()).unwrap());
                    }
                    prop_assert!(now >= u64::try_from((settings.grace + settings.hold).as_micros()).unwrap());
                    fired = Some(now);
                }
            }
        }
        Ok(())
    }
}

fn span() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 1..25_000u64, 2 => 25_000..900_000u64, 3 => 900_000..4_000_000u64, 1 => 4_000_000..40_000_000u64]
}

fn lateness() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0..2_000u64, 3 => 2_000..60_000u64, 1 => 60_000..2_500_000u64]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn fires_only_after_a_real_hold_and_once_per_press(
        spans in prop::collection::vec(span(), 1..40),
        stamps: bool,
        lateness in prop::collection::vec(lateness(), 1..40),
        lose_release in prop::collection::vec(prop::bool::weighted(0.1), 1..40),
        debounce in prop_oneof![Just(0u64), 1..200u64],
    ) {
        let settings = Settings { debounce: held(debounce), grace: held(500), ..SETTINGS };
        Watcher { truth: Truth(spans), stamps, lateness, lose_release }.run(settings)?;
    }

    #[test]
    fn a_long_enough_press_fires_in_time(
        before in 2_000u64..10_000,
        bounces in prop::collection::vec(1u64..4, 0..4),
        hold in 3_000u64..20_000,
    ) {
        let mut button = Button::new(Level::Released);
        let mut at = before;
        for bounce in bounces {
            button.set(at, Level::Pressed);
            button.set(at + bounce, Level::Released);
            at += 2 * bounce;
        }
        button.press(at, at + hold + 1);
        prop_assert_eq!(button.fired(), vec![at + 3_000]);
    }
}
