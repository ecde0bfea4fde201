//! The phone's pages: a process of its own that serves paired phones over HTTPS, and carries their calls to the engine.
//!
//! It holds no secret of the second step and decides nothing: each call that does is signed by the phone, for the engine alone to judge. It can
//! delay or drop calls, and it could serve another page; hence its files are part of the program, and it may write nothing but a
//! certificate of its own making.
//!
//! ```text
//! phone ── HTTPS ──► listener ──► pages ──► assets        (or: reverse proxy ── Unix socket ──► listener)
//!                                   └─────► api ──► engine.rs ── Unix socket ──► twostepd
//! ```
//! Started as root it becomes the user `twostep-web`; as any other user it stays that one. What comes before the sandbox is in [`main`]'s order:
//! configuration, socket, user, certificate.
#![forbid(unsafe_code)]

pub mod address;
mod api;
pub mod args;
mod assets;
pub mod certificate;
pub mod engine;
pub mod limits;
pub mod listener;
pub mod pages;
mod patience;

use std::convert::Infallible;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use nix::unistd::{User, geteuid};
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::address::Address;
use self::args::Args;
use self::certificate::{Renewal, Source};
use self::engine::Engine;
use self::listener::{Bound, Tls};
use self::pages::{App, Limits};
use crate::config::{self, Config, WEB_USER};
use crate::sys::sandbox;
use crate::sys::{clock, systemd};

/// Exit code where nothing is to be served.
const NOT_CONFIGURED: u8 = 3;

/// Exit code where the configuration file is wrong: to start again changes nothing.
const WRONG_FILE: u8 = 4;

/// Open files: connections of phones, and as many to the engine for those that wait.
const FILES: u64 = 2048;

/// Memory of its own, in bytes.
const MEMORY: u64 = 256 << 20;

/// Why it could not start, or had to end.
#[derive(Debug)]
enum Fault {
    Config(config::Error),
    NoAddress(PathBuf),
    Listen(String, io::Error),
    Socket(PathBuf, io::Error),
    State(PathBuf, io::Error),
    NoUser,
    Sandbox(sandbox::Fault),
    Certificate(certificate::Fault),
    BehindProxy,
    Io(io::Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::NoAddress(file) => write!(
                f,
                "{}: phone.address is not set, so there is nothing to serve: set it to what phones open, like \"https://nas.example.org:8443\"",
                file.display()
            ),
            Self::Listen(what, error) => write!(f, "web.listen: {what}: {error}"),
            Self::Socket(path, error) => write!(f, "web.socket: {}: {error}", path.display()),
            Self::State(path, error) => write!(f, "--state {}: {error}", path.display()),
            Self::NoUser => {
                write!(f, "there is no user {WEB_USER} to become: make it (the package does), or start it as another user than root")
            }
            Self::Sandbox(fault) => fault.fmt(f),
            Self::Certificate(fault) => fault.fmt(f),
            Self::BehindProxy => f.write_str("web.socket is set: the reverse proxy has the certificate"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl Fault {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoAddress(_) => ExitCode::from(NOT_CONFIGURED),
            Self::Config(config::Error::Invalid { .. }) => ExitCode::from(WRONG_FILE),
            _ => ExitCode::FAILURE,
        }
    }
}

impl From<certificate::Fault> for Fault {
    fn from(fault: certificate::Fault) -> Self {
        Self::Certificate(fault)
    }
}

impl From<sandbox::Fault> for Fault {
    fn from(fault: sandbox::Fault) -> Self {
        Self::Sandbox(fault)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The program, from its arguments to its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    let ended = match (args.configured, args.fingerprint) {
        (true, _) => configured(&args),
        (_, true) => fingerprint(&args),
        _ => run(&args),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            // The journal or syslog has it for later, stderr for whoever started us by hand.
            log::error!("{fault}");
            eprintln!("twostep-web: {fault}");
            fault.exit_code()
        }
    }
}

fn load(args: &Args) -> Result<(Config, Address), Fault> {
    let config = Config::load(&args.config).map_err(Fault::Config)?;
    let address = config.phone.address.as_deref().and_then(Address::parse);
    let address = address.ok_or_else(|| Fault::NoAddress(args.config.clone()))?;
    Ok((config, address))
}

/// A configuration with faults is for the start itself to tell: what is only skipped is not looked at.
fn configured(args: &Args) -> Result<(), Fault> {
    match load(args) {
        Err(fault @ Fault::NoAddress(_)) => Err(fault),
        _ => Ok(()),
    }
}

fn fingerprint(args: &Args) -> Result<(), Fault> {
    let (config, address) = load(args)?;
    let source = source(args, &config.web, &address).ok_or(Fault::BehindProxy)?;
    let certificate = source.read()?;
    let key = certificate.key_fingerprint()?;
    let said = format!("{}\nIts key, which a renewal leaves as it is: {key}\n", certificate.fingerprint());
    match io::stdout().write_all(said.as_bytes()) {
        // Whoever reads only the first line, as `head -n 1` does, has what it wants.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(Fault::Io),
    }
}

/// Where the certificate comes from; behind a proxy there is none.
fn source(args: &Args, web: &config::Web, address: &Address) -> Option<Source> {
    match (&web.socket, &web.certificate, &web.key) {
        (Some(_), ..) => None,
        (None, Some(certificate), Some(key)) => Some(Source::Files { certificate: certificate.into(), key: key.into() }),
        _ => Some(Source::Made { folder: args.state.clone(), host: address.host.clone() }),
    }
}

fn run(args: &Args) -> Result<(), Fault> {
    let (config, address) = load(args)?;
    crate::log::init(&config.log, "twostep-web");
    let bound = bind(&config.web)?;
    let source = source(args, &config.web, &address);
    let socket = config.web.socket.as_deref().map(Path::new);
    become_user(matches!(source, Some(Source::Made { .. })).then_some(args.state.as_path()), socket)?;
    let tls = source.as_ref().map(tls).transpose()?;
    confine(source.as_ref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(args, &address, bound, source, tls))
}

fn bind(web: &config::Web) -> Result<Bound, Fault> {
    match &web.socket {
        Some(path) => Bound::unix(Path::new(path)).map_err(|e| Fault::Socket(path.into(), e)),
        None => Bound::tcp(web.listen).map_err(|e| Fault::Listen(web.listen.to_string(), e)),
    }
}

/// Where it is root, it makes the state folder, gives it and the proxy's socket to its user and becomes that user; else the folder is made as it is.
fn become_user(state: Option<&Path>, socket: Option<&Path>) -> Result<(), Fault> {
    let user = match geteuid().is_root() {
        true => Some(User::from_name(WEB_USER).map_err(io::Error::from)?.ok_or(Fault::NoUser)?),
        false => None,
    };
    if let Some(folder) = state {
        let failed = |e| Fault::State(folder.into(), e);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        if let Some(user) = &user {
            chown(folder, Some(user.uid.as_raw()), Some(user.gid.as_raw())).map_err(failed)?;
        }
    }
    if let Some(user) = user {
        if let Some(socket) = socket {
            chown(socket, Some(user.uid.as_raw()), Some(user.gid.as_raw())).map_err(|e| Fault::Socket(socket.into(), e))?;
        }
        sandbox::drop_to_user(user.uid, user.gid)?;
    }
    Ok(())
}

/// Reads or makes the certificate, and tells its fingerprint.
fn tls(source: &Source) -> Result<Tls, Fault> {
    let certificate = source.obtain(clock::wall())?;
    log::info!("certificate: SHA-256 {}, its key: SHA-256 {}", certificate.fingerprint(), certificate.key_fingerprint()?);
    let renewal = Renewal::of(&certificate, source);
    Ok(Tls::new(certificate.into_config()?, renewal))
}

/// Gives up all but the sockets: no file can be written any more but a certificate of our own making, and none read but the certificate's.
fn confine(source: Option<&Source>) -> Result<(), Fault> {
    let mut readable = Vec::new();
    let writable = match source {
        Some(Source::Made { folder, .. }) => vec![folder.clone()],
        _ => Vec::new(),
    };
    if let Some(Source::Files { certificate, key }) = source {
        for file in [certificate, key] {
            // A new certificate is another file in the same folder, and often behind a link.
            let real = fs::canonicalize(file).ok();
            readable.extend([Some(file), real.as_ref()].into_iter().flatten().filter_map(|file| file.parent().map(PathBuf::from)));
        }
    }
    // It may run as anybody, who has other programs; and in its unit it is alone with its TasksMax=.
    let limits = sandbox::Limits { writable, readable, ports: Vec::new(), files: FILES, memory: MEMORY, tasks: None };
    for lack in sandbox::confine(&limits)? {
        log::warn!("sandbox: {lack}");
    }
    Ok(())
}

async fn serve(args: &Args, address: &Address, bound: Bound, source: Option<Source>, tls: Option<Tls>) -> Result<(), Fault> {
    let (mut stop, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    // Before it is ready, so that none ends it.
    let asked = signal(SignalKind::hangup())?;
    let engine = Engine::new(args.socket.clone());
    // It counts for all ports of the host, where the NAS may have other pages; so only where the usual port is ours.
    let insists = source.as_ref().is_some_and(Source::is_given) && address.has_usual_port();
    let app = App::new(engine.clone(), address.origin.clone(), insists, Limits::default());
    let serving = listener::serve(bound, tls.clone(), pages::router(app), Limits::default());
    systemd::ready();
    tokio::select! {
        ended = serving => match ended? {},
        never = engine.carry(&address.origin) => match never {},
        never = reload(asked, source, tls) => match never {},
        _ = stop.recv() => stopped(),
        _ = interrupt.recv() => stopped(),
    }
}

fn stopped() -> Result<(), Fault> {
    systemd::stopping();
    Ok(())
}

/// Reads the certificate again whenever SIGHUP comes. One that is no good changes nothing.
async fn reload(mut asked: Signal, source: Option<Source>, tls: Option<Tls>) -> Infallible {
    loop {
        asked.recv().await;
        let (Some(source), Some(tls)) = (source.as_ref().filter(|source| source.is_given()), &tls) else {
            // Nobody else changes one of our own making.
            log::info!("no certificate was given, so there is nothing to read again");
            continue;
        };
        let read = source.read().and_then(|certificate| Ok((certificate.fingerprint(), certificate.into_config()?)));
        match read {
            Ok((fingerprint, config)) => {
                tls.replace(config);
                log::info!("certificate read again: SHA-256 {fingerprint}");
            }
            Err(fault) => log::error!("the former certificate stays: {fault}"),
        }
    }
}
