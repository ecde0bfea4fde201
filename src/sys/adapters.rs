//! Facts about network adapters, read from sysfs, the device tree, nvmem and ethtool.
//!
//! It decides nothing: `core::adapter` does. What cannot be read is left out of the facts.
//!
//! sysfs has no file for an adapter's permanent address; the kernel is asked for it. Below another root than `/` (tests, the demo) the
//! kernel knows nothing of the adapters there: a file `permanent_address` beside the adapter's `address` stands for its answer.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::str::FromStr;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::core::adapter::{Adapter, Facts, Mac, Sticker};
use crate::core::pattern::matches;

/// Where a board keeps the sticker's address.
#[derive(Clone, Copy, Debug)]
pub struct Nvmem<'a> {
    /// The name of the device below `/sys/bus/nvmem/devices`; `*` stands for any text.
    pub device: &'a str,
    /// Where the address begins, in bytes.
    pub offset: u64,
    /// 17 for a text with separators, 12 for one without, 6 for plain bytes.
    pub length: usize,
}

/// Everything that is known of the machine's adapters; `root` is where `sys` is.
#[must_use]
pub fn facts(root: &Path, sticker: Option<Nvmem<'_>>) -> Facts {
    let tree = fs::canonicalize(root.join("sys/firmware/devicetree/base")).ok();
    let (label, aliases) = tree.as_deref().map(aliases).unwrap_or_default();
    let addresses = if root == Path::new("/") { Addresses::Kernel } else { Addresses::Recorded };
    let folder = root.join("sys/class/net");
    let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
    let adapters = entries.filter_map(|entry| adapter(&entry.path(), tree.as_deref(), addresses)).collect();
    Facts { sticker: sticker.map(|nvmem| read_sticker(root, nvmem)), label, aliases, adapters }
}

fn adapter(folder: &Path, tree: Option<&Path>, addresses: Addresses) -> Option<Adapter> {
    let name = folder.file_name()?.to_str()?.to_owned();
    // Something else than an interface: `bonding_masters` is a file.
    let kind = number(&folder.join("type"))?;
    let device = folder.join("device");
    let place = fs::canonicalize(&device).unwrap_or_default();
    let assign_type = number(&folder.join("addr_assign_type"));
    let permanent = addresses.permanent(folder, &name);
    Some(Adapter {
        kind,
        address_length: number(&folder.join("addr_len")).unwrap_or(0),
        device: exists(&device),
        node: tree.and_then(|tree| node(tree, &folder.join("of_node")).or_else(|| node(tree, &device.join("of_node")))),
        wireless: exists(&folder.join("phy80211")) || exists(&folder.join("wireless")),
        bridge: exists(&folder.join("bridge")),
        bond: exists(&folder.join("bonding")),
        virtual_function: exists(&device.join("physfn")),
        usb: on_usb(&device, &place),
        firmware_index: number(&device.join("acpi_index")).or_else(|| number(&device.join("index"))),
        pci: parts(&place).rev().find_map(pci_address),
        dev_port: number(&folder.join("dev_port")).unwrap_or(0),
        index: number(&folder.join("ifindex")).unwrap_or(u32::MAX),
        assign_type,
        permanent,
        // The current one matters only where nobody changed it and there is no better one.
        current: if permanent.is_none() && assign_type == Some(0) { addresses.current(folder, &name) } else { None },
        name,
    })
}

/// Who is asked for addresses.
#[derive(Clone, Copy)]
enum Addresses {
    /// The kernel.
    Kernel,
    /// The files of a recorded tree.
    Recorded,
}

impl Addresses {
    fn permanent(self, folder: &Path, name: &str) -> Option<Mac> {
        match self {
            Self::Kernel => ethtool::permanent(name).ok().flatten(),
            Self::Recorded => text(&folder.join("permanent_address")).and_then(|text| Mac::from_str(&text).ok()),
        }
    }

    fn current(self, folder: &Path, name: &str) -> Option<Mac> {
        match self {
            Self::Kernel => mac_address::mac_address_by_name(name).ok().flatten().map(|mac| Mac::new(mac.bytes())),
            Self::Recorded => text(&folder.join("address")).and_then(|text| Mac::from_str(&text).ok()),
        }
    }
}

/// The aliases `label-mac-device` and `ethernet0`, `ethernet1`, … of a device tree.
fn aliases(tree: &Path) -> (Option<String>, Vec<(u32, String)>) {
    let path = |file: &Path| text(file).map(|t| t.trim_end_matches('\0').to_owned()).filter(|t| t.starts_with('/'));
    let folder = tree.join("aliases");
    let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
    let numbered = entries.filter_map(|entry| {
        let number = entry.file_name().to_str()?.strip_prefix("ethernet")?.parse().ok()?;
        Some((number, path(&entry.path())?))
    });
    (path(&folder.join("label-mac-device")), numbered.collect())
}

/// The path within the tree of the node that a link leads to.
fn node(tree: &Path, link: &Path) -> Option<String> {
    let place = fs::canonicalize(link).ok()?;
    Some(format!("/{}", place.strip_prefix(tree).ok()?.to_str()?))
}

fn on_usb(device: &Path, place: &Path) -> bool {
    let subsystem = fs::read_link(device.join("subsystem")).unwrap_or_default();
    let bus = |part: &str| part.strip_prefix("usb").is_some_and(|number| number.parse::<u32>().is_ok());
    subsystem.file_name().is_some_and(|name| name == "usb") || parts(place).any(bus)
}

fn parts(path: &Path) -> impl DoubleEndedIterator<Item = &str> {
    path.iter().filter_map(std::ffi::OsStr::to_str)
}

/// `0000:0a:00.1`: domain, bus, device and function, all in hexadecimal.
fn pci_address(part: &str) -> Option<(u32, u8, u8, u8)> {
    let (rest, function) = part.rsplit_once('.')?;
    let mut fields = rest.split(':');
    let (domain, bus, device) = (fields.next()?, fields.next()?, fields.next()?);
    if fields.next().is_some() || domain.len() < 4 || bus.len() != 2 || device.len() != 2 {
        return None;
    }
    let byte = |text| u8::from_str_radix(text, 16).ok();
    Some((u32::from_str_radix(domain, 16).ok()?, byte(bus)?, byte(device)?, byte(function)?))
}

fn read_sticker(root: &Path, nvmem: Nvmem<'_>) -> Sticker {
    let folder = root.join("sys/bus/nvmem/devices");
    let names = fs::read_dir(&folder).into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let found: Vec<String> = names.filter(|name| matches(nvmem.device, name)).collect();
    match found.as_slice() {
        [device] => Sticker { device: device.clone(), address: sticker_address(&folder.join(device).join("nvmem"), nvmem) },
        [] => Sticker { device: nvmem.device.into(), address: Err("there is no such nvmem device".into()) },
        several => Sticker { device: nvmem.device.into(), address: Err(format!("{} nvmem devices have such a name", several.len())) },
    }
}

fn sticker_address(file: &Path, nvmem: Nvmem<'_>) -> Result<Mac, String> {
    // The longest form of an address.
    let mut bytes = [0; 17];
    let bytes = bytes.get_mut(..nvmem.length).ok_or("no address is that long")?;
    File::open(file).and_then(|f| f.read_exact_at(bytes, nvmem.offset)).map_err(|e| format!("cannot be read: {e}"))?;
    if let Ok(plain) = <[u8; 6]>::try_from(&*bytes) {
        return Ok(Mac::new(plain));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "holds no address there")?;
    Mac::from_str(text).map_err(|_| "holds no address there".into())
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn text(file: &Path) -> Option<String> {
    fs::read_to_string(file).ok().map(|text| text.trim_end_matches('\n').to_owned())
}

fn number<T: FromStr>(file: &Path) -> Option<T> {
    text(file)?.trim().parse().ok()
}

/// The one question to the kernel that sysfs has no answer to.
mod ethtool {
    use super::{AddressFamily, AsRawFd, Mac, SockFlag, SockType, io, socket};

    /// From `linux/ethtool.h`.
    const ETHTOOL_GPERMADDR: u32 = 0x20;
    const MAX_ADDR_LEN: usize = 32;

    /// `struct ethtool_perm_addr` with room for the longest address.
    #[repr(C)]
    struct PermAddr {
        cmd: u32,
        size: u32,
        data: [u8; MAX_ADDR_LEN],
    }

    nix::ioctl_readwrite_bad!(siocethtool, nix::libc::SIOCETHTOOL, nix::libc::ifreq);

    /// The permanent address; none where the driver knows none. Any user may ask.
    pub(super) fn permanent(name: &str) -> io::Result<Option<Mac>> {
        // Any socket will do (dev_ioctl); a Unix one needs no network family, which a sandbox may forbid.
        let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        let mut answer = PermAddr { cmd: ETHTOOL_GPERMADDR, size: MAX_ADDR_LEN as u32, data: [0; MAX_ADDR_LEN] };
        let mut request = nix::libc::ifreq {
            ifr_name: [0; nix::libc::IFNAMSIZ],
            ifr_ifru: nix::libc::__c_anonymous_ifr_ifru { ifru_data: (&raw mut answer).cast() },
        };
        // One byte is left for the NUL.
        if name.len() >= request.ifr_name.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as nix::libc::c_char;
        }
        // SAFETY: `request` is a whole `ifreq` with a NUL-ended name, and `ifru_data` points at `answer`, which lives beyond the call
        // and has room for the 32 bytes that its `size` allows the kernel to write.
        unsafe { siocethtool(socket.as_raw_fd(), &raw mut request) }?;
        let address = answer.data.first_chunk::<6>().filter(|_| answer.size == 6);
        Ok(address.map(|bytes| Mac::new(*bytes)).filter(|mac| mac.is_unicast()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_answers_for_each_interface_and_refuses_unknown_ones() {
        for folder in fs::read_dir("/sys/class/net").unwrap().flatten().map(|entry| entry.path()) {
            let name = folder.file_name().and_then(|name| name.to_str()).unwrap().to_owned();
            if number::<u16>(&folder.join("type")) != Some(1) {
                continue;
            }
            let recorded = Addresses::Recorded.current(&folder, &name);
            assert_eq!(Addresses::Kernel.current(&folder, &name), recorded, "{name}");
            if let Some(permanent) = ethtool::permanent(&name).expect("any user may ask") {
                assert!(permanent.is_unicast());
                eprintln!("{name}: has a permanent address");
            }
        }
        for unknown in ["no-such-if", "", "a name that is far too long for the kernel"] {
            assert!(ethtool::permanent(unknown).is_err(), "{unknown}");
            assert_eq!(Addresses::Kernel.current(Path::new("/"), unknown), None);
        }
    }

    #[test]
    fn a_pci_address_is_read_as_numbers() {
        assert_eq!(pci_address("0000:0a:1f.7"), Some((0, 10, 31, 7)));
        assert_eq!(pci_address("10000:01:00.0"), Some((0x10000, 1, 0, 0)));
        for other in ["pci0000:00", "1-2:1.0", "f1072000.ethernet", "0000:0a:1f", "0000:0a:1f.7.1", "0000:0a:1f:2.1", "", "."] {
            assert_eq!(pci_address(other), None, "{other}");
        }
    }
}
