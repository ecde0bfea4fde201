//! GPIO lines: buttons by event or polled, and output pins.
