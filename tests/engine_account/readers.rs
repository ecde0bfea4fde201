//! The QR code as phones see it: read off the terminal by zbar; and the codes of the secret in it, as oathtool makes them.

use std::collections::HashMap;
use std::fs;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getuid, sethostname};
use serde_json::json;
use twostep::sys::{clock, crypt};

use crate::demo::Demo;
use crate::engine::{Api, PASSWORD};
use crate::person::Twostep;
use crate::skip::{Lack, skipped};

/// Names that need care in a URI, in a terminal, or in both.
const PEOPLE: [&str; 4] = ["häns müller", "50%", "a&b=c#d?e+f", "EXAMPLE\\eve"];
const HOST: &str = "a:b 50% Büro";

fn is_missing(tool: &str, package: &str) -> bool {
    let missing = Command::new(tool).arg("--version").output().is_err();
    if missing {
        skipped(Lack::Package, format_args!("no {tool} here (apt install {package})"));
    }
    missing
}

/// A demo in which all of [`PEOPLE`] have alice's password, and the name of its machine.
fn nas() -> (Demo, String) {
    let start = || {
        Demo::start(|folder| {
            let (mut passwd, mut shadow) = (String::from("root:x:0:0::/:/bin/sh\n"), String::from("root:*:20000:0:99999:7:::\n"));
            let hash = crypt::hash(PASSWORD, crypt::Method::Sha512).unwrap();
            for (number, name) in PEOPLE.iter().enumerate() {
                passwd += &format!("{name}:x:{}:100::/:/bin/sh\n", 2000 + number);
                shadow += &format!("{name}:{}:20000:0:99999:7:::\n", hash.hash.as_str());
            }
            fs::create_dir(folder.join("etc")).unwrap();
            fs::write(folder.join("etc/passwd"), passwd).unwrap();
            fs::write(folder.join("etc/shadow"), shadow).unwrap();
        })
    };
    if !getuid().is_root() {
        skipped(Lack::Root, format_args!("only root can give a machine the name {HOST}"));
        return (start(), nix::unistd::gethostname().unwrap().into_string().unwrap());
    }
    // The name is this thread's alone, and that of whatever it starts.
    let named = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWUTS).unwrap();
        sethostname(HOST).unwrap();
        start()
    });
    (named.join().unwrap(), HOST.into())
}

/// What a terminal of 80 columns shows, as grey levels; `dark` and `light` are its own colours.
struct Screen {
    /// For each cell the upper and the lower half.
    rows: Vec<Vec<(u8, u8)>>,
    background: u8,
}

/// Of one cell; most fonts are twice as high as wide.
const WIDTH: usize = 8;
const HEIGHT: usize = 16;
const COLUMNS: usize = 80;

impl Screen {
    fn of(text: &str, foreground: u8, background: u8) -> Self {
        let (mut rows, mut row) = (Vec::new(), Vec::new());
        let (mut fore, mut back) = (foreground, background);
        let mut rest = text.chars();
        while let Some(shown) = rest.next() {
            match shown {
                '\x1b' => {
                    let sequence: String = rest.by_ref().take_while(|c| *c != 'm').collect();
                    for code in sequence.strip_prefix('[').expect("colours alone are set").split(';') {
                        // The console's own colours; white is grey there.
                        match code {
                            "0" => (fore, back) = (foreground, background),
                            "30" => fore = 0,
                            "47" => back = 170,
                            other => panic!("colour {other}"),
                        }
                    }
                }
                '\n' => rows.push(std::mem::take(&mut row)),
                '█' => row.push((fore, fore)),
                '▀' => row.push((fore, back)),
                '▄' => row.push((back, fore)),
                // No letter is drawn; where it stands matters.
                _ => row.push((back, back)),
            }
            assert!(row.len() <= COLUMNS, "a row would be broken: {text}");
        }
        rows.push(row);
        Self { rows, background }
    }

    /// A photograph, in the format PGM.
    fn photograph(&self) -> Vec<u8> {
        let mut picture = format!("P5 {} {} 255\n", COLUMNS * WIDTH, self.rows.len() * HEIGHT).into_bytes();
        for row in &self.rows {
            for line in 0..HEIGHT {
                for column in 0..COLUMNS * WIDTH {
                    let (upper, lower) = row.get(column / WIDTH).copied().unwrap_or((self.background, self.background));
                    picture.push(if line < HEIGHT / 2 { upper } else { lower });
                }
            }
        }
        picture
    }
}

/// What zbar reads in a picture; empty where it finds nothing.
fn zbar(picture: &[u8]) -> String {
    let file = tempfile::Builder::new().suffix(".pgm").tempfile().unwrap();
    fs::write(file.path(), picture).unwrap();
    let read = Command::new("zbarimg").args(["--quiet", "--raw"]).arg(file.path()).output().unwrap();
    String::from_utf8(read.stdout).unwrap().trim_end_matches('\n').to_owned()
}

/// Undoes percent-encoding (RFC 3986, section 2.1). What should have been encoded must not be there.
fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.bytes());
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next().unwrap(), rest.next().unwrap()];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
        } else {
            assert!(byte.is_ascii_alphanumeric() || b"-._~".contains(&byte), "{text} is not encoded");
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// Issuer, account and parameters, as an authenticator app takes a URI apart.
fn taken_apart(uri: &str) -> (String, String, HashMap<String, String>) {
    let (label, query) = uri.strip_prefix("otpauth://totp/").unwrap().split_once('?').unwrap();
    let (issuer, account) = label.split_once(':').unwrap();
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap());
    (decoded(issuer), decoded(account), pairs.map(|(key, value)| (key.into(), decoded(value))).collect())
}

/// The code of another maker's program, so many seconds from now.
fn oathtool(secret: &str, ahead: i64) -> String {
    let at = format!("@{}", clock::wall().0 + ahead);
    let made = Command::new("oathtool").args(["--totp", "--base32", "--now", &at, secret]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

#[test]
fn what_the_terminal_draws_is_read_by_zbar_and_its_secret_makes_codes_in_oathtool() {
    if is_missing("zbarimg", "zbar-tools") | is_missing("oathtool", "oathtool") {
        return;
    }
    let (demo, host) = nas();
    let command = Twostep::own(demo.folder());
    let mut service = Api::at(&demo.socket());
    for user in PEOPLE {
        let mut person = command.at_a_terminal(&["setup", "--user", user]);
        person.answers("Password: ", PASSWORD);
        person.awaits("This NAS offers: Security Code\n");
        person.awaits("Scan the QR code with an authenticator app, or type in: ");
        let typed = person.awaits("\n");
        let uri = person.awaits("\n");
        let drawn = person.awaits("Code that the app shows: ");
        for (foreground, background) in [(229, 0), (0, 255), (131, 0)] {
            assert_eq!(zbar(&Screen::of(&drawn, foreground, background).photograph()), uri, "{foreground} on {background}");
        }
        let (issuer, account, parameters) = taken_apart(&uri);
        // A colon is what divides the two.
        assert_eq!((issuer, account.as_str()), (host.replace(':', "·"), user));
        assert_eq!((&parameters["secret"], &parameters["issuer"]), (&typed, &host.replace(':', "·")));
        person.types(&oathtool(&parameters["secret"], 0));
        person.answers("Password, once more: ", PASSWORD);
        let (status, shown) = person.leaves();
        assert!(status.success(), "{shown}");
        let login = service.call("Login.Start", json!({ "user": user, "service": "test" }))["login"].clone();
        let mut typed = |code: &str| service.answer(&login, "security_code", code)["outcome"].clone();
        // Right once, but neither then nor soon.
        let near: Vec<String> = (-2..=2).map(|steps| oathtool(&parameters["secret"], 30 * steps)).collect();
        // By chance, one in a million is that of another time.
        let far = (100..).map(|steps| oathtool(&parameters["secret"], 30 * steps)).find(|code| !near.contains(code));
        assert_eq!(typed(&far.unwrap()), "wrong");
        assert_eq!(typed(&oathtool(&parameters["secret"], 30)), "verified");
    }
}
