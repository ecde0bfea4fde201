//! What stands in for parts of the machine: people, PAM configuration and home folders of the test's, in a mount namespace of their own; the
//! machine's /etc stays as it is.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::nas::{self, Nas};
use crate::skip::{Lack, skipped};

/// Says why a test is left out, where it can't be run here.
pub fn lacks(programs: &[&str]) -> bool {
    let missing: Vec<_> = programs.iter().filter(|program| !Path::new(program).exists()).collect();
    if !nix::unistd::geteuid().is_root() {
        skipped(Lack::Root, "people and PAM services of the test's own need root");
        return true;
    }
    if !missing.is_empty() {
        skipped(Lack::Package, format_args!("{missing:?} not installed"));
        return true;
    }
    false
}

/// What stands in for parts of the machine.
#[derive(Clone)]
pub struct Place {
    folder: Arc<tempfile::TempDir>,
}

impl Place {
    /// alice and bob have their passwords; the PAM services have the lines that `systemd/pam` ships for them.
    pub fn new(nas: &Nas) -> Self {
        let folder = tempfile::Builder::new().prefix("twostep-place").tempdir().unwrap();
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let place = Self { folder: Arc::new(folder) };
        let at = |name: &str| place.folder.path().join(name);
        for made in ["pam.d", "home/alice/.ssh", "home/bob/.ssh"] {
            fs::create_dir_all(at(made)).unwrap();
        }
        fs::write(
            at("passwd"),
            people("/etc/passwd", |name, uid| format!("{name}:x:{uid}:{uid}::{}/home/{name}:/bin/sh", at("").display())),
        )
        .unwrap();
        fs::write(at("group"), people("/etc/group", |name, uid| format!("{name}:x:{uid}:"))).unwrap();
        fs::write(at("shadow"), people("/etc/shadow", |name, _| format!("{name}:{}:20000:0:99999:7:::", hash(name)))).unwrap();
        fs::set_permissions(at("shadow"), PermissionsExt::from_mode(0o600)).unwrap();
        // The machine's own limit of a whole login may be too short for a test on a busy one.
        let defs = fs::read_to_string("/etc/login.defs").unwrap_or_default();
        let others = defs.lines().filter(|line| !line.starts_with("LOGIN_TIMEOUT")).map(|line| format!("{line}\n"));
        fs::write(at("login.defs"), others.chain(["LOGIN_TIMEOUT 600\n".into()]).collect::<String>()).unwrap();
        fs::write(at("sudoers"), "Defaults !lecture\nalice ALL=(ALL) ALL\n").unwrap();
        fs::set_permissions(at("sudoers"), PermissionsExt::from_mode(0o440)).unwrap();
        for entry in fs::read_dir("/etc/pam.d").unwrap().flatten() {
            fs::copy(entry.path(), at("pam.d").join(entry.file_name())).unwrap();
        }
        for service in ["sshd", "sudo", "login"] {
            place.protect(service, nas, "");
        }
        // As pam-auth-update writes the profile into it: after the block of the passwords.
        let module = module(nas, "");
        let mut common = fs::read_to_string(at("pam.d/common-auth")).unwrap();
        common.push_str(&format!("auth [success=ok ignore=ignore default=die] {module}\n"));
        fs::write(at("pam.d/su"), fs::read_to_string("/etc/pam.d/su").unwrap().replace("@include common-auth", &common)).unwrap();
        place
    }

    /// Puts the lines of `systemd/pam/SERVICE` where they say that they belong.
    pub fn protect(&self, service: &str, nas: &Nas, options: &str) {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd/pam").join(service);
        let shipped = fs::read_to_string(shipped).unwrap().replace("pam_twostep.so", &module(nas, options));
        let lines = |kind: &str| shipped.lines().filter(|line| line.starts_with(kind)).collect::<Vec<_>>().join("\n");
        let machine = fs::read_to_string(Path::new("/etc/pam.d").join(service)).unwrap();
        let protected = machine
            .replace("@include common-auth", &format!("@include common-auth\n{}", lines("auth ")))
            .replace("@include common-account", &format!("{}\n@include common-account", lines("account ")));
        assert!(protected.contains("libpam_twostep"), "{protected}");
        fs::write(self.folder.path().join("pam.d").join(service), protected).unwrap();
    }

    /// A file or folder of it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// More people, as lines of passwd.
    pub fn add_people(&self, lines: &str) {
        let mut file = fs::File::options().append(true).open(self.path("passwd")).unwrap();
        file.write_all(lines.as_bytes()).unwrap();
    }

    /// A command in this place, without a terminal.
    pub fn command(&self, program: &[&str]) -> Command {
        let binds: String = ["pam.d", "passwd", "group", "shadow", "sudoers", "login.defs"]
            .iter()
            .filter(|name| Path::new("/etc").join(name).exists() && self.path(name).exists())
            .map(|name| format!("mount --bind {}/{name} /etc/{name} && ", self.folder.path().display()))
            .collect();
        // A /run of its own hides the machine's services (nscd, systemd) and has the folder that sshd wants.
        let script = format!("mount -t tmpfs tmpfs /run && mkdir -m 0755 /run/sshd && {binds}exec \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script, "sh"]).args(program).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8").env("TERM", "xterm");
        command
    }
}

pub fn module(nas: &Nas, options: &str) -> String {
    format!("{} dir={} timeout=10 {options}", nas::module().display(), nas.folder.path().display())
}

/// The machine's own file, with alice and bob in it.
fn people(file: &str, line: impl Fn(&str, u32) -> String) -> String {
    let machine = fs::read_to_string(file).unwrap();
    let is_ours = |line: &&str| ["alice:", "bob:", "twostep-web:"].iter().any(|name| line.starts_with(name));
    let others = machine.lines().filter(|line| !is_ours(line));
    let ours = [line("alice", 1001), line("bob", 1002)];
    others.map(str::to_owned).chain(ours).map(|line| line + "\n").collect()
}

fn hash(name: &str) -> String {
    let password = if name == "alice" { "wonderland" } else { "builder" };
    let made = twostep::sys::crypt::hash(password, twostep::sys::crypt::Method::Sha512).unwrap();
    made.hash.to_string()
}
