//! Edges and time in; pressed, fired, stuck out.
