//! Whether the wall clock is synchronised, found out on the engine's question.
//!
//! The kernel knows (adjtimex(2)), but the unit lets nobody under it ask: `ProtectClock=` takes the whole call away. So root looks for the file that
//! systemd-timesyncd makes once it has set the clock in this boot, and else asks `timedatectl`, whose service may ask the kernel and so
//! answers for chrony and ntpd too. What was found out holds for [`FRESH`]: however often an engine asks, no more processes are started.
//!
//! Not here: what an unsynchronised clock means (`core::clock`).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::core::time::Monotonic;
use crate::sys::clock;
use crate::sys::process::output_within;

/// So long an answer holds, a yes and a no.
const FRESH: Duration = Duration::from_secs(5);

/// How long `timedatectl` may take: its service is started when it is first asked.
const ASKING: Duration = Duration::from_secs(5);

/// Finds it out; see the module.
#[derive(Debug)]
pub struct Synchronisation {
    marker: PathBuf,
    timedatectl: PathBuf,
    limit: Duration,
    last: Mutex<Option<(Monotonic, bool)>>,
}

impl Synchronisation {
    /// Of the machine with this root folder.
    #[must_use]
    pub fn of(root: &Path) -> Self {
        let marker = root.join("run/systemd/timesync/synchronized");
        Self { marker, timedatectl: "timedatectl".into(), limit: ASKING, last: Mutex::default() }
    }

    /// Whether the clock is known to be synchronised; where nobody tells, it is not.
    pub async fn is_known(&self) -> bool {
        let mut last = self.last.lock().await;
        let now = clock::monotonic();
        if let Some((at, known)) = *last
            && now - at < FRESH
        {
            return known;
        }
        // Before it is found out: an engine that dies over the question does not get a second process for the next one at once.
        *last = Some((now, false));
        let known = clock::moment().synchronised || self.marker.exists() || self.is_told().await;
        *last = Some((clock::monotonic(), known));
        known
    }

    /// What `timedatectl` says.
    async fn is_told(&self) -> bool {
        let mut command = Command::new(&self.timedatectl);
        command.args(["show", "--property=NTPSynchronized", "--value"]);
        let limit = self.limit;
        let said = spawn_blocking(move || output_within(command, limit)).await;
        said.is_ok_and(|said| said.is_ok_and(|said| said.status.success() && said.stdout.trim_ascii() == b"yes"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::script;
    use crate::skip::{Lack, skipped};

    /// How long a script that answers at once may take to start.
    const SOON: Duration = Duration::from_secs(60);

    /// A machine whose `timedatectl` is this script; it notes each call.
    fn machine(script: &str) -> (tempfile::TempDir, Synchronisation) {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("timedatectl");
        let calls = folder.path().join("calls");
        script::lay(&program, 0o755, &format!("#!/bin/sh\necho \"$@\" >> '{}'\n{script}\n", calls.display()));
        let synchronisation = Synchronisation { timedatectl: program, limit: SOON, ..Synchronisation::of(folder.path()) };
        (folder, synchronisation)
    }

    fn calls(folder: &tempfile::TempDir) -> Vec<String> {
        fs::read_to_string(folder.path().join("calls")).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// On a machine whose kernel itself says yes, nothing else is asked.
    fn kernel_says_yes() -> bool {
        let yes = clock::moment().synchronised;
        if yes {
            skipped(Lack::UnsetClock, "in part: this machine's clock is synchronised");
        }
        yes
    }

    #[tokio::test]
    async fn timesyncds_marker_is_enough() {
        let (folder, synchronisation) = machine("echo no");
        fs::create_dir_all(folder.path().join("run/systemd/timesync")).unwrap();
        fs::write(folder.path().join("run/systemd/timesync/synchronized"), "").unwrap();
        assert!(synchronisation.is_known().await);
        assert!(calls(&folder).is_empty());
    }

    #[tokio::test]
    async fn timedatectl_is_believed_where_it_says_yes_and_nothing_else() {
        for (script, told) in [("echo yes", true), ("echo no", false), ("echo yes; exit 1", false), ("echo", false), ("exit 0", false)] {
            let (folder, synchronisation) = machine(script);
            assert_eq!(synchronisation.is_told().await, told, "{script}");
            assert_eq!(calls(&folder), ["show --property=NTPSynchronized --value"]);
        }
        let nowhere = Synchronisation { timedatectl: "/no/such/program".into(), ..machine("").1 };
        assert!(!nowhere.is_told().await);
    }

    #[tokio::test]
    async fn a_timedatectl_that_hangs_is_not_waited_for() {
        let (_folder, synchronisation) = machine("exec sleep 1000");
        let impatient = Synchronisation { limit: Duration::from_millis(20), ..synchronisation };
        assert!(!impatient.is_told().await);
    }

    #[tokio::test]
    async fn many_questions_start_one_process() {
        let (folder, synchronisation) = machine("echo no");
        let no = !kernel_says_yes();
        for _ in 0..20 {
            assert_eq!(synchronisation.is_known().await, !no);
        }
        assert_eq!(calls(&folder).len(), usize::from(no));
    }
}
