//! The interface io.twostep.Recovery.
