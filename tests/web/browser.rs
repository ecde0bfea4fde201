//! A browser's side of HTTP/1.1, byte by byte, so that a test can also be rude.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use serde_json::Value;

use crate::SOON;

/// The host that certificates of the tests are for.
pub const HOST: &str = "nas.example";

type Tls = StreamOwned<ClientConnection, TcpStream>;

trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

/// One connection.
pub struct Browser(BufReader<Box<dyn Wire>>);

/// What was answered.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Reply {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.split_once(':').filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()))
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

fn pending(authenticator: &str) -> Value {
    serde_json::json!({ "authenticator": authenticator, "nonce": "n", "proof": "p" })
}

/// TLS to `address`, trusting `certificate` alone.
pub fn handshake(
    address: SocketAddr,
    certificate: &CertificateDer<'static>,
    versions: &[&'static SupportedProtocolVersion],
) -> std::io::Result<Tls> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = builder.with_protocol_versions(versions).unwrap().with_root_certificates(roots).with_no_client_auth();
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from(HOST).unwrap()).unwrap();
    let mut stream = StreamOwned::new(connection, connect(address));
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

/// Plain TCP.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

impl Browser {
    /// Over TLS, trusting `certificate` alone.
    #[track_caller]
    pub fn open(address: SocketAddr, certificate: &CertificateDer<'static>) -> Self {
        Self::try_open(address, certificate).unwrap()
    }

    pub fn try_open(address: SocketAddr, certificate: &CertificateDer<'static>) -> std::io::Result<Self> {
        handshake(address, certificate, rustls::ALL_VERSIONS).map(Self::over)
    }

    /// As a reverse proxy does.
    pub fn behind_proxy(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        Self::over(stream)
    }

    fn over(stream: impl Wire + 'static) -> Self {
        Self(BufReader::new(Box::new(stream)))
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.get_mut().write_all(bytes)?;
        self.0.get_mut().flush()
    }

    /// A request without a body.
    #[track_caller]
    pub fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
        self.request(method, path, headers, None)
    }

    #[track_caller]
    pub fn get(&mut self, path: &str) -> Reply {
        self.ask("GET", path, &[])
    }

    /// A call of the interface.
    #[track_caller]
    pub fn post(&mut self, method: &str, parameters: &Value) -> Reply {
        self.request("POST", &format!("/api/{method}"), &[("Content-Type", "application/json")], Some(&parameters.to_string()))
    }

    #[track_caller]
    pub fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Reply {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n");
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = body {
            text += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
        } else {
            text += "\r\n";
        }
        self.send(text.as_bytes()).unwrap();
        self.reply(method == "HEAD")
    }

    /// Reads an answer; that to HEAD has no body.
    #[track_caller]
    pub fn reply(&mut self, to_head: bool) -> Reply {
        let mut reply = self.begin();
        let length = reply.header("content-length").map_or(0, |value| value.parse().unwrap());
        if !to_head && length > 0 {
            let mut body = vec![0; length];
            self.0.read_exact(&mut body).unwrap();
            reply.body = String::from_utf8_lossy(&body).into_owned();
        }
        reply
    }

    /// Reads an answer's head.
    #[track_caller]
    pub fn begin(&mut self) -> Reply {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.0.read_line(&mut head).unwrap(), 0, "closed after {head:?}");
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Reply { status, head, body: String::new() }
    }

    /// Opens a stream of events.
    #[track_caller]
    pub fn listen(&mut self, authenticator: &str) -> Reply {
        self.wait_for("Pending", &pending(authenticator))
    }

    /// The same for all accounts of a phone.
    #[track_caller]
    pub fn listen_all(&mut self, authenticators: &[&str]) -> Reply {
        let all: Vec<Value> = authenticators.iter().map(|one| pending(one)).collect();
        self.wait_for("PendingAll", &serde_json::json!({ "pending": all }))
    }

    #[track_caller]
    fn wait_for(&mut self, method: &str, parameters: &Value) -> Reply {
        let body = parameters.to_string();
        let head = format!(
            "POST /api/{method} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.send(head.as_bytes()).unwrap();
        let mut reply = self.begin();
        if let Some(length) = reply.header("content-length") {
            let mut body = vec![0; length.parse().unwrap()];
            self.0.read_exact(&mut body).unwrap();
            reply.body = String::from_utf8(body).unwrap();
        }
        reply
    }

    /// The next event: its lines. `None` where the stream has ended.
    pub fn event(&mut self) -> Option<String> {
        let mut length = String::new();
        self.0.read_line(&mut length).unwrap();
        let length = usize::from_str_radix(length.trim(), 16).unwrap();
        let mut piece = vec![0; length + 2];
        self.0.read_exact(&mut piece).unwrap();
        piece.truncate(length);
        (length > 0).then(|| String::from_utf8(piece).unwrap())
    }

    /// Waits until the other end has closed the connection; what it still said.
    pub fn closed(mut self) -> String {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => {}
            // Without TLS's good-bye, or with bytes of ours unread.
            Err(e) if matches!(e.kind(), std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset) => {}
            Err(e) => panic!("not closed: {e}"),
        }
        String::from_utf8_lossy(&rest).into_owned()
    }
}
