//! The way to twostep-web: HTTP/1.1 over TLS, as a program of its own speaks it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The host that the certificate is for.
pub const HOST: &str = "nas.example";

/// Where it listens, and the one certificate that is trusted.
pub struct Way {
    to: SocketAddr,
    connector: TlsConnector,
}

impl Way {
    pub fn new(to: SocketAddr, certificate: &Path) -> Self {
        let mut roots = RootCertStore::empty();
        let pem = std::fs::read(certificate).expect("a certificate");
        roots.add(CertificateDer::from_pem_slice(&pem).expect("a certificate")).expect("one to trust");
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("TLS 1.2 and 1.3");
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        // Each handshake is a whole one.
        config.resumption = rustls::client::Resumption::disabled();
        Self { to, connector: Arc::new(config).into() }
    }

    /// A new connection. Whoever is refused since too many of its address are being opened tries again, as a phone does.
    pub async fn open(&self) -> Connection {
        let host = ServerName::try_from(HOST).expect("a name");
        loop {
            let stream = TcpStream::connect(self.to).await.expect("twostep-web listens");
            stream.set_nodelay(true).expect("a socket's option");
            match self.connector.connect(host.clone(), stream).await {
                Ok(stream) => return Connection(BufReader::new(stream)),
                Err(_) => sleep(Duration::from_millis(200)).await,
            }
        }
    }
}

/// One connection.
pub struct Connection(BufReader<TlsStream<TcpStream>>);

impl Connection {
    /// Sends a request's head, after which the host is named, and what follows.
    pub async fn ask(&mut self, head: &str, body: &str) {
        self.0.get_mut().write_all(format!("{head}\r\nHost: {HOST}\r\n{body}").as_bytes()).await.expect("twostep-web reads");
        self.0.get_mut().flush().await.expect("twostep-web reads");
    }

    async fn post(&mut self, method: &str, parameters: &Value) {
        let body = parameters.to_string();
        let rest = format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        self.ask(&format!("POST /api/{method} HTTP/1.1"), &rest).await;
    }

    async fn any_head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.0.read_line(&mut head).await.expect("an answer"), 0, "closed after {head:?}");
        }
        head
    }

    /// Whether the engine is carried for; asks so that it would answer.
    pub async fn is_carried_for(&mut self, parameters: &Value) -> bool {
        self.post("Nonce", parameters).await;
        let head = self.any_head().await;
        self.body(&head).await;
        !head.starts_with("HTTP/1.1 503 ")
    }

    /// The head of an answer that says that all is well.
    pub async fn head(&mut self) -> String {
        let head = self.any_head().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        head
    }

    /// What follows such a head.
    pub async fn body(&mut self, head: &str) -> Vec<u8> {
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        let mut body = vec![0; length.parse().expect("a number")];
        self.0.read_exact(&mut body).await.expect("a body");
        body
    }

    /// A call that goes well.
    pub async fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.post(method, parameters).await;
        let head = self.head().await;
        serde_json::from_slice(&self.body(&head).await).expect("a reply")
    }

    /// Begins to wait for requests.
    pub async fn listen(&mut self, parameters: &Value) {
        self.post("Pending", parameters).await;
        self.head().await;
    }

    /// The next event, past the signs of life.
    pub async fn event(&mut self) -> Value {
        loop {
            let mut length = String::new();
            self.0.read_line(&mut length).await.expect("an event");
            let length = usize::from_str_radix(length.trim(), 16).expect("a piece's length");
            assert_ne!(length, 0, "the stream has ended");
            let mut piece = vec![0; length + 2];
            self.0.read_exact(&mut piece).await.expect("an event");
            let text = std::str::from_utf8(&piece).expect("text");
            if let Some(data) = text.strip_prefix("data: ") {
                return serde_json::from_str(data.trim_end()).expect("JSON");
            }
            assert!(text.starts_with(':'), "{text}");
        }
    }
}
