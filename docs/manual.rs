//! Writes the manual pages and the shell completions of the programs into a folder: `cargo run --example manual -- FOLDER`.
//!
//! They are made from the command-line definitions, so that they can't say anything else than the programs do. A program of its own keeps the
//! generators out of the installed binaries.

use std::error::Error;
use std::path::{Path, PathBuf};

use clap_complete::Shell;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: manual FOLDER")?);
    std::fs::create_dir_all(&folder)?;
    // An operator's command is in section 1, a daemon in section 8.
    write(twostep::cli::args::command(), "1", &folder)?;
    write(twostep::supervisor::args::command(), "8", &folder)?;
    write(twostep::web::args::command(), "8", &folder)
}

fn write(command: clap::Command, section: &str, folder: &Path) -> Result<(), Box<dyn Error>> {
    let name = command.get_name().to_owned();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command.clone(), &name, folder)?;
    }
    let mut page = Vec::new();
    render(command, section, &mut page)?;
    std::fs::write(folder.join(format!("{name}.{section}")), page)?;
    Ok(())
}

/// One page a program: the commands and their options follow each other in one section.
fn render(mut command: clap::Command, section: &str, page: &mut Vec<u8>) -> Result<(), Box<dyn Error>> {
    command.build();
    let man = clap_mangen::Man::new(command.clone()).section(section);
    man.render_title(page)?;
    man.render_name_section(page)?;
    page.extend_from_slice(b".SH SYNOPSIS\n");
    if command.has_subcommands() {
        let everywhere: Vec<_> = command.get_arguments().filter(|argument| argument.is_global_set()).map(bracketed).collect();
        line_of(command.get_name(), &[everywhere, vec!["<COMMAND>".into()]].concat(), page);
    }
    synopsis(&command, page);
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    if command.has_subcommands() {
        page.extend_from_slice(b".SH COMMANDS\n");
        commands(&command, page)?;
    }
    if let Some(codes) = command.get_after_help() {
        page.extend_from_slice(format!(".SH EXIT STATUS\n{}\n", escape(&codes.to_string())).as_bytes());
    }
    page.extend_from_slice(FILES.as_bytes());
    let own = format!("{} ({section})", command.get_name());
    let others: Vec<_> = SEE_ALSO.iter().filter(|page| **page != own).map(|page| format!(".BR {}", escape(page))).collect();
    page.extend_from_slice(format!(".SH SEE ALSO\n{}\n", others.join(",\n")).as_bytes());
    Ok(())
}

/// A line for each command, with all that it takes.
fn synopsis(command: &clap::Command, page: &mut Vec<u8>) {
    if command.has_subcommands() {
        command.get_subcommands().filter(|sub| sub.get_name() != "help").for_each(|sub| synopsis(sub, page));
        return;
    }
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let own = |argument: &&clap::Arg| !argument.is_global_set() && !matches!(argument.get_id().as_str(), "help" | "version");
    line_of(name, &command.get_arguments().filter(own).map(bracketed).collect::<Vec<_>>(), page);
}

fn line_of(name: &str, words: &[String], page: &mut Vec<u8>) {
    page.extend_from_slice(format!("\\fB{}\\fR {}\n.br\n", escape(name), escape(&words.join(" "))).as_bytes());
}

fn bracketed(argument: &clap::Arg) -> String {
    let named = argument.to_string();
    let plain = named.trim_start_matches(['[', '<']).trim_end_matches([']', '>']);
    match (argument.is_positional(), argument.is_required_set()) {
        (true, true) => format!("<{plain}>"),
        (true, false) => format!("[{plain}]"),
        (false, true) => named,
        (false, false) => format!("[{named}]"),
    }
}

/// Without the page that it stands on.
const SEE_ALSO: [&str; 6] = ["twostep (1)", "twostepd (8)", "twostep-web (8)", "pam_twostep (8)", "pam.d (5)", "logind.conf (5)"];

const FILES: &str = ".SH FILES\n.TP\n/etc/twostep/twostepd.toml\nThe configuration; each key is explained in it.\n\
.TP\n/etc/twostep/board.toml\nOptional: the board profile that overrides the detected one.\n\
.TP\n/etc/twostep/recovery.d/\nPrograms that run once after each press.\n\
.TP\n/var/lib/twostep/key, /var/lib/twostep/key.cred\nThe key that seals the second steps: a backup is worth nothing without it.\n\
.TP\n/var/lib/twostep/engine/backups/\nBackups: those asked for, one a day by itself, and those before a restore or a new version; the last five of each, and of those asked for one more.\n\
.TP\n/var/lib/twostep-web/self-signed.pem\nThe certificate that twostep-web has made, with its key, where none is configured. A new one takes its place 60 days before the end of its 825 days, or for another phone.address: phones' browsers warn once more, and the log tells the new fingerprint. The key stays, until this file is removed.\n\
.TP\n/run/twostep/twostep.sock, /run/twostep/recovery.sock\nThe sockets (Varlink): for every service, and for root alone.\n";

fn commands(command: &clap::Command, page: &mut Vec<u8>) -> Result<(), Box<dyn Error>> {
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help" && !sub.is_hide_set()) {
        if sub.has_subcommands() {
            commands(sub, page)?;
            continue;
        }
        let usage = sub.clone().render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ").trim();
        page.extend_from_slice(format!(".SS {}\n", escape(usage)).as_bytes());
        if let Some(about) = sub.get_long_about().or_else(|| sub.get_about()) {
            page.extend_from_slice(format!("{}\n", escape(&about.to_string())).as_bytes());
        }
        for argument in sub.get_arguments().filter(|argument| !argument.is_hide_set() && !argument.is_global_set()) {
            if matches!(argument.get_id().as_str(), "help" | "version") {
                continue;
            }
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            page.extend_from_slice(format!(".TP\n\\fB{}\\fR\n{}\n", escape(&argument.to_string()), escape(&help)).as_bytes());
        }
    }
    Ok(())
}

/// A text as roff shows it unchanged.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let lines = text.lines().map(|line| if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() });
    lines.collect::<Vec<_>>().join("\n")
}
