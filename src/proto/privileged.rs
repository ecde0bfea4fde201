//! What engine and supervisor may say to each other: a closed list.
