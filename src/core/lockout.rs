//! Wrong answers in; wait or lock out.
