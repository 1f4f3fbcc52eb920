//! alcop.
