//! The life of a setup.
