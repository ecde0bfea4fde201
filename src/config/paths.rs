//! Where the daemon's files are; the demo and the tests put all of them into one folder.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The folders and files of one installation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paths {
    /// Holds passwd, group, shadow and gshadow.
    pub accounts: PathBuf,
    /// Holds twostepd.toml, board.toml and recovery.d/.
    pub config: PathBuf,
    /// Holds recovery.json, pressed, key and engine/; survives a power cut.
    pub state: PathBuf,
    /// Holds the sockets and `recovered`; empty after a boot.
    pub run: PathBuf,
    /// The shipped board profiles.
    pub boards: PathBuf,
    /// Tallies of pam_faillock.
    pub faillock: PathBuf,
    /// Where `sys` and `proc` are mounted: `/`, but for tests.
    pub root: PathBuf,
}

impl Paths {
    /// Where the engine keeps its backups, in its folder.
    pub const BACKUPS: &str = "backups";

    /// An installed system.
    #[must_use]
    pub fn system() -> Self {
        Self {
            accounts: "/etc".into(),
            config: "/etc/twostep".into(),
            state: "/var/lib/twostep".into(),
            run: "/run/twostep".into(),
            boards: "/usr/share/twostep/board-configs".into(),
            faillock: "/run/faillock".into(),
            root: "/".into(),
        }
    }

    /// Everything in one scratch folder: the sockets at its top, the account files in `etc`.
    #[must_use]
    pub fn scratch(folder: &Path) -> Self {
        Self {
            accounts: folder.join("etc"),
            config: folder.join("config"),
            state: folder.join("state"),
            run: folder.into(),
            boards: folder.join("board-configs"),
            faillock: folder.join("faillock"),
            root: folder.join("root"),
        }
    }

    /// The installation whose sockets are in `folder`: the system's, or all of it is there.
    #[must_use]
    pub fn behind(folder: &Path) -> Self {
        let system = Self::system();
        let real = folder.canonicalize().unwrap_or_else(|_| folder.into());
        if real == system.run { system } else { Self::scratch(folder) }
    }

    /// The configuration of pam_faillock.
    #[must_use]
    pub fn faillock_conf(&self) -> PathBuf {
        self.accounts.join("security/faillock.conf")
    }

    /// The configuration file.
    #[must_use]
    pub fn configuration(&self) -> PathBuf {
        self.config.join("twostepd.toml")
    }

    /// The operator's own board profile; where it exists it is the one.
    #[must_use]
    pub fn board(&self) -> PathBuf {
        self.config.join("board.toml")
    }

    /// The shared socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.run.join("twostep.sock")
    }

    /// Root's own socket.
    #[must_use]
    pub fn recovery_socket(&self) -> PathBuf {
        self.run.join("recovery.sock")
    }

    /// What a press intended and how far it came.
    #[must_use]
    pub fn recovery_record(&self) -> PathBuf {
        self.state.join("recovery.json")
    }

    /// The engine's own folder.
    #[must_use]
    pub fn engine(&self) -> PathBuf {
        self.state.join("engine")
    }

    /// The engine's database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.engine().join("store.db")
    }

    /// The number of the last press; changing it starts the hooks.
    #[must_use]
    pub fn stamp(&self) -> PathBuf {
        self.state.join("pressed")
    }

    /// The number of the last press whose hooks were started.
    #[must_use]
    pub fn hooks_ran(&self) -> PathBuf {
        self.state.join("hooks-ran")
    }

    /// Room kept for a press on a full disk.
    #[must_use]
    pub fn reserve(&self) -> PathBuf {
        self.state.join("reserve")
    }

    /// Tells PAM which account is admitted when the engine cannot decide, and until when.
    #[must_use]
    pub fn recovered(&self) -> PathBuf {
        self.run.join("recovered")
    }

    /// The integrator's hooks.
    #[must_use]
    pub fn hooks(&self) -> PathBuf {
        self.config.join("recovery.d")
    }
}
