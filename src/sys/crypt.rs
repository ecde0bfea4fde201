//! Password hashes by the system's own libcrypt.
