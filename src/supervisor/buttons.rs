//! The button sources of a board, each with its own gesture.
