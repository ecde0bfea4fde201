//! A code, a time and the used steps in; the verdict out.
