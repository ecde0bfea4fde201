//! The demo's own machine: account files, a configuration and a simulated board in one folder.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::config::board::Board;
use crate::config::paths::Paths;
use crate::config::{self, Config};
use crate::sys::crypt::{self, Method};

/// The address of the simulated board's only adapter, as on its sticker.
const STICKER: &str = "00:08:9B:C0:FF:EE";

/// That adapter, as sysfs would tell it; `permanent_address` stands for the kernel's answer.
const ADAPTER: [(&str, &str); 6] =
    [("type", "1"), ("addr_len", "6"), ("addr_assign_type", "0"), ("ifindex", "2"), ("address", STICKER), ("permanent_address", STICKER)];

/// The profile that the product ships for boards without a button.
const BOARD: &str = include_str!("../../../board-configs/simulated.toml");

/// The demo's configuration, whole: what is changed in it counts at the next start. `twostep-web` is given the same file.
fn configuration(folder: &Path) -> String {
    let home = folder.join("home/admin");
    format!(
        "\
# For a phone: twostep-web --config DIR/twostepd.toml --socket DIR/twostep.sock
[phone]
address = \"https://localhost:8443\"

[web]
listen = \"127.0.0.1:8443\"

# What suits a demo. Every other key of twostepd.toml may be given too.
[log]
target = \"stderr\"
level = \"warn\"

[button]
grace = \"0s\"
cooldown = \"0s\"

[recovery]
home = {:?}
",
        home.to_string_lossy()
    )
}

/// Says that a folder is a demo's, to be used again.
const MARKER: &str = ".twostep-demo";

/// Others may write there.
const WRITABLE: u32 = 0o022;

/// The people of the demo, and their passwords.
pub const PEOPLE: [(&str, &str); 2] = [("alice", "wonderland"), ("bob", "builder")];

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
                      admin:x:1000:1000:NAS administrator:/home/admin:/bin/sh\n\
                      alice:x:1001:1001:Alice:/home/alice:/bin/sh\n\
                      bob:x:1002:1002:Bob:/home/bob:/bin/sh\n";
const GROUP: &str = "root:x:0:\nadministrators:x:500:admin\nadmin:x:1000:\nalice:x:1001:\nbob:x:1002:\n";

/// A folder with a demo's machine in it.
#[derive(Clone, Debug)]
pub struct Folder {
    /// Its full path.
    pub path: PathBuf,
    /// Whether no demo has used it before.
    pub fresh: bool,
}

/// Makes the folder, or takes one that is empty or that a demo has used before: what is there stays.
///
/// # Errors
/// Where something can't be made, or the folder is not for a demo to use; the message names it.
pub fn lay(dir: Option<&Path>) -> io::Result<Folder> {
    let folder = match dir {
        Some(dir) => take(dir).map_err(|e| named(dir, &e))?,
        None => take(&nix::unistd::mkdtemp("/tmp/twostep-demo.XXXXXX")?)?,
    };
    furnish(&folder.path)?;
    Ok(folder)
}

/// Only a folder of our own, where nobody else writes, and without anybody's files: whoever names another one has mistyped.
fn take(dir: &Path) -> io::Result<Folder> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let path = fs::canonicalize(dir)?;
    let (found, own) = (path.metadata()?, nix::unistd::getuid().as_raw());
    if found.uid() != own {
        return Err(io::Error::other("it belongs to somebody else: name an absent or an empty folder"));
    }
    if found.mode() & WRITABLE != 0 {
        return Err(io::Error::other("others may write into it: name another folder, or take that away (chmod go-w)"));
    }
    let marker = path.join(MARKER);
    // One that was opened for others to look at stays so.
    if marker.symlink_metadata().is_ok_and(|marker| marker.is_file() && marker.uid() == own) {
        return Ok(Folder { path, fresh: false });
    }
    if path.read_dir()?.next().is_some() {
        return Err(io::Error::other("it holds files that are not a demo's: name an absent or an empty folder"));
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
    write_once(&marker, 0o600, || Ok("This folder is a scratch folder of `twostepd demo`.\n".into()))?;
    Ok(Folder { path, fresh: true })
}

/// The machine's files, as far as they are missing.
fn furnish(folder: &Path) -> io::Result<()> {
    let etc = folder.join("etc");
    for made in [&etc, &folder.join("config/recovery.d"), &folder.join("state"), &folder.join("root")] {
        DirBuilder::new().recursive(true).mode(0o755).create(made).map_err(|e| named(made, &e))?;
    }
    let adapter = folder.join("root/sys/class/net/eth0");
    fs::create_dir_all(adapter.join("device")).map_err(|e| named(&adapter, &e))?;
    for (file, content) in ADAPTER {
        write_once(&adapter.join(file), 0o644, || Ok(content.into()))?;
    }
    write_once(&shared(folder), 0o644, || Ok(configuration(folder)))?;
    write_once(&etc.join("passwd"), 0o644, || Ok(PASSWD.into()))?;
    write_once(&etc.join("group"), 0o644, || Ok(GROUP.into()))?;
    write_once(&etc.join("shadow"), 0o600, shadow)
}

fn shared(folder: &Path) -> PathBuf {
    folder.join("twostepd.toml")
}

/// What the demo's file says.
///
/// # Errors
/// Where somebody has edited the file and anything in it is wrong.
pub fn config(paths: &Paths) -> Result<Config, config::Error> {
    Config::load(&shared(&paths.run))
}

/// A board whose only button is pressed by `twostep recovery press`.
///
/// # Errors
/// Never, as long as the shipped profile is valid; a test sees to that.
pub fn board() -> Result<Board, config::Error> {
    Board::parse(BOARD, "simulated.toml")
}

fn shadow() -> io::Result<String> {
    // Day 20000 is 2024-10-04: a last change that no password policy of the demo looks at.
    let mut text = String::from("root:*:20000:0:99999:7:::\nadmin:!:20000:0:99999:7::1:\n");
    for (name, password) in PEOPLE {
        let hash = crypt::hash(password, Method::Sha512).map_err(io::Error::other)?;
        text.push_str(&format!("{name}:{}:20000:0:99999:7:::\n", hash.hash.as_str()));
    }
    Ok(text)
}

fn write_once(path: &Path, mode: u32, text: impl FnOnce() -> io::Result<String>) -> io::Result<()> {
    if path.try_exists().map_err(|e| named(path, &e))? {
        return Ok(());
    }
    let text = text()?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(|e| named(path, &e))?;
    file.write_all(text.as_bytes()).map_err(|e| named(path, &e))
}

fn named(path: &Path, e: &io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{}: {e}", path.display()))
}
