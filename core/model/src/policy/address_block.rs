//! Blocks of addresses: `10.0.0.0/8`, or one address.

use std::net::IpAddr;

use crate::shape::Shape;
use crate::violation::Violations;

pub(super) const BLOCK: Shape = Shape::string_of("AddressBlock", 2, 64);

/// The first address and the length of the prefix; `None` if the text is no block.
pub fn address_block(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.parse().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let length: u8 = length.unwrap_or(most);
    (length <= most).then_some((address, length))
}

pub(super) fn check_blocks(path: &str, blocks: &[String], found: &mut Violations) {
    for (index, block) in blocks.iter().enumerate() {
        if address_block(block).is_none() {
            found.rule(format!("{path}[{index}]"), "it is neither an address nor a block of them");
        }
    }
}
