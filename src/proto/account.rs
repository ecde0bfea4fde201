//! The interface io.twostep.Account.
