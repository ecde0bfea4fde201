//! The peers that are installed here. They answer through PAM alone and have no socket, so they are measured where our own module is, in one run
//! with it: `pam/tests/stack/figures.rs`.

use std::path::Path;

/// Their modules, and where distributions put modules.
const MODULES: [&str; 2] = ["pam_google_authenticator.so", "pam_oath.so"];
const FOLDERS: [&str; 5] = [
    "/usr/lib/x86_64-linux-gnu/security",
    "/usr/lib/aarch64-linux-gnu/security",
    "/lib/security",
    "/usr/lib/security",
    "/usr/lib64/security",
];

/// One line about each.
pub fn report() -> String {
    let found = |module: &&str| FOLDERS.iter().any(|folder| Path::new(folder).join(module).exists());
    let word = |module: &str| if found(&module) { format!("{module}: installed") } else { format!("{module}: not installed") };
    let beside = "cargo test --test stack a_login_costs -- --ignored --nocapture";
    format!("{}; beside pam_twostep.so: {beside}", MODULES.map(word).join("; "))
}
