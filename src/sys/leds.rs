//! Lights under /sys/class/leds.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A light that is borrowed: its trigger is taken off, and put back with its brightness on drop.
#[derive(Debug)]
pub struct Led {
    folder: PathBuf,
    full: String,
    before: Before,
}

#[derive(Debug)]
struct Before {
    brightness: String,
    /// The trigger, and the settings that it is set up again with.
    trigger: Option<(String, Vec<(&'static str, String)>)>,
}

/// What the usual triggers are set by, in an order in which they can be written.
const TRIGGER_SETTINGS: [&str; 6] = ["delay_on", "delay_off", "invert", "device_name", "link", "mode"];

impl Led {
    /// Borrows the light of that name. `root` is where `sys` is.
    ///
    /// # Errors
    /// There is none, or it cannot be switched.
    pub fn open(root: &Path, name: &str) -> io::Result<Self> {
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("\"{name}\" is no name below /sys/class/leds")));
        }
        let folder = root.join("sys/class/leds").join(name);
        let full = read(&folder, "max_brightness").unwrap_or_else(|_| "1".into());
        let before = Before { brightness: read(&folder, "brightness")?, trigger: trigger(&folder) };
        let led = Self { folder, full, before };
        if led.before.trigger.is_some() {
            led.write("trigger", "none")?;
        }
        Ok(led)
    }

    /// Switches it.
    ///
    /// # Errors
    /// The light is gone.
    pub fn set(&self, on: bool) -> io::Result<()> {
        self.write("brightness", if on { &self.full } else { "0" })
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        // Nothing is made where the kernel has no such file.
        fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(self.folder.join(file))
            .and_then(|mut f| io::Write::write_all(&mut f, text.as_bytes()))
    }

    fn restore(&self) -> io::Result<()> {
        // The brightness first: writing 0 to it takes the trigger off.
        self.write("brightness", &self.before.brightness)?;
        let Some((trigger, settings)) = &self.before.trigger else { return Ok(()) };
        self.write("trigger", trigger)?;
        // Each as far as it goes: some triggers show what cannot be written.
        let mut done = Ok(());
        for (file, text) in settings {
            done = self.write(file, text).and(done);
        }
        done
    }
}

impl Drop for Led {
    fn drop(&mut self) {
        if let Err(error) = self.restore() {
            log::warn!("feedback: the light {} stays as it is: {error}", self.folder.display());
        }
    }
}

fn read(folder: &Path, file: &str) -> io::Result<String> {
    fs::read_to_string(folder.join(file)).map(|text| text.trim_end().to_owned())
}

/// The trigger in force: the one in brackets of `none [timer] heartbeat`.
fn trigger(folder: &Path) -> Option<(String, Vec<(&'static str, String)>)> {
    let all = read(folder, "trigger").ok()?;
    let chosen = all.split('[').nth(1)?.split(']').next()?.to_owned();
    let settings = TRIGGER_SETTINGS.into_iter().filter_map(|file| Some((file, read(folder, file).ok()?))).collect();
    (chosen != "none").then_some((chosen, settings))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn led(root: &Path, files: &[(&str, &str)]) -> PathBuf {
        let folder = root.join("sys/class/leds/board:red:status");
        fs::create_dir_all(&folder).unwrap();
        for (file, text) in files {
            fs::write(folder.join(file), text).unwrap();
        }
        folder
    }

    #[test]
    fn a_light_is_given_back_as_it_was() {
        let root = tempfile::tempdir().unwrap();
        let files = [("brightness", "7\n"), ("max_brightness", "255\n"), ("trigger", "none [timer] heartbeat\n"), ("delay_on", "300\n")];
        let folder = led(root.path(), &files);
        let led = Led::open(root.path(), "board:red:status").unwrap();
        assert_eq!(fs::read_to_string(folder.join("trigger")).unwrap(), "none");
        led.set(true).unwrap();
        assert_eq!(fs::read_to_string(folder.join("brightness")).unwrap(), "255");
        led.set(false).unwrap();
        assert_eq!(fs::read_to_string(folder.join("brightness")).unwrap(), "0");
        drop(led);
        for (file, text) in [("brightness", "7"), ("trigger", "timer"), ("delay_on", "300")] {
            assert_eq!(fs::read_to_string(folder.join(file)).unwrap(), text, "{file}");
        }
        assert!(!folder.join("delay_off").exists(), "no file is made");
    }

    #[test]
    fn a_light_without_a_trigger_keeps_none() {
        let root = tempfile::tempdir().unwrap();
        let folder = led(root.path(), &[("brightness", "0"), ("max_brightness", "1"), ("trigger", "[none] timer")]);
        drop(Led::open(root.path(), "board:red:status").unwrap());
        assert_eq!(fs::read_to_string(folder.join("trigger")).unwrap(), "[none] timer");
    }

    #[test]
    fn a_light_that_is_not_there_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        assert!(Led::open(root.path(), "board:red:status").is_err());
        assert!(Led::open(root.path(), "../leds").is_err());
    }
}
