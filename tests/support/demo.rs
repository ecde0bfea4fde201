//! The demo's folder and process: both processes of the daemon, with the supervisor's own password checks. Whoever runs the test is its root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::patience::Lines;

/// Ended when dropped.
pub struct Demo {
    child: Child,
    folder: tempfile::TempDir,
}

impl Demo {
    /// Returns once its sockets are served. `lay` writes into the folder before: account files that are there stay.
    pub fn start(lay: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Others may come to the socket.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // What is laid before belongs to the demo.
        fs::write(folder.path().join(".twostep-demo"), "").unwrap();
        lay(folder.path());
        let mut command = Command::new(env!("CARGO_BIN_EXE_twostepd"));
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut child = command.args(["demo", "--dir"]).arg(folder.path()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let line = Lines::new("the demo", child.stdout.take().unwrap()).next().expect("the demo ended");
        assert!(line.starts_with("twostep demo"), "{line}");
        Self { child, folder }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn socket(&self) -> PathBuf {
        self.folder().join("twostep.sock")
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(self.folder().join("log")).unwrap_or_default());
        }
    }
}
