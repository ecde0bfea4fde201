//! Connections: accepting, caps, calls in, replies out.
