//! The engine's figures: whole logins (Start and Answer: durable, verified, audited) over a real socket, beside this disk's and this kernel's floor.
//!
//! `cargo bench --bench logins [-- [--quick] [--accounts N[,N…]] [--seconds S] [--folder FOLDER]]`; FOLDER (default: target/) lies on the disk to
//! be measured. Without `--quick` it measures 100 and 1,000,000 accounts.
//!
//! ```text
//!   logins ──► prepare   writes the accounts, ends
//!          ──► echo      the bare socket of the floor
//!          ──► hollow    answers the same calls, and decides nothing
//!          ──► serve     the engine's own server, interface, desk and store on one thread; its memory is what is measured
//!          ──► load      1 and 64 connections; each waits for its answer before the next call; a batch job (chrt)
//! ```
//! One code serves once, so `load` winds the clock of `serve` (memory that both hold as standard input): each account is used once
//! in each time step. The clock of every other purpose is the machine's. Users are invented ([`people`]) beside empty account files: what NSS
//! takes is not in the figures.

mod clockwork;
mod floor;
mod hollow;
mod load;
mod peers;
mod people;
mod serve;

use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use floor::Floor;
use load::Waits;
use twostep::sys::clock;

/// What was asked for on the command line.
struct Asked {
    accounts: Vec<u32>,
    seconds: u64,
    folder: PathBuf,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["prepare", folder, accounts] => serve::prepare(Path::new(folder), number(accounts)),
        ["echo", socket] => floor::echo(Path::new(socket)),
        ["hollow", socket, connections] => hollow::serve(Path::new(socket), number(connections)),
        ["serve", folder, accounts] => serve::serve(Path::new(folder), number(accounts)),
        ["load", socket, accounts, connections, seconds] => {
            load::run(Path::new(socket), number(accounts), number(connections), number(seconds));
        }
        _ => report(&asked(&words)),
    }
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("not a number: {text}"))
}

fn asked(words: &[&str]) -> Asked {
    let target = concat!(env!("CARGO_MANIFEST_DIR"), "/target");
    let mut asked = Asked { accounts: vec![100, 1_000_000], seconds: 5, folder: target.into() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || *words.next().unwrap_or_else(|| panic!("{word} wants a value"));
        match *word {
            "--quick" => (asked.accounts, asked.seconds) = (vec![100], 2),
            "--accounts" => asked.accounts = value().split(',').map(number).collect(),
            "--seconds" => asked.seconds = number(value()),
            "--folder" => asked.folder = value().into(),
            other => panic!("what is {other}?"),
        }
    }
    asked
}

fn report(asked: &Asked) {
    println!("{}; load average at the start: {}", machine(), first_line("/proc/loadavg"));
    println!("{}", peers::report());
    println!("floor: two echoes over a Unix socket and one fdatasync of 4 KiB appended; the same with 4 KiB overwritten in brackets");
    println!(
        "hollow: logins/s of a server that answers the same calls and decides nothing, and the share of them that the engine reaches\n"
    );
    println!(
        "| accounts | connections | logins/s | hollow | p50 µs | p99 µs | p50 / floor | floor p50 µs | READY ms | PSS MiB | server CPU µs | load CPU µs |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    for accounts in &asked.accounts {
        measure(asked, *accounts);
    }
}

/// One size of database: fills it, starts the server, loads it with 1 and 64 connections.
fn measure(asked: &Asked, accounts: u32) {
    let folder = tempfile::tempdir_in(&asked.folder).expect("a folder to measure in");
    let path = folder.path().to_str().expect("a plain name");
    assert!(role(&["prepare", path, &accounts.to_string()], None).wait().expect("prepare").success());
    let time = clockwork::make();
    let begun = clock::monotonic();
    let mut server = role(&["serve", path, &accounts.to_string()], Some(&time));
    assert_eq!(next_line(&mut BufReader::new(server.stdout.take().expect("a pipe"))), "READY");
    let ready = clock::monotonic() - begun;
    for connections in [1, 64] {
        let before = floor::measure(folder.path());
        let ask = [accounts, connections, asked.seconds as u32];
        let run = Run::take(&mut server, &time, &format!("{path}/socket"), ask);
        let hollow = hollow(&time, path, ask);
        row(ask, &run, hollow, &before.and(floor::measure(folder.path())), ready);
    }
    server.kill().and_then(|()| server.wait()).expect("the server's end");
}

/// The logins a second of a server that decides nothing.
fn hollow(time: &OwnedFd, path: &str, ask: [u32; 3]) -> f64 {
    let socket = format!("{path}/hollow");
    let mut server = role(&["hollow", &socket, &ask[1].to_string()], None);
    assert_eq!(next_line(&mut BufReader::new(server.stdout.take().expect("a pipe"))), "READY");
    let run = Run::take(&mut server, time, &socket, ask);
    assert!(server.wait().expect("the server's end").success());
    std::fs::remove_file(socket).expect("removed");
    run.waits.rate()
}

/// One table row's worth.
struct Run {
    waits: Waits,
    /// The server's largest, in KiB.
    pss: u64,
    /// Of the server and of the load generator, for one login.
    cpu: (Duration, Duration),
}

impl Run {
    fn take(server: &mut Child, time: &OwnedFd, socket: &str, ask: [u32; 3]) -> Self {
        let words = ask.map(|number| number.to_string());
        let cpu = || cpu(server.id());
        let before = cpu();
        let mut load = batch_role(&["load", socket, &words[0], &words[1], &words[2]], time);
        let output = load.stdout.take().expect("a pipe");
        let (mut pss, watched) = (0, server.id());
        let waits = std::thread::scope(|scope| {
            let told = scope.spawn(|| Waits::read(BufReader::new(output)));
            while !told.is_finished() {
                pss = pss.max(self::pss(watched));
                std::thread::sleep(Duration::from_millis(100));
            }
            told.join().expect("the load generator's figures")
        });
        let each = |time: Duration| time / u32::try_from(waits.count().max(1)).unwrap_or(u32::MAX);
        let cpu = (each(cpu() - before), each(waits.cpu));
        assert!(load.wait().expect("load").success());
        Self { waits, pss, cpu }
    }
}

fn row([accounts, connections, _]: [u32; 3], run: &Run, hollow: f64, floor: &Floor, ready: Duration) {
    let (p50, p99) = (run.waits.percentile(50), run.waits.percentile(99));
    let ratio = |floor: Duration| p50.as_secs_f64() / floor.as_secs_f64();
    println!(
        "| {accounts} | {connections} | {:.0} | {hollow:.0}: {:.0} % | {} | {} | {:.2} ({:.2}) | {} ({}) | {} | {:.1} | {:.1} | {:.1} |",
        run.waits.rate(),
        run.waits.rate() / hollow * 100.0,
        p50.as_micros(),
        p99.as_micros(),
        ratio(floor.appended),
        ratio(floor.overwritten),
        floor.appended.as_micros(),
        floor.overwritten.as_micros(),
        ready.as_millis(),
        run.pss as f64 / 1024.0,
        run.cpu.0.as_secs_f64() * 1e6,
        run.cpu.1.as_secs_f64() * 1e6,
    );
    if run.waits.refused > 0 {
        println!(
            "  ({} correct codes were refused: two time steps with one code, or a server that lagged behind its clock)",
            run.waits.refused
        );
    }
}

/// This program in another role; `time` becomes its standard input.
fn role(words: &[&str], time: Option<&OwnedFd>) -> Child {
    run(Command::new(own()).args(words), time).expect("another process")
}

/// The same as a batch job (SCHED_BATCH), which takes no processor away when it wakes. As an ordinary process it would take the server's after each
/// answer, for its 64 callers are one process.
fn batch_role(words: &[&str], time: &OwnedFd) -> Child {
    let started = run(Command::new("chrt").args(["--batch", "0"]).arg(own()).args(words), Some(time));
    started.unwrap_or_else(|error| panic!("chrt (of util-linux): {error}"))
}

fn run(command: &mut Command, time: Option<&OwnedFd>) -> std::io::Result<Child> {
    let input = time.map_or_else(Stdio::null, |time| time.as_fd().try_clone_to_owned().expect("a descriptor").into());
    command.stdin(input).stdout(Stdio::piped()).spawn()
}

fn own() -> PathBuf {
    std::env::current_exe().expect("this program's own name")
}

fn next_line(output: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    output.read_line(&mut line).expect("a line");
    line.trim_end().to_owned()
}

fn machine() -> String {
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        model.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split(": ").nth(1)).unwrap_or("?").to_owned();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{model}, {cores} cores, Linux {}", first_line("/proc/sys/kernel/osrelease"))
}

fn first_line(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}

fn pss(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

/// The time that a process has computed for.
fn cpu(pid: u32) -> Duration {
    let text = first_line(&format!("/proc/{pid}/stat"));
    let after_name = text.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).map(number::<u64>).sum();
    // USER_HZ is 100 on every Linux that this is built for.
    Duration::from_millis(ticks * 10)
}
