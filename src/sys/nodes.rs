//! Device nodes that come and go, told by the kernel: nobody asks again and again.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How often missing hardware is looked for where the kernel cannot tell us of changes (no inotify left).
const BLIND_RETRY: Duration = Duration::from_secs(30);

/// Folders of device nodes, watched for nodes that come and go, and the node that was found there.
pub struct Nodes {
    folders: Vec<PathBuf>,
    inotify: Option<AsyncFd<Watch>>,
    opened: Option<(PathBuf, Option<Identity>)>,
}

type Identity = (u64, u64, u64);

struct Watch(Inotify);

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Nodes {
    /// To be called within a tokio runtime. Folders that are not there yet are watched as soon as they are.
    pub fn new(folders: Vec<PathBuf>) -> Self {
        let inotify = watch();
        if let Err(error) = &inotify {
            log::warn!("button: devices that come and go are looked for every {BLIND_RETRY:?} only: inotify: {error}");
        }
        let nodes = Self { folders, inotify: inotify.ok(), opened: None };
        nodes.arm();
        nodes
    }

    fn arm(&self) {
        let Some(inotify) = &self.inotify else { return };
        let mask = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVE | AddWatchFlags::IN_ONLYDIR;
        for folder in &self.folders {
            match inotify.get_ref().0.add_watch(folder, mask) {
                Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(error) => log::warn!("button: {} cannot be watched: {error}", folder.display()),
            }
        }
    }

    /// Waits until a node came or went.
    pub async fn changed(&mut self) {
        let Some(inotify) = &mut self.inotify else { return tokio::time::sleep(BLIND_RETRY).await };
        if let Ok(mut guard) = inotify.readable_mut().await {
            while guard.get_inner().0.read_events().is_ok() {}
            guard.clear_ready();
        }
        // A folder may have come as well.
        self.arm();
    }

    /// Remembers the node that was opened.
    pub fn opened(&mut self, node: &Path) {
        self.opened = Some((node.to_path_buf(), identity(node)));
    }

    /// Waits until the node that was opened is no longer there, or another one has its name.
    pub async fn gone(&mut self) {
        while self.opened.as_ref().is_none_or(|(node, id)| id.is_some() && identity(node) == *id) {
            self.changed().await;
        }
    }
}

fn watch() -> io::Result<AsyncFd<Watch>> {
    let inotify = Watch(Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?);
    // SAFETY: the descriptor belongs to the `Inotify` inside, which nothing closes or replaces while the `AsyncFd` owns it.
    Ok(unsafe { AsyncFd::register_with_interest(inotify, Interest::READABLE) }?)
}

fn identity(node: &Path) -> Option<Identity> {
    fs::metadata(node).ok().map(|m| (m.dev(), m.ino(), m.rdev()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), future).await.expect("the kernel tells it") })
    }

    #[test]
    fn a_folder_that_comes_later_is_watched_too() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("input");
        block_on(async {
            let mut nodes = Nodes::new(vec![root.path().into(), folder.clone()]);
            fs::create_dir(&folder).unwrap();
            nodes.changed().await;
            fs::write(folder.join("event0"), "").unwrap();
            nodes.changed().await;
        });
    }

    #[test]
    fn an_opened_node_is_gone_when_it_is_removed_or_replaced_and_not_when_others_are() {
        let root = tempfile::tempdir().unwrap();
        let (node, other) = (root.path().join("gpiochip0"), root.path().join("gpiochip1"));
        block_on(async {
            let mut nodes = Nodes::new(vec![root.path().into()]);
            fs::write(&node, "").unwrap();
            nodes.opened(&node);
            fs::write(&other, "").unwrap();
            assert!(tokio::time::timeout(Duration::from_millis(50), nodes.gone()).await.is_err());
            fs::rename(&other, &node).unwrap();
            nodes.gone().await;
            nodes.opened(&node);
            fs::remove_file(&node).unwrap();
            nodes.gone().await;
        });
    }
}
