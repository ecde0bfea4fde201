//! The threads that ask NSS, and what they have yet to ask.
//!
//! ```text
//!   push ──► waiting ──► thread ──► done ──► keeper ──► whoever asked
//! ```
//! To wake a thread that sleeps costs more than most look-ups do. So one thread asks, one after the other, whatever has come together, and what it
//! is done with wakes the event loop once. What is not taken up within [`PATIENCE`] may wait for a thread that hangs: then others set out, each
//! time [`GROWTH`] times as many as there are, until all places are taken. A thread that hangs keeps its place; threads that have nothing left to ask end, and so
//! does the keeper, a task of the runtime, once all are back: nothing wakes up where nobody asks.
//!
//! Not here: what is asked, and who may.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use super::known::{Answer, Tell};
use super::places::Place;
use super::{Silent, late};
use crate::core::time::Monotonic;
use crate::sys::clock;

/// So long may a look-up wait for the threads that are out.
const PATIENCE: Duration = Duration::from_millis(1);
/// After so long a thread that has set out and does not come to run is no reason to wait.
const STUCK: Duration = Duration::from_millis(100);

/// So many more threads set out then for each that is out.
const GROWTH: usize = 3;

/// Something to ask NSS.
pub(super) trait Question: Send {
    /// Whether anybody still wants to know.
    fn is_wanted(&self) -> bool;
    /// Asks; may block for long.
    fn ask(&mut self);
    /// Tells what it came to; where it was not asked, that it is late.
    fn tell(self: Box<Self>);
}

/// Who wants to know.
pub(super) trait Hearer<T> {
    fn is_there(&self) -> bool;
    fn hear(self, found: Result<T, Silent>);
}

impl<T> Hearer<Option<Arc<T>>> for Tell<T> {
    /// Until it is told, nobody else asks the same; and it counts for a while, whoever hung up.
    fn is_there(&self) -> bool {
        true
    }

    fn hear(self, found: Answer<T>) {
        self.send_replace(Some(found));
    }
}

impl<T> Hearer<T> for oneshot::Sender<Result<T, Silent>> {
    fn is_there(&self) -> bool {
        !self.is_closed()
    }

    fn hear(self, found: Result<T, Silent>) {
        // Whoever hung up does not want to know.
        drop(self.send(found));
    }
}

/// A question, and in the end its answer. Dropped untold, by a panic say, its hearer learns that it broke off.
struct LookUp<T, A, H> {
    ask: Option<A>,
    found: Option<Result<T, Silent>>,
    /// Before the hearer: whoever hears may ask again at once.
    place: Option<Place>,
    hearer: H,
}

impl<T: Send, A: FnOnce() -> Result<T, Silent> + Send, H: Hearer<T> + Send> Question for LookUp<T, A, H> {
    fn is_wanted(&self) -> bool {
        self.hearer.is_there()
    }

    fn ask(&mut self) {
        self.found = self.ask.take().map(|ask| ask());
    }

    fn tell(self: Box<Self>) {
        let Self { found, hearer, place, .. } = *self;
        // Whoever hears may ask again at once.
        drop(place);
        hearer.hear(found.unwrap_or_else(|| Err(late())));
    }
}

/// A question that no thread has taken up.
struct Waiting {
    since: Monotonic,
    until: Monotonic,
    question: Box<dyn Question>,
}

/// See the module.
pub(super) struct Threads {
    state: Mutex<State>,
    /// Tells the keeper that there is something for it to do.
    news: Notify,
}

struct State {
    waiting: VecDeque<Waiting>,
    done: Vec<Box<dyn Question>>,
    places: Vec<Seat>,
    /// When threads last set out.
    grown: Monotonic,
    keeper: Option<JoinHandle<()>>,
}

/// A place, and what its thread does.
#[derive(Clone, Copy, PartialEq)]
enum Seat {
    Free,
    /// It has not taken up anything yet.
    SetsOut,
    /// It has been asking the same since then.
    Asks(Monotonic),
}

/// When the keeper looks again.
enum Next {
    Never,
    WhenTold,
    After(Duration),
}

impl Threads {
    pub(super) fn new(places: usize) -> Self {
        let places = vec![Seat::Free; places];
        let state = State { waiting: VecDeque::new(), done: Vec::new(), places, grown: Monotonic::default(), keeper: None };
        Self { state: Mutex::new(state), news: Notify::new() }
    }

    /// Has this asked, and the hearer told; that it is late, where no thread takes it up within `longest`.
    pub(super) fn push<T: Send + 'static, H: Hearer<T> + Send + 'static>(
        self: &Arc<Self>,
        longest: Duration,
        place: Option<Place>,
        hearer: H,
        ask: impl FnOnce() -> Result<T, Silent> + Send + 'static,
    ) {
        let question = Box::new(LookUp { ask: Some(ask), found: None, hearer, place });
        let since = clock::monotonic();
        let mut state = self.state();
        state.waiting.push_back(Waiting { since, until: since + longest, question });
        if state.keeper.as_ref().is_none_or(JoinHandle::is_finished) {
            state.keeper = Some(tokio::spawn(Arc::clone(self).keep()));
        }
        drop(state);
        self.news.notify_one();
    }

    /// The keeper. Its turn comes behind the tasks that are ready: it finds all that these ask for.
    async fn keep(self: Arc<Self>) {
        loop {
            match self.turn(clock::monotonic()) {
                Next::Never => return,
                Next::WhenTold => self.news.notified().await,
                Next::After(time) => drop(timeout(time, self.news.notified()).await),
            }
        }
    }

    fn turn(self: &Arc<Self>, now: Monotonic) -> Next {
        let mut state = self.state();
        state.give_up(now);
        let places = state.set_out(now);
        let (done, next) = (std::mem::take(&mut state.done), state.next(now));
        if matches!(next, Next::Never) {
            state.keeper = None;
        }
        drop(state);
        for question in done {
            question.tell();
        }
        // All are made before the first sets out, which may panic where the system has no thread: each leaves its place then.
        let threads: Vec<Thread> = places.into_iter().map(|place| Thread { threads: Arc::clone(self), place: Some(place) }).collect();
        for thread in threads {
            spawn_blocking(move || thread.run());
        }
        next
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is in it is consistent after any panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What waits in vain is as good as done.
    fn give_up(&mut self, now: Monotonic) {
        let is_vain = |waiting: &Waiting| waiting.until <= now || !waiting.question.is_wanted();
        if self.have_waited(now) && self.waiting.iter().any(is_vain) {
            let (vain, waiting): (Vec<_>, _) = std::mem::take(&mut self.waiting).into_iter().partition(is_vain);
            self.waiting = waiting.into();
            self.done.extend(vain.into_iter().map(|waiting| waiting.question));
        }
    }

    /// Whether too long.
    fn have_waited(&self, now: Monotonic) -> bool {
        self.waiting.front().is_some_and(|oldest| now - oldest.since >= PATIENCE)
    }

    /// Takes places for as many more threads as should set out.
    fn set_out(&mut self, now: Monotonic) -> Vec<usize> {
        let more = self.wanting(now).min(self.waiting.len());
        let seats = self.places.iter_mut().enumerate().filter(|(_, seat)| **seat == Seat::Free).take(more);
        let places: Vec<usize> = seats.map(|(place, seat)| (*seat = Seat::SetsOut, place).1).collect();
        if !places.is_empty() {
            self.grown = now;
        }
        places
    }

    /// So many threads are wanting.
    fn wanting(&self, now: Monotonic) -> usize {
        // On a busy machine more threads that don't come to run are no help; but where the system gave none, only another one has it asked again.
        if self.places.contains(&Seat::SetsOut) && now - self.grown < STUCK {
            return 0;
        }
        let asking = self.places.iter().filter(|seat| **seat != Seat::Free).count();
        if self.have_waited(now) && now - self.grown >= PATIENCE {
            return (GROWTH * asking).max(1);
        }
        let hangs = |seat: &Seat| !matches!(seat, Seat::Asks(since) if now - *since < PATIENCE);
        usize::from(self.places.iter().all(hangs))
    }

    fn next(&self, now: Monotonic) -> Next {
        let Some(soonest) = self.waiting.iter().map(|waiting| waiting.until).min() else {
            return if self.places.iter().all(|seat| *seat == Seat::Free) { Next::Never } else { Next::WhenTold };
        };
        Next::After(if self.places.contains(&Seat::Free) { PATIENCE } else { soonest - now })
    }

    /// The next that somebody wants to know.
    fn take(&mut self) -> Option<Box<dyn Question>> {
        while let Some(Waiting { question, .. }) = self.waiting.pop_front() {
            if question.is_wanted() {
                return Some(question);
            }
            self.done.push(question);
        }
        None
    }
}

/// A thread that is out, in its place until it is back or has panicked.
struct Thread {
    threads: Arc<Threads>,
    place: Option<usize>,
}

impl Thread {
    fn run(mut self) {
        let mut done = None;
        while let Some(mut question) = self.next(done) {
            question.ask();
            done = Some(question);
        }
    }

    /// Hands over what is done; without anything else to ask the place is free again.
    fn next(&mut self, done: Option<Box<dyn Question>>) -> Option<Box<dyn Question>> {
        let now = clock::monotonic();
        let mut state = self.threads.state();
        let is_told = !state.done.is_empty();
        state.done.extend(done);
        let next = state.take();
        if let Some(place) = self.place {
            state.places[place] = if next.is_some() { Seat::Asks(now) } else { Seat::Free };
        }
        let is_news = next.is_none() || !is_told && !state.done.is_empty();
        drop(state);
        if next.is_none() {
            self.place = None;
        }
        if is_news {
            self.threads.news.notify_one();
        }
        next
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.threads.state().places[place] = Seat::Free;
            self.threads.news.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
