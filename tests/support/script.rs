//! Programs that a test lays down and then has run.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Lays a program at `path`, with this text and mode. A process of its own writes it: what another test starts meanwhile would keep this process's copy
/// open for writing until it is another program, and then it can't be run (ETXTBSY).
#[track_caller]
pub fn lay(path: &Path, mode: u32, text: &str) {
    let mut install =
        Command::new("install").arg("-m").arg(format!("{mode:o}")).arg("/dev/stdin").arg(path).stdin(Stdio::piped()).spawn().unwrap();
    install.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(install.wait().unwrap().success(), "{}", path.display());
}
