//! Tests that can't be made here say so where somebody reads it. Where `CI` is set, what can be had was had: there they fail, so that nothing that
//! was forgotten passes for good.

use std::fmt::Display;
use std::io::Write;

/// What a test lacks.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "no test program lacks all of it")]
pub enum Lack {
    /// A program or library that can be installed.
    Package,
    /// Root's rights, which whoever runs the tests there has, mounts of its own included.
    Root,
    /// Landlock, seccomp, a right that a container keeps even from root.
    Kernel,
    /// A button, a line, a light, a beeper.
    Hardware,
    /// Access lists, files that nobody may change.
    FileSystem,
    /// A clock that nobody has synchronised.
    UnsetClock,
    /// As many open files as the test wants.
    OpenFiles,
    /// A folder of the build that other users may enter.
    OpenFolder,
}

impl Lack {
    /// Why it is done without also where `CI` is set.
    fn excuse(self) -> Option<&'static str> {
        match self {
            Self::Package | Self::Root => None,
            Self::Kernel => Some("no package brings another kernel"),
            Self::Hardware => Some("the virtual NAS of tests/vm has it"),
            Self::FileSystem => Some("the build may stand on any file system"),
            Self::UnsetClock => Some("a machine with the right time is none to put wrong"),
            Self::OpenFiles => Some("the limit is the machine's"),
            Self::OpenFolder => Some("whoever builds chooses where"),
        }
    }
}

/// Past the test harness, which keeps the words of tests that pass to itself.
///
/// # Panics
/// Where `CI` is set, and what is lacking has no excuse.
#[track_caller]
pub fn skipped(lack: Lack, why: impl Display) {
    let is_ci = std::env::var_os("CI").is_some_and(|set| !set.is_empty() && set != "false");
    let excuse = lack.excuse();
    assert!(!is_ci || excuse.is_some(), "CI is set, where no test may be left out: {why}");
    let mut err = std::io::stderr().lock();
    writeln!(err, "SKIPPED: {why}{}", excuse.filter(|_| is_ci).map(|excuse| format!(" ({excuse})")).unwrap_or_default()).unwrap();
}
