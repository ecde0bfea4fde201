//! The interface io.twostep.Admin.
