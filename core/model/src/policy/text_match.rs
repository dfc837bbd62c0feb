//! Conditions on a piece of text.

use crate::shape::Shape;
use crate::structure::union;

const TEXT: Shape = Shape::string_of("Text", 0, 1024);
const PATTERN: Shape = Shape::string_of("Pattern", 1, 1024);

union! {
    /// What a text must be.
    pub enum TextMatch {
        /// This.
        Exact "exact": String => &TEXT,
        /// It begins so.
        Prefix "prefix": String => &TEXT,
        /// It ends so.
        Suffix "suffix": String => &TEXT,
        /// It holds this.
        Contains "contains": String => &TEXT,
        /// All of it matches the expression (RE2).
        Regex "regex": String => &PATTERN,
    }
}

impl TextMatch {
    /// Whether it takes any text: as with Envoy, an exact `*` does.
    pub fn is_everything(&self) -> bool {
        match self {
            Self::Exact(text) => text == "*",
            Self::Prefix(text) | Self::Suffix(text) | Self::Contains(text) => text.is_empty(),
            Self::Regex(pattern) => pattern == ".*",
        }
    }
}
