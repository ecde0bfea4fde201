//! faillock.conf(5): where pam_faillock keeps its tallies.
//!
//! What this does not do: look at the arguments of pam_faillock's lines in /etc/pam.d, which go before the file.

/// The folder that `dir` names; none where the file names none that pam_faillock takes.
#[must_use]
pub fn tally_folder(conf: &str) -> Option<&str> {
    conf.lines().filter_map(folder_of_line).next_back()
}

fn folder_of_line(line: &str) -> Option<&str> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let rest = line.strip_prefix("dir")?.trim_start();
    let folder = rest.strip_prefix('=')?.trim();
    folder.starts_with('/').then_some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_dir_counts_as_for_pam_faillock() {
        assert_eq!(tally_folder("deny = 4\ndir=/var/log/faillock # kept\n"), Some("/var/log/faillock"));
        assert_eq!(tally_folder("dir = /a\n  dir  =  /b  \n"), Some("/b"));
    }

    #[test]
    fn what_names_no_folder_is_passed_over() {
        for conf in ["", "# dir = /var/run/faillock", "directory = /a", "dir /a", "dir = tallies", "dir =", "audit\nsilent"] {
            assert_eq!(tally_folder(conf), None, "{conf:?}");
        }
    }
}
