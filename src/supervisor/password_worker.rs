//! Password checks: one process for each, bounded in number and time, so that nothing in PAM can stop the button.
//!
//! ```text
//! engine ──CheckPassword──► supervisor ── spawns ──► worker (PAM) ── exit code ──► supervisor ──PasswordChecked──► engine
//!                              │ wrong ones are counted here, durably, and slowed
//! ```
//!
//! The worker is this program again, with the question on its standard input. It says what came of it by its exit code alone, and only by two
//! codes that no module ends a process with by accident. Whatever else happens to it means that nothing was decided.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::proto::frame::{MAX, Outbox};
use crate::proto::secret::Secret;
use crate::sys::{crypt, pam};

/// The longest time one check may take: longer than any fail delay, shorter than a person's patience.
pub const LONGEST_CHECK: Duration = Duration::from_secs(30);

/// What this program is told to be the worker by.
pub const MODE: &str = "password-worker";

/// The PAM service.
const SERVICE: &str = "twostep";

const ACCEPTED: u8 = 84;
const REFUSED: u8 = 85;

/// How passwords are checked here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judge {
    /// By PAM, service `twostep`.
    Pam,
    /// Against this shadow file: a demo's.
    Shadow(PathBuf),
}

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// The password is the account's.
    Accepted,
    /// It is not, or the account can't be used.
    Refused,
    /// Nothing was decided, for this reason.
    Unavailable(String),
}

/// What the worker is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    judge: Judge,
    account: String,
    password: Secret,
}

/// Checks one password in a process of its own, for at most `limit`.
pub async fn check(judge: &Judge, account: &str, password: Secret, limit: Duration) -> Checked {
    let question = Question { judge: judge.clone(), account: account.into(), password };
    match timeout(limit, ask(&question)).await {
        Ok(Ok(checked)) => checked,
        Ok(Err(e)) => Checked::Unavailable(format!("the check could not be made: {e}")),
        Err(_) => Checked::Unavailable(format!("the check took longer than {} s", limit.as_secs())),
    }
}

/// The worker, in a process group of its own. Where nobody waits any longer, all of the group is killed: a PAM module may have started programs.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        // Without a number it was waited for, and the number may be somebody else's.
        if let Some(group) = self.0.id().and_then(|pid| i32::try_from(pid).ok()) {
            // Gone already is as good.
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
    }
}

async fn ask(question: &Question) -> io::Result<Checked> {
    let mut command = Command::new("/proc/self/exe");
    command.arg(MODE).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).process_group(0);
    let Worker(child) = &mut Worker(command.spawn()?);
    let mut outbox = Outbox::new();
    outbox.put(question).map_err(io::Error::other)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(outbox.bytes()).await?;
    }
    outbox.clear();
    let status = child.wait().await?;
    Ok(match status.code().map(u8::try_from) {
        Some(Ok(ACCEPTED)) => Checked::Accepted,
        Some(Ok(REFUSED)) => Checked::Refused,
        _ => Checked::Unavailable(format!("the check broke off ({status})")),
    })
}

/// The worker process.
#[must_use]
pub fn main() -> ExitCode {
    match judge() {
        Ok(true) => ExitCode::from(ACCEPTED),
        Ok(false) => ExitCode::from(REFUSED),
        Err(_) => ExitCode::FAILURE,
    }
}

fn judge() -> Result<bool, Box<dyn std::error::Error>> {
    let mut text = zeroize::Zeroizing::new(Vec::with_capacity(MAX + 1));
    io::stdin().take(MAX as u64 + 1).read_to_end(&mut text)?;
    let question: Question = serde_json::from_slice(text.strip_suffix(&[0]).ok_or("half a question")?)?;
    match question.judge {
        Judge::Pam => match pam::check(SERVICE, &question.account, question.password.expose())? {
            pam::Verdict::Accepted => Ok(true),
            pam::Verdict::Refused => Ok(false),
            pam::Verdict::Unavailable(reason) => Err(reason.into()),
        },
        Judge::Shadow(file) => by_shadow(&file, &question.account, question.password.expose()),
    }
}

/// As pam_unix does it: an expired account and one without a line match no password.
fn by_shadow(file: &Path, account: &str, password: &str) -> Result<bool, Box<dyn std::error::Error>> {
    let text = zeroize::Zeroizing::new(std::fs::read_to_string(file)?);
    let Some(line) = text.lines().find_map(|line| line.strip_prefix(account)?.strip_prefix(':')) else { return Ok(false) };
    let fields: Vec<&str> = line.split(':').collect();
    let expired = fields.get(6).is_some_and(|expire| !expire.is_empty());
    Ok(!expired && crypt::verify(password, fields.first().unwrap_or(&""))?)
}
