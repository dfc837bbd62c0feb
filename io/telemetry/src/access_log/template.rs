//! Text with operators outside of logs: the values of headers.

use super::format::{self, FormatError};
use super::record::Record;

/// A compiled text with the operators of access logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(format::Template);

impl Template {
    /// Compiles a text; `%%` is a percent sign.
    ///
    /// # Errors
    /// When an operator is not known or a percent sign stands alone.
    pub fn compile(text: &str) -> Result<Self, FormatError> {
        format::Template::compile(text).map(Self)
    }

    /// The text, if there is no operator in it.
    pub fn literal(&self) -> Option<&str> {
        self.0.literal()
    }

    /// Appends what the text says of a record; for what the record lacks, nothing.
    pub fn write(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        self.0.write_present(record, out);
    }
}
