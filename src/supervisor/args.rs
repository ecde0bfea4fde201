//! The command line of `twostepd`.

use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand};

/// The reset button and the second step of a Linux NAS: the daemon.
#[derive(Debug, Parser)]
#[command(name = "twostepd", version, about, long_about = None, arg_required_else_help = true, after_help = EXIT_CODES)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed (the reason is on stderr), 2 wrong command line.";

/// See [`Args::command`].
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch the button and answer the sockets, until stopped by SIGTERM or Ctrl-C.
    Run {
        /// The configuration file; only the usual one may be missing, which means the defaults.
        #[arg(long, value_name = "FILE", default_value = "/etc/twostep/twostepd.toml")]
        config: PathBuf,
    },
    /// Show the whole product on a simulated board, without root, in a scratch folder.
    Demo {
        /// End after the tour: 0 if each step did what it should, else 1 and the reason.
        #[arg(long)]
        once: bool,
        /// The scratch folder: made if missing, else empty or a former demo's. By default a fresh one, which is printed; with --once it is
        /// removed after the tour.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Check configuration files and board profiles; without FILE all that are installed.
    Validate {
        /// A configuration file or a board profile.
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Run the integrator's hooks for the last press, if they have not run for it yet.
    Hooks {
        /// The configuration file; only the usual one may be missing, which means the defaults.
        #[arg(long, value_name = "FILE", default_value = "/etc/twostep/twostepd.toml")]
        config: PathBuf,
    },
}

/// The definition, for the manual page and the completions.
#[must_use]
pub fn command() -> clap::Command {
    Args::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_supervisor_starts_itself_as_is_no_command() {
        let known: Vec<_> = command().get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
        assert_eq!(known, ["run", "demo", "validate", "hooks"]);
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }
}
