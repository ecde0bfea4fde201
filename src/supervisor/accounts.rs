//! The account files: an account brought back, or turned off.
