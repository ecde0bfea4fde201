//! Codes by e-mail, through the configured mail server.
//!
//! Each mail has a connection of its own, on a thread, for at most [`LONGEST`]. What the server says goes to the log alone: it may quote the
//! whole address, and whoever knows nothing but a password is to see the masked one. The code is in no log.
//!
//! Not here: whether a mail may be sent (`core::email`), where the password comes from (`supervisor`).

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lettre::address::AddressError;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{Address, Message, SmtpTransport, Transport};
use log::{info, warn};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::config::{self, MailSecurity};
use crate::core::login::Mail;
use crate::proto::secret::Secret;

/// The longest time a mail may take, the wait for a free thread included.
const LONGEST: Duration = Duration::from_secs(20);
/// The longest time the server may take for one answer.
const ONE_ANSWER: Duration = Duration::from_secs(10);
/// So many mails are sent at once.
const AT_ONCE: usize = 4;

/// Sends mails, where a server is configured.
#[derive(Clone, Debug)]
pub struct Mailer {
    server: Option<Arc<Server>>,
    places: Arc<Semaphore>,
}

/// A configured mail server.
#[derive(Debug)]
struct Server {
    host: String,
    port: u16,
    security: MailSecurity,
    from: String,
    /// Where the server wants a login: the name, and the password where root could read it.
    login: Option<(String, Option<Secret>)>,
    ca_file: Option<PathBuf>,
}

/// Why a mail was not sent.
enum Fault {
    /// For the operator: something on this side is missing.
    Setting(String),
    Smtp(smtp::Error),
}

impl From<smtp::Error> for Fault {
    fn from(e: smtp::Error) -> Self {
        Self::Smtp(e)
    }
}

impl From<AddressError> for Fault {
    fn from(e: AddressError) -> Self {
        Self::Setting(e.to_string())
    }
}

impl From<lettre::error::Error> for Fault {
    fn from(e: lettre::error::Error) -> Self {
        Self::Setting(e.to_string())
    }
}

impl Mailer {
    /// For the configured server, if there is one.
    #[must_use]
    pub fn new(config: &config::Mail, password: Option<Secret>) -> Self {
        let server = config.host.clone().zip(config.from.clone()).map(|(host, from)| {
            Arc::new(Server {
                host,
                port: config.port(),
                security: config.security,
                from,
                login: config.user.clone().map(|user| (user, password)),
                ca_file: config.ca_file.as_ref().map(PathBuf::from),
            })
        });
        Self { server, places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Whether a mail server is configured.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        self.server.is_some()
    }

    /// Sends one code; ends once the server has taken the mail.
    ///
    /// # Errors
    /// Why it could not be sent, for people.
    pub async fn send_code(&self, mail: &Mail, user: &str, host: &str) -> Result<(), String> {
        let server = Arc::clone(self.server.as_ref().ok_or("no mail server is configured")?);
        let places = Arc::clone(&self.places);
        let (mail, user, host) = (mail.clone(), user.to_owned(), host.to_owned());
        let sent = async move {
            // The semaphore is never closed. The thread keeps its place also where nobody waits for it any more.
            let place = places.acquire_owned().await;
            let sending = spawn_blocking(move || {
                let _place = place;
                server.send(&mail, &user, &host)
            });
            sending.await.unwrap_or_else(|e| Err(format!("the mail could not be sent: {e}")))
        };
        timeout(LONGEST, sent)
            .await
            .unwrap_or_else(|_| Err(format!("the mail server did not take the mail within {} s", LONGEST.as_secs())))
    }
}

impl Server {
    fn send(&self, mail: &Mail, user: &str, host: &str) -> Result<(), String> {
        match self.deliver(mail, user, host) {
            Ok(()) => {
                info!("a code was mailed for {user}");
                Ok(())
            }
            Err(fault) => {
                let (told, logged) = words(fault);
                // A server that rejects a mail may quote it.
                warn!("no code could be mailed for {user}: {}", logged.replace(mail.code.digits(), "…"));
                Err(told)
            }
        }
    }

    fn deliver(&self, mail: &Mail, user: &str, host: &str) -> Result<(), Fault> {
        let message = self.message(mail, user, host)?;
        let mut transport = SmtpTransport::builder_dangerous(&self.host).port(self.port).tls(self.tls()?).timeout(Some(ONE_ANSWER));
        if let Some((user, password)) = &self.login {
            let password =
                password.as_ref().ok_or_else(|| Fault::Setting("its password could not be read (see mail.password_file)".into()))?;
            transport = transport.credentials(Credentials::new(user.clone(), password.expose().to_owned()));
        }
        transport.build().send(&message)?;
        Ok(())
    }

    fn message(&self, mail: &Mail, user: &str, host: &str) -> Result<Message, Fault> {
        let from: Address = self.from.parse()?;
        let mut random = [0_u8; 16];
        getrandom::fill(&mut random).map_err(|e| Fault::Setting(format!("no random numbers: {e}")))?;
        let id = format!("<{:032x}@{}>", u128::from_be_bytes(random), from.domain());
        // RFC 3834: nobody's holiday notice answers it.
        let automatic = HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".into());
        let builder = Message::builder().message_id(Some(id)).raw_header(automatic).header(ContentType::TEXT_PLAIN);
        let builder = builder.from(lettre::message::Mailbox::new(Some("twostep".into()), from)).to(mail.to.parse::<Address>()?.into());
        Ok(builder.subject(format!("Verification code for {host}")).body(text(mail, user, host))?)
    }

    fn tls(&self) -> Result<Tls, Fault> {
        if self.security == MailSecurity::None {
            return Ok(Tls::None);
        }
        let mut parameters = TlsParameters::builder(self.host.clone());
        if let Some(file) = &self.ca_file {
            let unusable = |e: &dyn std::fmt::Display| Fault::Setting(format!("{}: {e}", file.display()));
            let pem = std::fs::read(file).map_err(|e| unusable(&e))?;
            let authority = Certificate::from_pem(&pem).map_err(|e| unusable(&e))?;
            parameters = parameters.certificate_store(CertificateStore::None).add_root_certificate(authority);
        }
        let parameters = parameters.build()?;
        Ok(if self.security == MailSecurity::Tls { Tls::Wrapper(parameters) } else { Tls::Required(parameters) })
    }
}

fn text(mail: &Mail, user: &str, host: &str) -> String {
    format!(
        "The verification code for {user} on {host} is\n\n    {}\n\nIt is good for 10 minutes, once. Never tell it to anybody.\n\
         If you did not ask for it, somebody else may know your password: change it.\n",
        mail.code.digits()
    )
}

/// What people are told, and what the log is.
fn words(fault: Fault) -> (String, String) {
    match fault {
        Fault::Setting(what) => ("the mail server is not set up rightly (see the log)".into(), what),
        Fault::Smtp(e) => {
            let told = match () {
                () if e.is_permanent() || e.is_transient() => "the mail server refused the mail (see the log)",
                () if is_silence(&e) => "the mail server does not answer",
                () => "the mail server can't be reached, or its certificate is not trusted (see the log)",
            };
            (told.into(), e.to_string())
        }
    }
}

/// Whether the server has let the time pass. A blocking socket says `WouldBlock` then (socket(7), SO_RCVTIMEO).
fn is_silence(e: &smtp::Error) -> bool {
    let source = e.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    e.is_timeout() || source.is_some_and(|e| e.kind() == std::io::ErrorKind::WouldBlock)
}
