//! What a fired press does, and the window until the account is off again.
