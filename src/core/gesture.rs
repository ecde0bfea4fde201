//! Edges and time in; pressed, fired, stuck out.
//!
//! One [`Gesture`] per button source. It owns no clock and arms no timer: whoever watches the hardware feeds it edges
//! ([`Gesture::edge`]), and the real level whenever [`Gesture::deadline`] has come ([`Gesture::timer`]).
//!
//! ```text
//!              appear(released)                       edge(pressed)
//!   ┌────────┐────────────────────────►┌─────────┐──────────────────►┌────────────┐
//!   │ Absent │                         │  Ready  │                   │  Settling  │ the level must last `debounce`
//!   └────────┘     ┌─────────┐────────►└─────────┘◄──────────────────└─────┬──────┘
//!    ▲   │ appear  │ Waiting │ stable   ▲              edge(released)      │ debounce over: Pressed, or Ignored
//!    │   └────────►└─────────┘ release  │                                  ▼    (start-up grace, cool-down)
//!    │   (pressed)  ▲  held longer      │ stable release: Released   ┌────────────────────────────────────┐
//!  vanish,          │  than             └────────────────────────────│ Held: Counting ──hold──► Fired     │
//!  from anywhere    └──`stuck_after`: Stuck──────────────────────────│       Ignored                      │
//!                                                                    └────────────────────────────────────┘
//! ```
//!
//! What it promises: it fires at most once per press, only where a change from released to pressed was seen, only while the level
//! just read is pressed, and only after `hold` of real hold. A release shorter than `debounce` is a bounce: the hold goes on, but the
//! bounce does not count as hold, and as soon as the bounces of a press add up to more than `debounce` the hold begins anew. So
//! a line that floats never fires. In doubt (lost edges, no trustworthy time stamp) a hold that counts is taken to be as short as it
//! may have been, and where only a stable release helps, so is the release.
//!
//! What it does not do: read the hardware, decide what a fired press means, know of other sources.
#![forbid(unsafe_code)]

use std::fmt;
use std::time::Duration;

use crate::core::time::Monotonic;

/// How often [`Event::Holding`] is said.
const TICK: Duration = Duration::from_secs(1);

/// What a hold means. See `config::Button` for the ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The hold that fires.
    pub hold: Duration,
    /// A level must last this long to count as a change.
    pub debounce: Duration,
    /// A hold longer than this is a stuck button. Where it is not longer than `hold`, nothing ever fires.
    pub stuck_after: Duration,
    /// Presses that begin earlier than this after the start are ignored.
    pub grace: Duration,
    /// Presses that begin earlier than this after the last firing are ignored.
    pub cooldown: Duration,
}

/// What a button is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Nobody presses it.
    Released,
    /// Somebody or something presses it.
    Pressed,
}

/// Why a press does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// It was already held when watching began: no change from released to pressed was seen.
    HeldBefore,
    /// It began within the start-up grace.
    Grace,
    /// It began within the cool-down after a fired press.
    Cooldown,
}

/// What happened, for the supervisor, the feedback and `twostep recovery monitor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A press that counts has begun.
    Pressed,
    /// Said once a second while the hold counts.
    Holding {
        /// The hold so far.
        held: Duration,
    },
    /// The threshold was reached while still held. Once per press.
    Fired {
        /// The hold so far: never shorter than [`Settings::hold`].
        held: Duration,
    },
    /// The press is over. Also follows an ignored press.
    Released {
        /// The hold.
        held: Duration,
        /// Whether this press had fired.
        fired: bool,
    },
    /// A press that does not count.
    Ignored {
        /// Why.
        reason: Ignored,
    },
    /// Held longer than [`Settings::stuck_after`]: nothing more happens until it was released.
    Stuck {
        /// The hold so far.
        held: Duration,
    },
    /// The hardware is not there, or no longer.
    Missing {
        /// What was looked for, and how to help.
        reason: String,
    },
    /// The next press counts.
    Ready,
}

/// What a source looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Released: the next press counts.
    Ready,
    /// Pressed, or waiting for a stable release.
    Held,
    /// Held for too long.
    Stuck,
    /// The hardware is not there.
    Missing,
}

#[derive(Debug)]
enum Phase {
    Absent,
    Waiting { since: Monotonic, stuck: bool },
    Ready,
    Settling,
    Held(Hold),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counting {
    Yes,
    Ignored,
    Fired,
}

#[derive(Debug)]
struct Hold {
    /// When the press began; the stuck rule counts from here.
    began: Monotonic,
    /// What the hold is counted from: later than `began` by the bounces, or since they were too many.
    since: Monotonic,
    /// The bounces since `since` was last set anew, added up.
    bounced: Duration,
    /// How many [`Event::Holding`] were due.
    ticks: u64,
    counting: Counting,
}

/// One button's press, from the first edge to the stable release.
#[derive(Debug)]
pub struct Gesture {
    settings: Settings,
    start: Monotonic,
    fired: Option<Monotonic>,
    phase: Phase,
    /// The level as last learnt.
    level: Level,
    /// Since when the level is what it is.
    changed: Monotonic,
    /// When the level was last learnt.
    known: Monotonic,
}

impl Gesture {
    /// A source whose hardware was not found yet. `start` is when the daemon started, for the grace.
    #[must_use]
    pub fn new(settings: Settings, start: Monotonic) -> Self {
        Self { settings, start, fired: None, phase: Phase::Absent, level: Level::Released, changed: start, known: start }
    }

    /// What it looks like from outside.
    #[must_use]
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Absent => State::Missing,
            Phase::Ready => State::Ready,
            Phase::Waiting { stuck: true, .. } => State::Stuck,
            Phase::Waiting { .. } | Phase::Settling | Phase::Held(_) => State::Held,
        }
    }

    /// The hardware was found, at this level. Held already: a release is waited for.
    #[must_use]
    pub fn appear(&mut self, now: Monotonic, level: Level) -> Vec<Event> {
        (self.level, self.changed, self.known) = (level, now, now);
        let (phase, event) = match level {
            Level::Released => (Phase::Ready, Event::Ready),
            Level::Pressed => (Phase::Waiting { since: now, stuck: false }, Event::Ignored { reason: Ignored::HeldBefore }),
        };
        self.phase = phase;
        vec![event]
    }

    /// The hardware is gone. A press under way is over without a release and will not fire.
    pub fn vanish(&mut self) {
        self.phase = Phase::Absent;
    }

    /// An edge to `level`, read at `now`. `stamp` is when it happened by the kernel, given only where it is known to be of the monotonic
    /// clock. Without it the edge is taken to have happened when it does the least.
    #[must_use]
    pub fn edge(&mut self, now: Monotonic, stamp: Option<Monotonic>, level: Level) -> Vec<Event> {
        let mut events = Vec::new();
        let at = match stamp {
            Some(stamp) => stamp.clamp(self.known.min(now), now),
            None => self.doubtful(now, level),
        };
        if level == self.level && level == Level::Pressed {
            self.missed_release(at);
        }
        self.change(at, level, &mut events);
        self.known = at;
        events
    }

    /// The time is `now`, and the level, read after that, is `level`: whatever is due by then happens. To be called after edges and
    /// at the [`deadline`](Self::deadline).
    #[must_use]
    pub fn timer(&mut self, now: Monotonic, level: Level) -> Vec<Event> {
        let mut events = Vec::new();
        if matches!(self.phase, Phase::Absent) {
            return events;
        }
        if level != self.level {
            self.change(self.doubtful(now, level), level, &mut events);
        }
        self.known = self.known.max(now);
        self.settle(now, &mut events);
        self.mature(now, &mut events);
        events
    }

    /// Edges were lost: the level is `level`, and nothing is known of the time since it was last known. A hold that was
    /// counting begins anew.
    #[must_use]
    pub fn resync(&mut self, now: Monotonic, level: Level) -> Vec<Event> {
        if level == self.level {
            match (&mut self.phase, level) {
                (Phase::Held(hold), Level::Pressed) if hold.counting == Counting::Yes => hold.restart(now),
                // A release that may end the hold is as early as it was.
                (Phase::Held(Hold { counting: Counting::Yes, .. }), Level::Released) => {}
                _ => self.changed = now,
            }
        }
        self.timer(now, level)
    }

    /// When [`timer`](Self::timer) is to be called next; none while nothing is due however long it lasts.
    #[must_use]
    pub fn deadline(&self) -> Option<Monotonic> {
        let settled = self.changed + self.settings.debounce;
        match (&self.phase, self.level) {
            (Phase::Absent | Phase::Ready, _) | (Phase::Waiting { stuck: true, .. }, Level::Pressed) => None,
            (Phase::Settling, _) | (Phase::Held(_) | Phase::Waiting { .. }, Level::Released) => Some(settled),
            (Phase::Waiting { since, .. }, Level::Pressed) => Some(*since + self.settings.stuck_after),
            (Phase::Held(hold), Level::Pressed) => {
                let stuck = hold.began + self.settings.stuck_after;
                if hold.counting != Counting::Yes {
                    return Some(stuck);
                }
                let tick = hold.since + TICK.saturating_mul(u32::try_from(hold.ticks + 1).unwrap_or(u32::MAX));
                Some(stuck.min(tick).min(hold.since + self.settings.hold))
            }
        }
    }

    /// When an edge happened of which nothing is known but that it was read at `now`.
    fn doubtful(&self, now: Monotonic, level: Level) -> Monotonic {
        let harmless = match &self.phase {
            Phase::Held(Hold { counting: Counting::Ignored | Counting::Fired, .. }) | Phase::Waiting { .. } => Level::Pressed,
            _ => Level::Released,
        };
        if level == harmless { self.known.min(now) } else { now }
    }

    /// A second press without a release: the release went unseen, some time since the level was last known.
    fn missed_release(&mut self, at: Monotonic) {
        match &mut self.phase {
            Phase::Settling => self.changed = at,
            Phase::Held(hold) if hold.counting == Counting::Yes => hold.bounce(at, at - self.known, self.settings.debounce),
            _ => {}
        }
    }

    /// The level changed at `at`, or is said again.
    fn change(&mut self, at: Monotonic, level: Level, events: &mut Vec<Event>) {
        let at = at.max(self.changed);
        self.settle(at, events);
        if level == self.level {
            return;
        }
        let before = self.changed;
        (self.level, self.changed) = (level, at);
        match (&mut self.phase, level) {
            (Phase::Ready, Level::Pressed) => self.phase = Phase::Settling,
            (Phase::Settling, Level::Released) => self.phase = Phase::Ready,
            (Phase::Held(hold), Level::Pressed) => hold.bounce(at, at - before, self.settings.debounce),
            _ => {}
        }
        self.settle(at, events);
    }

    /// What an unchanged level brings by lasting until `now`.
    fn settle(&mut self, now: Monotonic, events: &mut Vec<Event>) {
        if now - self.changed < self.settings.debounce {
            return;
        }
        match (&self.phase, self.level) {
            (Phase::Settling, Level::Pressed) => self.accept(events),
            (Phase::Held(hold), Level::Released) => {
                events.push(Event::Released { held: self.changed - hold.since, fired: hold.counting == Counting::Fired });
                self.phase = Phase::Ready;
            }
            (Phase::Waiting { .. }, Level::Released) => {
                events.push(Event::Ready);
                self.phase = Phase::Ready;
            }
            _ => {}
        }
    }

    /// The press has lasted long enough to be one.
    fn accept(&mut self, events: &mut Vec<Event>) {
        let began = self.changed;
        let reason = if began < self.start + self.settings.grace {
            Some(Ignored::Grace)
        } else if self.fired.is_some_and(|fired| began < fired + self.settings.cooldown) {
            Some(Ignored::Cooldown)
        } else {
            None
        };
        let counting = if reason.is_some() { Counting::Ignored } else { Counting::Yes };
        self.phase = Phase::Held(Hold { began, since: began, bounced: Duration::ZERO, ticks: 0, counting });
        events.push(reason.map_or(Event::Pressed, |reason| Event::Ignored { reason }));
    }

    /// What a hold brings by lasting until `now`, at which the level was read.
    fn mature(&mut self, now: Monotonic, events: &mut Vec<Event>) {
        if self.level != Level::Pressed {
            return;
        }
        let began = match &mut self.phase {
            Phase::Held(hold) if now - hold.began < self.settings.stuck_after => {
                if hold.count(now, self.settings.hold, events) {
                    self.fired = Some(now);
                }
                return;
            }
            Phase::Held(hold) => hold.began,
            Phase::Waiting { since, stuck: false } if now - *since >= self.settings.stuck_after => *since,
            _ => return,
        };
        events.push(Event::Stuck { held: now - began });
        self.phase = Phase::Waiting { since: began, stuck: true };
    }
}

impl Hold {
    /// The level was released for `span`, until `now`, which was too short to count.
    fn bounce(&mut self, now: Monotonic, span: Duration, most: Duration) {
        self.bounced = self.bounced.saturating_add(span);
        if self.bounced > most {
            self.restart(now);
        } else {
            self.since = self.since + span;
        }
    }

    fn restart(&mut self, now: Monotonic) {
        (self.since, self.bounced, self.ticks) = (now, Duration::ZERO, 0);
    }

    /// Says how long it is held, and whether it fires now.
    fn count(&mut self, now: Monotonic, threshold: Duration, events: &mut Vec<Event>) -> bool {
        let held = now - self.since;
        if self.counting != Counting::Yes {
            return false;
        }
        if held >= threshold {
            self.counting = Counting::Fired;
            events.push(Event::Fired { held });
            return true;
        }
        if held.as_secs() > self.ticks {
            self.ticks = held.as_secs();
            events.push(Event::Holding { held });
        }
        false
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HeldBefore => "it was held before it was watched",
            Self::Grace => "it began too soon after the start",
            Self::Cooldown => "it began too soon after a fired press",
        })
    }
}

#[cfg(test)]
mod tests;
