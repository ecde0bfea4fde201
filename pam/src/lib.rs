//! The second step of every login that speaks PAM: what is behind `pam_twostep.so`, whose symbols are in `module.rs`.
//!
//! | line | what it does |
//! |---|---|
//! | auth | asks the engine whether a second step is wanted, and goes through it ([`step`], [`setup`]) |
//! | account | refuses whoever came in by a way that left the auth line out ([`mod@account`]) |
//! | password, session | nothing: PAM_IGNORE |
//!
//! It is thin: what decides is in the engine, behind `/run/twostep/twostep.sock`. It lives in sshd, sudo and login, so it starts no thread, keeps
//! no handler, takes no path from the environment, and a panic in it ends as a refused login. Where anything is in doubt, nobody is let in,
//! but for the account that the reset button brought back, while the engine gives no decision ([`recovered`]).
//!
//! The service `twostep` has no second step: it is how the daemon itself checks a password, and the question would go round in a circle.

mod account;
mod engine;
mod ffi;
mod held;
mod options;
mod people;
mod qr;
mod recovered;
mod setup;
mod step;
mod talk;
mod verdict;

#[cfg(test)]
mod script;

use std::ffi::{c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};

use twostep::sys::clock;

use account::Passed;
use engine::Socket;
use ffi::{Item, Level, Pam, log};
use options::Options;
use step::Facts;
use talk::{Talk, Tone};
use verdict::{Denial, Pass, SYSTEM_ERR, Why};

pub use ffi::Handle;
pub use verdict::{IGNORE, SUCCESS};

/// The daemon's own PAM service.
const OWN_SERVICE: &str = "twostep";

/// The auth line: the second step.
///
/// # Safety
/// The arguments are those that libpam gave to `pam_sm_authenticate`, which is running.
pub unsafe fn authenticate(handle: *mut Handle, flags: c_int, argc: c_int, argv: *const *const c_char) -> c_int {
    guarded(|| {
        // SAFETY: as the caller promises.
        let (Some(mut pam), words) = (unsafe { (Pam::new(handle, flags), ffi::words(argc, argv)) }) else { return misplaced() };
        // Whoever passed before, in the same transaction, has to pass again.
        if !pam.remember(None) {
            return SYSTEM_ERR;
        }
        let result = second_step(&mut pam, words);
        if let (Ok(pass), Some(user)) = (&result, pam.name(Item::User))
            && !pam.remember(Some(&Passed { user, is_verified: pass.is_verified() }))
        {
            return SYSTEM_ERR;
        }
        verdict::code(&result)
    })
}

/// The account line: nobody who left the second step out.
///
/// # Safety
/// The arguments are those that libpam gave to `pam_sm_acct_mgmt`, which is running.
pub unsafe fn account(handle: *mut Handle, flags: c_int, argc: c_int, argv: *const *const c_char) -> c_int {
    guarded(|| {
        // SAFETY: as the caller promises.
        let (Some(mut pam), words) = (unsafe { (Pam::new(handle, flags), ffi::words(argc, argv)) }) else { return misplaced() };
        verdict::code(&check_account(&mut pam, words))
    })
}

/// Runs an entry so that nothing of ours ends the host.
fn guarded(entry: impl FnOnce() -> c_int) -> c_int {
    // Standard error belongs to the host, and may be a stranger's connection. This is our own copy of the standard library: its hook is no
    // other's.
    #[cfg(not(test))]
    std::panic::set_hook(Box::new(|_| {}));
    catch_unwind(AssertUnwindSafe(entry)).unwrap_or_else(|_| {
        log(Level::Error, "pam_twostep: panicked; the login is refused");
        SYSTEM_ERR
    })
}

fn misplaced() -> c_int {
    log(Level::Error, "pam_twostep: there is no libpam in this process");
    SYSTEM_ERR
}

/// What both lines need to know.
struct Line {
    options: Options,
    user: String,
    service: String,
}

/// What a line says before the engine is asked.
enum Before {
    Ask(Line),
    Pass(Pass),
}

fn read(pam: &mut Pam, words: Option<Vec<&str>>) -> Result<Before, Denial> {
    let own = pam.name(Item::Service);
    if own.as_deref() == Some(OWN_SERVICE) {
        return Ok(Before::Pass(Pass::Excepted));
    }
    let fault = |what: String| Denial::new(Why::Misused, format!("pam_twostep: {what}"));
    let words = words.ok_or_else(|| fault("the options are no text".into()))?;
    let options = Options::parse(words.into_iter()).map_err(|e| fault(e.to_string()))?;
    let user = pam.ask_user().ok_or_else(|| Denial::new(Why::UnknownUser, ""))?;
    let service = options.service.clone().or(own).unwrap_or_else(|| "unknown".into());
    if let Some(exception) = options.exception(&user, people::uid, |group| people::is_member(&user, group)) {
        log(Level::Notice, &format!("pam_twostep({service}): {user} is not asked: {exception} in the PAM configuration"));
        return Ok(Before::Pass(Pass::Excepted));
    }
    Ok(Before::Ask(Line { options, user, service }))
}

fn second_step(pam: &mut Pam, words: Option<Vec<&str>>) -> Result<Pass, Denial> {
    let line = match read(pam, words) {
        Ok(Before::Ask(line)) => line,
        Ok(Before::Pass(pass)) => return Ok(pass),
        Err(denial) => return Err(refused(pam, denial)),
    };
    let (remote, password) = (pam.name(Item::RemoteHost), pam.password());
    let facts = Facts {
        user: &line.user,
        service: &line.service,
        remote: remote.as_deref(),
        password: password.as_ref(),
        qr: line.options.qr,
        trust_address: line.options.trust_address,
    };
    let owner = nix::unistd::geteuid().as_raw();
    let mut engine = Socket::new(&line.options.dir, owner, line.options.timeout);
    let is_recovered = |user: &str| recovered::admits(&line.options.dir, owner, user, clock::boot_time());
    let mut result = step::run(&facts, &mut engine, pam, &is_recovered);
    // Another module, or the host, may have put another name in its place meanwhile.
    if result.is_ok() && pam.name(Item::User).as_deref() != Some(line.user.as_str()) {
        let logged = "another name was put in the place of this one meanwhile".into();
        result = Err(Denial { logged, ..Denial::new(Why::Misused, "") });
    }
    note("auth", &line, &result);
    result
}

fn check_account(pam: &mut Pam, words: Option<Vec<&str>>) -> Result<Pass, Denial> {
    let line = match read(pam, words) {
        Ok(Before::Ask(line)) => line,
        Ok(Before::Pass(pass)) => return Ok(pass),
        Err(denial) => return Err(refused(pam, denial)),
    };
    // A module in between may have put the directory's spelling of the name in the place of the one that was typed.
    let passed = pam.passed().filter(|passed| people::is_same(&passed.user, &line.user, people::uid)).map(|passed| passed.pass());
    let owner = nix::unistd::geteuid().as_raw();
    let mut engine = Socket::new(&line.options.dir, owner, line.options.timeout);
    let is_recovered = |user: &str| recovered::admits(&line.options.dir, owner, user, clock::boot_time());
    let result = account::check(&line.user, passed, &mut engine, pam, &is_recovered);
    note("account", &line, &result);
    result
}

/// A line that can't be obeyed.
fn refused(pam: &mut Pam, denial: Denial) -> Denial {
    if !denial.told.is_empty() {
        pam.tell(Tone::Error, &denial.told);
        log(Level::Error, &denial.told);
    }
    denial
}

/// What became of it, for the log of logins; the engine has its own audit trail.
fn note(kind: &str, line: &Line, result: &Result<Pass, Denial>) {
    let Line { options, user, service } = line;
    let (level, what) = match result {
        Ok(Pass::Recovered) => (Level::Notice, "let in without an engine: the reset button brought this account back".to_owned()),
        Ok(pass) => (Level::Debug, format!("{pass:?}")),
        Err(denial) if denial.logged.is_empty() => (Level::Notice, format!("refused ({:?}): {}", denial.why, denial.told)),
        Err(denial) => (Level::Notice, format!("refused ({:?}): {}", denial.why, denial.logged)),
    };
    if options.debug || !matches!(level, Level::Debug) {
        log(level, &format!("pam_twostep({service}:{kind}): {user}: {what}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_refusal() {
        assert_eq!(guarded(|| panic!("as if")), SYSTEM_ERR);
        assert_eq!(guarded(|| verdict::SUCCESS), verdict::SUCCESS);
    }
}
