//! What a process gives up: user, files, system calls.
