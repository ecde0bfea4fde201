//! The life of a login.
