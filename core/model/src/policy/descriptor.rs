//! What of a request is counted.

use super::HeaderCondition;
use crate::shape::{Bounds, Shape};
use crate::structure::{Shaped, structure, union};
use crate::violation::Violations;

const NAME: Shape = Shape::string_of("Name", 1, 128);
const TEXT: Shape = Shape::string_of("Text", 1, 256);
const V4: Shape = Shape::integer("PrefixLength", Bounds::between(0, 32));
const V6: Shape = Shape::integer("PrefixLength", Bounds::between(0, 128));
const HEADERS: Shape = Shape::list("Headers", HeaderCondition::SHAPE, Bounds::between(1, 16));

union! {
    /// One entry of what is counted: a key and a value.
    pub enum DescriptorEntry {
        /// What a header says.
        Header "header": DescriptorName,
        /// What a parameter of the query says.
        QueryParameter "queryParameter": DescriptorName,
        /// The client's address, or the block that it is in.
        ClientAddress "clientAddress": DescriptorAddress,
        /// The same for every request.
        Fixed "fixed": DescriptorFixed,
        /// A value for requests that fulfil conditions; others have no such entry, and are not counted.
        Matching "matching": DescriptorMatching,
    }
}

structure! {
    /// What a header, or a parameter of the query, says.
    pub struct DescriptorName {
        /// Its name.
        required name "name": String => &NAME,
        /// The entry's key; the name unless told otherwise.
        optional key "key": String => &NAME,
        /// A request without it is counted without this entry; otherwise it is not counted.
        optional optional "optional": bool,
        /// Only requests with this value are counted. For rateLimit only.
        optional only "only": String => &TEXT,
    }
}

structure! {
    /// The client's address. The key is `remote_address`, of blocks `masked_remote_address`.
    pub struct DescriptorAddress {
        /// Addresses that are alike in so many bits are one; 32 unless told otherwise.
        optional v4_prefix_length "v4PrefixLength": u8 => &V4,
        /// The same for IPv6; 128 unless told otherwise.
        optional v6_prefix_length "v6PrefixLength": u8 => &V6,
    }
}

structure! {
    /// The same for every request.
    pub struct DescriptorFixed {
        /// The entry's key; `generic_key` unless told otherwise.
        optional key "key": String => &NAME,
        /// Its value.
        required value "value": String => &TEXT,
    }
}

structure! {
    /// A value for requests that fulfil conditions.
    pub struct DescriptorMatching {
        /// The entry's key; `header_match` unless told otherwise.
        optional key "key": String => &NAME,
        /// Its value.
        required value "value": String => &TEXT,
        /// All of them; `:path` and `:method` are headers too.
        many headers "headers": HeaderCondition => &HEADERS,
    }
}

impl DescriptorEntry {
    /// The key of the entry.
    pub fn key(&self) -> &str {
        match self {
            Self::Header(one) | Self::QueryParameter(one) => one.key.as_deref().unwrap_or(&one.name),
            Self::ClientAddress(one) if one.is_whole() => "remote_address",
            Self::ClientAddress(_) => "masked_remote_address",
            Self::Fixed(one) => one.key.as_deref().unwrap_or("generic_key"),
            Self::Matching(one) => one.key.as_deref().unwrap_or("header_match"),
        }
    }

    pub(super) fn check(&self, path: &str, found: &mut Violations) {
        let mut name = |at: String, name: &str| {
            // What a request's first line says counts among its headers.
            if ![":path", ":method", ":authority", ":scheme"].contains(&name) {
                super::headers::check_name(&at, name, found);
            }
        };
        match self {
            Self::Header(one) => name(format!("{path}.header.name"), &one.name),
            Self::Matching(one) => {
                for (index, header) in one.headers.iter().enumerate() {
                    name(format!("{path}.matching.headers[{index}].name"), &header.name);
                }
            }
            Self::QueryParameter(_) | Self::ClientAddress(_) | Self::Fixed(_) => {}
        }
    }
}

impl DescriptorAddress {
    /// Whether every address is counted by itself.
    pub fn is_whole(&self) -> bool {
        self.v4_prefix_length.is_none() && self.v6_prefix_length.is_none()
    }
}
