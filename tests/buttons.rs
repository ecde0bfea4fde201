//! Buttons as a user presses them: the simulated one always, input devices through uinput and GPIO lines through gpio-sim where the
//! kernel has them (it skips loudly where not; `tests/vm` always has them).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evdev::uinput::VirtualDevice;
use evdev::{AttributeSet, InputEvent, KeyCode};
use tokio::sync::mpsc;
use twostep::config;
use twostep::config::board::{Board, Button, Detect, Feedback, Line};
use twostep::core::gesture::{Event, Ignored, State};
use twostep::supervisor::buttons::{ButtonEvent, Buttons, Kind, NotSimulated};
use twostep::sys::clock;

#[path = "support/skip.rs"]
mod skip;

use skip::{Lack, skipped};

const HOLD: Duration = Duration::from_millis(1200);

/// Longer than any test may take.
const LONG: Duration = Duration::from_secs(300);

fn settings() -> config::Button {
    config::Button { hold: HOLD, grace: Duration::ZERO, cooldown: Duration::from_millis(1), ..config::Button::default() }
}

/// For presses that must not fire, however long a machine that stalls makes them.
fn patient() -> config::Button {
    config::Button { hold: LONG, ..settings() }
}

fn board(buttons: Vec<Button>, feedback: Vec<Feedback>) -> Board {
    Board { name: "Board".into(), origin: "test".into(), detect: Detect::default(), buttons, feedback, sticker: None }
}

fn simulated(name: &str) -> Button {
    Button::Simulated { name: name.into() }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), future).await.expect("it takes no minute") })
}

/// Watched buttons, and what they said.
struct Watched {
    buttons: Buttons,
    events: Events,
}

struct Events(mpsc::Receiver<ButtonEvent>);

impl Watched {
    fn new(buttons: Vec<Button>, settings: &config::Button, root: &Path) -> Self {
        let (sender, events) = mpsc::channel(64);
        Self { buttons: Buttons::start(&board(buttons, Vec::new()), settings, root, sender), events: Events(events) }
    }

    async fn next(&mut self) -> Event {
        self.events.next().await
    }

    async fn until(&mut self, kind: impl Fn(&Event) -> bool) -> Event {
        self.events.until(kind).await
    }

    fn is_silent(&mut self) -> bool {
        self.events.0.try_recv().is_err()
    }
}

impl Events {
    async fn next(&mut self) -> Event {
        self.0.recv().await.expect("the buttons are watched").event
    }

    /// Everything up to the first event of that kind, which is returned.
    async fn until(&mut self, kind: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = self.next().await;
            if kind(&event) {
                return event;
            }
            assert!(!matches!(event, Event::Fired { .. }), "it fired");
        }
    }
}

/// What is awaited, with the first simulated button held until it has come.
async fn while_held<T>(buttons: &Buttons, awaited: impl Future<Output = T>) -> T {
    tokio::select! {
        _ = buttons.press(LONG) => unreachable!("held for longer"),
        come = awaited => come,
    }
}

fn is_fired(event: &Event) -> bool {
    matches!(event, Event::Fired { .. })
}

fn is_released(event: &Event) -> bool {
    matches!(event, Event::Released { .. })
}

fn is_missing(event: &Event) -> bool {
    matches!(event, Event::Missing { .. })
}

#[test]
fn a_long_press_fires_once_while_it_is_still_held() {
    block_on(async {
        let mut watched = Watched::new(vec![simulated("reset")], &settings(), Path::new("/nowhere"));
        assert_eq!(watched.next().await, Event::Ready);
        let start = clock::monotonic();
        let Watched { buttons, events } = &mut watched;
        let fired = async {
            assert_eq!(events.next().await, Event::Pressed);
            events.until(is_fired).await
        };
        let Event::Fired { held } = while_held(buttons, fired).await else { unreachable!() };
        assert!(held >= HOLD && held < clock::monotonic() - start, "{held:?}");
        assert!(matches!(watched.next().await, Event::Released { fired: true, held } if held >= HOLD));
        assert!(watched.is_silent());
        assert_eq!(watched.buttons.sources(), [("reset".into(), Kind::Simulated, State::Ready)]);
    });
}

#[test]
fn a_short_press_does_not_fire() {
    block_on(async {
        let mut watched = Watched::new(vec![simulated("reset")], &patient(), Path::new("/nowhere"));
        watched.buttons.press(HOLD).await.unwrap();
        assert!(matches!(watched.until(is_released).await, Event::Released { fired: false, .. }));
    });
}

#[test]
fn a_press_right_after_the_start_is_ignored() {
    block_on(async {
        let settings = config::Button { grace: Duration::from_secs(30), ..settings() };
        let mut watched = Watched::new(vec![simulated("reset")], &settings, Path::new("/nowhere"));
        assert_eq!(watched.next().await, Event::Ready);
        let ignored = while_held(&watched.buttons, watched.events.next()).await;
        assert_eq!(ignored, Event::Ignored { reason: Ignored::Grace });
        assert!(matches!(watched.next().await, Event::Released { fired: false, .. }));
    });
}

#[test]
fn whoever_gives_up_pressing_releases() {
    block_on(async {
        let mut watched = Watched::new(vec![simulated("reset")], &patient(), Path::new("/nowhere"));
        assert_eq!(watched.next().await, Event::Ready);
        assert_eq!(while_held(&watched.buttons, watched.events.next()).await, Event::Pressed);
        assert!(matches!(watched.until(is_released).await, Event::Released { fired: false, .. }));
    });
}

#[test]
fn each_source_has_its_own_state() {
    block_on(async {
        let absent = Button::Input { name: "front".into(), device: "absent".into(), key: "KEY_RESTART".into(), grab: false };
        let mut watched = Watched::new(vec![simulated("reset"), absent, simulated("second")], &patient(), Path::new("/nowhere"));
        for _ in 0..3 {
            watched.next().await;
        }
        let pressed = while_held(&watched.buttons, watched.events.0.recv()).await;
        assert_eq!(pressed, Some(ButtonEvent { source: "reset".into(), event: Event::Pressed }));
        let states = watched.buttons.sources().into_iter().map(|(name, _, state)| (name, state)).collect::<Vec<_>>();
        let expected = [("reset", State::Held), ("front", State::Missing), ("second", State::Ready)];
        assert_eq!(states, expected.map(|(name, state)| (name.to_owned(), state)));
    });
}

#[test]
fn a_board_of_real_buttons_cannot_be_pressed_by_command() {
    block_on(async {
        let real = Button::Input { name: "reset".into(), device: "absent".into(), key: "KEY_RESTART".into(), grab: false };
        let watched = Watched::new(vec![real], &settings(), Path::new("/nowhere"));
        assert_eq!(watched.buttons.press(HOLD).await, Err(NotSimulated));
    });
}

/// Times this thread has gone to sleep.
fn sleeps() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).expect("the kernel counts them");
    line.trim().parse().unwrap()
}

#[test]
fn idle_buttons_never_wake_up() {
    block_on(async {
        let root = tempfile::tempdir().unwrap();
        // What is missing is looked for by the clock too, more and more seldom; what is there is not.
        let mut watched = Watched::new(vec![simulated("reset"), simulated("front")], &settings(), root.path());
        for _ in 0..2 {
            watched.next().await;
        }
        let mut woken = Vec::new();
        // The sleep of this test is up to three: on the way to its end tokio looks at it twice. What the machine adds, waiting for a page of the program
        // say, is not there each time; a clock would be.
        while woken.iter().all(|times| *times > 3) {
            assert!(woken.len() < 3, "{woken:?} wake-ups");
            let before = sleeps();
            tokio::time::sleep(Duration::from_secs(6)).await;
            woken.push(sleeps() - before);
        }
    });
}

/// Whether hardware can be made and opened; says so where not.
fn may_make(what: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skipped(Lack::Root, format_args!("only root can make {what}"));
    }
    root
}

/// A button made with uinput.
fn uinput(name: &str, keys: &[KeyCode]) -> Option<VirtualDevice> {
    if !may_make("an input device") {
        return None;
    }
    let keys: AttributeSet<KeyCode> = keys.iter().collect();
    let made = VirtualDevice::builder().and_then(|builder| builder.name(name).with_keys(&keys)?.build());
    made.inspect_err(|error| skipped(Lack::Hardware, format_args!("no input device can be made: /dev/uinput: {error}"))).ok()
}

fn send(device: &mut VirtualDevice, key: KeyCode, value: i32) {
    device.emit(&[InputEvent::new(evdev::EventType::KEY.0, key.code(), value)]).unwrap();
}

fn input(device: &str) -> Vec<Button> {
    vec![Button::Input { name: "reset".into(), device: device.into(), key: "KEY_RESTART".into(), grab: false }]
}

#[test]
fn an_input_device_fires_after_the_hold_and_not_by_repeats_or_other_keys() {
    let name = "twostep-test keys";
    let Some(mut device) = uinput(name, &[KeyCode::KEY_RESTART, KeyCode::KEY_POWER]) else { return };
    block_on(async {
        let mut watched = Watched::new(input("twostep-test k*"), &settings(), Path::new("/"));
        watched.until(|event| *event == Event::Ready).await;
        send(&mut device, KeyCode::KEY_POWER, 1);
        send(&mut device, KeyCode::KEY_RESTART, 2);
        tokio::time::sleep(HOLD + Duration::from_millis(200)).await;
        assert!(watched.is_silent(), "another key, and a repeat, are no press");
        let start = clock::monotonic();
        send(&mut device, KeyCode::KEY_RESTART, 1);
        let Event::Fired { held } = watched.until(is_fired).await else { unreachable!() };
        let late = (clock::monotonic() - start).checked_sub(HOLD).expect("not before the hold");
        eprintln!("input: fired {late:?} after the hold, measured {held:?}");
        send(&mut device, KeyCode::KEY_RESTART, 0);
        assert!(matches!(watched.until(is_released).await, Event::Released { fired: true, .. }));
        send(&mut device, KeyCode::KEY_RESTART, 1);
        assert_eq!(watched.next().await, Event::Pressed);
        send(&mut device, KeyCode::KEY_RESTART, 0);
        assert!(matches!(watched.until(is_released).await, Event::Released { fired: false, .. }));
    });
}

#[test]
fn an_input_device_that_is_unplugged_while_held_does_not_fire_and_works_again_when_it_is_back() {
    let name = "twostep-test unplugged";
    let Some(mut device) = uinput(name, &[KeyCode::KEY_RESTART]) else { return };
    block_on(async {
        let mut watched = Watched::new(input(name), &settings(), Path::new("/"));
        watched.until(|event| *event == Event::Ready).await;
        send(&mut device, KeyCode::KEY_RESTART, 1);
        assert_eq!(watched.next().await, Event::Pressed);
        drop(device);
        watched.until(is_missing).await;
        tokio::time::sleep(HOLD + Duration::from_millis(200)).await;
        assert!(watched.is_silent(), "nothing fires");
        let mut device = uinput(name, &[KeyCode::KEY_RESTART]).expect("it could be made before");
        watched.until(|event| *event == Event::Ready).await;
        send(&mut device, KeyCode::KEY_RESTART, 1);
        watched.until(is_fired).await;
    });
}

#[test]
fn an_input_device_that_comes_late_or_held_is_noticed() {
    let name = "twostep-test late";
    let Some(mut device) = uinput(name, &[KeyCode::KEY_RESTART]) else { return };
    block_on(async {
        send(&mut device, KeyCode::KEY_RESTART, 1);
        let mut watched = Watched::new(input(name), &settings(), Path::new("/"));
        watched.until(|event| *event == Event::Ignored { reason: Ignored::HeldBefore }).await;
        send(&mut device, KeyCode::KEY_RESTART, 0);
        watched.until(|event| *event == Event::Ready).await;
        let mut other = Watched::new(input("twostep-test later"), &settings(), Path::new("/"));
        assert!(is_missing(&other.next().await));
        let _later = uinput("twostep-test later", &[KeyCode::KEY_RESTART]);
        other.until(|event| *event == Event::Ready).await;
    });
}

#[test]
fn an_input_device_is_found_by_its_place_and_taken_for_ourselves() {
    let name = "twostep-test placed";
    let Some(mut device) = uinput(name, &[KeyCode::KEY_RESTART]) else { return };
    block_on(async {
        let found = || twostep::sys::input::devices(Path::new("/")).into_iter().flatten().find(|device| device.name == name).unwrap();
        // As udev would link it, in a folder of our own.
        let (node, root) = (found().node, tempfile::tempdir().unwrap());
        fs::create_dir_all(root.path().join("dev/input/by-path")).unwrap();
        std::os::unix::fs::symlink(&node, root.path().join("dev/input").join(node.file_name().unwrap())).unwrap();
        let button = Button::Input { name: "reset".into(), device: "platform-keys-*".into(), key: "408".into(), grab: true };
        let mut watched = Watched::new(vec![button], &settings(), root.path());
        assert!(is_missing(&watched.next().await));
        let link = root.path().join("dev/input/by-path/platform-keys-event");
        std::os::unix::fs::symlink(Path::new("..").join(node.file_name().unwrap()), link).unwrap();
        watched.until(|event| *event == Event::Ready).await;
        let mut others = found().into_events().unwrap();
        send(&mut device, KeyCode::KEY_RESTART, 1);
        watched.until(is_fired).await;
        let seen = tokio::time::timeout(Duration::from_millis(50), others.next()).await;
        assert!(seen.is_err(), "nobody else sees the press");
    });
}

#[test]
fn a_flood_of_other_events_does_not_hide_a_release() {
    let name = "twostep-test flood";
    let Some(mut device) = uinput(name, &[KeyCode::KEY_RESTART, KeyCode::KEY_A]) else { return };
    block_on(async {
        let mut watched = Watched::new(input(name), &patient(), Path::new("/"));
        watched.until(|event| *event == Event::Ready).await;
        send(&mut device, KeyCode::KEY_RESTART, 1);
        assert_eq!(watched.next().await, Event::Pressed);
        // Far more than the kernel keeps: what comes after is dropped, the release with it.
        for value in (0..2000).map(|n| 1 - n % 2) {
            send(&mut device, KeyCode::KEY_A, value);
        }
        send(&mut device, KeyCode::KEY_RESTART, 0);
        assert!(matches!(watched.until(is_released).await, Event::Released { fired: false, .. }));
    });
}

/// A test at a time has a chip: `identify` claims every free line that it finds.
static ALONE: Mutex<()> = Mutex::new(());

/// A GPIO chip of eight lines made with gpio-sim; gone with it.
struct Chip {
    folder: PathBuf,
    label: String,
    _alone: MutexGuard<'static, ()>,
}

impl Chip {
    fn new(label: &str) -> Option<Self> {
        let base = Path::new("/sys/kernel/config/gpio-sim");
        if !may_make("a GPIO line") {
            return None;
        }
        if !base.is_dir() {
            skipped(Lack::Hardware, format_args!("no GPIO line can be made: no {}", base.display()));
            return None;
        }
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = base.join(label);
        fs::create_dir_all(folder.join("bank0/line4")).unwrap();
        let chip = Self { folder, label: label.into(), _alone: alone };
        for (file, text) in [("bank0/num_lines", "8"), ("bank0/label", label), ("bank0/line4/name", "reset-button"), ("live", "1")] {
            fs::write(chip.folder.join(file), text).unwrap();
        }
        Some(chip)
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.folder.join(file)).unwrap().trim().to_owned()
    }

    fn set(&self, line: u32, high: bool) {
        let (device, chip) = (self.read("dev_name"), self.read("bank0/chip_name"));
        let pull = format!("/sys/devices/platform/{device}/{chip}/sim_gpio{line}/pull");
        fs::write(pull, if high { "pull-up" } else { "pull-down" }).unwrap();
    }

    fn button(&self, line: Line, active_low: bool, poll_ms: u64) -> Vec<Button> {
        vec![Button::Gpio { name: "reset".into(), chip: self.label.clone(), line, active_low, poll_ms }]
    }
}

impl Drop for Chip {
    fn drop(&mut self) {
        let _ = fs::write(self.folder.join("live"), "0");
        for folder in ["bank0/line4", "bank0", ""] {
            let _ = fs::remove_dir(self.folder.join(folder));
        }
    }
}

async fn presses_of_a_line(chip: &Chip, button: Vec<Button>, line: u32, pressed: bool) {
    chip.set(line, !pressed);
    let mut watched = Watched::new(button, &settings(), Path::new("/"));
    assert_eq!(watched.next().await, Event::Ready);
    let start = clock::monotonic();
    chip.set(line, pressed);
    let Event::Fired { held } = watched.until(is_fired).await else { unreachable!() };
    let late = (clock::monotonic() - start).checked_sub(HOLD).expect("not before the hold");
    eprintln!("gpio: fired {late:?} after the hold, measured {held:?}");
    chip.set(line, !pressed);
    assert!(matches!(watched.until(is_released).await, Event::Released { fired: true, .. }));
    chip.set(line, pressed);
    assert_eq!(watched.next().await, Event::Pressed);
    chip.set(line, !pressed);
    assert!(matches!(watched.until(is_released).await, Event::Released { fired: false, .. }));
}

#[test]
fn a_gpio_line_fires_by_name_and_by_offset_and_in_both_polarities() {
    let Some(chip) = Chip::new("twostep-events") else { return };
    block_on(async {
        presses_of_a_line(&chip, chip.button(Line::Name("reset-button".into()), false, 0), 4, true).await;
        presses_of_a_line(&chip, chip.button(Line::Offset(2), true, 0), 2, false).await;
    });
}

#[test]
fn a_polled_gpio_line_fires_in_both_polarities() {
    let Some(chip) = Chip::new("twostep-polled") else { return };
    block_on(async {
        presses_of_a_line(&chip, chip.button(Line::Offset(3), false, 20), 3, true).await;
        presses_of_a_line(&chip, chip.button(Line::Offset(5), true, 20), 5, false).await;
    });
}

#[test]
fn bounces_of_a_gpio_line_more_than_the_kernel_keeps_do_not_hide_a_release() {
    let Some(chip) = Chip::new("twostep-bounce") else { return };
    block_on(async {
        let mut watched = Watched::new(chip.button(Line::Offset(4), false, 0), &settings(), Path::new("/"));
        assert_eq!(watched.next().await, Event::Ready);
        chip.set(4, true);
        assert_eq!(watched.next().await, Event::Pressed);
        for bounce in 0..100 {
            chip.set(4, bounce % 2 == 1);
        }
        chip.set(4, false);
        assert!(matches!(watched.until(is_released).await, Event::Released { fired: false, .. }));
        for bounce in 0..31 {
            chip.set(4, bounce % 2 == 0);
        }
        watched.until(is_fired).await;
    });
}

#[test]
fn a_gpio_line_that_the_key_driver_has_is_explained() {
    let Some(chip) = Chip::new("twostep-claimed") else { return };
    let mut device = gpio_cdev::Chip::new(format!("/dev/{}", chip.read("bank0/chip_name"))).unwrap();
    let _claimed = device.get_line(4).unwrap().request(gpio_cdev::LineRequestFlags::INPUT, 0, "gpio-keys").unwrap();
    block_on(async {
        for poll_ms in [0, 20] {
            let mut watched = Watched::new(chip.button(Line::Offset(4), false, poll_ms), &settings(), Path::new("/"));
            let Event::Missing { reason } = watched.next().await else { panic!("it is claimed") };
            assert!(reason.ends_with("is claimed by gpio-keys: use kind = \"input\""), "{reason}");
        }
        let mut watched = Watched::new(chip.button(Line::Name("absent".into()), false, 0), &settings(), Path::new("/"));
        let Event::Missing { reason } = watched.next().await else { panic!("it is not there") };
        assert!(reason.contains("has no line \"absent\""), "{reason}");
    });
}

#[test]
fn a_gpio_chip_that_goes_and_comes_back_is_noticed() {
    let Some(chip) = Chip::new("twostep-gone") else { return };
    block_on(async {
        let mut watched = Watched::new(chip.button(Line::Offset(4), false, 0), &settings(), Path::new("/"));
        assert_eq!(watched.next().await, Event::Ready);
        chip.set(4, true);
        assert_eq!(watched.next().await, Event::Pressed);
        fs::write(chip.folder.join("live"), "0").unwrap();
        watched.until(is_missing).await;
        fs::write(chip.folder.join("live"), "1").unwrap();
        watched.until(|event| *event == Event::Ready).await;
        chip.set(4, true);
        watched.until(is_fired).await;
    });
}

#[test]
fn a_gpio_output_shows_the_firing() {
    use twostep::supervisor::feedback::{Feedback as Shown, Pattern};
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
    use twostep::supervisor::feedback::{Feedback as Shown, Pattern};
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

/// Sends what is written, so that a test can wait for it.
struct Shown(std::sync::mpsc::Sender<String>);

impl std::io::Write for Shown {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.send(String::from_utf8_lossy(text).into_owned()).map_err(|_| std::io::ErrorKind::BrokenPipe)?;
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What `twostep recovery identify` shows: the button is pressed as soon as it asks for it, and released as soon as it has heard that.
fn identified(gpio: bool, mut press: impl FnMut(bool)) -> String {
    use twostep::cli::identify::{Args, identify};
    let (sender, shown) = std::sync::mpsc::channel();
    let args = Args { seconds: 15, gpio };
    let listening = std::thread::spawn(move || identify(Path::new("/"), &args, &mut Shown(sender)));
    let (mut text, mut steps) = (String::new(), [("Ctrl-C ends", true), (" pressed\n", false)].into_iter().peekable());
    while let Ok(more) = shown.recv() {
        text += &more;
        while let Some((_, down)) = steps.next_if(|(awaited, _)| text.contains(awaited)) {
            press(down);
        }
    }
    assert!(listening.join().unwrap().unwrap(), "there is something to listen to: {text}");
    text
}

#[test]
fn identify_shows_an_input_button_and_its_profile() {
    let Some(mut device) = uinput("twostep-test panel", &[KeyCode::BTN_2, KeyCode::KEY_POWER]) else { return };
    let text = identified(false, |down| send(&mut device, KeyCode::BTN_2, i32::from(down)));
    eprintln!("{text}");
    for part in [
        "\"twostep-test panel\"",
        "BTN_2 (258) pressed",
        "BTN_2 (258) released after ",
        "device = \"twostep-test panel\"\nkey = \"BTN_2\"\n# Not grab",
    ] {
        assert!(text.contains(part), "no {part} in: {text}");
    }
}

#[test]
fn identify_shows_a_gpio_button_and_its_profile() {
    let Some(chip) = Chip::new("twostep-identify") else { return };
    chip.set(4, true);
    let text = identified(true, |down| chip.set(4, !down));
    eprintln!("{text}");
    for part in [
        "\"twostep-identify\", 8 lines",
        "4  \"reset-button\"  input, free",
        "\"twostep-identify\" line 4 \"reset-button\" pressed",
        "chip = \"twostep-identify\"\nline = 4\nactive_low = true\n",
    ] {
        assert!(text.contains(part), "no {part} in: {text}");
    }
}
