//! Keys of input devices, made with uinput.

use evdev::uinput::VirtualDevice;
use evdev::{AttributeSet, InputEvent, KeyCode};

use super::*;

/// A button made with uinput.
pub fn uinput(name: &str, keys: &[KeyCode]) -> Option<VirtualDevice> {
    if !may_make("an input device") {
        return None;
    }
    let keys: AttributeSet<KeyCode> = keys.iter().collect();
    let made = VirtualDevice::builder().and_then(|builder| builder.name(name).with_keys(&keys)?.build());
    made.inspect_err(|error| skipped(Lack::Hardware, format_args!("no input device can be made: /dev/uinput: {error}"))).ok()
}

pub fn send(device: &mut VirtualDevice, key: KeyCode, value: i32) {
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
        // What there is instead is told anew as the devices of other tests come and go.
        assert!(watched.said_only(is_missing), "nothing fires");
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
