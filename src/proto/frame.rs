//! NUL-ended JSON frames, capped.
