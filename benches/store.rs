//! The store's own figures, without sockets: durable logins a second and the wait of one, beside this disk's fdatasync in the same run.
//!
//! `cargo bench --bench store [-- [ACCOUNTS] [FOLDER]]`; FOLDER (default: target/) lies on the disk to be measured.
//!
//! A login is one look at the account (Start) and one commit (Answer): enrolment opened, step marked, audit entry. The time steps are invented,
//! since one code serves once.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};
use twostep::core::account::{Account, Method, Methods};
use twostep::core::time::{Monotonic, Wall};
use twostep::core::totp::{Enrolment, Mark, TimeStep};
use twostep::engine::store::{AuditEntry, Lookup, Options, SealingKey, Store, Stored};
use twostep::sys::clock;

const SECONDS: u64 = 5;
const CONNECTIONS: u64 = 64;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let accounts = arguments.next().map_or(100, |text| text.parse().expect("a number of accounts"));
    let folder = arguments.next().unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/target").into());
    let folder = tempfile::tempdir_in(folder).expect("a folder to measure in");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(measure(accounts, folder.path()));
}

async fn measure(accounts: u32, folder: &Path) {
    let floor = fdatasync(folder);
    println!("fdatasync of one page        p50 {:>6} µs   p99 {:>6} µs", micros(floor.0), micros(floor.1));

    let options = Options::new(folder.into(), clock::wall);
    let key = || SealingKey::from_slice(&[7; 32]);
    let store = Store::open(options.clone(), key());
    fill(&store, accounts).await;
    store.close().await;
    let begin = clock::monotonic();
    let store = Store::open(options, key());
    println!("{accounts} accounts: opened in {} ms", (clock::monotonic() - begin).as_millis());

    let logins = Arc::new(Logins { store, accounts, next: AtomicU64::new(0) });
    let (one, alone, _) = logins.run(1).await;
    let ratio = one.0.as_secs_f64() / floor.0.as_secs_f64();
    println!(
        "one connection               p50 {:>6} µs   p99 {:>6} µs   {alone:.0}/s   p50 = {ratio:.2} × fdatasync",
        micros(one.0),
        micros(one.1)
    );
    let (many, rate, work) = logins.run(CONNECTIONS).await;
    println!(
        "{CONNECTIONS} connections               p50 {:>6} µs   p99 {:>6} µs   {rate:.0}/s   {:.1} µs of processor time each",
        micros(many.0),
        micros(many.1),
        work.as_secs_f64() * 1e6
    );
    println!("memory of this process (PSS): {} KiB", pss());
}

/// p50 and p99 of one 4 KiB overwrite with fdatasync.
fn fdatasync(folder: &Path) -> (Duration, Duration) {
    let file = OpenOptions::new().create_new(true).write(true).open(folder.join("floor")).expect("a file");
    file.write_all_at(&[0; 256 << 10], 0).and_then(|()| file.sync_all()).expect("written");
    let each = |turn: u64| {
        let begin = clock::monotonic();
        file.write_all_at(&[turn as u8; 4096], turn % 64 * 4096).and_then(|()| file.sync_data()).expect("written");
        clock::monotonic() - begin
    };
    percentiles((0..2000).map(each).collect())
}

async fn fill(store: &Store, accounts: u32) {
    for first in (0..accounts).step_by(10_000) {
        let last = accounts.min(first + 10_000);
        store
            .write(move |tx| {
                for uid in first..last {
                    let methods = Methods::NONE.with(Method::SecurityCode);
                    let account = Account { methods, preferred: Some(Method::SecurityCode), ..Account::default() };
                    let mut stored = Stored::new(uid, &format!("user{uid}"));
                    stored.account = account;
                    tx.save_enrolled(&stored, &Enrolment::fresh([uid as u8; 20]))?;
                }
                Ok(())
            })
            .await
            .expect("accounts");
    }
}

struct Logins {
    store: Store,
    accounts: u32,
    next: AtomicU64,
}

impl Logins {
    /// Latency, rate and processor time (of all threads, each) of logins by `connections` that each wait for their answer before the next.
    async fn run(self: &Arc<Self>, connections: u64) -> ((Duration, Duration), f64, Duration) {
        let worked = processor_time();
        let begin = clock::monotonic();
        let until = begin + Duration::from_secs(SECONDS);
        let tasks: Vec<_> = (0..connections).map(|_| tokio::spawn(Arc::clone(self).one_after_another(until))).collect();
        let mut waits = Vec::new();
        for task in tasks {
            waits.extend(task.await.expect("a task"));
        }
        let rate = waits.len() as f64 / (clock::monotonic() - begin).as_secs_f64();
        let work = (processor_time() - worked) / u32::try_from(waits.len()).unwrap_or(u32::MAX);
        (percentiles(waits), rate, work)
    }

    async fn one_after_another(self: Arc<Self>, until: Monotonic) -> Vec<Duration> {
        let mut waits = Vec::new();
        while clock::monotonic() < until {
            let begin = clock::monotonic();
            self.login().await;
            waits.push(clock::monotonic() - begin);
        }
        waits
    }

    async fn login(&self) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        // A fixed, even walk over the accounts (the multiplier is odd and large).
        let uid = (turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) % u64::from(self.accounts);
        let (uid, step) = (uid as u32, TimeStep(50_000_000 + turn));
        let name = format!("user{uid}");
        let looked = {
            let name = name.clone();
            self.store.read(move |view| view.account(uid, &name)).await
        };
        assert!(matches!(looked, Ok(Lookup::Known(_))));
        let first = self.store.write(move |tx| {
            let Lookup::Known(stored) = tx.account(uid, &name)? else { return Ok(false) };
            let enrolment = tx.enrolment(&stored)?;
            let first = enrolment.is_some() && tx.mark_step(uid, step, Mark::Used, step)?;
            let by = "pam".to_owned();
            tx.audit(&AuditEntry {
                at: Wall(1_795_517_326),
                event: "login_verified".into(),
                user: Some(name),
                by,
                ..AuditEntry::default()
            })?;
            Ok(first)
        });
        assert_eq!(first.await, Ok(true));
    }
}

fn percentiles(mut waits: Vec<Duration>) -> (Duration, Duration) {
    waits.sort_unstable();
    (waits[waits.len() / 2], waits[waits.len() * 99 / 100])
}

fn micros(wait: Duration) -> u128 {
    wait.as_micros()
}

fn processor_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("the usage");
    let time = |value: TimeVal| Duration::from_micros(value.num_microseconds().unsigned_abs());
    time(usage.user_time()) + time(usage.system_time())
}

fn pss() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}
