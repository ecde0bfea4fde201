//! Varlink calls, replies, errors and introspection.
