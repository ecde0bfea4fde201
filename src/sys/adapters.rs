//! Facts about network adapters, read from sysfs, the device tree and ethtool.
