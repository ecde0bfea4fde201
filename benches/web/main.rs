//! The figures of twostep-web, measured on this machine in one run: `cargo bench --bench web`, as root, who alone may read a confined
//! process's memory.
//!
//! It starts the release build in a scratch folder under target/, with an engine that only lets itself be carried for, and takes about a minute
//! and a half. Nothing here decides whether a figure is good.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixDatagram, UnixListener};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use twostep::core::peer::Peer;
use twostep::proto::authenticator::{Call, Carrying, DESCRIPTION, Error, NAME, Reply, Requests};
use twostep::proto::server::Server;
use twostep::proto::varlink::{Failure, Interface, Replies};
use twostep::sys::{clock, peer};

const PROGRAM: &str = env!("CARGO_BIN_EXE_twostep-web");
const ADDRESS: &str = "https://nas.example:8443";
const LISTEN: ([u8; 4], u16) = ([127, 90, 0, 1], 8443);
const PATIENCE: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_secs(60);
const NOBODY: u32 = 65_534;
const PHONES: u8 = 200;
const LOADS: usize = 101;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("web");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let listener = UnixListener::bind(folder.join("engine.sock"))?;
    tokio::spawn(async move { Server::new(peer::identify).interface(Carried).serve(listener).await });
    let began = clock::monotonic();
    let web = Web::start(&folder).await?;
    println!("start to READY        {} ms, a certificate made", millis(clock::monotonic() - began));
    sleep(Duration::from_secs(3)).await;
    let before = web.wakeups()?;
    sleep(IDLE).await;
    println!("idle wake-ups         {} in {} s", web.wakeups()? - before, IDLE.as_secs());
    println!("resident memory       {} KiB (PSS)", web.memory()?);
    let tls = connector(&folder)?;
    println!("page and first file   {} ms with a new TLS connection, median of {LOADS}", millis(median(load(&tls).await?)));
    let mut phones = Vec::new();
    for number in 1..=PHONES {
        phones.push(wait(&tls, number).await?);
    }
    println!("with {PHONES} phones      {} KiB (PSS)", web.memory()?);
    drop(phones);
    println!("twostep-web           {} KiB, stripped", fs::metadata(PROGRAM)?.len() / 1024);
    Ok(())
}

/// An engine without requests.
struct Carried;

impl Interface for Carried {
    const NAME: &'static str = NAME;
    const DESCRIPTION: &'static str = DESCRIPTION;
    type Call = Call;
    type Reply = Reply;
    type Error = Error;

    async fn call(&self, _: &Peer, call: Call, replies: &mut Replies<'_, Self>) -> Result<Reply, Failure<Error>> {
        match call {
            Call::Carry {} => replies.send(&Reply::Carrying(Carrying { address: ADDRESS.into() })).await?,
            Call::Pending { .. } => replies.send(&Reply::Requests(Requests::default())).await?,
            _ => return Err(Error::NoSuchAuthenticator {}.into()),
        }
        std::future::pending().await
    }
}

/// The program; ended when dropped.
struct Web(Child);

impl Web {
    async fn start(folder: &Path) -> Outcome<Self> {
        let listen = SocketAddr::from(LISTEN);
        let config = folder.join("twostepd.toml");
        fs::write(&config, format!("[log]\ntarget = \"stderr\"\n[phone]\naddress = \"{ADDRESS}\"\n[web]\nlisten = \"{listen}\"\n"))?;
        let notify = UnixDatagram::bind(folder.join("notify.sock"))?;
        let mut command = Command::new(PROGRAM);
        command.arg("--config").arg(config).arg("--socket").arg(folder.join("engine.sock")).arg("--state").arg(folder.join("state"));
        if geteuid().is_root() {
            // As root it would become a user that may not exist here.
            for place in ["", "engine.sock", "notify.sock"] {
                std::os::unix::fs::chown(folder.join(place), Some(NOBODY), Some(NOBODY))?;
            }
            command.uid(NOBODY).gid(NOBODY);
        }
        let child = command.env("NOTIFY_SOCKET", folder.join("notify.sock")).stderr(Stdio::null()).spawn()?;
        let web = Self(child);
        let mut message = [0; 64];
        let length = timeout(PATIENCE, notify.recv(&mut message)).await??;
        if message[..length] == *b"READY=1\n" { Ok(web) } else { Err("not ready".into()) }
    }

    fn wakeups(&self) -> io::Result<u64> {
        Ok(number(&fs::read_to_string(format!("/proc/{}/status", self.0.id()))?, "voluntary_ctxt_switches:"))
    }

    fn memory(&self) -> io::Result<u64> {
        Ok(number(&fs::read_to_string(format!("/proc/{}/smaps_rollup", self.0.id()))?, "Pss:"))
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

fn connector(folder: &Path) -> Outcome<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&fs::read(folder.join("state/self-signed.pem"))?)?)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let mut config = builder.with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config).into())
}

/// A connection from an address of its own, since what one address may ask for is limited.
async fn connect(tls: &TlsConnector, from: u8) -> Outcome<TlsStream<TcpStream>> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 91, 0, from], 0).into())?;
    let stream = socket.connect(LISTEN.into()).await?;
    Ok(tls.connect(ServerName::try_from("nas.example")?, stream).await?)
}

async fn load(tls: &TlsConnector) -> Outcome<Vec<Duration>> {
    let mut times = Vec::new();
    for number in 0..LOADS {
        let began = clock::monotonic();
        let mut stream = connect(tls, u8::try_from(number)? + 1).await?;
        for (path, kept) in [("/", "keep-alive"), ("/assets/app.js", "close")] {
            stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: nas.example\r\nConnection: {kept}\r\n\r\n").as_bytes()).await?;
        }
        stream.read_to_end(&mut Vec::new()).await?;
        times.push(clock::monotonic() - began);
    }
    Ok(times)
}

/// A phone that waits for requests.
async fn wait(tls: &TlsConnector, number: u8) -> Outcome<TlsStream<TcpStream>> {
    let mut stream = connect(tls, number).await?;
    let body = r#"{"authenticator":"a","nonce":"n","proof":"p"}"#;
    let head = "POST /api/Pending HTTP/1.1\r\nHost: nas.example\r\nContent-Type: application/json\r\n";
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
    let mut said = Vec::new();
    while !said.windows(5).any(|window| window == b"data:") {
        if timeout(PATIENCE, stream.read_buf(&mut said)).await?? == 0 {
            return Err(String::from_utf8_lossy(&said).into_owned().into());
        }
    }
    Ok(stream)
}

fn number(text: &str, label: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(label));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn millis(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}
