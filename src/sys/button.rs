//! What a button source asks of the machine: hardware that comes and goes, and a port that tells edges and the level.
//!
//! `input` and `gpio` are the real ones, [`simulated`] is pressed by hand, and the tests have a scripted fake. What an edge means is
//! decided in `core::gesture`, not here.
#![forbid(unsafe_code)]

use std::future::Future;
use std::io;
use std::os::fd::BorrowedFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::watch;

use crate::core::gesture::Level;
use crate::core::time::Monotonic;
use crate::sys::clock;

/// A change that the hardware told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// What the level became.
    pub level: Level,
    /// When, by the kernel, where that is known to be of the monotonic clock.
    pub stamp: Option<Monotonic>,
}

/// What came in since the last time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct News {
    /// In the order in which they happened.
    pub edges: Vec<Edge>,
    /// Whether edges may have been lost besides.
    pub lost: bool,
}

/// An opened button.
pub trait Port: Send {
    /// Waits until there are edges, or until `deadline`; in both cases whatever is queued is in the answer.
    ///
    /// # Errors
    /// The hardware is gone, or cannot be read.
    fn news(&mut self, deadline: Option<Monotonic>) -> impl Future<Output = io::Result<News>> + Send;

    /// The time now.
    fn now(&self) -> Monotonic;

    /// The real level, asked of the hardware.
    ///
    /// # Errors
    /// The hardware is gone, or cannot be read.
    fn level(&mut self) -> io::Result<Level>;
}

/// A button that may be there or not.
pub trait Hardware: Send {
    /// What it is read through.
    type Port: Port;

    /// Looks for the hardware and opens it.
    ///
    /// # Errors
    /// Why it cannot be used, in words for an operator.
    fn open(&mut self) -> Result<Self::Port, String>;

    /// Waits until something changed where the hardware would appear.
    fn changed(&mut self) -> impl Future<Output = ()> + Send;

    /// Waits until the hardware that was opened last is no longer there.
    fn gone(&mut self) -> impl Future<Output = ()> + Send;
}

/// Waits for `future`, but not longer than until `deadline`.
pub(super) async fn before<T>(deadline: Option<Monotonic>, future: impl Future<Output = T>) -> Option<T> {
    match deadline {
        None => Some(future.await),
        Some(deadline) => tokio::time::timeout(deadline - clock::monotonic(), future).await.ok(),
    }
}

/// Whether something can be read at once, whatever the runtime knows of it yet.
pub(super) fn readable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|n| n > 0) && fds[0].any() == Some(true)
}

/// A button that is pressed by [`Finger`].
#[must_use]
pub fn simulated() -> (Finger, Simulated) {
    let (finger, touched) = watch::channel((Level::Released, clock::monotonic()));
    (Finger(finger), Simulated(touched))
}

/// What presses a simulated button.
#[derive(Debug)]
pub struct Finger(watch::Sender<(Level, Monotonic)>);

/// A press; the release is its drop, so that a caller that gives up leaves no button held.
#[derive(Debug)]
pub struct Held<'a>(&'a Finger);

impl Finger {
    /// Presses until the answer is dropped.
    #[must_use]
    pub fn press(&self) -> Held<'_> {
        self.0.send_replace((Level::Pressed, clock::monotonic()));
        Held(self)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.0.send_replace((Level::Released, clock::monotonic()));
    }
}

/// A simulated button: always there.
#[derive(Debug)]
pub struct Simulated(watch::Receiver<(Level, Monotonic)>);

impl Hardware for Simulated {
    type Port = Self;

    fn open(&mut self) -> Result<Self, String> {
        Ok(Self(self.0.clone()))
    }

    async fn changed(&mut self) {
        std::future::pending().await
    }

    async fn gone(&mut self) {
        std::future::pending().await
    }
}

impl Port for Simulated {
    async fn news(&mut self, deadline: Option<Monotonic>) -> io::Result<News> {
        let Some(touched) = before(deadline, self.0.changed()).await else { return Ok(News::default()) };
        touched.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        let (level, at) = *self.0.borrow_and_update();
        Ok(News { edges: vec![Edge { level, stamp: Some(at) }], lost: false })
    }

    fn now(&self) -> Monotonic {
        clock::monotonic()
    }

    fn level(&mut self) -> io::Result<Level> {
        Ok(self.0.borrow().0)
    }
}

/// Hardware that plays a script: it fails on a call out of order, and on steps left over.
#[cfg(any(test, feature = "fakes"))]
pub mod fake {
    use std::collections::VecDeque;
    use std::future::pending;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::*;

    /// One call that is expected, and its answer. Times in milliseconds.
    #[derive(Debug)]
    pub enum Step {
        /// Looking for the hardware.
        Open(Result<(), &'static str>),
        /// Asking for the real level.
        Level(Result<Level, io::ErrorKind>),
        /// Waiting with this deadline, until that time, for these edges and their stamps.
        News { deadline: Option<u64>, until: u64, edges: Vec<(Level, Option<u64>)>, lost: bool },
        /// Waiting, until the hardware fails.
        Fails { until: u64 },
        /// Waiting, until the device's node is gone.
        Gone { until: u64 },
        /// Waiting for devices that come and go.
        Changed { until: u64 },
        /// The same, without any.
        Unchanged,
    }

    #[derive(Debug, Default)]
    struct Script {
        steps: VecDeque<Step>,
        now: u64,
    }

    /// The hardware, and each port that was opened.
    #[derive(Debug, Clone)]
    pub struct Fake(Arc<Mutex<Script>>);

    impl Fake {
        pub fn new(steps: impl IntoIterator<Item = Step>) -> Self {
            Self(Arc::new(Mutex::new(Script { steps: steps.into_iter().collect(), now: 0 })))
        }

        /// To be called at the end.
        pub fn assert_played(&self) {
            let script = self.0.lock().unwrap();
            assert!(script.steps.is_empty(), "left over: {:?}", script.steps);
        }

        fn is_next(&self, kind: impl Fn(&Step) -> bool) -> bool {
            self.0.lock().unwrap().steps.front().is_some_and(kind)
        }

        /// The next step; none at the end of the script.
        fn take(&self) -> Option<Step> {
            let mut script = self.0.lock().unwrap();
            let step = script.steps.pop_front()?;
            if let Step::News { until, .. } | Step::Fails { until } | Step::Gone { until } | Step::Changed { until } = &step {
                script.now = *until;
            }
            Some(step)
        }
    }

    fn ms(ms: u64) -> Monotonic {
        Monotonic(Duration::from_millis(ms))
    }

    impl Hardware for Fake {
        type Port = Self;

        fn open(&mut self) -> Result<Self, String> {
            match self.take() {
                Some(Step::Open(Ok(()))) => Ok(self.clone()),
                Some(Step::Open(Err(reason))) => Err(reason.into()),
                other => panic!("opened instead of {other:?}"),
            }
        }

        async fn changed(&mut self) {
            match self.take() {
                Some(Step::Changed { .. }) => {}
                Some(Step::Unchanged) | None => pending().await,
                other => panic!("waited for devices instead of {other:?}"),
            }
        }

        async fn gone(&mut self) {
            if !self.is_next(|step| matches!(step, Step::Gone { .. })) {
                pending().await
            }
            self.take();
        }
    }

    impl Port for Fake {
        async fn news(&mut self, deadline: Option<Monotonic>) -> io::Result<News> {
            if self.is_next(|step| matches!(step, Step::Gone { .. })) {
                pending().await
            }
            match self.take() {
                Some(Step::News { deadline: expected, edges, lost, .. }) => {
                    assert_eq!(deadline, expected.map(ms));
                    let edges = edges.into_iter().map(|(level, stamp)| Edge { level, stamp: stamp.map(ms) }).collect();
                    Ok(News { edges, lost })
                }
                Some(Step::Fails { .. }) => Err(io::Error::from_raw_os_error(nix::libc::ENODEV)),
                None => pending().await,
                other => panic!("waited for edges instead of {other:?}"),
            }
        }

        fn now(&self) -> Monotonic {
            ms(self.0.lock().unwrap().now)
        }

        fn level(&mut self) -> io::Result<Level> {
            match self.take() {
                Some(Step::Level(level)) => level.map_err(io::Error::from),
                other => panic!("asked for the level instead of {other:?}"),
            }
        }
    }
}
