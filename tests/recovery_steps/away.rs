//! A mount that is really away: a FUSE file system that nobody serves.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;
use twostep::config::Config;
use twostep::config::board::Board;
use twostep::supervisor::password::Source;
use twostep::sys::clock;

use super::skip::{Lack, skipped};

/// Mounts one there, for this thread and those that it begins. Once what is returned is dropped, each access to it fails at once.
fn away(folder: &Path) -> Option<File> {
    if !geteuid().is_root() || unshare(CloneFlags::CLONE_NEWNS).is_err() {
        skipped(Lack::Root, "no right to mount");
        return None;
    }
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).unwrap();
    let server = File::options().read(true).write(true).open("/dev/fuse");
    let mounted = server.and_then(|server| {
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", server.as_raw_fd());
        mount(Some("away"), folder, Some("fuse"), MsFlags::empty(), Some(options.as_str()))?;
        Ok(server)
    });
    mounted.inspect_err(|error| skipped(Lack::Kernel, format_args!("no FUSE: {error}"))).ok()
}

#[test]
fn a_password_file_on_a_mount_that_is_away_is_given_up_after_seconds_and_then_at_once() {
    let body = || {
        let folder = tempfile::tempdir().unwrap();
        let mounted = folder.path().join("mounted");
        fs::create_dir(&mounted).unwrap();
        let Some(server) = away(&mounted) else { return };
        let file = mounted.join("password").display().to_string();
        let config = Config::parse(&format!("[recovery.password]\nfile = \"{file}\"\n"), "test").unwrap();
        let source = Source::new(&config.recovery, &Board::without_button(), folder.path());
        let silent = format!("{file}: it does not answer (a network mount that is away?)");
        let begun = clock::monotonic();
        assert_eq!(source.find().unwrap_err().reason, silent);
        let waited = clock::monotonic() - begun;
        assert!(waited >= Duration::from_secs(5), "given up after {waited:?}");
        assert_eq!(source.clone().find().unwrap_err().reason, silent);
        assert!(clock::monotonic() - begun < waited + Duration::from_secs(4), "waited for again");
        drop(server);
        // What hung comes back, and the file is looked at again.
        let back = std::iter::repeat_with(|| source.find().unwrap_err().reason).find(|reason| *reason != silent).unwrap();
        assert!(back.starts_with(&format!("{file}: ")) && back.contains("os error"), "{back}");
        nix::mount::umount(&mounted).unwrap();
    };
    std::thread::scope(|scope| scope.spawn(body).join().unwrap());
}
