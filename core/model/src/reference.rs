//! What points to what.
