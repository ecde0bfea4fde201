//! What is shown of a press: a light on a GPIO line, a beeper, a light of the kernel.

use twostep::supervisor::feedback::{Feedback as Shown, Pattern};

use super::*;
use crate::gpio::Chip;

#[test]
fn a_gpio_output_shows_the_firing() {
    let Some(chip) = Chip::new("twostep-light") else { return };
    let value = || {
        let (device, name) = (chip.read("dev_name"), chip.read("bank0/chip_name"));
        fs::read_to_string(format!("/sys/devices/platform/{device}/{name}/sim_gpio6/value")).unwrap().trim().to_owned()
    };
    for active_low in [false, true] {
        let light = Feedback::Gpio { chip: chip.label.clone(), line: Line::Offset(6), active_low };
        let shown = Shown::open(&board(Vec::new(), vec![light]), Path::new("/"));
        let (on, off) = if active_low { ("0", "1") } else { ("1", "0") };
        shown.show(Pattern::Fired);
        let deadline = clock::monotonic() + Duration::from_secs(60);
        for wanted in [on, off, on] {
            while value() != wanted {
                assert!(clock::monotonic() < deadline, "it never becomes {wanted}");
                std::thread::yield_now();
            }
        }
        shown.show(Pattern::Off);
        // The next one starts when the pattern is over and the line is free again.
        let mut device = gpio_cdev::Chip::new(format!("/dev/{}", chip.read("bank0/chip_name"))).unwrap();
        while device.get_line(6).unwrap().info().unwrap().is_kernel() {
            assert!(clock::monotonic() < deadline, "the line is given back");
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_beeper_ticks() {
    let name = "PC Speaker";
    let Some(device) = twostep::sys::input::devices(Path::new("/")).into_iter().flatten().find(|device| device.name == name) else {
        skipped(Lack::Hardware, format_args!("there is no input device {name:?}"));
        return;
    };
    block_on(async {
        let mut events = device.into_events().unwrap();
        Shown::open(&board(Vec::new(), vec![Feedback::Beeper { device: "PC*".into() }]), Path::new("/")).show(Pattern::Tick);
        let mut tones = Vec::new();
        while tones.len() < 2 {
            let (event, _) = events.next().await.unwrap();
            if event.event_type() == evdev::EventType::SOUND {
                tones.push((event.code(), event.value()));
            }
        }
        assert_eq!(tones, [(evdev::SoundCode::SND_TONE.0, 1000), (evdev::SoundCode::SND_TONE.0, 0)]);
    });
}

#[test]
fn a_light_of_the_kernel_is_given_back() {
    use twostep::sys::leds::Led;
    let lights = fs::read_dir("/sys/class/leds").into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let Some(name) = lights.into_iter().find(|name| name.ends_with("::capslock")) else {
        skipped(Lack::Hardware, "there is no caps lock light below /sys/class/leds");
        return;
    };
    let read = |file: &str| fs::read_to_string(format!("/sys/class/leds/{name}/{file}")).unwrap();
    let before = (read("brightness"), read("trigger"));
    let light = Led::open(Path::new("/"), &name).expect("root may switch it");
    light.set(true).unwrap();
    assert!(read("trigger").contains("[none]") && read("brightness").trim() == "1");
    drop(light);
    assert_eq!((read("brightness"), read("trigger")), before);
}
