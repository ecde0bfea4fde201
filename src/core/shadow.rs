//! The text of the account files in, the edited text out.
