//! The command line of `twostep`.

use std::path::PathBuf;

use clap::{ArgGroup, CommandFactory, Parser, Subcommand, ValueEnum};

use super::identify;
use crate::core::account::Method;

/// The reset button and the second step of a Linux NAS: the operator's command.
#[derive(Debug, Parser)]
#[command(name = "twostep", version, about, long_about = None, after_help = EXIT_CODES)]
pub struct Args {
    /// The folder of the daemon's sockets: another one for a demo.
    #[arg(long, global = true, value_name = "DIR", default_value = "/run/twostep")]
    pub dir: PathBuf,
    /// Print JSON, one object a line, for scripts.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 refused or failed (the reason is on stderr), 2 wrong command line, \
                          3 the daemon does not answer. Ctrl-C ends it by the signal, which a shell calls 130.";

/// See [`Args::command`].
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show whether the second step is on, and what belongs to it.
    Status(Whose),
    /// Set the second step up: Security Code, and if wanted a phone and a recovery e-mail address.
    Setup {
        #[command(flatten)]
        whose: Whose,
        /// Pair a phone for this method too: login-approval, qr-code or online-code. At each login it is then asked for first.
        #[arg(long, value_name = "METHOD", value_parser = phone_method)]
        method: Option<Method>,
        /// Codes can be mailed to this address, once a mailed code has been confirmed.
        #[arg(long, value_name = "ADDRESS")]
        email: Option<String>,
    },
    /// A new secret for an enabled account (a new phone), or one more method; what was in force stays until the end.
    Change {
        #[command(flatten)]
        whose: Whose,
        /// Instead of a new secret, pair a phone for this method: login-approval, qr-code or online-code. At each login it is then asked for first.
        #[arg(long, value_name = "METHOD", value_parser = phone_method)]
        method: Option<Method>,
    },
    /// Turn the second step off.
    Disable(Whose),
    /// Show the own Security Code's secret once more, for a second phone.
    ///
    /// Of the own account alone (also for root), after its password and its second step. A terminal gets a QR code, a pipe the otpauth URI alone.
    Export,
    /// Make new recovery codes; the former ones stop working.
    Codes(Whose),
    /// Trusted devices, which are not asked for a second step, and paired phones.
    Devices {
        #[command(flatten)]
        whose: Whose,
        /// Ask again on this device; let this phone answer no more.
        // One of 64 names begins with a hyphen.
        #[arg(long, value_name = "ID", allow_hyphen_values = true)]
        remove: Option<String>,
    },
    /// Turn one method on or off, or have it asked for first at each login.
    Method {
        /// What to do.
        #[arg(value_enum)]
        what: MethodChange,
        /// security-code, login-approval, qr-code, online-code, email-code or recovery-code.
        #[arg(value_parser = method)]
        method: Method,
        #[command(flatten)]
        whose: Whose,
    },
    /// Have codes mailed to this address from now on, once a mailed code has been confirmed; the second step is on already.
    Email {
        /// The recovery e-mail address.
        address: String,
        #[command(flatten)]
        whose: Whose,
    },
    /// Turn passwordless login on or off; 2-step verification and passwordless login exclude each other.
    Passwordless {
        /// Whether it is to be on.
        #[arg(value_enum)]
        state: OnOff,
        #[command(flatten)]
        whose: Whose,
    },
    /// Ask for the second step of a login, as a login service does; exit code 0 lets in.
    Verify {
        /// Who logs in; the password was accepted already.
        user: String,
        /// The login service's name.
        #[arg(long, default_value = "twostep")]
        service: String,
        /// The client's address.
        #[arg(long)]
        remote: Option<String>,
        /// Answer by this method instead of the preferred one.
        #[arg(long, value_parser = method)]
        method: Option<Method>,
    },
    /// List users or groups and whether they have a second step.
    List {
        /// Which.
        #[arg(value_enum, default_value = "users")]
        kind: ListKind,
        /// Only names with this in them.
        #[arg(long)]
        filter: Option<String>,
    },
    /// Enforce the second step on users and groups, or stop enforcing it.
    #[command(group = ArgGroup::new("whom").args(["users", "groups"]).required(true).multiple(true))]
    Enforce {
        /// A user; may be given several times.
        #[arg(long = "user", value_name = "USER")]
        users: Vec<String>,
        /// A group; may be given several times.
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        /// Stop enforcing it. A group that is gone, or that can't be looked up, is named as `list` has it.
        #[arg(long)]
        off: bool,
        /// Show what would change, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Turn the second step off for somebody else (a lost phone).
    DisableFor {
        /// Whom.
        user: String,
    },
    /// Let somebody try again who was locked by wrong answers.
    Unlock {
        /// Whom.
        user: String,
    },
    /// Show who holds a delegated role; grant or take back one.
    Delegate {
        /// A user or a group.
        #[arg(requires = "role")]
        subject: Option<String>,
        /// The role.
        #[arg(value_enum)]
        role: Option<Role>,
        /// Take it back.
        #[arg(long, requires = "role")]
        revoke: bool,
    },
    /// Show what was decided and by whom, newest first.
    Audit {
        /// Only about this user.
        #[arg(long)]
        user: Option<String>,
        /// At most so many entries.
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Go on with new entries, until Ctrl-C.
        #[arg(long)]
        follow: bool,
    },
    /// Take over an existing Security Code: an otpauth URI, a ~/.google_authenticator file, or a users.oath line (root).
    Import {
        /// Whose.
        user: String,
        /// The file; standard input where it is absent or `-`.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Make a consistent, sealed copy of all second steps (root).
    ///
    /// Its secrets are sealed as they are at rest: it is worth nothing without the key that it was sealed with, /var/lib/twostep/key (or key.cred). Keep
    /// a copy of that too, apart from it.
    Backup {
        /// Where to put it, to be carried away; without it, the copy stays in the engine's folder alone.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// Replace a file that exists.
        #[arg(long, requires = "file")]
        force: bool,
        /// List the copies in the engine's folder; one is made there each day on which something changed.
        #[arg(long, conflicts_with_all = ["file", "force"])]
        list: bool,
    },
    /// Put a backup back; what was counted, used or revoked since stays so (root).
    ///
    /// Trusted devices are dropped. What was in force is kept as a backup. On another machine, put the key of the first one in its place first.
    #[command(group = ArgGroup::new("which").args(["backup", "anew"]).required(true))]
    Restore {
        /// A file that `backup FILE` made, or a name that `backup --list` shows.
        backup: Option<PathBuf>,
        /// Without a backup: begin with an empty database, where the old one was damaged and set aside. It says what is lost, and asks.
        #[arg(long)]
        anew: bool,
        /// Do not ask, for scripts.
        #[arg(long, requires = "anew")]
        yes: bool,
    },
    /// The second step of logins by PAM.
    #[command(subcommand)]
    Pam(Pam),
    /// The reset button and the account it brings back (root).
    #[command(subcommand)]
    Recovery(Recovery),
}

/// See [`Command::Pam`].
#[derive(Debug, Subcommand)]
pub enum Pam {
    /// Tell for each service whether the second step is in force, doubled, or can be got round; exit code 1 where one is not as it should be.
    Check {
        /// The folder of PAM's services.
        #[arg(long, value_name = "DIR", default_value = "/etc/pam.d")]
        config: PathBuf,
        /// sshd's configuration.
        #[arg(long, value_name = "FILE", default_value = "/etc/ssh/sshd_config")]
        sshd_config: PathBuf,
    },
}

/// Whose second step.
#[derive(Clone, Debug, clap::Args)]
pub struct Whose {
    /// Another account than the own (root).
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
}

/// See [`Command::Method`].
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum MethodChange {
    /// Accept it.
    Enable,
    /// Accept it no longer.
    Disable,
    /// Ask for it first.
    Prefer,
}

/// See [`Command::Passwordless`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnOff {
    /// The user may log in without a password.
    On,
    /// The password is asked for.
    Off,
}

/// See [`Command::List`].
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ListKind {
    /// Users of this machine.
    Users,
    /// Groups of this machine.
    Groups,
    /// Users of the domain.
    #[value(alias = "domain_users")]
    DomainUsers,
    /// Groups of the domain.
    #[value(alias = "domain_groups")]
    DomainGroups,
}

/// A delegated role.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Role {
    /// System Management.
    #[value(alias = "system_management")]
    SystemManagement,
    /// Access Management.
    #[value(alias = "access_management")]
    AccessManagement,
}

/// See [`Command::Recovery`].
#[derive(Debug, Subcommand)]
pub enum Recovery {
    #[command(flatten)]
    Call(RecoveryCall),
    /// Show live what each button of this machine sends, to write a board profile.
    Identify(identify::Args),
}

/// What the daemon is asked.
#[derive(Debug, Subcommand)]
pub enum RecoveryCall {
    /// Show board, button, adapter, account and the last press.
    Status,
    /// Show what the button does, as it does it, until Ctrl-C.
    Monitor,
    /// Press the button of a simulated board.
    Press {
        /// How long, like 3200ms or 3.2s; 3200 alone means milliseconds.
        #[arg(value_name = "HOLD", default_value = "3200ms", value_parser = hold)]
        hold: i64,
    },
    /// Turn the account off: password locked, account expired, sessions ended.
    Disable,
    /// Show the password that a press would set.
    ShowPassword,
}

/// A method by its name, with hyphens or with the protocol's underscores.
fn method(text: &str) -> Result<Method, String> {
    let known = || Method::ALL.map(hyphened).join(", ");
    Method::ALL.into_iter().find(|method| method.as_str() == text.replace('-', "_")).ok_or_else(|| format!("one of {}", known()))
}

/// As the help writes it.
fn hyphened(method: Method) -> String {
    method.as_str().replace('_', "-")
}

/// A method that needs a phone.
fn phone_method(text: &str) -> Result<Method, String> {
    let known = || Method::ALL.into_iter().filter(|m| m.needs_authenticator()).map(hyphened).collect::<Vec<_>>().join(", ");
    method(text).ok().filter(|method| method.needs_authenticator()).ok_or_else(|| format!("one of {}", known()))
}

/// A hold in milliseconds.
fn hold(text: &str) -> Result<i64, String> {
    let millis = match text.parse::<u64>() {
        Ok(plain) => u128::from(plain),
        Err(_) => humantime::parse_duration(text).map_err(|e| format!("{e} (write it like 3200ms)"))?.as_millis(),
    };
    i64::try_from(millis).map_err(|_| "too long".into())
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
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn a_phone_is_paired_for_what_needs_one() {
        assert_eq!(phone_method("login-approval"), Ok(Method::LoginApproval));
        assert_eq!(phone_method("qr_code"), Ok(Method::QrCode));
        assert_eq!(phone_method("security-code"), Err("one of qr-code, login-approval, online-code".into()));
    }

    #[test]
    fn what_is_missing_is_named_with_all_that_may_stand_for_it() {
        let refused = |words: &str| Args::try_parse_from(["twostep"].into_iter().chain(words.split(' '))).unwrap_err().to_string();
        assert!(refused("enforce").contains("<--user <USER>|--group <GROUP>>"), "{}", refused("enforce"));
        assert!(refused("restore").contains("<BACKUP|--anew>"), "{}", refused("restore"));
        assert!(refused("restore --anew file").contains("cannot be used with"), "{}", refused("restore --anew file"));
        let both = ["twostep", "enforce", "--user", "alice", "--group", "staff"];
        assert!(Args::try_parse_from(both).is_ok());
    }

    #[test]
    fn names_are_taken_with_hyphens_and_with_underscores() {
        for words in ["method prefer login_approval", "method prefer login-approval", "list domain_users", "list domain-groups"] {
            assert!(Args::try_parse_from(["twostep"].into_iter().chain(words.split(' '))).is_ok(), "{words}");
        }
        assert!(Args::try_parse_from(["twostep", "delegate", "alice", "access_management"]).is_ok());
    }

    #[test]
    fn taking_back_a_role_names_it_and_its_holder() {
        let refused = |words: &[&str]| Args::try_parse_from([&["twostep", "delegate"], words].concat()).unwrap_err().to_string();
        for words in [&["--revoke"][..], &["alice", "--revoke"]] {
            assert!(refused(words).contains("<ROLE>"), "{words:?}");
        }
        assert!(Args::try_parse_from(["twostep", "delegate", "alice", "system-management", "--revoke"]).is_ok());
        assert!(Args::try_parse_from(["twostep", "delegate"]).is_ok(), "which lists them");
    }

    #[test]
    fn a_name_that_begins_with_a_hyphen_is_no_option() {
        let args = Args::try_parse_from(["twostep", "devices", "--remove", "-wXy_0-a"]).unwrap();
        assert!(matches!(args.command, Command::Devices { remove: Some(id), .. } if id == "-wXy_0-a"));
    }

    #[test]
    fn a_hold_is_read_as_people_write_it() {
        assert_eq!(hold("3200"), Ok(3200));
        assert_eq!(hold("3s 200ms"), Ok(3200));
        assert!(hold("long").is_err());
    }
}
