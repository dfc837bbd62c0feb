//! The official test suite of the language.

mod tests;
