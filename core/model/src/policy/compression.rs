//! Responses that become smaller on their way.

use super::Rules;
use crate::shape::{Bounds, Shape};
use crate::structure::{enumeration, structure};
use crate::violation::Violations;

const LENGTH: Shape = Shape::integer("Length", Bounds::between(30, i32::MAX as i64));
const MEDIA: Shape = Shape::string_of("MediaType", 3, 128);
const MEDIAS: Shape = Shape::list("MediaTypes", &MEDIA, Bounds::between(0, 64));

structure! {
    /// Responses that become smaller on their way, if the client accepts it.
    pub struct Compression {
        /// The codings, the favourite first; all of them unless told otherwise.
        many codings "codings": Coding,
        /// Bytes below which a response stays as it is; 30 unless told otherwise.
        optional min_length "minLength": u32 => &LENGTH,
        /// Media types; texts, JSON, JavaScript and SVG unless told otherwise.
        many content_types "contentTypes": String => &MEDIAS,
        /// Responses with an entity tag stay as they are; otherwise a strong tag is taken off.
        optional keep_etag "keepEtag": bool,
    }
}

enumeration! {
    /// A content coding.
    pub enum Coding {
        Gzip "gzip",
        Brotli "br",
        Zstd "zstd",
    }
}

impl Rules for Compression {
    fn check(&self, found: &mut Violations) {
        let mut seen = std::collections::BTreeSet::new();
        for (index, coding) in self.codings.iter().enumerate() {
            if !seen.insert(coding) {
                found.rule(format!("spec.codings[{index}]"), "it is given twice");
            }
        }
        for (index, media) in self.content_types.iter().enumerate() {
            if !media.contains('/') || media.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b';') {
                found.rule(format!("spec.contentTypes[{index}]"), format!("{media:?} is not a media type"));
            }
        }
    }
}
