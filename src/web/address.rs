//! `phone.address` taken apart: the host that a certificate is for.
#![forbid(unsafe_code)]

/// A checked `phone.address`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// As it is configured, which is as browsers write it in `Origin` (RFC 6454 §6.2): the configuration's check takes no other spelling.
    pub origin: String,
    /// Without brackets.
    pub host: String,
}

impl Address {
    /// Of a text that the configuration's check let through; `None` for any other.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let place = text.strip_prefix("https://")?;
        let host = match place.strip_prefix('[') {
            Some(six) => six.split(']').next(),
            None => place.split(':').next(),
        };
        Some(Self { origin: text.into(), host: host?.into() })
    }

    /// Whether the port is 443: that one is never written.
    #[must_use]
    pub fn has_usual_port(&self) -> bool {
        self.origin.ends_with(&self.host) || self.origin.ends_with(']')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_port_has_the_usual_one() {
        let addresses = ["https://nas.example", "https://nas.example:8443", "https://[2001:db8::7]", "https://[2001:db8::7]:8443"];
        assert_eq!(addresses.map(|text| Address::parse(text).unwrap().has_usual_port()), [true, false, true, false]);
    }

    #[test]
    fn the_host_is_what_a_certificate_is_for() {
        for (text, host) in [
            ("https://nas.example", "nas.example"),
            ("https://nas.example:8443", "nas.example"),
            ("https://192.0.2.7:8443", "192.0.2.7"),
            ("https://[2001:db8::7]", "2001:db8::7"),
            ("https://[2001:db8::7]:8443", "2001:db8::7"),
        ] {
            assert_eq!(Address::parse(text).unwrap(), Address { origin: text.into(), host: host.into() });
        }
    }
}
