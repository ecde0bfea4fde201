//! Facts about network adapters in, the first adapter out.
//!
//! The address on a NAS's sticker is that of its first adapter, as the board's maker counts. Kernel names do not tell which that is, and
//! the current address may have been changed by a bond, a bridge or an administrator. So: what the operator chose, else what the board
//! keeps for the sticker, else what the device tree calls first, else the first physical adapter by firmware index and bus place; of it
//! the permanent address. Where nothing is stable the answer is a refusal with all the reasons: a password that nobody can know helps
//! nobody.
//!
//! It reads nothing: `sys::adapters` does.

use std::fmt;
use std::str::FromStr;

/// A six-byte hardware address. Not in its `Debug` form: it is the default password.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mac([u8; 6]);

/// Text that is no hardware address. It is not repeated: it may be nearly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMac;

impl Mac {
    /// From its bytes.
    #[must_use]
    pub fn new(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }

    /// Whether it can belong to one adapter: neither all zero nor a group address (IEEE 802-2014 §8.2.2).
    #[must_use]
    pub fn is_unicast(self) -> bool {
        self.0 != [0; 6] && self.0[0] & 1 == 0
    }

    /// Whether somebody other than the adapter's maker assigned it.
    #[must_use]
    pub fn is_local(self) -> bool {
        self.0[0] & 2 != 0
    }

    /// The address with `separator` between the bytes, in upper case.
    #[must_use]
    pub fn upper(self, separator: &str) -> String {
        self.0.map(|byte| format!("{byte:02X}")).join(separator)
    }
}

impl FromStr for Mac {
    type Err = NoMac;

    /// Reads `24:5E:BE:00:00:01`, `24-5e-be-00-00-01` or `245EBE000001`.
    fn from_str(text: &str) -> Result<Self, NoMac> {
        let separator = if text.contains('-') { '-' } else { ':' };
        let digits: String = match text.len() {
            17 => text.split(separator).filter(|byte| byte.len() == 2).collect(),
            12 => text.to_owned(),
            _ => return Err(NoMac),
        };
        if digits.len() != 12 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(NoMac);
        }
        let mut bytes = [0; 6];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).map_err(|_| NoMac)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mac(…)")
    }
}

/// What the operator chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Nothing: the board's own source, else its first adapter.
    Board,
    /// This interface's address.
    Interface(String),
    /// This address.
    Mac(Mac),
}

/// All that is known of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The sticker's own memory, where the board has one.
    pub sticker: Option<Sticker>,
    /// The device-tree node that the alias `label-mac-device` names: the one whose address is on the sticker.
    pub label: Option<String>,
    /// The device-tree nodes of the aliases `ethernet0`, `ethernet1`, …, with their numbers.
    pub aliases: Vec<(u32, String)>,
    /// All network interfaces, in any order.
    pub adapters: Vec<Adapter>,
}

/// What the sticker's own memory says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sticker {
    /// The nvmem device, or the pattern that found none.
    pub device: String,
    /// The address, or why there is none.
    pub address: Result<Mac, String>,
}

/// One network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adapter {
    /// The kernel's name for it. Shown; never decided by.
    pub name: String,
    /// ARPHRD type; 1 is Ethernet.
    pub kind: u16,
    /// The length of its address in bytes.
    pub address_length: u8,
    /// Whether a device stands behind it: VLANs, bonds, bridges and tunnels have none.
    pub device: bool,
    /// Its device-tree node, as a path from the tree's root.
    pub node: Option<String>,
    /// Whether it is wireless.
    pub wireless: bool,
    /// Whether it is a bridge.
    pub bridge: bool,
    /// Whether it is a bond.
    pub bond: bool,
    /// Whether it is an SR-IOV virtual function.
    pub virtual_function: bool,
    /// Whether it is on a USB: it may be gone tomorrow.
    pub usb: bool,
    /// The firmware's number for it (`acpi_index`, else SMBIOS `index`).
    pub firmware_index: Option<u32>,
    /// Its place on the PCI buses: domain, bus, device, function.
    pub pci: Option<(u32, u8, u8, u8)>,
    /// The port of a device with several.
    pub dev_port: u32,
    /// The kernel's running number.
    pub index: u32,
    /// How the current address came about: 0 permanent, 1 random, 2 taken from another, 3 set by somebody (`NET_ADDR_*`).
    pub assign_type: Option<u8>,
    /// What the driver calls its permanent address.
    pub permanent: Option<Mac>,
    /// The address it has now.
    pub current: Option<Mac>,
}

/// The address for the default password, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct First {
    /// The address.
    pub mac: Mac,
    /// The interface it belongs to, where it was read from one.
    pub interface: Option<String>,
    /// Where it came from.
    pub origin: Origin,
    /// What came before it and was refused: worth a warning, since the sticker may mean one of these.
    pub passed_over: Vec<Refused>,
}

/// Where an address came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The operator wrote it down.
    Configured,
    /// This nvmem device.
    Nvmem(String),
    /// The adapter's permanent address.
    Permanent,
    /// The adapter's current address, which nobody has changed.
    Current,
}

/// No stable address, and why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub Vec<Refused>);

/// One candidate that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The interface or the nvmem device.
    pub name: String,
    /// Why not.
    pub why: Why,
}

/// Why a candidate was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is no such interface.
    Absent,
    /// Its type is another one.
    NotEthernet,
    /// No hardware behind it.
    NoDevice,
    /// It is wireless.
    Wireless,
    /// It is a bridge.
    Bridge,
    /// It is a bond.
    Bond,
    /// It is an SR-IOV virtual function.
    VirtualFunction,
    /// The current address was made up at random, and there is no permanent one.
    Random,
    /// The current address was set or taken from another, and there is no permanent one.
    Changed,
    /// It has no address.
    NoAddress,
    /// Its address is all zero or a group's.
    NotUnicast,
    /// The nvmem device could not be read.
    Nvmem(String),
}

/// Chooses the address for the default password.
///
/// # Errors
/// Where there is no stable one: every candidate with the reason.
pub fn first(facts: &Facts, choice: &Choice) -> Result<First, Refusal> {
    match choice {
        Choice::Mac(mac) if mac.is_unicast() => {
            Ok(First { mac: *mac, interface: None, origin: Origin::Configured, passed_over: Vec::new() })
        }
        Choice::Mac(_) => Err(Refusal(vec![Refused { name: "the configured address".into(), why: Why::NotUnicast }])),
        Choice::Interface(name) => match facts.adapters.iter().find(|a| a.name == *name) {
            Some(adapter) => take([adapter].into_iter(), Vec::new()),
            None => Err(Refusal(vec![Refused { name: name.clone(), why: Why::Absent }])),
        },
        Choice::Board => of_the_board(facts),
    }
}

fn of_the_board(facts: &Facts) -> Result<First, Refusal> {
    let mut passed_over = Vec::new();
    if let Some(sticker) = &facts.sticker {
        let why = match &sticker.address {
            Ok(mac) if mac.is_unicast() => {
                return Ok(First { mac: *mac, interface: None, origin: Origin::Nvmem(sticker.device.clone()), passed_over });
            }
            Ok(_) => Why::NotUnicast,
            Err(reason) => Why::Nvmem(reason.clone()),
        };
        passed_over.push(Refused { name: sticker.device.clone(), why });
    }
    let labelled = |a: &Adapter| facts.label.is_some() && a.node == facts.label;
    let mut candidates = Vec::new();
    for adapter in &facts.adapters {
        match adapter.unfit(labelled(adapter)) {
            Some(why) => passed_over.push(Refused { name: adapter.name.clone(), why }),
            None => candidates.push(adapter),
        }
    }
    candidates.sort_by_key(|a| (!labelled(a), a.order(&facts.aliases)));
    take(candidates.into_iter(), passed_over)
}

/// The first of the candidates with a stable address.
fn take<'a>(candidates: impl Iterator<Item = &'a Adapter>, mut passed_over: Vec<Refused>) -> Result<First, Refusal> {
    for adapter in candidates {
        match adapter.address() {
            Ok((mac, origin)) => {
                // Interfaces that can't be a first adapter are no news once there is one.
                passed_over.retain(|refused| refused.why.is_news());
                return Ok(First { mac, interface: Some(adapter.name.clone()), origin, passed_over });
            }
            Err(why) => passed_over.push(Refused { name: adapter.name.clone(), why }),
        }
    }
    Err(Refusal(passed_over))
}

impl Adapter {
    /// Why it can't be a first adapter, whatever its address. One that the device tree names for the sticker may be wireless.
    fn unfit(&self, labelled: bool) -> Option<Why> {
        match self {
            _ if self.kind != 1 || self.address_length != 6 => Some(Why::NotEthernet),
            _ if self.bridge => Some(Why::Bridge),
            _ if self.bond => Some(Why::Bond),
            _ if !self.device => Some(Why::NoDevice),
            _ if self.virtual_function => Some(Why::VirtualFunction),
            _ if self.wireless && !labelled => Some(Why::Wireless),
            _ => None,
        }
    }

    /// A smaller one comes first. Adapters of the chip itself (no PCI place) come before those on a bus; those on a USB come last.
    fn order(&self, aliases: &[(u32, String)]) -> impl Ord + use<> {
        let alias = aliases.iter().filter(|(_, node)| self.node.as_ref() == Some(node)).map(|(number, _)| *number).min();
        let last = u32::MAX;
        (self.usb, alias.unwrap_or(last), self.firmware_index.unwrap_or(last), self.pci, self.dev_port, self.index)
    }

    /// Its stable address: the permanent one, or the current one as long as nobody has changed it.
    fn address(&self) -> Result<(Mac, Origin), Why> {
        if self.kind != 1 || self.address_length != 6 {
            return Err(Why::NotEthernet);
        }
        match (self.permanent, self.current, self.assign_type) {
            (Some(mac), _, _) if mac.is_unicast() => Ok((mac, Origin::Permanent)),
            (_, _, Some(1)) => Err(Why::Random),
            (_, Some(mac), Some(0)) if mac.is_unicast() => Ok((mac, Origin::Current)),
            (_, Some(_), Some(0)) => Err(Why::NotUnicast),
            (_, _, Some(2..)) => Err(Why::Changed),
            _ => Err(Why::NoAddress),
        }
    }
}

impl Why {
    /// Whether it tells of a candidate that could have been the first adapter.
    fn is_news(&self) -> bool {
        matches!(self, Self::Random | Self::Changed | Self::NoAddress | Self::NotUnicast | Self::Nvmem(_))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configured => f.write_str("configured address"),
            Self::Nvmem(device) => write!(f, "nvmem {device}"),
            Self::Permanent => f.write_str("permanent address"),
            Self::Current => f.write_str("current address, never changed"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "there is no such interface",
            Self::NotEthernet => "no Ethernet",
            Self::NoDevice => "no hardware behind it",
            Self::Wireless => "wireless",
            Self::Bridge => "a bridge",
            Self::Bond => "a bond",
            Self::VirtualFunction => "a virtual function",
            Self::Random => "its address is random",
            Self::Changed => "its address was changed and the permanent one is unknown",
            Self::NoAddress => "no address",
            Self::NotUnicast => "its address is no adapter's",
            Self::Nvmem(reason) => reason,
        })
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.why)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [] => f.write_str("there is no network interface")?,
            refused => f.write_str(&refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?,
        }
        f.write_str(". Give one in the configuration: recovery.password.interface, .mac or .file")
    }
}

impl std::error::Error for Refusal {}
