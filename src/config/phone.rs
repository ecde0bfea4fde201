//! The methods that need a phone, and how the phone's pages are served.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// QR Code, Login Approval and Online Verification Code. Without `address` none of them is offered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Phone {
    /// What a phone opens: `https://`, a host, and a port where it is not 443; no path. Spelled as browsers do.
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
        let listen = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 8443));
        Self { listen, socket: None, certificate: None, key: None }
    }
}

impl Phone {
    /// The port of a checked address.
    pub(super) fn port(address: &str) -> u16 {
        address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(443)
    }
}

/// `address` as browsers write it (`URL.origin`), where it is `https://`, a host, and perhaps a port: what a QR code begins with. A phone sends a
/// code's text in that spelling, and it is compared with the configured one, so no other is taken.
#[must_use]
pub(super) fn spelling(address: &str) -> Option<String> {
    let place = address.strip_prefix("https://").filter(|_| address.len() <= 200)?;
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (place, "443"),
    };
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(six) => match six.parse::<Ipv6Addr>().ok()?.to_canonical() {
            IpAddr::V6(six) => format!("[{six}]"),
            // An IPv4 address in IPv6's clothes, which each browser undresses in its own way.
            IpAddr::V4(four) => four.to_string(),
        },
        None if host.contains(':') || !super::check::host_name(host) => return None,
        None if is_numeric(host) => host.parse::<Ipv4Addr>().ok()?.to_string(),
        None => host.to_ascii_lowercase(),
    };
    let port = if port.bytes().all(|digit| digit.is_ascii_digit()) { port.parse::<u16>().ok()? } else { 0 };
    match port {
        0 => None,
        443 => Some(format!("https://{host}")),
        port => Some(format!("https://{host}:{port}")),
    }
}

/// Whether browsers take it for an IPv4 address (WHATWG URL, "ends in a number"), as octal and shortened as it may be.
fn is_numeric(host: &str) -> bool {
    let last = host.strip_suffix('.').unwrap_or(host).rsplit('.').next().unwrap_or_default();
    let digits = last.bytes().all(|byte| byte.is_ascii_digit());
    digits || last.get(..2).is_some_and(|head| head.eq_ignore_ascii_case("0x")) && last.bytes().skip(2).all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_port_of_an_address_is_443_where_it_has_none() {
        let addresses = ["https://nas.example", "https://nas.example:8443", "https://[2001:db8::7]", "https://[2001:db8::7]:8443"];
        assert_eq!(addresses.map(Phone::port), [443, 8443, 443, 8443]);
    }

    #[test]
    fn an_address_is_what_a_phone_opens() {
        for address in [
            "https://nas.example",
            "https://nas.example:8443",
            "https://192.0.2.7:8443",
            "https://[2001:db8::7]",
            "https://[2001:db8::7]:8443",
            "https://nas",
            "https://0xnas",
        ] {
            assert_eq!(spelling(address).as_deref(), Some(address));
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
            "https://nas:",
            "https://[::1",
            "https://nas.example/pair",
            "https://192.0.2",
            "https://192.0.2.010",
            "https://192.0.2.7.",
            "https://nas.0x7f",
        ] {
            assert_eq!(spelling(address), None, "{address}");
        }
    }

    /// Else the text that a phone sends would begin with another spelling than the configured one, and no code would be taken.
    #[test]
    fn another_spelling_than_a_browsers_is_refused_with_the_right_one() {
        for (address, right) in [
            ("https://NAS.Example", "https://nas.example"),
            ("https://nas.example:443", "https://nas.example"),
            ("https://nas.example:08443", "https://nas.example:8443"),
            ("https://[2001:DB8:0::7]", "https://[2001:db8::7]"),
            ("https://[2001:db8::7]:443", "https://[2001:db8::7]"),
            ("https://[::ffff:192.0.2.7]:8443", "https://192.0.2.7:8443"),
        ] {
            let error = Config::parse(&format!("[phone]\naddress = \"{address}\""), "twostepd.toml").unwrap_err().to_string();
            assert_eq!(error, format!("twostepd.toml:2: phone.address: write it as browsers do: \"{right}\""));
            assert!(Config::parse(&format!("[phone]\naddress = \"{right}\""), "twostepd.toml").is_ok(), "{right}");
        }
        let error = Config::parse("[phone]\naddress = \"https://nas/x\"", "twostepd.toml").unwrap_err().to_string();
        assert!(error.contains("without a path"), "{error}");
    }
}
