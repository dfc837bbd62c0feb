//! Labels that people put on resources.

use crate::shape::Shape;
use crate::structure::structure;

/// Tags that one resource may carry.
pub const TAGS_PER_RESOURCE_MAX: usize = 50;

const TAG_KEY: Shape = Shape::string_of("TagKey", 1, 128);
const TAG_VALUE: Shape = Shape::string_of("TagValue", 0, 256);

structure! {
    /// A label. Keys that begin with `aws:` are reserved.
    pub struct Tag {
        /// The key, 1 to 128 characters.
        required key "key": String => &TAG_KEY,
        /// The value, 0 to 256 characters.
        required value "value": String => &TAG_VALUE,
    }
}

impl Tag {
    /// The shape of a key alone.
    pub const KEY: &'static Shape = &TAG_KEY;
}
