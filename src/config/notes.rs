//! What a good configuration would still not do on this machine, or under the shipped units: said by `twostepd validate`, refused by nobody.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Config, Phone, Web};

/// All that is to be noted.
pub(super) fn of(config: &Config) -> Vec<String> {
    let mut notes: Vec<String> = home_out_of_reach(&config.recovery.home).into_iter().collect();
    match &config.phone.address {
        Some(address) => notes.extend(of_web(&config.web, address)),
        None if config.web != Web::default() => notes.push("web: phone.address is not set, so twostep-web does not start".into()),
        None => {}
    }
    notes
}

fn of_web(web: &Web, address: &str) -> Vec<String> {
    let mut notes = Vec::new();
    match &web.socket {
        Some(socket) if !Path::new(socket).starts_with("/run/twostep-web") => {
            notes.push(format!("web.socket: twostep-web.service may not write there: name a file in /run/twostep-web, not {socket}"));
        }
        Some(_) => {}
        None => {
            let (port, listen) = (Phone::port(address), web.listen.port());
            if port != listen {
                notes.push(format!(
                    "web.listen: phones open port {port} (phone.address), twostep-web listens at {listen}: does anything forward?"
                ));
            }
            if listen < 1024 {
                notes.push(format!("web.listen: port {listen} needs AmbientCapabilities=CAP_NET_BIND_SERVICE in twostep-web.service"));
            }
        }
    }
    notes.extend(unreadable("web.certificate", web.certificate.as_deref()));
    notes.extend(unreadable("web.key", web.key.as_deref()));
    if let Some(found) = web.key.as_deref().and_then(|key| fs::metadata(key).ok())
        && found.mode() & 0o004 != 0
    {
        notes.push("web.key: everybody on this machine can read it: chmod o= would change that".into());
    }
    notes
}

/// Why twostep-web could not read a file, as far as it can be told from here.
fn unreadable(key: &str, file: Option<&str>) -> Option<String> {
    let file = file?;
    match fs::metadata(file) {
        Err(error) => Some(format!("{key}: {file}: {error}")),
        Ok(found) if found.uid() == 0 && found.mode() & 0o044 == 0 => {
            Some(format!("{key}: root alone can read {file}: chgrp twostep-web and chmod g+r let twostep-web read it"))
        }
        Ok(_) => None,
    }
}

/// Why the daemon could not make this home folder under the shipped unit; under another init it can, so the file is good.
fn home_out_of_reach(home: &str) -> Option<String> {
    let below = |folders: &[&str]| folders.iter().any(|folder| Path::new(home).starts_with(folder));
    let instead = "name a folder below /var/lib/twostep";
    if below(&["/home", "/root", "/run/user"]) {
        return Some(format!(
            "recovery.home: twostepd.service does not see {home} (ProtectHome=yes), so a press could not make it: {instead}, or give the \
             unit ProtectHome=no and ReadWritePaths= with the folder it stands in"
        ));
    }
    (!below(&["/var/lib/twostep"])).then(|| {
        format!(
            "recovery.home: twostepd.service may not write there (ProtectSystem=strict), so {home} must exist before a press: {instead}, or \
             give the unit ReadWritePaths= with the folder it stands in"
        )
    })
}
