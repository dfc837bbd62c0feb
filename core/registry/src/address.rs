//! Which addresses may be registered: nobody shall turn a mesh's callers against a machine's own services.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// A block of addresses, as in `10.0.0.0/8`; an address alone is a block of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    bits: u8,
}

/// Which addresses a namespace takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Only these, whatever they are; empty for all but those that are never meant.
    pub allowed: Vec<Cidr>,
    /// Loopback addresses are taken too: everybody who may call lives on this machine.
    pub loopback: bool,
}

/// Why an address was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{address} is {class}, which is not taken unless the namespace allows it")]
    Special { address: IpAddr, class: &'static str },
    #[error("{0} is not among the addresses that the namespace allows")]
    NotAllowed(IpAddr),
    #[error("{0} is a name of this machine")]
    Local(String),
}

/// Why a text is no block of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no block of addresses like 10.0.0.0/8")]
pub struct CidrError(String);

impl Policy {
    /// Checks an address.
    ///
    /// # Errors
    /// When it is not taken.
    pub fn admit(&self, address: IpAddr) -> Result<(), Refusal> {
        let plain = unmapped(address);
        if !self.allowed.is_empty() {
            let is_allowed = self.allowed.iter().any(|block| block.contains(plain));
            return is_allowed.then_some(()).ok_or(Refusal::NotAllowed(address));
        }
        match class(plain) {
            None => Ok(()),
            Some(LOOPBACK) if self.loopback => Ok(()),
            Some(class) => Err(Refusal::Special { address, class }),
        }
    }

    /// Checks a name that stands for others' addresses.
    ///
    /// # Errors
    /// When it is a name of the machine itself.
    pub fn admit_name(&self, name: &str) -> Result<(), Refusal> {
        let bare = name.trim_end_matches('.').to_ascii_lowercase();
        let is_local = bare == "localhost" || bare.ends_with(".localhost");
        if is_local && !self.loopback { Err(Refusal::Local(name.to_owned())) } else { Ok(()) }
    }
}

const LOOPBACK: &str = "a loopback address";

/// What makes an address special; `None` for one that can be an instance's.
fn class(address: IpAddr) -> Option<&'static str> {
    const METADATA: [u16; 8] = [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254];
    match address {
        IpAddr::V4(ip) if ip.is_loopback() => Some(LOOPBACK),
        IpAddr::V4(ip) if ip.octets() == [169, 254, 169, 254] => Some("the metadata service's address"),
        IpAddr::V4(ip) if ip.is_link_local() => Some("a link-local address"),
        IpAddr::V4(ip) if ip.octets()[0] == 0 => Some("an address of nobody"),
        IpAddr::V4(ip) if ip.is_multicast() => Some("a multicast address"),
        IpAddr::V4(ip) if ip.octets()[0] >= 240 => Some("a reserved address"),
        IpAddr::V6(ip) if ip.is_loopback() => Some(LOOPBACK),
        IpAddr::V6(ip) if ip.is_unspecified() => Some("an address of nobody"),
        IpAddr::V6(ip) if ip.is_multicast() => Some("a multicast address"),
        IpAddr::V6(ip) if ip.segments() == METADATA => Some("the metadata service's address"),
        IpAddr::V6(ip) if ip.segments()[0] & 0xffc0 == 0xfe80 => Some("a link-local address"),
        _ => None,
    }
}

/// The address that is meant: IPv6 has several ways to write an IPv4 address.
pub fn unmapped(address: IpAddr) -> IpAddr {
    let IpAddr::V6(ip) = address else { return address };
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let embedded = |high: u16, low: u16| {
        let bytes = ((u32::from(high) << 16) | u32::from(low)).to_be_bytes();
        IpAddr::from(bytes)
    };
    match (a, b, c, d, e, f) {
        // ::ffff:a.b.c.d, and the deprecated ::a.b.c.d
        (0, 0, 0, 0, 0, 0xffff) => embedded(g, h),
        (0, 0, 0, 0, 0, 0) if ip != Ipv6Addr::UNSPECIFIED && ip != Ipv6Addr::LOCALHOST => embedded(g, h),
        // Through a translator: 64:ff9b::/96. (RFC 6052.)
        (0x64, 0xff9b, 0, 0, 0, 0) => embedded(g, h),
        // 6to4 carries it in front. (RFC 3056.)
        (0x2002, high, low, ..) => embedded(high, low),
        _ => address,
    }
}

impl Cidr {
    /// A block; `bits` beyond the address's length count as its length.
    pub fn new(network: IpAddr, bits: u8) -> Self {
        Self { network, bits: bits.min(if network.is_ipv4() { 32 } else { 128 }) }
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address) {
            (IpAddr::V4(network), IpAddr::V4(ip)) => {
                let shift = 32 - u32::from(self.bits);
                let cut = |bits: u32| bits.checked_shr(shift).unwrap_or(0);
                cut(network.to_bits()) == cut(ip.to_bits())
            }
            (IpAddr::V6(network), IpAddr::V6(ip)) => {
                let shift = 128 - u32::from(self.bits);
                let cut = |bits: u128| bits.checked_shr(shift).unwrap_or(0);
                cut(network.to_bits()) == cut(ip.to_bits())
            }
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let error = || CidrError(text.chars().take(64).collect());
        let (network, bits) = match text.split_once('/') {
            Some((network, bits)) => (network, Some(bits.parse::<u8>().map_err(|_| error())?)),
            None => (text, None),
        };
        let network: IpAddr = network.parse().map_err(|_| error())?;
        let most = if network.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits > most { Err(error()) } else { Ok(Self { network, bits }) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(policy: &Policy, address: &str) -> bool {
        policy.admit(address.parse().expect("an address")).is_ok()
    }

    #[test]
    fn addresses_that_no_instance_has_are_refused_in_every_spelling() {
        let policy = Policy::default();
        for address in [
            "127.0.0.1",
            "127.8.8.8",
            "::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "169.254.1.1",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "224.0.0.1",
            "::ffff:224.0.0.1",
            "ff02::1",
            "240.0.0.1",
            "255.255.255.255",
        ] {
            assert!(!admits(&policy, address), "{address}");
        }
        for address in ["10.0.0.1", "192.168.1.1", "100.64.0.1", "203.0.113.7", "fd00::1", "2001:db8::1"] {
            assert!(admits(&policy, address), "{address}");
        }
    }

    #[test]
    fn loopback_is_taken_where_everybody_is_local_and_the_rest_is_not() {
        let policy = Policy { loopback: true, ..Policy::default() };
        assert!(
            admits(&policy, "127.0.0.1") && admits(&policy, "::1") && admits(&policy, "::ffff:127.0.0.1")
        );
        assert!(!admits(&policy, "169.254.169.254"));
    }

    #[test]
    fn a_list_of_allowed_blocks_is_the_whole_truth() {
        let allowed = ["10.1.0.0/16", "169.254.7.7", "fd00:1::/32"];
        let allowed = allowed.iter().map(|text| text.parse().expect("a block")).collect();
        let policy = Policy { allowed, loopback: true };
        for (address, is_allowed) in [
            ("10.1.255.255", true),
            ("10.2.0.1", false),
            ("::ffff:10.1.0.1", true),
            ("169.254.7.7", true),
            ("169.254.7.8", false),
            ("fd00:1::9", true),
            ("fd00:2::9", false),
            ("127.0.0.1", false),
        ] {
            assert_eq!(admits(&policy, address), is_allowed, "{address}");
        }
        for text in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "x"] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
        let all: Cidr = "0.0.0.0/0".parse().expect("a block");
        assert!(all.contains("9.9.9.9".parse().expect("an address")));
    }
}
