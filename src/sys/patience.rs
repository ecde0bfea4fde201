//! What may never answer (a file on a network mount that is away, say), asked on a thread of its own and waited for no longer than a while.
//!
//! A thread that hangs is left behind, since nothing ends it. As long as it does, the same thing is not asked again, so that each thing keeps one thread
//! at most; once that one is back, it is. An answer that comes too late is dropped.
//!
//! What this does not do: end what hangs, or say why it does.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{error, fmt, io, thread};

use super::clock;

/// How long things are waited for, and which of them hang. A clone knows of the same ones.
#[derive(Clone, Debug)]
pub struct Patience {
    limit: Duration,
    /// Whether what hangs is waited for, too.
    insists: bool,
    asked: Arc<Asked>,
}

/// What has been asked and has not answered yet.
#[derive(Debug, Default)]
struct Asked {
    things: Mutex<BTreeMap<String, Stage>>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Somebody waits for it.
    Asked,
    /// Nobody waits for it any more.
    Hangs,
}

/// There is no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// Not in time, or what was asked earlier still hangs.
    Silent,
    /// There is no thread to ask on.
    NoThread(io::Error),
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("it does not answer"),
            Self::NoThread(error) => write!(f, "there is no thread to ask on: {error}"),
        }
    }
}

impl error::Error for NoAnswer {}

impl Patience {
    /// Each thing is waited for at most this long.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self { limit, insists: false, asked: Arc::default() }
    }

    /// The same things, each waited for at most this long, also where somebody else has given up waiting for it: a disk spins up for a while.
    #[must_use]
    pub fn insisting(&self, limit: Duration) -> Self {
        Self { limit, insists: true, asked: Arc::clone(&self.asked) }
    }

    /// The answer of `act`, which asks this thing. Two who ask the same thing take turns. Blocks.
    ///
    /// # Errors
    /// Where it does not come in time; at once where the thing still hangs, unless this insists.
    pub fn ask<T: Send + 'static>(&self, thing: &str, act: impl FnOnce() -> T + Send + 'static) -> Result<T, NoAnswer> {
        let since = clock::monotonic();
        self.take_turn(thing)?;
        let (tell, told) = mpsc::channel();
        let (asked, own) = (Arc::clone(&self.asked), thing.to_owned());
        let begun = thread::Builder::new().name("patience".into()).spawn(move || {
            let answer = act();
            let mut things = asked.lock();
            // Under the lock: whoever gives up knows whether the answer is there.
            let late = tell.send(answer);
            things.remove(&own);
            drop(things);
            asked.changed.notify_all();
            drop(late);
        });
        match begun {
            Ok(_) => self.answer(thing, told, self.limit.saturating_sub(clock::monotonic() - since)),
            Err(error) => {
                self.asked.lock().remove(thing);
                self.asked.changed.notify_all();
                Err(NoAnswer::NoThread(error))
            }
        }
    }

    fn take_turn(&self, thing: &str) -> Result<(), NoAnswer> {
        let others = |things: &mut BTreeMap<String, Stage>| match things.get(thing) {
            Some(Stage::Asked) => true,
            Some(Stage::Hangs) => self.insists,
            None => false,
        };
        let waited = self.asked.changed.wait_timeout_while(self.asked.lock(), self.limit, others);
        let (mut things, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if things.contains_key(thing) {
            return Err(NoAnswer::Silent);
        }
        things.insert(thing.to_owned(), Stage::Asked);
        Ok(())
    }

    fn answer<T>(&self, thing: &str, told: Receiver<T>, limit: Duration) -> Result<T, NoAnswer> {
        // A thread that broke off never answers.
        if let Ok(answer) = told.recv_timeout(limit) {
            return Ok(answer);
        }
        let mut things = self.asked.lock();
        if let Ok(answer) = told.try_recv() {
            return Ok(answer);
        }
        things.insert(thing.to_owned(), Stage::Hangs);
        drop(told);
        drop(things);
        self.asked.changed.notify_all();
        Err(NoAnswer::Silent)
    }
}

impl Asked {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Stage>> {
        // Each change is one call, so a map that was let go in a panic is whole.
        self.things.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So long that a test which waits for it fails by its runner's limit.
    const HOUR: Duration = Duration::from_secs(3600);

    /// The same things, waited for so long.
    fn with_limit(patience: &Patience, limit: Duration) -> Patience {
        Patience { limit, ..patience.clone() }
    }

    /// Says when it is dropped.
    struct Dropped(mpsc::Sender<()>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }

    #[test]
    fn what_answers_is_asked_each_time() {
        let patience = Patience::new(HOUR);
        assert_eq!(patience.ask("clock", || 1).unwrap(), 1);
        assert_eq!(patience.ask("clock", || 2).unwrap(), 2);
    }

    #[test]
    fn what_hangs_is_left_behind_and_not_asked_again_until_it_is_back() {
        let (patient, impatient) = (Patience::new(HOUR), Duration::ZERO);
        let (release, hangs) = mpsc::channel::<()>();
        let (say, dropped) = mpsc::channel();
        let late = with_limit(&patient, impatient).ask("mount", move || {
            let _ = hangs.recv();
            Dropped(say)
        });
        assert!(matches!(late, Err(NoAnswer::Silent)));
        assert!(matches!(patient.ask("mount", || ()), Err(NoAnswer::Silent)), "no second thread, and that at once");
        assert_eq!(patient.ask("another", || 3).unwrap(), 3);
        drop(release);
        // What comes too late is not kept: it may be a secret.
        dropped.recv().unwrap();
        assert_eq!(patient.ask("mount", || 4).unwrap(), 4);
    }

    #[test]
    fn two_who_ask_the_same_take_turns_and_both_get_their_answer() {
        let patience = Patience::new(HOUR);
        let (release, waits) = mpsc::channel::<()>();
        let (say, begun) = mpsc::channel();
        thread::scope(|scope| {
            let first = scope.spawn(|| {
                patience.ask("file", move || {
                    let _ = say.send(());
                    let _ = waits.recv();
                    1
                })
            });
            begun.recv().unwrap();
            let (say, overtaken) = mpsc::channel();
            let second = scope.spawn(|| {
                patience.ask("file", move || {
                    let _ = say.send(());
                    2
                })
            });
            assert!(overtaken.recv_timeout(Duration::from_millis(50)).is_err(), "the second does not wait for the first");
            drop(release);
            assert_eq!((first.join().unwrap().unwrap(), second.join().unwrap().unwrap()), (1, 2));
        });
    }

    #[test]
    fn whoever_insists_waits_also_for_what_another_has_given_up() {
        let impatient = Patience::new(Duration::ZERO);
        let (release, hangs) = mpsc::channel::<()>();
        let late = impatient.ask("disk", move || {
            let _ = hangs.recv();
        });
        assert!(matches!(late, Err(NoAnswer::Silent)));
        let patient = impatient.insisting(HOUR);
        let (say, answered) = mpsc::channel();
        thread::spawn(move || say.send(patient.ask("disk", || 5)));
        assert!(answered.recv_timeout(Duration::from_millis(50)).is_err(), "it does not wait for what hangs");
        drop(release);
        assert_eq!(answered.recv().unwrap().unwrap(), 5);
    }

    #[test]
    fn whoever_waits_for_a_turn_is_told_that_it_hangs() {
        let patient = Patience::new(HOUR);
        let (_release, hangs) = mpsc::channel::<()>();
        let (say, begun) = mpsc::channel();
        thread::scope(|scope| {
            let hasty = with_limit(&patient, Duration::from_millis(50));
            scope.spawn(move || {
                let silent = hasty.ask("mount", move || {
                    let _ = say.send(());
                    let _ = hangs.recv();
                });
                assert!(matches!(silent, Err(NoAnswer::Silent)));
            });
            begun.recv().unwrap();
            assert!(matches!(patient.ask("mount", || ()), Err(NoAnswer::Silent)));
        });
    }
}
