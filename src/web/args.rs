//! The command line of `twostep-web`.

use std::path::PathBuf;

use clap::{CommandFactory, Parser};

const CONFIG: &str = "The configuration file, of which [phone], [web] and [log] count; only the usual one may be missing";

/// The phone's pages: serves paired phones over HTTPS, and carries their calls to twostepd.
#[derive(Debug, Parser)]
#[command(name = "twostep-web", version, long_about = None, after_help = EXIT_CODES)]
pub struct Args {
    #[arg(long, value_name = "FILE", default_value = "/etc/twostep/twostepd.toml", help = CONFIG)]
    pub config: PathBuf,
    /// The socket of twostepd.
    #[arg(long, value_name = "FILE", default_value = "/run/twostep/twostep.sock")]
    pub socket: PathBuf,
    /// The folder in which a certificate of its own making is kept.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/twostep-web")]
    pub state: PathBuf,
    /// Print the SHA-256 fingerprint of the certificate, and end.
    #[arg(long, conflicts_with = "configured")]
    pub fingerprint: bool,
    /// End with 3 where phone.address is not set, else with 0: the unit asks, so that nothing fails on a NAS without phones.
    #[arg(long)]
    pub configured: bool,
}

const EXIT_CODES: &str = "Exit codes: 0 stopped, 1 failed (the reason is on stderr), 2 wrong command line, 3 phone.address is not set, \
                          4 the configuration file is wrong. \
                          SIGHUP reads the certificate's files again.";

/// The definition, for the manual page and the completions.
#[must_use]
pub fn command() -> clap::Command {
    Args::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }
}
