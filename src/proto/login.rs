//! The interface io.twostep.Login.
