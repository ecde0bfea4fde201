//! The figures of the button, measured on this machine in one run: `cargo bench --bench figures`.
//!
//! It starts the release build of `twostepd demo` in a scratch folder under target/, whose disk is then the one measured, and takes about two
//! minutes. Nothing here decides whether a figure is good.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use twostep::client::Client;
use twostep::core::time::Monotonic;
use twostep::proto::recovery::{Event, EventKind, Pressed};
use twostep::proto::varlink::Empty;
use twostep::sys::clock;

const DAEMON: &str = env!("CARGO_BIN_EXE_twostepd");
const PATIENCE: Duration = Duration::from_secs(30);
const PRESSES: usize = 5;
const STARTS: usize = 11;
const IDLE: Duration = Duration::from_secs(60);

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("figures");
    let _ = fs::remove_dir_all(&folder);
    println!("machine: {}, {} cores, Linux {}", processor(), cores(), kernel());
    let demo = Demo::start(&folder)?;
    let (holds, after): (Vec<u64>, Vec<Duration>) = (0..PRESSES).map(|_| press(&folder)).collect::<Outcome<Vec<_>>>()?.into_iter().unzip();
    println!("fires after           {} to {} ms of hold, never before 3000 ({PRESSES} presses)", min(&holds), max(&holds));
    println!("admin's hash on disk  {} ms after firing, median; {} at most", millis(median(&after)), millis(max(&after)));
    let processes = demo.processes()?;
    // The threads of the last press go after a second.
    thread::sleep(Duration::from_secs(3));
    let before = wakeups(&processes)?;
    thread::sleep(IDLE);
    println!(
        "idle wake-ups         {} in {} s, both processes (one each per watchdog period of 30 s is its own)",
        wakeups(&processes)? - before,
        IDLE.as_secs()
    );
    println!("resident memory       {} KiB, both processes (PSS)", memory(&processes)?);
    drop(demo);
    let starts: Vec<Duration> = (0..STARTS).map(|_| start_to_ready(&folder)).collect::<Outcome<_>>()?;
    println!("start to READY        {} ms, median of {STARTS}; {} at most", millis(median(&starts)), millis(max(&starts)));
    println!("twostepd              {} KiB, stripped", fs::metadata(DAEMON)?.len() / 1024);
    println!("systemd-analyze       {}", exposure());
    Ok(())
}

/// A running demo whose tour is over.
struct Demo(Child);

impl Demo {
    fn start(folder: &Path) -> Outcome<Self> {
        let mut child = Command::new(DAEMON).arg("demo").arg("--dir").arg(folder).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("no output")?;
        let demo = Self(child);
        let mut lines = BufReader::new(output).lines();
        while !lines.next().ok_or("the demo ended")??.starts_with("Ready.") {}
        // The rest of its words must not fill the pipe.
        thread::spawn(move || lines.for_each(drop));
        Ok(demo)
    }

    fn processes(&self) -> Outcome<[u32; 2]> {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.0.id()))?;
        Ok([self.0.id(), children.split_whitespace().next().ok_or("no engine")?.parse()?])
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

/// One press: the hold in milliseconds at which it fired, and the time from firing until the account is back and published, which is after
/// its line in shadow is on the disk.
fn press(folder: &Path) -> Outcome<(u64, Duration)> {
    let watch = Inotify::init(InitFlags::IN_CLOEXEC)?;
    watch.add_watch(folder, AddWatchFlags::IN_MOVED_TO)?;
    let published = thread::spawn(move || -> nix::Result<Monotonic> {
        loop {
            if watch.read_events()?.iter().any(|event| event.name.as_deref() == Some("recovered".as_ref())) {
                return Ok(clock::monotonic());
            }
        }
    });
    let socket = folder.join("recovery.sock");
    let mut monitor = Client::connect(&socket, PATIENCE)?;
    let fired = thread::spawn(move || -> Result<(u64, Monotonic), String> {
        for event in monitor.call_more::<Event>("io.twostep.Recovery.Monitor", &Empty {}).map_err(|e| e.to_string())? {
            let event = event.map_err(|e| e.to_string())?;
            if event.event == EventKind::Fired {
                return Ok((event.held_ms, clock::monotonic()));
            }
        }
        Err("the monitor ended".into())
    });
    let Pressed { .. } = Client::connect(&socket, PATIENCE)?.call("io.twostep.Recovery.Press", &json!({ "hold_ms": 3200 }))?;
    let (held, at) = fired.join().map_err(|_| "the monitor broke off")??;
    let done = published.join().map_err(|_| "the watch broke off")??;
    Ok((held, done - at))
}

fn start_to_ready(folder: &Path) -> Outcome<Duration> {
    let path = folder.join("notify.sock");
    let _ = fs::remove_file(&path);
    let notify = UnixDatagram::bind(&path)?;
    notify.set_read_timeout(Some(PATIENCE))?;
    let began = clock::monotonic();
    let mut command = Command::new(DAEMON);
    let child = command.arg("demo").arg("--dir").arg(folder).env("NOTIFY_SOCKET", &path).stdout(Stdio::null()).spawn()?;
    let demo = Demo(child);
    let mut message = [0; 256];
    loop {
        let length = notify.recv(&mut message)?;
        if message[..length].starts_with(b"READY=1") {
            break;
        }
    }
    let took = clock::monotonic() - began;
    drop(demo);
    Ok(took)
}

fn wakeups(processes: &[u32]) -> io::Result<u64> {
    let mut sum = 0;
    for process in processes {
        for task in fs::read_dir(format!("/proc/{process}/task"))? {
            let status = fs::read_to_string(task?.path().join("status"))?;
            sum += number(&status, "voluntary_ctxt_switches:");
        }
    }
    Ok(sum)
}

fn memory(processes: &[u32]) -> io::Result<u64> {
    let rollup = |process| fs::read_to_string(format!("/proc/{process}/smaps_rollup"));
    processes.iter().map(|process| Ok(number(&rollup(process)?, "Pss:"))).sum()
}

fn number(text: &str, label: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(label));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn exposure() -> String {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/twostepd.service");
    let output = Command::new("systemd-analyze").args(["security", "--offline=true", "--no-pager", unit]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let last = text.lines().rev().find(|line| line.contains("exposure level"));
    last.map_or_else(|| "not installed here".into(), |line| line.trim_start_matches(|c: char| !c.is_ascii_alphabetic()).into())
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("unknown".into(), |(_, name)| name.into())
}

fn cores() -> usize {
    thread::available_parallelism().map_or(0, usize::from)
}

fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().into()
}

fn median<T: Ord + Copy>(values: &[T]) -> T {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

fn min<T: Ord + Copy>(values: &[T]) -> T {
    values.iter().copied().min().expect("measured")
}

fn max<T: Ord + Copy>(values: &[T]) -> T {
    values.iter().copied().max().expect("measured")
}

fn millis(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}
