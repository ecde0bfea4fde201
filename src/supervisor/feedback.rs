//! Lights and beeps while the button is held, and after.
