//! The engine process: started again whenever it ends, told what it must know, ended when it says what it may not.
//!
//! ```text
//!            spawn                 ends, hangs or breaks the rules
//! waiting ─────────► running ──────────────────────────────────────► waiting (100 ms, doubling to 10 s)
//! ```
//!
//! The supervisor keeps the listening socket, so that clients wait in its backlog while no engine runs. Nothing the engine does delays
//! the button: this is a task of its own, and each message is read only as far as its cap.

mod user;
mod words;

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use log::{error, info, warn};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::sleep;

use self::user::Ids;
use super::guesses::Guesses;
use super::key;
use super::monitor::Monitor;
use super::password;
use super::password_worker::Judge;
use super::run::{SHARED, bind, named};
use super::synchronisation::Synchronisation;
use crate::config::paths::Paths;
use crate::core::time::Monotonic;
use crate::proto::privileged::{Channel, ENGINE_ARGUMENT, Ledger, Notice, Order, OutOfTurn, Recovered};
use crate::proto::secret::Secret;
use crate::sys::clock;
use crate::sys::patience::Patience;

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(10);
/// How long an engine may take to read a message.
const SENDING: Duration = Duration::from_secs(5);
/// How long the last lines of an engine that has ended are waited for.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// How long the file with the mail server's password is waited for, and a domain that may know the engine's user.
const PATIENCE: Duration = Duration::from_secs(5);
/// An engine that ran this long is not in a crash loop.
const STEADY: Duration = Duration::from_secs(60);

/// What an engine is started with.
#[derive(Debug)]
pub struct Spec {
    /// This very program, `/proc/self/exe`.
    pub program: PathBuf,
    /// The shared socket, listening; where it could not be made, it is tried again before each start.
    pub listener: Option<UnixListener>,
    /// `config::Handover`, serialised.
    pub handover: Value,
    /// Where its key is.
    pub paths: Paths,
    /// The file with the password for the mail server.
    pub mail_password: Option<PathBuf>,
    /// How passwords are checked for it.
    pub judge: Judge,
    /// The wrong ones, counted.
    pub guesses: Guesses,
    /// The user it becomes; absent where the supervisor is not root, or in a demo.
    pub user: Option<&'static str>,
}

/// What the supervisor tells the keeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tell {
    /// The watchdog's tick: is the engine alive?
    Tick,
    /// The button brought this account back.
    Recovered(Recovered),
    /// The recovered account is off again.
    RecoveryOver,
}

/// Why an engine's run ended.
#[derive(Debug)]
enum Ended {
    Exited(ExitStatus),
    Hung,
    OutOfTurn(String),
    Io(std::io::Error),
    /// The supervisor itself stops.
    Stopping,
}

/// Keeps one engine running until `tells` is closed.
#[derive(Debug)]
pub struct Keeper {
    program: PathBuf,
    listener: Option<UnixListener>,
    handover: Value,
    paths: Paths,
    mail_password: Option<PathBuf>,
    /// For that file, which may lie on a network mount, and for that domain.
    elsewhere: Patience,
    user: Option<&'static str>,
    monitor: Monitor,
    tells: mpsc::UnboundedReceiver<Tell>,
    recovered: Option<Recovered>,
    delay: Duration,
}

impl Keeper {
    /// A keeper that has not started anything yet; `recovered` is the account that a press before this start brought back.
    #[must_use]
    pub fn new(spec: Spec, tells: mpsc::UnboundedReceiver<Tell>, recovered: Option<Recovered>) -> Self {
        let Spec { program, listener, handover, paths, mail_password, judge, guesses, user } = spec;
        let monitor = Monitor::new(judge, guesses, Synchronisation::of(&paths.root));
        let elsewhere = Patience::new(PATIENCE);
        Self { program, listener, handover, paths, mail_password, elsewhere, user, monitor, tells, recovered, delay: FIRST_DELAY }
    }

    /// Runs engine after engine. Returns when the supervisor stops.
    pub async fn run(mut self) {
        loop {
            let began = clock::monotonic();
            match self.one_engine().await {
                Ended::Stopping => return,
                Ended::Exited(status) => warn!("engine ended ({status})"),
                Ended::Hung => error!("engine did not answer for one watchdog period: ended"),
                Ended::OutOfTurn(why) => error!("engine broke the rules of its channel ({why}): ended"),
                Ended::Io(e) => error!("engine could not be run: {e}"),
            }
            if !self.wait(began).await {
                return;
            }
        }
    }

    /// Waits before the next start, longer each time; false where the supervisor stops meanwhile.
    async fn wait(&mut self, began: Monotonic) -> bool {
        if clock::monotonic() - began >= STEADY {
            self.delay = FIRST_DELAY;
        }
        let pause = sleep(self.delay);
        tokio::pin!(pause);
        self.delay = (self.delay * 2).min(LONGEST_DELAY);
        loop {
            tokio::select! {
                () = &mut pause => return true,
                tell = self.tells.recv() => match tell {
                    Some(tell) => { self.note(&tell); }
                    None => return false,
                },
            }
        }
    }

    /// Remembers what the next engine must be told; returns what a running one is to be told.
    fn note(&mut self, tell: &Tell) -> Option<Order> {
        match tell {
            Tell::Tick => Some(Order::Ping {}),
            Tell::Recovered(recovered) => {
                self.recovered = Some(recovered.clone());
                Some(Order::Recovered(recovered.clone()))
            }
            Tell::RecoveryOver => self.recovered.take().map(|recovered| Order::RecoveryOver { account: recovered.account }),
        }
    }

    async fn one_engine(&mut self) -> Ended {
        // Before the start: a slow TPM must not look like a silent supervisor.
        let (key, mail_password) = self.secrets().await;
        let started = match self.ids().await {
            Ok(user) => self.spawn(user),
            Err(e) => Err(e),
        };
        let (mut child, channel) = match started {
            Ok(started) => started,
            Err(e) => return Ended::Io(e),
        };
        info!("engine started (pid {})", child.id().unwrap_or_default());
        let said = child.stderr.take().map(|stderr| tokio::spawn(words::relay(stderr)));
        // What was said while there was no engine is in the first order.
        while let Ok(tell) = self.tells.try_recv() {
            self.note(&tell);
        }
        let start = Order::Start { handover: self.handover.clone(), key, mail_password, recovered: self.recovered.clone() };
        let ended = self.converse(&mut child, channel, &start).await;
        self.monitor.forget();
        // Stopping, its channel is closed: it finishes what it has begun.
        let finished = matches!(ended, Ended::Stopping) && tokio::time::timeout(Duration::from_secs(2), child.wait()).await.is_ok();
        if !finished && let Err(e) = child.kill().await {
            warn!("engine could not be ended: {e}");
        }
        if let Some(mut said) = said
            && tokio::time::timeout(LAST_WORDS, &mut said).await.is_err()
        {
            said.abort();
        }
        ended
    }

    async fn converse(&mut self, child: &mut Child, mut channel: Channel, start: &Order) -> Ended {
        let mut ledger = Ledger::default();
        if let Err(ended) = send(&mut channel, start).await {
            return ended;
        }
        loop {
            tokio::select! {
                status = child.wait() => return status.map_or_else(Ended::Io, Ended::Exited),
                notice = channel.receive() => match notice {
                    Ok(Some(notice)) => if let Err(why) = self.admit(&mut ledger, notice) { return Ended::OutOfTurn(why.to_string()) },
                    Ok(None) => return last_words(child).await,
                    Err(e) => return Ended::OutOfTurn(e.to_string()),
                },
                order = self.monitor.answer() => {
                    ledger.answered(&order);
                    if let Err(ended) = send(&mut channel, &order).await { return ended }
                }
                tell = self.tells.recv() => {
                    let Some(tell) = tell else { return Ended::Stopping };
                    if tell == Tell::Tick && !ledger.ping() {
                        return Ended::Hung;
                    }
                    if let Some(order) = self.note(&tell) && let Err(ended) = send(&mut channel, &order).await {
                        return ended;
                    }
                }
            }
        }
    }

    /// The sealing key and the mail server's password, as far as they are there.
    async fn secrets(&self) -> (Option<Secret>, Option<Secret>) {
        let (paths, file, elsewhere) = (self.paths.clone(), self.mail_password.clone(), self.elsewhere.clone());
        let read = move || (key::obtain(&paths), file.map(|file| mail_password(&elsewhere, file, password::from_file)));
        let found = tokio::task::spawn_blocking(read).await;
        let (key, mail_password) = found.unwrap_or_else(|e| (Err(e.to_string()), None));
        (key.map_or_else(|reason| no_key(&reason), Some), mail_password.flatten())
    }

    /// Those of the user that the engine becomes.
    async fn ids(&self) -> io::Result<Option<Ids>> {
        let Some(name) = self.user else { return Ok(None) };
        user::ids(name, self.paths.accounts.join("passwd"), self.elsewhere.clone(), user::by_nss).await.map(Some)
    }

    /// Everything from the engine passes here.
    fn admit(&mut self, ledger: &mut Ledger, notice: Notice) -> Result<(), OutOfTurn> {
        ledger.admit(&notice)?;
        match notice {
            Notice::Ready {} => info!("engine ready"),
            Notice::Alive {} => {}
            Notice::CheckPassword { id, account, password } => self.monitor.check_password(id, account, password),
            Notice::AskClock {} => self.monitor.ask_clock(),
        }
        Ok(())
    }

    /// Starts the program again; standard input is the channel, standard output the listening socket, standard error a pipe (see [`words`]).
    fn spawn(&mut self, user: Option<Ids>) -> std::io::Result<(Child, Channel)> {
        lay_folder(&self.paths, user)?;
        let (ours, theirs) = UnixStream::pair()?;
        let listener = match &self.listener {
            Some(listener) => listener.try_clone()?,
            None => self.listener.insert(bind(&self.paths.socket(), SHARED)?).try_clone()?,
        };
        let mut command = std::process::Command::new(&self.program);
        command.arg0("twostepd").arg(ENGINE_ARGUMENT).env_clear().current_dir("/");
        command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::from(OwnedFd::from(listener)));
        command.stderr(Stdio::piped());
        // Ctrl-C at a terminal is for the supervisor, which lets the engine finish what it commits.
        command.process_group(0);
        if let Some((uid, gid)) = user {
            command.uid(uid.as_raw()).gid(gid.as_raw());
        }
        ours.set_nonblocking(true)?;
        let child = Command::from(command).kill_on_drop(true).spawn()?;
        Ok((child, Channel::new(ours)?))
    }
}

/// An engine that does not read what it is told hangs.
async fn send(channel: &mut Channel, order: &Order) -> Result<(), Ended> {
    match tokio::time::timeout(SENDING, channel.send(order)).await {
        Ok(sent) => sent.map_err(Ended::Io),
        Err(_) => Err(Ended::Hung),
    }
}

/// The engine's own folder.
fn lay_folder(paths: &Paths, engine: Option<Ids>) -> io::Result<()> {
    let own = paths.engine();
    DirBuilder::new().recursive(true).mode(0o700).create(&own).map_err(|e| named(&own, &e))?;
    match engine {
        Some((uid, gid)) if fs::metadata(&own).map_err(|e| named(&own, &e))?.uid() != uid.as_raw() => {
            chown(&own, Some(uid.as_raw()), Some(gid.as_raw())).map_err(|e| named(&own, &e))
        }
        _ => Ok(()),
    }
}

/// The engine runs without it: it answers, and decides nothing.
fn no_key(reason: &str) -> Option<Secret> {
    error!("the sealing key is not available: {reason}");
    None
}

/// Without it no mail is sent, and everything else works. Where the file does not answer, the engine does not wait for it.
fn mail_password(
    elsewhere: &Patience,
    file: PathBuf,
    read: impl FnOnce(&Path) -> Result<Secret, String> + Send + 'static,
) -> Option<Secret> {
    let name = file.display().to_string();
    let read = elsewhere.ask(&name, move || read(&file)).unwrap_or_else(|no_answer| Err(no_answer.to_string()));
    read.map_err(|reason| error!("mail: {name}: {reason}")).ok()
}

/// The channel is closed: the engine has ended or is about to.
async fn last_words(child: &mut Child) -> Ended {
    match tokio::time::timeout(Duration::from_secs(1), child.wait()).await {
        Ok(status) => status.map_or_else(Ended::Io, Ended::Exited),
        Err(_) => Ended::OutOfTurn("channel closed, process goes on".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_password_on_a_mount_that_is_away_does_not_keep_the_engine_from_starting() {
        let (answer, hangs) = std::sync::mpsc::channel::<()>();
        let away = move |_: &Path| {
            let _ = hangs.recv();
            Ok(Secret::new("for the mail server".into()))
        };
        let (come, back) = std::sync::mpsc::channel();
        std::thread::spawn(move || come.send(mail_password(&Patience::new(Duration::ZERO), "/mnt/away".into(), away)));
        assert_eq!(back.recv_timeout(Duration::from_secs(60)).expect("the engine's start waits for it"), None);
        drop(answer);
    }
}

#[cfg(test)]
mod intruder;
