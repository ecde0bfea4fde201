//! Look-ups that come together, among them some that hang or break off.

use std::sync::Condvar;

use super::*;

/// How long what should happen may take on a busy machine.
const SOON: Duration = Duration::from_secs(60);
const PLACES: usize = 16;

/// What hangs, hangs until this is dropped.
#[derive(Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn pass(&self) -> impl FnOnce() -> Result<u32, Silent> + Send + 'static {
        let gate = Arc::clone(&self.0);
        move || {
            drop(gate.1.wait_while(gate.0.lock().unwrap(), |open| !*open).unwrap());
            Ok(0)
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

type Told = oneshot::Receiver<Result<u32, Silent>>;

fn push(threads: &Arc<Threads>, longest: Duration, ask: impl FnOnce() -> Result<u32, Silent> + Send + 'static) -> Told {
    let (tell, told) = oneshot::channel();
    threads.push(longest, None, tell, ask);
    told
}

async fn soon<T>(what: &str, done: impl Future<Output = T>) -> T {
    timeout(SOON, done).await.unwrap_or_else(|_| panic!("{what}: not within {} s", SOON.as_secs()))
}

async fn are_all_told(told: impl IntoIterator<Item = (u32, Told)>) {
    for (number, told) in told {
        assert_eq!(soon("it is told", told).await.unwrap(), Ok(number));
    }
}

/// Until no thread is out.
async fn are_back(threads: &Threads) {
    let back = async {
        while threads.state().places.iter().any(|seat| *seat != Seat::Free) {
            tokio::task::yield_now().await;
        }
    };
    soon("all threads are back", back).await;
}

#[tokio::test]
async fn look_ups_that_come_together_with_one_that_hangs_are_all_answered() {
    for place in [0, 30, 60] {
        let (threads, gate) = (Arc::new(Threads::new(PLACES)), Gate::default());
        let mut hung = None;
        let mut told = Vec::new();
        for number in 0..=60 {
            if number == place {
                hung = Some(push(&threads, SOON, gate.pass()));
            } else {
                told.push((number, push(&threads, SOON, move || Ok(number))));
            }
        }
        are_all_told(told).await;
        assert!(hung.as_mut().unwrap().try_recv().is_err(), "it still hangs");
        drop(gate);
        assert_eq!(soon("it is back", hung.unwrap()).await.unwrap(), Ok(0));
    }
}

#[tokio::test]
async fn look_ups_behind_as_many_that_hang_as_leave_one_place_are_all_answered() {
    let (threads, gate) = (Arc::new(Threads::new(PLACES)), Gate::default());
    let hung: Vec<Told> = (1..PLACES).map(|_| push(&threads, SOON, gate.pass())).collect();
    are_all_told((0..100).map(|number| (number, push(&threads, SOON, move || Ok(number))))).await;
    drop(gate);
    are_all_told(hung.into_iter().map(|hung| (0, hung))).await;
}

#[tokio::test]
async fn a_look_up_for_which_there_is_no_place_in_time_is_late_and_is_not_asked_for() {
    let (threads, gate) = (Arc::new(Threads::new(1)), Gate::default());
    let hung = push(&threads, SOON, gate.pass());
    let asked = Arc::new(());
    let ask = |longest| {
        let asked = Arc::clone(&asked);
        push(&threads, longest, move || Ok(Arc::strong_count(&asked) as u32))
    };
    let (hung_up, waits) = (ask(SOON), ask(20 * PATIENCE));
    drop(hung_up);
    assert_eq!(soon("it is told", waits).await.unwrap(), Err(late()));
    let dropped = async {
        while Arc::strong_count(&asked) > 1 {
            tokio::task::yield_now().await;
        }
    };
    soon("what nobody wants to know any more is forgotten", dropped).await;
    drop(gate);
    are_all_told([(0, hung)]).await;
}

#[tokio::test]
async fn a_look_up_that_breaks_off_takes_neither_its_place_nor_others_along() {
    let threads = Arc::new(Threads::new(1));
    let broken = push(&threads, SOON, || panic!("this is a test's"));
    let behind = push(&threads, SOON, || Ok(7));
    assert!(soon("who asked is told", broken).await.is_err());
    are_all_told([(7, behind)]).await;
    are_back(&threads).await;
}

#[tokio::test]
async fn nothing_is_left_running_once_all_is_told() {
    let threads = Arc::new(Threads::new(PLACES));
    are_all_told([(7, push(&threads, SOON, || Ok(7)))]).await;
    are_back(&threads).await;
    let ended = async {
        while threads.state().keeper.is_some() || Arc::strong_count(&threads) > 1 {
            tokio::task::yield_now().await;
        }
    };
    soon("the keeper ends", ended).await;
    are_all_told([(8, push(&threads, SOON, || Ok(8)))]).await;
}

/// Look-ups that wait since then.
fn waiting(state: &mut State, since: Monotonic, count: usize) {
    for _ in 0..count {
        let hearer = oneshot::channel::<Result<(), Silent>>().0;
        let question = Box::new(LookUp { ask: Some(|| Ok(())), found: None, hearer, place: None });
        state.waiting.push_back(Waiting { since, until: since + SOON, question });
    }
}

/// So many set out, and ask from then on.
fn set_out(state: &mut State, now: Monotonic) -> usize {
    let places = state.set_out(now);
    places.iter().for_each(|place| state.places[*place] = Seat::Asks(now));
    places.len()
}

#[test]
fn one_thread_sets_out_for_all_that_came_together_and_more_where_it_does_not_come_to_them() {
    let threads = Threads::new(PLACES);
    let (mut state, begun) = (threads.state(), Monotonic(SOON));
    waiting(&mut state, begun, 100);
    assert_eq!(set_out(&mut state, begun), 1);
    assert_eq!(set_out(&mut state, begun), 0, "one is enough while it does come to them");
    let out = [1, 2, 3, 4].map(|after| set_out(&mut state, begun + PATIENCE * after));
    assert_eq!(out, [3, 12, 0, 0], "no more than there are places");
}

#[test]
fn while_a_thread_has_not_come_to_run_no_other_sets_out_for_a_while() {
    let threads = Threads::new(PLACES);
    let (mut state, begun) = (threads.state(), Monotonic(SOON));
    waiting(&mut state, begun, 100);
    assert_eq!(state.set_out(begun).len(), 1);
    assert!([1, 2, 3].iter().all(|after| state.set_out(begun + PATIENCE * *after).is_empty()));
    assert!(!state.set_out(begun + STUCK).is_empty(), "the system may have had no thread to give");
}

#[test]
fn who_comes_while_all_threads_hang_does_not_wait_for_them() {
    let threads = Threads::new(PLACES);
    let (mut state, begun) = (threads.state(), Monotonic(SOON));
    waiting(&mut state, begun, 1);
    assert_eq!(set_out(&mut state, begun), 1);
    state.waiting.clear();
    let later = begun + SOON;
    waiting(&mut state, later, 2);
    assert_eq!(set_out(&mut state, later), 1);
    assert_eq!(set_out(&mut state, later), 0);
}
