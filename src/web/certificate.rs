//! The certificate: from the administrator's files, or one of our own making.
//!
//! One of our own making is kept in one file, certificate and key together, so that it is replaced whole or not at all. Its first line says for
//! which host it is, from when and until when; it is made anew once that no longer fits: at the start, and where a phone connects, since without
//! one nothing here may wake. Nobody has signed it: a browser warns of it, and the fingerprint is what a person can compare. A new one has
//! another fingerprint, but the former key: whoever has compared the key's own fingerprint need not do so again.
#![forbid(unsafe_code)]

use std::fmt::{self, Write as _};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, PublicKeyData, SerialNumber, date_time_ymd};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, pki_types};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::core::time::Wall;
use crate::sys::atomic_file::{self, FileError, RealDisk, Step};

/// The file in the state folder.
const MADE: &str = "self-signed.pem";

/// A new one, until it takes that place.
const FRESH: &str = "self-signed.new";

/// Before its first line's host.
const LABEL: &str = "twostep-web for ";

const DAY: i64 = 24 * 3600;

/// How long one of our own making is good, in seconds, its first and last one included. iOS and macOS refuse a server's certificate that is good
/// for more than 825 days, whoever trusts it (Apple, "Requirements for trusted certificates in iOS 13 and macOS 10.15", HT210176); the 398 days
/// of HT211025 are for authorities that come with the system alone. As long as may be, since each new one is another warning.
const LIFE: i64 = 825 * DAY - 1;

/// So long before its end it is renewed.
const EARLY: i64 = 60 * DAY;

/// After a renewal that failed the next one is tried no sooner.
const PAUSE: i64 = 3600;

/// No certificate of ours begins earlier, so that a clock that is behind makes none that is over; and a clock that says less is known to be wrong.
const BEGIN: (i32, u8, u8) = (2026, 1, 1);

/// The same in seconds since 1970.
const BEGIN_SECONDS: i64 = 1_767_225_600;

/// Where the certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `web.certificate` and `web.key`.
    Files {
        /// The certificate, then those that signed it (PEM).
        certificate: PathBuf,
        /// Its private key (PEM).
        key: PathBuf,
    },
    /// One of our own making.
    Made {
        /// The state folder.
        folder: PathBuf,
        /// The host of phone.address.
        host: String,
    },
}

/// Why there is no certificate.
#[derive(Debug)]
pub enum Fault {
    /// A file can't be read or written.
    File(FileError),
    /// A file has not what it should: the key of the configuration, the file, and what is wrong.
    Content(&'static str, PathBuf, String),
    /// None was made yet.
    NotMade(PathBuf),
    /// One can't be made for this host.
    Making(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Content(key, path, what) => write!(f, "{key}: {}: {what}", path.display()),
            Self::NotMade(path) => write!(f, "there is no {} yet: twostep-web makes it at its first start", path.display()),
            Self::Making(what) => write!(f, "phone.address: no certificate can be made for it: {what}"),
        }
    }
}

impl From<FileError> for Fault {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

/// A certificate with its key, and those that signed it.
pub struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    source: (&'static str, PathBuf),
    /// Where it is one of our own making.
    span: Option<Span>,
}

impl Source {
    /// Reads it; where it is one of our own making and there is none that fits, makes it.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn obtain(&self, now: Wall) -> Result<Certificate, Fault> {
        match self {
            Self::Files { .. } => self.read(),
            Self::Made { folder, host } => {
                let file = folder.join(MADE);
                let kept = atomic_file::read(&RealDisk, &file).map(Zeroizing::new).ok();
                if kept.as_ref().and_then(|text| told(text)).is_some_and(|(of, span)| of == host && span.holds(now)) {
                    return self.read();
                }
                let key = kept.and_then(|text| KeyPair::from_pem(private(str::from_utf8(&text).ok()?)?).ok());
                let renewed = key.is_some();
                let key = key.map_or_else(KeyPair::generate, Ok).map_err(|e| Fault::Making(e.to_string()))?;
                // Under a name of its own: to take over a former file's owner and attributes needs calls that the sandbox refuses.
                let fresh = folder.join(FRESH);
                atomic_file::remove(&RealDisk, &fresh)?;
                atomic_file::replace(&RealDisk, &fresh, make(host, &key, now)?.as_bytes(), 0o600)?;
                fs::rename(&fresh, &file).map_err(|source| FileError { step: Step::Rename, path: file, source })?;
                let made = self.read()?;
                if renewed {
                    let (own, key) = (made.fingerprint(), made.key_fingerprint()?);
                    log::warn!(
                        "a new certificate for {host} was made, and browsers warn once more: its fingerprint is SHA-256 {own} now; that of its key is as before, SHA-256 {key}"
                    );
                } else {
                    log::info!("a certificate for {host} was made");
                }
                Ok(made)
            }
        }
    }

    /// Reads it as it is.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn read(&self) -> Result<Certificate, Fault> {
        match self {
            Self::Files { certificate, key } => Certificate::read(("web.certificate", certificate), ("web.key", key)),
            Self::Made { folder, .. } => {
                let file = folder.join(MADE);
                match Certificate::read(("phone.address", &file), ("phone.address", &file)) {
                    Err(Fault::File(error)) if error.is_missing() => Err(Fault::NotMade(file)),
                    other => other,
                }
            }
        }
    }

    /// Whether it is the administrator's: read again when asked, and one that browsers may be told to insist on.
    #[must_use]
    pub fn is_given(&self) -> bool {
        matches!(self, Self::Files { .. })
    }
}

impl Certificate {
    fn read((key_of_certificate, certificate): (&'static str, &Path), (key_of_key, key): (&'static str, &Path)) -> Result<Self, Fault> {
        let text = atomic_file::read(&RealDisk, certificate)?;
        let refuse =
            |e: pki_types::pem::Error| Fault::Content(key_of_certificate, certificate.into(), format!("no certificate in PEM: {e}"));
        let span = told(&text).map(|(_, span)| span);
        let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>().map_err(refuse)?;
        if chain.is_empty() {
            return Err(refuse(pki_types::pem::Error::NoItemsFound));
        }
        let text = Zeroizing::new(atomic_file::read(&RealDisk, key)?);
        let no_key = |e| Fault::Content(key_of_key, key.into(), format!("no private key in PEM, or one with a passphrase: {e}"));
        let private = PrivateKeyDer::from_pem_slice(&text).map_err(no_key)?;
        Ok(Self { chain, key: private, source: (key_of_key, key.into()), span })
    }

    /// The SHA-256 fingerprint, as browsers show it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(self.chain.first().map_or(&[][..], |own| own))
    }

    /// The SHA-256 fingerprint of the public key (SPKI, RFC 5280 §4.1.2.7), which some browsers show too; a renewal leaves it as it is.
    ///
    /// # Errors
    /// Where the key is of an unknown kind.
    pub fn key_fingerprint(&self) -> Result<String, Fault> {
        let (key, file) = &self.source;
        let refuse = |e: String| Fault::Content(key, file.clone(), e);
        let known = default_provider().key_provider.load_private_key(self.key.clone_key()).map_err(|e| refuse(e.to_string()))?;
        Ok(fingerprint(&known.public_key().ok_or_else(|| refuse("its public key can't be told".into()))?))
    }

    /// What the TLS listener needs: TLS 1.2 and 1.3, HTTP/1.1.
    ///
    /// # Errors
    /// Where certificate and key don't belong together, or are of an unknown kind.
    pub fn into_config(self) -> Result<Arc<ServerConfig>, Fault> {
        let (key, file) = self.source;
        let refuse = |e: rustls::Error| Fault::Content(key, file.clone(), e.to_string());
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_protocol_versions(&[&TLS13, &TLS12]).map_err(refuse)?;
        let mut config = builder.with_no_client_auth().with_single_cert(self.chain, self.key).map_err(refuse)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn fingerprint(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let colon = if text.is_empty() { "" } else { ":" };
        // Writing to a String does not fail.
        let _ = write!(text, "{colon}{byte:02X}");
        text
    })
}

/// When one of our own making is good, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    from: i64,
    until: i64,
}

impl Span {
    /// Of one that is made now. It begins a day early, for phones whose clock is behind.
    fn beginning(now: Wall) -> Self {
        let from = (now.0 - DAY).max(BEGIN_SECONDS);
        Self { from, until: from + LIFE }
    }

    /// Whether it may go on. One that a clock made which was ahead may not; but a clock that is certainly behind decides nothing.
    fn holds(self, now: Wall) -> bool {
        now.0 < BEGIN_SECONDS || (self.from..self.until - EARLY).contains(&now.0)
    }
}

/// The host and the span that the first line of a kept file tells.
fn told(text: &[u8]) -> Option<(&str, Span)> {
    let line = str::from_utf8(text.split(|byte| *byte == b'\n').next()?).ok()?;
    let (host, span) = line.strip_prefix(LABEL)?.split_once(" from ")?;
    let (from, until) = span.split_once(" until ")?;
    Some((host, Span { from: from.parse().ok()?, until: until.parse().ok()? }))
}

/// Of a kept file the key.
fn private(text: &str) -> Option<&str> {
    text.find("-----BEGIN PRIVATE KEY-----").map(|at| &text[at..])
}

fn make(host: &str, key: &KeyPair, now: Wall) -> Result<Zeroizing<String>, Fault> {
    let failed = |e: rcgen::Error| Fault::Making(e.to_string());
    let Span { from, until } = Span::beginning(now);
    let label = format!("{LABEL}{host} from {from} until {until}\n");
    let mut params = CertificateParams::new([host.to_owned()]).map_err(failed)?;
    params.distinguished_name.push(DnType::CommonName, host);
    // Firefox refuses two certificates of one name with the same number. Positive, at most 20 bytes (RFC 5280 §4.1.2.2).
    let mut number = Sha256::new_with_prefix(&label).chain_update(key.subject_public_key_info()).finalize();
    number[0] = number[0] & 0x3f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&number[..16]));
    let begin = date_time_ymd(BEGIN.0, BEGIN.1, BEGIN.2);
    let at = |seconds: i64| begin + Duration::from_secs((seconds - BEGIN_SECONDS).unsigned_abs());
    (params.not_before, params.not_after) = (at(from), at(until));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.self_signed(key).map_err(failed)?;
    let private = Zeroizing::new(key.serialize_pem());
    Ok(Zeroizing::new(format!("{label}{}{}", certificate.pem(), *private)))
}

/// Renews one of our own making while it is served.
pub struct Renewal {
    source: Source,
    /// When it is looked at again: as long as it holds, or after a failure for a while.
    rest: Mutex<Span>,
}

impl Renewal {
    /// Of this certificate from this source; `None` where it is the administrator's.
    #[must_use]
    pub fn of(certificate: &Certificate, source: &Source) -> Option<Self> {
        let rest = Mutex::new(certificate.span.filter(|_| !source.is_given())?);
        Some(Self { source: source.clone(), rest })
    }

    /// What is to be served from now on, where that is another one.
    pub fn due(&self, now: Wall) -> Option<Arc<ServerConfig>> {
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        if rest.holds(now) {
            return None;
        }
        *rest = Span { from: now.0, until: now.0 + PAUSE + EARLY };
        let renewed = self.source.obtain(now).and_then(|made| Ok((made.span, made.into_config()?)));
        let (span, config) =
            renewed.map_err(|fault| log::error!("the certificate can't be renewed, the former one stays: {fault}")).ok()?;
        *rest = span.unwrap_or(*rest);
        Some(config)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW: Wall = Wall(1_800_000_000);

    fn made(folder: &Path, host: &str) -> Source {
        Source::Made { folder: folder.into(), host: host.into() }
    }

    #[test]
    fn one_is_made_at_the_first_start_kept_private_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let source = made(folder.path(), "nas.example");
        assert!(matches!(source.read(), Err(Fault::NotMade(_))));
        let first = source.obtain(NOW).unwrap().fingerprint();
        assert_eq!(first.len(), 95, "{first}");
        let mode = std::fs::metadata(folder.path().join(MADE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(source.obtain(Wall(NOW.0 + LIFE - EARLY - 2 * DAY)).unwrap().fingerprint(), first);
        assert_eq!(source.read().unwrap().fingerprint(), first);
        source.read().unwrap().into_config().unwrap();
    }

    /// Not before and not after, out of the certificate itself (UTCTime, RFC 5280 §4.1.2.5.1).
    fn validity(certificate: &Certificate) -> [String; 2] {
        let bytes: &[u8] = &certificate.chain[0];
        let at = bytes.windows(4).position(|tags| tags == [0x30, 0x1e, 0x17, 0x0d]).unwrap() + 4;
        [at, at + 15].map(|at| String::from_utf8(bytes[at..at + 13].into()).unwrap())
    }

    #[test]
    fn an_iphone_takes_it_since_it_is_good_for_825_days_at_most() {
        let folder = tempfile::tempdir().unwrap();
        let made = made(folder.path(), "nas.example").obtain(NOW).unwrap();
        // 2027-01-15T08:00:00Z, a day early; and 824 days, 23:59:59 after that.
        assert_eq!(validity(&made), ["270114080000Z", "290418075959Z"]);
    }

    #[test]
    fn another_host_or_the_end_of_its_time_makes_a_new_one_with_the_same_key() {
        let folder = tempfile::tempdir().unwrap();
        let (mut seen, mut keys): (Vec<String>, Vec<String>) = Default::default();
        let late = Wall(NOW.0 + LIFE - DAY - EARLY);
        for (host, now) in [("nas.example", NOW), ("192.0.2.7", NOW), ("2001:db8::7", NOW), ("2001:db8::7", late)] {
            let made = made(folder.path(), host).obtain(now).unwrap();
            assert!(!seen.contains(&made.fingerprint()), "{host} {now:?}");
            seen.push(made.fingerprint());
            keys.push(made.key_fingerprint().unwrap());
        }
        keys.dedup();
        assert_eq!(keys.len(), 1, "who has compared the key's fingerprint need not do so again");
    }

    #[test]
    fn one_for_ten_years_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let source = made(folder.path(), "nas.example");
        let first = source.obtain(NOW).unwrap().fingerprint();
        let file = folder.path().join(MADE);
        let text = std::fs::read_to_string(&file).unwrap();
        let (_, rest) = text.split_once('\n').unwrap();
        std::fs::write(&file, format!("twostep-web for nas.example until {}\n{rest}", NOW.0 + 10 * 365 * DAY)).unwrap();
        assert_ne!(source.obtain(NOW).unwrap().fingerprint(), first);
    }

    #[test]
    fn it_is_renewed_while_it_is_served_and_a_failure_is_not_tried_with_each_phone() {
        let folder = tempfile::tempdir().unwrap();
        let source = made(folder.path(), "nas.example");
        let first = source.obtain(NOW).unwrap();
        let (before, renewal) = (first.fingerprint(), Renewal::of(&first, &source).unwrap());
        let late = Wall(NOW.0 + LIFE - DAY - EARLY);
        assert!(renewal.due(Wall(late.0 - 1)).is_none());
        let away = folder.path().join("away");
        std::fs::rename(folder.path().join(MADE), &away).unwrap();
        std::fs::create_dir(folder.path().join(MADE)).unwrap();
        assert!(renewal.due(late).is_none(), "nothing can be written");
        std::fs::remove_dir(folder.path().join(MADE)).unwrap();
        std::fs::rename(&away, folder.path().join(MADE)).unwrap();
        assert!(renewal.due(Wall(late.0 + PAUSE - 1)).is_none());
        assert!(renewal.due(Wall(late.0 + PAUSE)).is_some());
        assert_ne!(source.read().unwrap().fingerprint(), before);
        assert!(renewal.due(Wall(late.0 + 2 * PAUSE)).is_none());
    }

    #[test]
    fn a_clock_that_was_ahead_leaves_none_that_is_only_good_later() {
        let folder = tempfile::tempdir().unwrap();
        let source = made(folder.path(), "nas.example");
        let ahead = source.obtain(Wall(NOW.0 + 5 * LIFE)).unwrap().fingerprint();
        assert_eq!(source.obtain(Wall(0)).unwrap().fingerprint(), ahead, "a clock that starts in 1970 decides nothing");
        assert_ne!(source.obtain(NOW).unwrap().fingerprint(), ahead);
    }

    #[test]
    fn a_damaged_file_of_ours_is_made_anew_where_its_first_line_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(MADE), "\u{0}\u{0}\u{0}").unwrap();
        made(folder.path(), "nas.example").obtain(NOW).unwrap();
    }

    #[test]
    fn a_clock_that_is_behind_makes_one_that_is_good_today() {
        assert_eq!(date_time_ymd(BEGIN.0, BEGIN.1, BEGIN.2).unix_timestamp(), BEGIN_SECONDS);
        let text = make("nas.example", &KeyPair::generate().unwrap(), Wall(0)).unwrap();
        let (host, span) = told(text.as_bytes()).unwrap();
        assert!(host == "nas.example" && span.holds(Wall(BEGIN_SECONDS + 700 * DAY)));
    }

    #[test]
    fn what_is_wrong_with_files_is_told_with_key_and_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let [one, other] = ["one.example", "other.example"].map(|host| make(host, &KeyPair::generate().unwrap(), NOW).unwrap());
        let parts =
            |text: &str| text.split_once("-----BEGIN PRIVATE").map(|(a, b)| (a.to_owned(), format!("-----BEGIN PRIVATE{b}"))).unwrap();
        std::fs::write(path("certificate"), parts(&one).0).unwrap();
        std::fs::write(path("key"), parts(&one).1).unwrap();
        std::fs::write(path("other-key"), parts(&other).1).unwrap();
        let config = |certificate: &str, key: &str| {
            Source::Files { certificate: path(certificate), key: path(key) }.obtain(NOW).and_then(Certificate::into_config)
        };
        config("certificate", "key").unwrap();
        let refused = |certificate, key| config(certificate, key).unwrap_err().to_string();
        assert!(refused("certificate", "other-key").starts_with("web.key: /"), "{}", refused("certificate", "other-key"));
        assert!(refused("key", "key").starts_with("web.certificate: /"));
        assert!(refused("certificate", "certificate").contains("no private key"));
        assert!(refused("missing", "key").starts_with("cannot read /"));
    }
}
