//! How the module is linked, so that it is loaded quickly: each sshd, sudo and login does it anew.
//!
//! It carries the unwinder that a panic needs, in place of loading the shared one.
//!
//! `libgcc_s.so` would be found, relocated and initialised in each sshd, sudo and login for the panic that never comes, and its start asks the
//! processor for its features, for which a virtual machine has to stop each time. Where the linker has no static unwinder, the shared one is
//! used. Its relocations are packed (glibc 2.36 and later), which makes up for the size.

use std::env::var;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RUSTC_LINKER");
    if var("CARGO_CFG_TARGET_ENV").as_deref() != Ok("gnu") {
        return;
    }
    // Also for the tests: cargo has no word for an example that is a library. A linker that does not know the word says so and goes on.
    println!("cargo::rustc-link-arg=-Wl,-z,pack-relative-relocs");
    let linker = var("RUSTC_LINKER").unwrap_or_else(|_| "cc".into());
    let found = Command::new(linker).arg("-print-file-name=libgcc_eh.a").output();
    let found = found.ok().and_then(|told| String::from_utf8(told.stdout).ok()).map(|path| PathBuf::from(path.trim()));
    // A name alone comes back for what there is not.
    if !found.is_some_and(|path| path.is_absolute() && path.exists()) {
        return;
    }
    let Ok(folder) = var("OUT_DIR") else { return };
    // The linker takes this text for the library: it is found before the system's.
    let script = Path::new(&folder).join("libgcc_s.so");
    if std::fs::write(&script, "INPUT ( -lgcc_eh -lgcc )\n").is_ok() {
        println!("cargo::rustc-link-arg=-L{folder}");
    }
}
