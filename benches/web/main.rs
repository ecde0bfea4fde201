//! The figures of the phone, measured on this machine in one run: `cargo bench --bench web`, as root, who alone may read a confined process's
//! memory.
//!
//! It starts the release builds of twostep-web and of the engine, gives each of 200 accounts a phone (a program of its own, over TLS, all at one
//! address), and takes about four minutes. The browser's own figure is printed by `tests/engine_account/browser.rs`. Nothing here decides
//! whether a figure is good; but that each login is verified by the phone of its own account is insisted on.

#[path = "../../tests/support/crowd/mod.rs"]
mod crowd;

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use crowd::tls::{Connection, Way};
use crowd::{Crowd, Nas, Took};
use tokio::time::sleep;
use twostep::sys::clock;

const PHONES: usize = 200;
const IDLE: Duration = Duration::from_secs(60);
const LOADS: usize = 101;
/// Logins one after the other, by one phone.
const SINGLE: usize = 200;
/// Fifty logins a second for fifteen seconds.
const PACE: Duration = Duration::from_millis(20);
const MANY: usize = 750;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    println!("{}; load average at the start: {}", machine(), first_line("/proc/loadavg"));
    let crowd = Crowd::start(PHONES).await;
    println!("start to READY        {} ms, a certificate made", millis(crowd.nas.ready));
    sleep(Duration::from_secs(3)).await;
    idle("no phone", &crowd.nas).await;
    let (files, bytes, requested) = first_load(&crowd.way).await;
    println!("first load            {files} files, {requested} bytes with their heads ({bytes} bytes of files)");
    println!("page and first file   {} ms with a new TLS connection, median of {LOADS}", millis(load(&crowd.way).await));
    {
        let mut waiting = crowd.wait(1, false).await;
        sleep(Duration::from_secs(15)).await;
        idle("1 phone", &crowd.nas).await;
        approvals(&format!("1 phone, {SINGLE} logins"), &crowd.log_in(SINGLE, 1, (Duration::from_millis(1), 1)).await);
        assert!(waiting.are_all_there());
    }
    {
        let mut waiting = crowd.wait(PHONES, true).await;
        sleep(Duration::from_secs(15)).await;
        idle(&format!("{PHONES} phones"), &crowd.nas).await;
        let begun = clock::monotonic();
        let took = crowd.log_in(MANY, PHONES, (PACE, PHONES)).await;
        let rate = MANY as f64 / (clock::monotonic() - begun).as_secs_f64();
        assert!(took.len() == MANY && waiting.are_all_there());
        approvals(&format!("{PHONES} phones, {rate:.1} logins/s, {MANY} logins, each decision over a TLS connection of its own"), &took);
        memory("after them", &crowd.nas);
    }
    for program in [env!("CARGO_BIN_EXE_twostep-web"), env!("CARGO_BIN_EXE_twostepd")] {
        let name = program.rsplit('/').next().unwrap_or_default();
        println!("{name:<21} {} KiB, stripped", fs::metadata(program).expect("built").len() / 1024);
    }
}

/// Memory and wake-ups while nothing happens.
async fn idle(state: &str, nas: &Nas) {
    memory(state, nas);
    let before = sleeps(nas);
    sleep(IDLE).await;
    let [web, engine] = sleeps(nas);
    let seconds = IDLE.as_secs();
    println!("{state:<21} {} wake-ups of twostep-web, {} of the engine in {seconds} s", web - before[0], engine - before[1]);
}

fn memory(state: &str, nas: &Nas) {
    match nas.memory() {
        Some([web, engine]) => println!("{state:<21} {web} KiB of twostep-web, {engine} KiB of the engine (PSS)"),
        None => println!("{state:<21} only root can read how much memory a confined process has"),
    }
}

/// How often both processes have gone to sleep so far, all threads.
fn sleeps(nas: &Nas) -> [u64; 2] {
    nas.processes().map(|process| {
        let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("a running process");
        let statuses = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok());
        let count = |status: String| -> Option<u64> {
            status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse().ok())
        };
        statuses.map(|status| count(status).expect("a count")).sum()
    })
}

fn approvals(state: &str, took: &[Took]) {
    let percentiles = |of: fn(&Took) -> Duration| {
        let mut times: Vec<Duration> = took.iter().map(of).collect();
        times.sort_unstable();
        [50, 99].map(|percent| millis(times[(times.len() * percent / 100).min(times.len() - 1)]))
    };
    let ([half, most], [whole, longest]) = (percentiles(|took| took.approved), percentiles(|took| took.whole));
    println!("approved -> verified  p50 {half} ms, p99 {most} ms: {state}");
    println!("Start -> verified     p50 {whole} ms, p99 {longest} ms");
}

/// A file, and its length with its head.
async fn get(connection: &mut Connection, path: &str) -> (Vec<u8>, usize) {
    connection.ask(&format!("GET {path} HTTP/1.1"), "\r\n").await;
    let head = connection.head().await;
    let body = connection.body(&head).await;
    let length = head.len() + body.len();
    (body, length)
}

/// What a browser asks for at the first visit: the page and all that it names, and what its modules import at once. How many files, how long
/// they are, and with their heads.
async fn first_load(way: &Way) -> (usize, usize, usize) {
    let mut connection = way.open().await;
    let (mut wanted, mut seen, mut sums) = (vec!["/".to_owned()], BTreeSet::new(), (0, 0));
    while let Some(path) = wanted.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let (body, length) = get(&mut connection, &path).await;
        sums = (sums.0 + body.len(), sums.1 + length);
        let text = String::from_utf8_lossy(&body);
        for named in ["src=\"/", "href=\"/"].iter().flat_map(|before| text.split(before).skip(1)) {
            wanted.extend(named.split_once('"').map(|(path, _)| format!("/{path}")));
        }
        let imports = text.lines().filter(|line| line.starts_with("import "));
        for named in imports.filter_map(|line| line.split_once("from './")) {
            wanted.extend(
                named.1.split_once('\'').map(|(file, _)| format!("{}/{file}", path.rsplit_once('/').map_or("", |(folder, _)| folder))),
            );
        }
    }
    (seen.len(), sums.0, sums.1)
}

async fn load(way: &Way) -> Duration {
    let mut times = Vec::new();
    for _ in 0..LOADS {
        let begun = clock::monotonic();
        let mut connection = way.open().await;
        get(&mut connection, "/").await;
        get(&mut connection, "/assets/app.js").await;
        times.push(clock::monotonic() - begun);
    }
    times.sort_unstable();
    times[LOADS / 2]
}

fn millis(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}

fn machine() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split(": ").nth(1)).unwrap_or("?");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{model}, {cores} cores, Linux {}", first_line("/proc/sys/kernel/osrelease"))
}

fn first_line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}
