//! Codes by e-mail.

use crate::core::login::Mail;

/// Sends mails, where a server is configured.
#[derive(Clone, Debug, Default)]
pub struct Mailer;

impl Mailer {
    /// Whether a mail server is configured.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        false
    }

    /// Sends one code.
    ///
    /// # Errors
    /// Why it could not be sent, for people.
    pub async fn send_code(&self, _mail: &Mail, _user: &str, _host: &str) -> Result<(), String> {
        Err("no mail server is configured".into())
    }
}
