//! A file replaced whole or not at all, and the system's lock on the account files.
