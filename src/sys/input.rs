//! Input devices: buttons and beepers.
