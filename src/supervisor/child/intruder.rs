//! A compromised engine: what it says out of turn ends it, and changes nothing.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use nix::sys::signal::kill;
use nix::unistd::{Pid, getgid, getuid};
use tokio::task::JoinHandle;

use super::*;
use crate::script;
use crate::sys::atomic_file::RealDisk;

/// How long the test waits for what must come soon.
const SOON: Duration = Duration::from_secs(60);

/// A supervisor's keeper with a program of the test's own in the engine's place.
struct House {
    folder: tempfile::TempDir,
    tell: mpsc::UnboundedSender<Tell>,
    keeping: JoinHandle<()>,
}

impl House {
    /// The engine notes each start with its pid, says `words` (for printf), and stays.
    fn with(words: &str) -> Self {
        Self::with_user(words, None)
    }

    /// As that user, who has our own ids by this system's account files alone.
    fn with_user(words: &str, user: Option<&'static str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("engine");
        let starts = folder.path().join("starts").display().to_string();
        let stderr = folder.path().join("stderr").display().to_string();
        let script =
            format!("#!/bin/sh\nreadlink /proc/$$/fd/2 > '{stderr}'\necho $$ >> '{starts}'\nprintf '{words}' >&0\nexec sleep 1000\n");
        script::lay(&program, 0o755, &script);
        let paths = Paths::scratch(folder.path());
        fs::create_dir(&paths.state).unwrap();
        fs::create_dir(&paths.accounts).unwrap();
        let passwd = user.map(|name| format!("{name}:x:{}:{}::/:/usr/sbin/nologin\n", getuid(), getgid()));
        fs::write(paths.accounts.join("passwd"), passwd.unwrap_or_default()).unwrap();
        let spec = Spec {
            program,
            listener: Some(UnixListener::bind(folder.path().join("socket")).unwrap()),
            handover: Value::Null,
            judge: Judge::Shadow(paths.accounts.join("shadow")),
            guesses: Guesses::open(Arc::new(RealDisk), guesses(folder.path())),
            paths,
            mail_password: None,
            user,
        };
        let (tell, tells) = mpsc::unbounded_channel();
        let keeping = tokio::spawn(Keeper::new(spec, tells, None).run());
        Self { folder, tell, keeping }
    }

    /// The pids of all starts so far.
    fn starts(&self) -> Vec<i32> {
        let starts = fs::read_to_string(self.folder.path().join("starts")).unwrap_or_default();
        starts.lines().filter_map(|pid| pid.parse().ok()).collect()
    }

    async fn started(&self, times: usize) -> Vec<i32> {
        let started = async {
            while self.starts().len() < times {
                sleep(Duration::from_millis(5)).await;
            }
            self.starts()
        };
        tokio::time::timeout(SOON, started).await.expect("the engine is started again")
    }

    async fn close(self) {
        let starts = self.starts();
        drop(self.tell);
        self.keeping.await.unwrap();
        for pid in starts {
            assert!(kill(Pid::from_raw(pid), None).is_err(), "{pid} is left");
        }
        assert!(!guesses(self.folder.path()).exists(), "a password was looked at");
    }
}

fn guesses(folder: &Path) -> std::path::PathBuf {
    folder.join("passwords.json")
}

/// Is ended, started again after a pause, and ended again.
async fn is_ended(words: &str) {
    let house = House::with(words);
    let began = clock::monotonic();
    let starts = house.started(3).await;
    assert!(kill(Pid::from_raw(starts[0]), None).is_err() && kill(Pid::from_raw(starts[1]), None).is_err(), "{words}: still runs");
    assert!(clock::monotonic() - began >= FIRST_DELAY * 3, "{words}: no back-off");
    house.close().await;
}

const READY: &str = r#"{"ready":{}}\000"#;

#[tokio::test]
async fn an_unknown_request_ends_the_engine() {
    is_ended(&format!(r#"{READY}{{"undo_press":{{}}}}\000"#)).await;
    is_ended(&format!(r"{READY}rubbish\000")).await;
    is_ended(&format!(r#"{READY}{{"ask_clock":{{"set":true}}}}\000"#)).await;
}

#[tokio::test]
async fn a_repeated_request_ends_the_engine() {
    is_ended(&format!("{READY}{READY}")).await;
}

#[tokio::test]
async fn an_oversized_request_ends_the_engine() {
    is_ended(&format!("{READY}%070000d")).await;
}

#[tokio::test]
async fn a_request_out_of_its_state_ends_the_engine() {
    is_ended(r#"{"alive":{}}\000"#).await;
    is_ended(&format!(r#"{READY}{{"alive":{{}}}}\000"#)).await;
    is_ended(r#"{"ask_clock":{}}\000"#).await;
    is_ended(r#"{"check_password":{"id":1,"account":"alice","password":"wonderland"}}\000"#).await;
    is_ended(&format!(r#"{READY}{{"check_password":{{"id":0,"account":"alice","password":"x"}}}}\000"#)).await;
    is_ended(&format!(r#"{READY}{{"check_password":{{"id":1,"account":"../alice","password":"x"}}}}\000"#)).await;
}

#[tokio::test]
async fn an_engine_that_keeps_to_the_rules_runs_on_until_it_hangs() {
    let house = House::with(READY);
    house.started(1).await;
    house.tell.send(Tell::Tick).unwrap();
    sleep(FIRST_DELAY * 3).await;
    assert_eq!(house.starts().len(), 1, "an engine in order is left alone");
    house.tell.send(Tell::Tick).unwrap();
    house.started(2).await;
    house.close().await;
}

#[tokio::test]
async fn the_engine_has_a_standard_error_of_its_own() {
    let house = House::with(READY);
    house.started(1).await;
    let engines = fs::read_to_string(house.folder.path().join("stderr")).unwrap();
    let ours = fs::read_link("/proc/self/fd/2").unwrap();
    assert!(engines.starts_with("pipe:") && engines.trim() != ours.to_str().unwrap(), "{engines} and {}", ours.display());
    house.close().await;
}

#[tokio::test]
async fn the_engines_user_is_the_one_of_the_account_files() {
    let house = House::with_user(READY, Some("of-these-files-alone"));
    house.started(1).await;
    house.close().await;
}
