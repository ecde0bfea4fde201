//! How the programs are linked.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Relocations in DT_RELR form are a thirtieth of the size, for 160 KiB in the daemon; glibc 2.36 and later read them.
    if std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "gnu") {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
