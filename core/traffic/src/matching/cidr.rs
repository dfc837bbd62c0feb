//! A block of addresses.

use std::net::IpAddr;

use serde::Serialize;

/// `address/prefix_len`; bits beyond the prefix are of no account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cidr {
    address: IpAddr,
    prefix_len: u8,
}

impl Cidr {
    /// `None` if the address has fewer bits than that.
    pub fn new(address: IpAddr, prefix_len: u8) -> Option<Self> {
        (prefix_len <= bits(address)).then_some(Self { address, prefix_len })
    }

    pub fn address(&self) -> IpAddr {
        self.address
    }

    pub fn prefix_len(&self) -> u8 {
        self.prefix_len
    }

    /// Whether `ip` is inside. An IPv4 address that came mapped into IPv6 counts as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip.to_canonical()) {
            (IpAddr::V4(block), IpAddr::V4(ip)) => {
                let shift = 32 - u32::from(self.prefix_len);
                block.to_bits().checked_shr(shift).unwrap_or(0)
                    == ip.to_bits().checked_shr(shift).unwrap_or(0)
            }
            (IpAddr::V6(block), IpAddr::V6(ip)) => {
                let shift = 128 - u32::from(self.prefix_len);
                block.to_bits().checked_shr(shift).unwrap_or(0)
                    == ip.to_bits().checked_shr(shift).unwrap_or(0)
            }
            _ => false,
        }
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_holds_what_shares_its_prefix() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for (block, len, address, inside) in [
            ("10.1.2.3", 8, "10.9.9.9", true),
            ("10.1.2.3", 8, "11.0.0.0", false),
            ("10.1.2.3", 32, "10.1.2.3", true),
            ("10.1.2.3", 32, "10.1.2.4", false),
            ("10.1.2.3", 0, "99.0.0.1", true),
            ("10.0.0.0", 8, "::ffff:10.1.1.1", true),
            ("10.0.0.0", 0, "2001:db8::1", false),
            ("2001:db8::", 32, "2001:db8:1::1", true),
            ("2001:db8::", 32, "2001:db9::1", false),
            ("::", 0, "2001:db8::1", true),
        ] {
            let block = Cidr::new(ip(block), len).unwrap();
            assert_eq!(block.contains(ip(address)), inside, "{block:?} {address}");
        }
        assert_eq!(Cidr::new(ip("10.0.0.0"), 33), None);
    }
}
