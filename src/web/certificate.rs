//! The certificate: from the administrator's files, or one of our own making.
//!
//! One of our own making is kept in one file, certificate and key together, so that it is replaced whole or not at all. Its first line says for
//! which host it is and until when; it is made anew once either no longer fits. Nobody has signed it: a browser warns of it, and the fingerprint
//! is what a person can compare.
#![forbid(unsafe_code)]

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, date_time_ymd};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, pki_types};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::core::time::Wall;
use crate::sys::atomic_file::{self, FileError, RealDisk};

/// The file in the state folder.
const MADE: &str = "self-signed.pem";

/// Before its first line's host.
const LABEL: &str = "twostep-web for ";

/// How long one of our own making is good, in seconds: ten years, since each new one is another warning and another fingerprint.
const LIFE: i64 = 10 * 365 * 24 * 3600;

/// From when on: a fixed day, so that a clock that is behind makes none that is only good later.
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
                let kept = atomic_file::read(&RealDisk, &file);
                if kept.is_ok_and(|text| fits(&text, host, now)) {
                    return self.read();
                }
                atomic_file::replace(&RealDisk, &file, make(host, now)?.as_bytes(), 0o600)?;
                log::info!("a certificate for {host} was made");
                self.read()
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
        let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>().map_err(refuse)?;
        if chain.is_empty() {
            return Err(refuse(pki_types::pem::Error::NoItemsFound));
        }
        let text = Zeroizing::new(atomic_file::read(&RealDisk, key)?);
        let no_key = |e| Fault::Content(key_of_key, key.into(), format!("no private key in PEM, or one with a passphrase: {e}"));
        let private = PrivateKeyDer::from_pem_slice(&text).map_err(no_key)?;
        Ok(Self { chain, key: private, source: (key_of_key, key.into()) })
    }

    /// The SHA-256 fingerprint, as browsers show it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(self.chain.first().map_or(&[][..], |own| own));
        digest.iter().fold(String::new(), |mut text, byte| {
            let colon = if text.is_empty() { "" } else { ":" };
            // Writing to a String does not fail.
            let _ = write!(text, "{colon}{byte:02X}");
            text
        })
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

/// Whether the kept file is for this host and still good.
fn fits(text: &[u8], host: &str, now: Wall) -> bool {
    let first = text.split(|byte| *byte == b'\n').next().and_then(|line| str::from_utf8(line).ok());
    let told = first.and_then(|line| line.strip_prefix(LABEL)?.split_once(" until "));
    told.is_some_and(|(for_host, until)| for_host == host && until.parse::<i64>().is_ok_and(|until| until > now.0))
}

fn make(host: &str, now: Wall) -> Result<Zeroizing<String>, Fault> {
    let failed = |e: rcgen::Error| Fault::Making(e.to_string());
    let until = now.0.max(BEGIN_SECONDS) + LIFE;
    let mut params = CertificateParams::new([host.to_owned()]).map_err(failed)?;
    params.distinguished_name.push(DnType::CommonName, host);
    params.not_before = date_time_ymd(BEGIN.0, BEGIN.1, BEGIN.2);
    params.not_after = params.not_before + Duration::from_secs((until - BEGIN_SECONDS).unsigned_abs());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    let private = Zeroizing::new(key.serialize_pem());
    Ok(Zeroizing::new(format!("{LABEL}{host} until {until}\n{}{}", certificate.pem(), *private)))
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
        assert_eq!(source.obtain(Wall(NOW.0 + LIFE - 1)).unwrap().fingerprint(), first);
        assert_eq!(source.read().unwrap().fingerprint(), first);
        source.read().unwrap().into_config().unwrap();
    }

    #[test]
    fn another_host_or_the_end_of_its_time_makes_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut seen: Vec<String> = Vec::new();
        for (host, now) in [("nas.example", NOW), ("192.0.2.7", NOW), ("2001:db8::7", NOW), ("2001:db8::7", Wall(NOW.0 + LIFE))] {
            let fingerprint = made(folder.path(), host).obtain(now).unwrap().fingerprint();
            assert!(!seen.contains(&fingerprint), "{host} {now:?}");
            seen.push(fingerprint);
        }
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
        let text = make("nas.example", Wall(0)).unwrap();
        assert!(fits(text.as_bytes(), "nas.example", NOW));
    }

    #[test]
    fn what_is_wrong_with_files_is_told_with_key_and_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (one, other) = (make("one.example", NOW).unwrap(), make("other.example", NOW).unwrap());
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
