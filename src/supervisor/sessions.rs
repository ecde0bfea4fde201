//! An account's sessions, ended.
