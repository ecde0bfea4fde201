//! The integrator's programs that run once after each press.
