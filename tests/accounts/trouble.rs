//! Disks, files and file systems that refuse.

use super::*;

/// Steps of the disk that fail, and the words an operator must see.
type Trouble = (fn(&Step, &Path) -> Option<i32>, &'static str);

#[test]
fn each_refusal_names_file_and_way_out_and_leaves_every_file_whole() {
    let troubles: [Trouble; 6] = [
        (|step, _| (*step == Step::Create).then_some(libc::EROFS), "read-only"),
        (|step, _| (*step == Step::Write).then_some(libc::ENOSPC), "make room"),
        (|step, _| (*step == Step::Write).then_some(libc::EDQUOT), "make room"),
        (|step, path| (*step == Step::Rename && path.ends_with("shadow")).then_some(libc::EBUSY), "mount point"),
        (|step, path| (*step == Step::Rename && path.ends_with("shadow")).then_some(libc::EPERM), if_root("immutable", "needs root")),
        (|step, _| (*step == Step::Lock).then_some(libc::EROFS), "read-only"),
    ];
    for (fails, words) in troubles {
        let etc = Etc::new();
        let before = etc.text("shadow");
        let error = etc.press_on(FailingDisk::failing(fails)).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains(etc.folder.path().to_str().unwrap()), "{error}");
        assert_eq!((etc.text("shadow"), etc.state()), (before, State::Disabled));
        assert!(!etc.path(".shadow.twostep").exists());
    }
}

fn if_root(root: &'static str, other: &'static str) -> &'static str {
    if geteuid().is_root() { root } else { other }
}

#[test]
fn a_file_that_is_no_file_or_too_large_is_refused() {
    let etc = Etc::new();
    fs::File::create(etc.path("shadow")).unwrap().set_len(17 << 20).unwrap();
    assert!(etc.press_on(RealDisk).unwrap_err().to_string().contains("larger than 16 MiB"));
    fs::remove_file(etc.path("shadow")).unwrap();
    nix::unistd::mkfifo(&etc.path("shadow"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(etc.press_on(RealDisk).unwrap_err().to_string().contains("not a regular file"));
}

#[test]
fn an_immutable_shadow_file_is_refused_with_the_reason() {
    let etc = Etc::new();
    let chattr =
        |flag: &str| Command::new("chattr").arg(flag).arg(etc.path("shadow")).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
    if !chattr("+i") {
        skipped(Lack::FileSystem, "no right, or no file system, to make a file immutable");
        return;
    }
    let error = etc.press_on(RealDisk);
    assert!(chattr("-i"));
    assert!(error.unwrap_err().to_string().contains("chattr -i"));
    assert_eq!(etc.text("shadow"), SHADOW);
}

/// Runs `body` where `folder` is a small file system of its own. False, and said, where that cannot be had.
fn on_a_file_system(folder: &Path, options: &str, body: impl FnOnce() + Send) -> bool {
    std::thread::scope(|scope| {
        let inside = || {
            let mount =
                |args: &[&str]| Command::new("mount").args(args).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
            let ready = geteuid().is_root()
                && nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).is_ok()
                && mount(&["--make-rprivate", "/"])
                && mount(&["-t", "tmpfs", "-o", options, "tmpfs", folder.to_str().unwrap()]);
            if ready {
                body()
            } else {
                skipped(Lack::Root, "no right to mount a small file system")
            }
            ready
        };
        scope.spawn(inside).join().unwrap()
    })
}

#[test]
fn on_a_read_only_file_system_the_press_is_refused() {
    let etc = Etc::new();
    let folder = etc.folder.path();
    on_a_file_system(folder, "size=1m", || {
        let inner = Etc::new();
        for file in ["passwd", "group", "shadow", "gshadow"] {
            fs::copy(inner.path(file), etc.path(file)).unwrap();
        }
        assert!(Command::new("mount").args(["-o", "remount,ro"]).arg(folder).status().unwrap().success());
        assert!(etc.press_on(RealDisk).unwrap_err().to_string().contains("mount it writable"));
        assert_eq!(etc.text("shadow"), SHADOW);
    });
}

#[test]
fn on_a_full_file_system_the_press_is_refused_and_no_file_is_cut() {
    let etc = Etc::new();
    on_a_file_system(etc.folder.path(), "size=64k", || {
        for (file, text) in [("passwd", PASSWD), ("group", GROUP), ("shadow", SHADOW), ("gshadow", GSHADOW)] {
            etc.set(file, text);
        }
        let mut filler = fs::File::create(etc.path("filler")).unwrap();
        while filler.write_all(&[1; 512]).is_ok() {}
        let error = etc.press_on(RealDisk).unwrap_err();
        assert!(error.is_full() && error.to_string().contains("make room"), "{error}");
        assert_eq!((etc.text("shadow"), etc.text("group")), (SHADOW.into(), GROUP.into()));
        assert!(!etc.path(".group.twostep").exists());
    });
}
