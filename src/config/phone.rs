//! The methods that need a phone, and how the phone's pages are served.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// QR Code, Login Approval and Online Verification Code. Without `address` none of them is offered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Phone {
    /// What a phone opens: `https://`, a host, and a port where it is not 443; no path.
    pub address: Option<String>,
    /// How the phone's user shows to have seen the number.
    pub number: NumberEntry,
}

/// See [`Phone::number`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NumberEntry {
    /// The phone shows it too; its user compares.
    #[default]
    Compare,
    /// Its user types it in.
    Typed,
}

/// The listener of `twostep-web`: TLS on `listen`, or plain HTTP on `socket` for a reverse proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Web {
    /// Address and port.
    pub listen: SocketAddr,
    /// In place of `listen`: a Unix socket behind a reverse proxy, which has the certificate.
    pub socket: Option<String>,
    /// The certificate and those that signed it (PEM); absent: one made by twostep-web itself.
    pub certificate: Option<String>,
    /// Its private key (PEM).
    pub key: Option<String>,
}

impl Default for Web {
    fn default() -> Self {
        let listen = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 8443));
        Self { listen, socket: None, certificate: None, key: None }
    }
}

impl Phone {
    /// The port of a checked address.
    pub(super) fn port(address: &str) -> u16 {
        address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(443)
    }
}

/// Whether `address` is `https://`, a host, and perhaps a port: what a QR code begins with.
#[must_use]
pub(super) fn is_address(address: &str) -> bool {
    let Some(place) = address.strip_prefix("https://") else { return false };
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (place, None),
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_fits = match bracketed {
        Some(host) => host.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.contains(':') && super::check::host_name(host),
    };
    let digits = |port: &str| port.bytes().all(|digit| digit.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    host_fits && address.len() <= 200 && port.is_none_or(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_an_address_is_443_where_it_has_none() {
        let addresses = ["https://nas.example", "https://nas.example:8443", "https://[2001:db8::7]", "https://[2001:db8::7]:8443"];
        assert_eq!(addresses.map(Phone::port), [443, 8443, 443, 8443]);
    }

    #[test]
    fn an_address_is_what_a_phone_opens() {
        for address in ["https://nas.example", "https://nas.example:8443", "https://192.0.2.7:8443", "https://[2001:db8::7]:8443"] {
            assert!(is_address(address), "{address}");
        }
        for address in [
            "nas.example",
            "http://nas.example",
            "https://nas.example/",
            "https://nas.example:0",
            "https://",
            "https://a b",
            "https://nas:99999",
            "https://nas:+5",
            "https://[::1",
            "https://nas.example/pair",
        ] {
            assert!(!is_address(address), "{address}");
        }
    }
}
