//! A fired press carried out, step by step.
