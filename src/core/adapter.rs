//! Facts about network adapters in, the first adapter out.
