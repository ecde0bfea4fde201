//! How the programs are linked.

use std::path::PathBuf;
use std::{env, fs};

/// Call frame information is read by whoever unwinds a stack. A release build aborts on a panic, and nothing in it unwinds.
const NO_FRAMES: &str = "SECTIONS { /DISCARD/ : { *(.eh_frame) *(.eh_frame_hdr) } } INSERT AFTER .text;\n";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_ENV")? != "gnu" {
        return Ok(());
    }
    // Relocations in DT_RELR form are a thirtieth of the size, for 160 KiB in the daemon; glibc 2.36 and later read them.
    println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    if env::var("PROFILE")? == "release" {
        // 650 KiB in the daemon.
        let script = PathBuf::from(env::var("OUT_DIR")?).join("no-frames.ld");
        fs::write(&script, NO_FRAMES)?;
        println!("cargo:rustc-link-arg-bins=-Wl,--no-eh-frame-hdr,-T,{}", script.display());
    }
    Ok(())
}
