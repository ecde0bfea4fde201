//! `phone.address` taken apart: what a browser calls the page's origin, and the host that a certificate is for.
#![forbid(unsafe_code)]

use std::net::Ipv6Addr;

/// A checked `phone.address`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// As it is configured.
    pub text: String,
    /// As browsers write it in `Origin` (RFC 6454 §6.2): lower case, no port where it is 443.
    pub origin: String,
    /// Without brackets.
    pub host: String,
}

impl Address {
    /// Of a text that the configuration's check let through; `None` for any other.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let place = text.strip_prefix("https://")?;
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
            _ => (place, 443_u16),
        };
        let six = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host = match six {
            Some(six) => six.parse::<Ipv6Addr>().ok()?.to_string(),
            None => host.to_ascii_lowercase(),
        };
        let written = if six.is_some() { format!("[{host}]") } else { host.clone() };
        let port = if port == 443 { String::new() } else { format!(":{port}") };
        Some(Self { text: text.into(), origin: format!("https://{written}{port}"), host })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_browsers_write_it() {
        for (text, origin, host) in [
            ("https://nas.example", "https://nas.example", "nas.example"),
            ("https://NAS.example:443", "https://nas.example", "nas.example"),
            ("https://nas.example:8443", "https://nas.example:8443", "nas.example"),
            ("https://192.0.2.7:8443", "https://192.0.2.7:8443", "192.0.2.7"),
            ("https://[2001:DB8:0::7]", "https://[2001:db8::7]", "2001:db8::7"),
            ("https://[2001:db8::7]:8443", "https://[2001:db8::7]:8443", "2001:db8::7"),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.origin.as_str(), address.host.as_str()), (origin, host), "{text}");
        }
    }
}
