//! The engine's end of the privileged channel: what root is asked, and what root says.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc, oneshot};

use crate::proto::privileged::{Broken, Channel, Notice, OPEN_CHECKS, Order, PasswordOutcome, Recovered};
use crate::proto::secret::Secret;

/// How many questions may wait for a free place at root.
const QUEUE: usize = 64;

/// Asks root; cheap to clone.
#[derive(Clone, Debug)]
pub struct Root {
    asks: mpsc::Sender<Ask>,
    ticks: Arc<Notify>,
    clock: mpsc::Sender<oneshot::Sender<bool>>,
}

#[derive(Debug)]
enum Ask {
    /// Tell root that the socket is served.
    Ready,
    Password {
        account: String,
        password: Secret,
        answer: oneshot::Sender<PasswordOutcome>,
    },
}

/// What root says by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The button brought this account back.
    Recovered(Recovered),
    /// It is off again.
    RecoveryOver(String),
}

/// The driver of the channel; [`run`](Self::run) it beside the server.
#[derive(Debug)]
pub struct RootChannel {
    channel: Channel,
    asks: mpsc::Receiver<Ask>,
    news: mpsc::Sender<News>,
    ticks: Arc<Notify>,
    open: HashMap<u64, oneshot::Sender<PasswordOutcome>>,
    last: u64,
    clock: mpsc::Receiver<oneshot::Sender<bool>>,
    /// Who waits for the answer to the one open question about the clock.
    curious: Vec<oneshot::Sender<bool>>,
}

impl Root {
    /// Tells root that the socket is served. To be called once.
    pub async fn ready(&self) {
        // A channel that is gone ends the engine by itself.
        let _ = self.asks.send(Ask::Ready).await;
    }

    /// Waits for root's next tick, twice a minute or so; those that nobody waited for count as one. For one task alone.
    pub async fn ticked(&self) {
        self.ticks.notified().await;
    }

    /// Whether this is the account's password. The name is one that [`privileged::is_account`](crate::proto::privileged::is_account) takes.
    pub async fn check_password(&self, account: &str, password: Secret) -> PasswordOutcome {
        let (answer, answered) = oneshot::channel();
        let busy = || PasswordOutcome::Unavailable { reason: "too many password checks at once; try again".into() };
        match self.asks.try_send(Ask::Password { account: account.into(), password, answer }) {
            Ok(()) => answered.await.unwrap_or_else(|_| busy()),
            Err(_) => busy(),
        }
    }

    /// Whether the wall clock is known to be synchronised, where this process may not ask the kernel. Root answers within seconds.
    pub async fn is_clock_synchronised(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        // Where the channel is gone, so is the engine in a moment.
        self.clock.send(answer).await.is_ok() && answered.await.unwrap_or(false)
    }
}

impl RootChannel {
    /// Takes the channel over; `news` is told what root says by itself.
    #[must_use]
    pub fn new(channel: Channel, news: mpsc::Sender<News>) -> (Root, Self) {
        let ((sender, asks), (question, clock)) = (mpsc::channel(QUEUE), mpsc::channel(QUEUE));
        let ticks = Arc::new(Notify::new());
        let root = Root { asks: sender, ticks: Arc::clone(&ticks), clock: question };
        (root, Self { channel, asks, news, ticks, open: HashMap::new(), last: 0, clock, curious: Vec::new() })
    }

    /// Carries messages until the supervisor closes the channel.
    ///
    /// # Errors
    /// Where the channel broke, or said what it may not.
    pub async fn run(mut self) -> Result<(), Broken> {
        loop {
            tokio::select! {
                order = self.channel.receive() => match order? {
                    Some(order) => self.obey(order).await?,
                    None => return Ok(()),
                },
                Some(ask) = self.asks.recv(), if self.open.len() < OPEN_CHECKS => self.ask(ask).await?,
                Some(curious) = self.clock.recv() => self.ask_clock(curious).await?,
            }
        }
    }

    async fn ask(&mut self, ask: Ask) -> Result<(), Broken> {
        let notice = match ask {
            Ask::Ready => Notice::Ready {},
            Ask::Password { account, password, answer } => {
                self.last += 1;
                self.open.insert(self.last, answer);
                Notice::CheckPassword { id: self.last, account, password }
            }
        };
        self.channel.send(&notice).await.map_err(Broken::Io)
    }

    /// Whoever is curious while the question is open shares its answer.
    async fn ask_clock(&mut self, curious: oneshot::Sender<bool>) -> Result<(), Broken> {
        let is_open = !self.curious.is_empty();
        self.curious.push(curious);
        if is_open { Ok(()) } else { self.channel.send(&Notice::AskClock {}).await.map_err(Broken::Io) }
    }

    async fn obey(&mut self, order: Order) -> Result<(), Broken> {
        match order {
            Order::Ping {} => {
                self.ticks.notify_one();
                self.channel.send(&Notice::Alive {}).await.map_err(Broken::Io)
            }
            Order::Recovered(recovered) => self.tell(News::Recovered(recovered)).await,
            Order::RecoveryOver { account } => self.tell(News::RecoveryOver(account)).await,
            Order::PasswordChecked { id, outcome } => {
                let answer = self.open.remove(&id).ok_or(Broken::Unknown)?;
                // Whoever asked may have hung up.
                let _ = answer.send(outcome);
                Ok(())
            }
            Order::ClockTold { synchronised } => {
                let curious = std::mem::take(&mut self.curious);
                if curious.is_empty() {
                    return Err(Broken::Unknown);
                }
                for one in curious {
                    // Whoever asked may have hung up.
                    let _ = one.send(synchronised);
                }
                Ok(())
            }
            Order::Start { .. } => Err(Broken::Unknown),
        }
    }

    async fn tell(&self, news: News) -> Result<(), Broken> {
        self.news.send(news).await.map_err(|_| Broken::Unknown)
    }
}
