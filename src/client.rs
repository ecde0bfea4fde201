//! A blocking Varlink client, for the CLI, PAM and tests.
#![forbid(unsafe_code)]
