//! Which adapter is the first one, on machines recorded as sysfs trees, and the default password made of it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use proptest::prelude::*;
use twostep::core::adapter::{Adapter, Choice, Facts, First, Mac, Origin, Refusal, Why, first};
use twostep::sys::adapters::{Nvmem, facts};

mod password;
#[path = "../support/skip.rs"]
mod skip;

use skip::{Lack, skipped};

/// A machine in a scratch folder.
struct Machine(tempfile::TempDir);

/// An interface of it, as sysfs shows it.
struct Interface {
    folder: PathBuf,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("sys/class/net")).unwrap();
        Self(folder)
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    /// An interface without hardware behind it.
    fn interface(&self, name: &str, index: u32) -> Interface {
        let folder = self.root().join("sys/devices/virtual/net").join(name);
        self.register(name, index, folder)
    }

    /// An interface of the device at this place below /sys/devices.
    fn adapter(&self, name: &str, index: u32, place: &str) -> Interface {
        let device = self.root().join("sys/devices").join(place);
        let interface = self.register(name, index, device.join("net").join(name));
        symlink("../..", interface.folder.join("device")).unwrap();
        interface
    }

    fn register(&self, name: &str, index: u32, folder: PathBuf) -> Interface {
        fs::create_dir_all(&folder).unwrap();
        symlink(&folder, self.root().join("sys/class/net").join(name)).unwrap();
        let interface = Interface { folder };
        interface
            .file("type", "1")
            .file("addr_len", "6")
            .file("addr_assign_type", "0")
            .file("dev_port", "0")
            .file("ifindex", &index.to_string())
    }

    /// A node of the device tree, and perhaps an alias for it.
    fn node(&self, path: &str, alias: Option<&str>) -> PathBuf {
        let tree = self.root().join("sys/firmware/devicetree/base");
        let node = tree.join(path.trim_start_matches('/'));
        fs::create_dir_all(&node).unwrap();
        if let Some(alias) = alias {
            fs::create_dir_all(tree.join("aliases")).unwrap();
            fs::write(tree.join("aliases").join(alias), format!("{path}\0")).unwrap();
        }
        node
    }

    fn nvmem(&self, name: &str, contents: &[u8]) {
        let folder = self.root().join("sys/bus/nvmem/devices").join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("nvmem"), contents).unwrap();
    }

    fn first(&self) -> Result<First, Refusal> {
        first(&facts(self.root(), None), &Choice::Board)
    }

    /// The first adapter's name.
    fn name(&self) -> String {
        self.first().expect("there is one").interface.unwrap()
    }

    fn why(&self, name: &str) -> Why {
        let refusal = self.first().expect_err("nothing is stable here");
        refusal.0.into_iter().find(|refused| refused.name == name).expect("it is told").why
    }
}

impl Interface {
    fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.folder.join(name), format!("{text}\n")).unwrap();
        self
    }

    fn folder(self, name: &str) -> Self {
        fs::create_dir(self.folder.join(name)).unwrap();
        self
    }

    fn device_file(self, name: &str, text: &str) -> Self {
        fs::write(self.folder.join("device").join(name), format!("{text}\n")).unwrap();
        self
    }

    fn permanent(self, mac: &str) -> Self {
        self.file("permanent_address", mac)
    }

    fn current(self, mac: &str, assign_type: u8) -> Self {
        self.file("address", mac).file("addr_assign_type", &assign_type.to_string())
    }

    fn node(self, node: &Path) -> Self {
        symlink(node, self.folder.join("device/of_node")).unwrap();
        self
    }
}

fn mac(text: &str) -> Mac {
    Mac::from_str(text).unwrap()
}

const A: &str = "24:5e:be:00:00:0a";
const B: &str = "24:5e:be:00:00:0b";
const C: &str = "24:5e:be:00:00:0c";

#[test]
fn a_plain_machine_has_its_only_adapter_and_its_permanent_address() {
    let machine = Machine::new();
    machine.interface("lo", 1).file("type", "772");
    machine.adapter("enp3s0", 2, "pci0000:00/0000:00:1c.0/0000:03:00.0").permanent(A).current(B, 3);
    let first = machine.first().unwrap();
    assert_eq!((first.mac, first.interface.as_deref(), first.origin), (mac(A), Some("enp3s0"), Origin::Permanent));
    assert!(first.passed_over.is_empty());
}

#[test]
fn a_bond_and_its_members_lead_to_the_first_members_own_address() {
    let machine = Machine::new();
    machine.interface("bond0", 4).folder("bonding").current(B, 2);
    // Both members carry the bond's address now.
    machine.adapter("eth0", 2, "pci0000:00/0000:02:00.0").permanent(A).current(B, 3);
    machine.adapter("eth1", 3, "pci0000:00/0000:03:00.0").permanent(B).current(B, 0);
    let first = machine.first().unwrap();
    assert_eq!((first.mac, first.interface.as_deref()), (mac(A), Some("eth0")));
}

#[test]
fn a_bridge_vlan_and_tunnel_are_not_adapters() {
    let machine = Machine::new();
    machine.interface("br0", 1).folder("bridge").current(B, 0);
    machine.interface("eth0.5", 2).current(A, 0);
    machine.interface("wg0", 3).file("type", "65534").file("addr_len", "0");
    machine.interface("veth1", 4).current(C, 0);
    assert_eq!(machine.why("br0"), Why::Bridge);
    assert_eq!(machine.why("eth0.5"), Why::NoDevice);
    assert_eq!(machine.why("wg0"), Why::NotEthernet);
    assert_eq!(machine.why("veth1"), Why::NoDevice);
    machine.adapter("eth0", 9, "platform/soc/f1072000.ethernet").permanent(A);
    assert_eq!(machine.name(), "eth0");
}

#[test]
fn a_virtual_function_is_not_an_adapter() {
    let machine = Machine::new();
    let virtual_function = machine.adapter("eth0", 2, "pci0000:00/0000:02:00.1").permanent(B);
    symlink("../0000:02:00.0", virtual_function.folder.join("device/physfn")).unwrap();
    assert_eq!(machine.why("eth0"), Why::VirtualFunction);
    machine.adapter("eth1", 3, "pci0000:00/0000:05:00.0").permanent(A);
    assert_eq!(machine.name(), "eth1");
}

#[test]
fn an_adapter_on_usb_comes_last_whatever_its_number() {
    let machine = Machine::new();
    let usb = machine.adapter("eth0", 2, "pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0").permanent(B);
    symlink("../../../../bus/usb", usb.folder.join("device/subsystem")).unwrap();
    assert_eq!(machine.name(), "eth0", "better than none");
    machine.adapter("eth1", 3, "pci0000:00/0000:1f:00.0").permanent(A);
    assert_eq!(machine.name(), "eth1");
    // One that only its place gives away.
    let other = Machine::new();
    other.adapter("a", 1, "platform/ff500000.usb/usb2/2-1/2-1:1.0").permanent(B);
    other.adapter("b", 9, "platform/fe300000.ethernet").permanent(A);
    assert_eq!(other.name(), "b");
}

#[test]
fn wifi_alone_is_refused() {
    let machine = Machine::new();
    machine.adapter("wlan0", 2, "pci0000:00/0000:02:00.0").permanent(A).folder("phy80211");
    machine.adapter("wlan1", 3, "pci0000:00/0000:03:00.0").permanent(B).folder("wireless");
    assert_eq!(machine.why("wlan0"), Why::Wireless);
    assert_eq!(machine.why("wlan1"), Why::Wireless);
}

#[test]
fn buses_are_counted_as_numbers_and_not_as_names() {
    let machine = Machine::new();
    machine.adapter("a", 2, "pci0000:00/0000:00:01.0/0000:10:00.0").permanent(C);
    machine.adapter("b", 3, "pci0000:00/0000:00:02.0/0000:0a:00.0").permanent(B);
    machine.adapter("z", 4, "pci0000:00/0000:00:1c.0/0000:02:00.0").permanent(A);
    machine.adapter("c", 1, "pci10000:00/10000:01:00.0").permanent(C);
    assert_eq!(machine.name(), "z");
    // Without it, 0a comes before 10, whatever the kernel's own numbers say.
    fs::remove_file(machine.root().join("sys/class/net/z")).unwrap();
    assert_eq!(machine.name(), "b");
    fs::remove_file(machine.root().join("sys/class/net/b")).unwrap();
    assert_eq!(machine.name(), "a");
}

#[test]
fn ports_of_one_device_are_told_apart_by_port_and_then_by_the_kernels_number() {
    let machine = Machine::new();
    let place = "pci0000:00/0000:02:00.0";
    machine.adapter("x", 2, place).file("dev_port", "1").permanent(B);
    let device = machine.root().join("sys/devices").join(place).join("net/y");
    let second = machine.register("y", 3, device).permanent(A);
    symlink("../..", second.folder.join("device")).unwrap();
    assert_eq!(machine.name(), "y");
    let other = Machine::new();
    other.adapter("a", 7, "platform/one").permanent(B);
    other.adapter("b", 6, "platform/two").permanent(A);
    assert_eq!(other.name(), "b");
}

#[test]
fn the_firmwares_own_number_comes_before_the_place() {
    let machine = Machine::new();
    machine.adapter("a", 1, "pci0000:00/0000:01:00.0").permanent(C);
    machine.adapter("b", 2, "pci0000:00/0000:02:00.0").permanent(B).device_file("index", "2");
    machine.adapter("c", 3, "pci0000:00/0000:03:00.0").permanent(A).device_file("acpi_index", "1").device_file("index", "9");
    assert_eq!(machine.name(), "c");
}

#[test]
fn the_device_trees_aliases_come_first_in_the_order_of_their_numbers() {
    let machine = Machine::new();
    let gmac1 = machine.node("/soc/ethernet@2", Some("ethernet10"));
    let gmac0 = machine.node("/soc/ethernet@1", Some("ethernet2"));
    machine.adapter("a", 1, "pci0000:00/0000:01:00.0").permanent(C).device_file("acpi_index", "1");
    machine.adapter("b", 2, "platform/2.ethernet").permanent(B).node(&gmac1);
    machine.adapter("c", 3, "platform/1.ethernet").permanent(A).node(&gmac0);
    assert_eq!(machine.name(), "c", "2 comes before 10");
}

#[test]
fn the_node_whose_address_is_on_the_sticker_wins_over_all_aliases_even_wireless() {
    let machine = Machine::new();
    let first = machine.node("/soc/ethernet@1", Some("ethernet0"));
    let label = machine.node("/soc/wifi@2", Some("label-mac-device"));
    machine.adapter("eth0", 1, "platform/1.ethernet").permanent(B).node(&first);
    machine.adapter("wlan0", 2, "platform/2.wifi").permanent(A).node(&label).folder("phy80211");
    assert_eq!(machine.name(), "wlan0");
}

#[test]
fn a_port_of_a_switch_is_found_by_its_own_node() {
    let machine = Machine::new();
    let port = machine.node("/switch/ports/port@0", Some("label-mac-device"));
    machine.adapter("eth0", 1, "platform/1.ethernet").permanent(B);
    let lan = machine.adapter("lan1", 9, "platform/switch").current(A, 0);
    symlink(&port, lan.folder.join("of_node")).unwrap();
    assert_eq!(machine.name(), "lan1");
}

#[test]
fn a_random_address_is_passed_over_and_told() {
    let machine = Machine::new();
    machine.adapter("eth0", 1, "pci0000:00/0000:01:00.0").current("d2:11:22:33:44:55", 1);
    assert_eq!(machine.why("eth0"), Why::Random);
    machine.adapter("eth1", 2, "pci0000:00/0000:02:00.0").permanent(A);
    let first = machine.first().unwrap();
    assert_eq!(first.interface.as_deref(), Some("eth1"));
    assert_eq!(first.passed_over.len(), 1, "the sticker may mean the one before");
    assert_eq!(first.passed_over[0].to_string(), "eth0: its address is random");
}

#[test]
fn the_current_address_counts_only_as_long_as_nobody_changed_it() {
    let machine = Machine::new();
    machine.adapter("eth0", 1, "platform/1.ethernet").current(A, 0);
    let first = machine.first().unwrap();
    assert_eq!((first.mac, first.origin), (mac(A), Origin::Current));
    for (changed, why) in [(1, Why::Random), (2, Why::Changed), (3, Why::Changed)] {
        let machine = Machine::new();
        machine.adapter("eth0", 1, "platform/1.ethernet").current(A, changed);
        assert_eq!(machine.why("eth0"), why);
    }
}

#[test]
fn an_address_that_belongs_to_no_adapter_is_refused() {
    for (address, why) in
        [("00:00:00:00:00:00", Why::NotUnicast), ("01:00:5e:00:00:01", Why::NotUnicast), ("ff:ff:ff:ff:ff:ff", Why::NotUnicast)]
    {
        let machine = Machine::new();
        machine.adapter("eth0", 1, "platform/1.ethernet").current(address, 0);
        assert_eq!(machine.why("eth0"), why, "{address}");
        machine.adapter("eth1", 2, "platform/2.ethernet").permanent(address).current(A, 3);
        assert_eq!(machine.why("eth1"), Why::Changed, "{address}");
    }
    let machine = Machine::new();
    machine.adapter("eth0", 1, "platform/1.ethernet");
    assert_eq!(machine.why("eth0"), Why::NoAddress);
}

#[test]
fn a_machine_without_interfaces_is_refused_with_the_way_out() {
    let refusal = Machine::new().first().unwrap_err().to_string();
    assert!(refusal.contains("no network interface") && refusal.contains("recovery.password.interface"), "{refusal}");
    // Not even a sysfs.
    let empty = tempfile::tempdir().unwrap();
    assert!(first(&facts(empty.path(), None), &Choice::Board).is_err());
}

#[test]
fn the_operators_choice_wins_over_everything() {
    let machine = Machine::new();
    machine.adapter("eth0", 1, "platform/1.ethernet").permanent(A);
    machine.adapter("eth1", 2, "platform/2.ethernet").permanent(B);
    machine.interface("bond0", 3).folder("bonding").current(C, 2);
    let choose = |choice| first(&facts(machine.root(), None), &choice);
    assert_eq!(choose(Choice::Interface("eth1".into())).unwrap().mac, mac(B));
    let given = choose(Choice::Mac(mac(C))).unwrap();
    assert_eq!((given.mac, given.interface, given.origin), (mac(C), None, Origin::Configured));
    // A choice that cannot be kept is refused; nothing else is taken in its place.
    assert_eq!(choose(Choice::Interface("eth7".into())).unwrap_err().0[0].why, Why::Absent);
    assert_eq!(choose(Choice::Interface("bond0".into())).unwrap_err().0[0].why, Why::Changed);
    assert_eq!(choose(Choice::Mac(mac("01:00:5e:00:00:01"))).unwrap_err().0[0].why, Why::NotUnicast);
}

const NVMEM: Nvmem<'_> = Nvmem { device: "qnap-mcu-eeprom*", offset: 0x24, length: 17 };

fn eeprom(text: &str) -> Vec<u8> {
    let mut bytes = vec![0xff; 256];
    bytes[0x24..0x24 + text.len()].copy_from_slice(text.as_bytes());
    bytes
}

#[test]
fn the_stickers_own_memory_comes_before_any_adapter() {
    let machine = Machine::new();
    machine.adapter("eth0", 1, "platform/1.ethernet").permanent(B);
    machine.nvmem("rockchip-otp0", &[0; 64]);
    machine.nvmem("qnap-mcu-eeprom0", &eeprom(&A.to_uppercase()));
    let first = first(&facts(machine.root(), Some(NVMEM)), &Choice::Board).unwrap();
    assert_eq!((first.mac, first.interface, first.origin), (mac(A), None, Origin::Nvmem("qnap-mcu-eeprom0".into())));
}

#[test]
fn a_sticker_memory_without_an_address_is_passed_over_and_told() {
    let machine = Machine::new();
    machine.adapter("eth0", 1, "platform/1.ethernet").permanent(B);
    let told = || {
        let first = first(&facts(machine.root(), Some(NVMEM)), &Choice::Board).unwrap();
        assert_eq!(first.mac, mac(B));
        first.passed_over[0].to_string()
    };
    assert_eq!(told(), "qnap-mcu-eeprom*: there is no such nvmem device");
    machine.nvmem("qnap-mcu-eeprom0", &[0xff; 256]);
    assert_eq!(told(), "qnap-mcu-eeprom0: holds no address there");
    machine.nvmem("qnap-mcu-eeprom0", &[0; 8]);
    assert!(told().starts_with("qnap-mcu-eeprom0: cannot be read"));
    machine.nvmem("qnap-mcu-eeprom0", &eeprom("00:00:00:00:00:00"));
    assert_eq!(told(), "qnap-mcu-eeprom0: its address is no adapter's");
    machine.nvmem("qnap-mcu-eeprom1", &eeprom(A));
    assert_eq!(told(), "qnap-mcu-eeprom*: 2 nvmem devices have such a name");
}

#[test]
fn the_address_in_the_memory_may_be_bytes_or_plain_text() {
    let machine = Machine::new();
    machine.nvmem("a", &[0, 0x24, 0x5e, 0xbe, 0, 0, 0x0a]);
    machine.nvmem("b", b"245ebe00000a");
    for nvmem in [Nvmem { device: "a", offset: 1, length: 6 }, Nvmem { device: "b", offset: 0, length: 12 }] {
        assert_eq!(first(&facts(machine.root(), Some(nvmem)), &Choice::Board).unwrap().mac, mac(A));
    }
    assert!(first(&facts(machine.root(), Some(Nvmem { device: "b", offset: 0, length: 99 })), &Choice::Board).is_err());
}

#[test]
fn this_very_machine_is_read_without_fail() {
    let real = facts(Path::new("/"), None);
    match first(&real, &Choice::Board) {
        Ok(first) => {
            assert!(first.mac.is_unicast());
            let adapter = real.adapters.iter().find(|a| Some(&a.name) == first.interface.as_ref()).expect("one of those that were read");
            assert!(adapter.device && !adapter.bridge && !adapter.bond);
        }
        Err(refusal) => skipped(Lack::Hardware, format_args!("no adapter here, as in a container: {refusal}")),
    }
    if let Some(lo) = real.adapters.iter().find(|adapter| adapter.name == "lo") {
        assert_eq!(lo.permanent, None);
        assert_eq!(first(&real, &Choice::Interface("lo".into())).unwrap_err().0[0].why, Why::NotEthernet);
    }
}

prop_compose! {
    fn any_adapter()(
        (kind, address_length) in prop::sample::select(vec![(1, 6), (1, 6), (1, 6), (772, 6), (32, 20)]),
        flags in prop::array::uniform6(prop::bool::weighted(0.2)),
        firmware_index in prop::option::of(0_u32..3),
        pci in prop::option::of((0_u32..2, 0_u8..18, 0_u8..2, 0_u8..2)),
        dev_port in 0_u32..2,
        assign_type in prop::option::of(0_u8..4),
        permanent in prop::option::of(any::<[u8; 6]>()),
        current in prop::option::of(any::<[u8; 6]>()),
    ) -> Adapter {
        let [no_device, wireless, bridge, bond, virtual_function, usb] = flags;
        Adapter {
            kind, address_length, wireless, bridge, bond, virtual_function, usb, firmware_index, pci, dev_port, assign_type,
            device: !no_device, permanent: permanent.map(Mac::new), current: current.map(Mac::new), ..Adapter::default()
        }
    }
}

proptest! {
    #[test]
    fn the_order_and_the_names_of_the_kernel_decide_nothing(adapters in prop::collection::vec(any_adapter(), 0..6), turn in 0_usize..6) {
        let named = |prefix: &str, mut adapters: Vec<Adapter>| {
            for (adapter, index) in adapters.iter_mut().zip(1..) {
                adapter.index = index;
                adapter.name = format!("{prefix}{index}");
            }
            adapters
        };
        let facts = Facts { adapters: named("a", adapters.clone()), ..Facts::default() };
        let mut others = named("z", adapters.clone());
        others.rotate_left(turn.min(adapters.len()));
        let turned = Facts { adapters: others, ..Facts::default() };
        match (first(&facts, &Choice::Board), first(&turned, &Choice::Board)) {
            (Ok(one), Ok(other)) => {
                prop_assert_eq!(one.mac, other.mac);
                let chosen = facts.adapters.iter().find(|a| Some(&a.name) == one.interface.as_ref()).expect("one of them");
                prop_assert!(one.mac.is_unicast() && chosen.device && !chosen.bond && !chosen.bridge && !chosen.virtual_function && !chosen.wireless);
                prop_assert!(chosen.permanent == Some(one.mac) || chosen.assign_type == Some(0));
            }
            (Err(one), Err(other)) => {
                prop_assert_eq!(one.0.len(), adapters.len(), "each with its reason");
                prop_assert_eq!(other.0.len(), adapters.len());
            }
            _ => prop_assert!(false, "one way there is an adapter, the other way there is none"),
        }
    }
}
