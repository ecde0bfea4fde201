//! The load generator: connections that each start a login, answer it with the right code, and begin the next.
//!
//! Every account is used once in each time step. A login of time step s is right while the server's clock is in s - 1 … s + 1, so the clock
//! goes on to s only when no login from before s - 1 is open.

use std::collections::BTreeMap;
use std::io::{BufRead, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{UsageWho, getrusage};
use twostep::core::time::{Monotonic, Wall};
use twostep::sys::clock;

use crate::{clockwork, number, people};

const PERIOD: i64 = 30;
/// Prime, so that it walks over all accounts, whatever their number (that is no multiple of it); large, so that neighbours are far apart.
const STRIDE: u64 = 7_368_787;

/// What a load generator has measured.
pub struct Waits {
    /// Of each login, in nanoseconds, the shortest first.
    sorted: Vec<u64>,
    took: Duration,
    pub cpu: Duration,
    pub refused: u64,
}

impl Waits {
    pub fn count(&self) -> usize {
        self.sorted.len()
    }

    pub fn rate(&self) -> f64 {
        self.count() as f64 / self.took.as_secs_f64()
    }

    pub fn percentile(&self, percent: usize) -> Duration {
        Duration::from_nanos(self.sorted.get(self.count() * percent / 100).copied().unwrap_or(0))
    }

    fn print(mut self) {
        self.sorted.sort_unstable();
        let mut text = format!("{} {} {}\n", self.took.as_nanos(), self.cpu.as_nanos(), self.refused);
        for wait in &self.sorted {
            text.push_str(&format!("{wait}\n"));
        }
        std::io::stdout().write_all(text.as_bytes()).expect("printed");
    }

    /// Reads what [`print`](Self::print) wrote in the other process.
    pub fn read(mut input: impl BufRead) -> Self {
        let mut first = String::new();
        input.read_line(&mut first).expect("figures");
        let first: Vec<u64> = first.split_whitespace().map(number).collect();
        let [took, cpu, refused] = first[..] else { panic!("no figures") };
        let sorted = input.lines().map(|line| number(&line.expect("a line"))).collect();
        Self { sorted, took: Duration::from_nanos(took), cpu: Duration::from_nanos(cpu), refused }
    }
}

/// One connection.
struct Caller {
    socket: UnixStream,
    heard: Vec<u8>,
    /// The login under way: its account, its time step, when it began.
    login: Option<(u32, i64, Monotonic)>,
    answering: bool,
}

/// Whose turn it is, and what time.
struct Turns {
    accounts: u32,
    next: u64,
    first: i64,
    now: i64,
    /// How many logins of each time step are open.
    open: BTreeMap<i64, u32>,
}

impl Turns {
    /// The next account and time step; winds the clock. None while a login from too long ago is open.
    fn take(&mut self) -> Option<(u32, i64)> {
        let turn = self.next;
        let step = self.first + (turn / u64::from(self.accounts)) as i64;
        if step > self.now {
            if self.open.keys().next().is_some_and(|oldest| *oldest < step - 1) {
                return None;
            }
            clockwork::set(Wall(step * PERIOD));
            self.now = step;
        }
        self.next += 1;
        *self.open.entry(step).or_default() += 1;
        Some(((turn.wrapping_mul(STRIDE) % u64::from(self.accounts)) as u32, step))
    }

    fn done(&mut self, step: i64) {
        if let Some(open) = self.open.get_mut(&step) {
            *open -= 1;
            if *open == 0 {
                self.open.remove(&step);
            }
        }
    }
}

/// Runs for `seconds` and prints what it measured.
pub fn run(socket: &Path, accounts: u32, connections: u32, seconds: u64) {
    // Beyond whatever an earlier run has used.
    let first = clockwork::wall().0 / PERIOD + 3;
    let mut turns = Turns { accounts, next: 0, first, now: first - 1, open: BTreeMap::new() };
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("epoll");
    let mut callers: Vec<Caller> = (0..connections).map(|index| Caller::connect(socket, &epoll, index.into())).collect();
    let mut waits = Waits { sorted: Vec::with_capacity(1 << 20), took: Duration::ZERO, cpu: Duration::ZERO, refused: 0 };
    let begun = clock::monotonic();
    let end = begun + Duration::from_secs(seconds);
    let mut idle: Vec<usize> = (0..callers.len()).collect();
    let mut events = vec![EpollEvent::empty(); callers.len()];
    loop {
        while clock::monotonic() < end
            && let Some(caller) = idle.last()
            && let Some((account, step)) = turns.take()
        {
            callers[*caller].start(account, step);
            idle.pop();
        }
        if idle.len() == callers.len() {
            break;
        }
        let count = epoll.wait(&mut events, EpollTimeout::from(10_000_u16)).expect("events");
        assert!(count > 0, "no answer for 10 s");
        for event in &events[..count] {
            let index = event.data() as usize;
            if let Some((step, begun, verified)) = callers[index].hear() {
                turns.done(step);
                match verified {
                    true => waits.sorted.push((clock::monotonic() - begun).as_nanos() as u64),
                    false => waits.refused += 1,
                }
                idle.push(index);
            }
        }
    }
    waits.took = clock::monotonic() - begun;
    let used = getrusage(UsageWho::RUSAGE_SELF).expect("usage");
    let time = |t: nix::sys::time::TimeVal| Duration::new(t.tv_sec() as u64, t.tv_usec() as u32 * 1000);
    waits.cpu = time(used.user_time()) + time(used.system_time());
    waits.print();
}

impl Caller {
    fn connect(socket: &Path, epoll: &Epoll, index: u64) -> Self {
        let socket = UnixStream::connect(socket).expect("the engine");
        socket.set_nonblocking(true).expect("a socket that does not block");
        epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, index)).expect("epoll");
        Self { socket, heard: Vec::with_capacity(1024), login: None, answering: false }
    }

    fn start(&mut self, account: u32, step: i64) {
        self.login = Some((account, step, clock::monotonic()));
        self.answering = false;
        let (_, name) = people::user(account);
        self.say(&format!(
            r#"{{"method":"io.twostep.Login.Start","parameters":{{"user":"{name}","service":"sshd","remote":"192.0.2.7"}}}}"#
        ));
    }

    fn say(&mut self, text: &str) {
        let mut frame = text.as_bytes().to_vec();
        frame.push(0);
        // A frame is far smaller than the buffer of a socket on which nothing waits.
        assert_eq!(self.socket.write(&frame).expect("written"), frame.len());
    }

    /// Hears what is there: once the login is over, its time step, when it began, and whether it was verified.
    fn hear(&mut self) -> Option<(i64, Monotonic, bool)> {
        let mut bytes = [0; 1024];
        match self.socket.read(&mut bytes) {
            Ok(count) if count > 0 => self.heard.extend_from_slice(&bytes[..count]),
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            other => panic!("the engine hung up: {other:?}"),
        }
        if self.heard.last() != Some(&0) {
            return None;
        }
        let heard = std::mem::take(&mut self.heard);
        let text = str::from_utf8(&heard).expect("text");
        let (account, step, begun) = self.login.expect("a login under way");
        if self.answering {
            let verified = text.contains(r#""outcome":"verified""#);
            assert!(verified || text.contains(r#""outcome":""#), "{text}");
            return Some((step, begun, verified));
        }
        let login = between(text, r#""login":""#).unwrap_or_else(|| panic!("no login: {text}"));
        let code = people::enrolment(account).code_at(people::time(Wall(step * PERIOD)));
        self.answering = true;
        self.say(&format!(
            r#"{{"method":"io.twostep.Login.Answer","parameters":{{"login":"{login}","method":"security_code","code":"{}"}}}}"#,
            *code
        ));
        None
    }
}

/// What stands after `start`, up to the next quotation mark.
fn between<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    text.split_once(start)?.1.split('"').next()
}
