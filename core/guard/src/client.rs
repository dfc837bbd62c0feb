//! Which requests are of one client.

use std::net::{IpAddr, Ipv6Addr};

use xxhash_rust::xxh3::xxh3_128_with_seed;

/// By what clients are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// By their address.
    Address,
    /// By their network: an IPv4 address, or the first 64 bits of an IPv6 address, which are what one household or host is
    /// given and from which it may choose any address.
    Network,
    /// By the value of a header (lower case); by network without one.
    Header(String),
    /// By who has signed in; by network without anybody.
    Identity,
}

/// What is known of a request's sender.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    pub address: IpAddr,
    /// The value of the header that [`By::Header`] names.
    pub header: Option<&'a [u8]>,
    /// Issuer and subject, or a user's name.
    pub identity: Option<&'a str>,
}

/// A client, in 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub(crate) u128);

impl By {
    /// The client that a sender is. `seed` is the process's secret: without it nobody finds two keys that meet.
    pub fn key(&self, sender: &Sender<'_>, seed: u64) -> Key {
        match (self, sender.header, sender.identity) {
            (Self::Address, ..) => Key::of_bytes(0, &plain(sender.address).to_bits().to_be_bytes(), seed),
            (Self::Header(_), Some(value), _) => Key::of_bytes(1, value, seed),
            (Self::Identity, _, Some(identity)) => Key::of_bytes(2, identity.as_bytes(), seed),
            _ => Key::of_bytes(3, &network(sender.address).to_be_bytes(), seed),
        }
    }
}

/// The name by which configuration knows it: `ip`, `network`, `identity`, `header:NAME`.
impl std::str::FromStr for By {
    type Err = ByInvalid;

    fn from_str(text: &str) -> Result<Self, ByInvalid> {
        match text {
            "address" => Ok(Self::Address),
            "ip" | "network" => Ok(Self::Network),
            "identity" => Ok(Self::Identity),
            _ => {
                let name = text.strip_prefix("header:").filter(|name| is_token(name)).ok_or(ByInvalid)?;
                Ok(Self::Header(name.to_ascii_lowercase()))
            }
        }
    }
}

/// A text that names no way to tell clients apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "clients are told apart by \"ip\" (an IPv6 network of 64 bits counts as one), \"address\", \"identity\" or \"header:NAME\""
)]
pub struct ByInvalid;

impl Key {
    /// For tests and for keys that are texts anyway.
    pub fn of_text(text: &str, seed: u64) -> Self {
        Self::of_bytes(4, text.as_bytes(), seed)
    }

    fn of_bytes(kind: u64, bytes: &[u8], seed: u64) -> Self {
        Self(xxh3_128_with_seed(bytes, seed ^ kind.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }
}

fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// An IPv4 address in IPv6 clothes is the same client as without.
fn plain(address: IpAddr) -> Ipv6Addr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

fn network(address: IpAddr) -> u128 {
    let bits = plain(address).to_bits();
    match address.to_canonical() {
        IpAddr::V4(_) => bits,
        IpAddr::V6(_) => bits >> 64 << 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(address: &str) -> Sender<'static> {
        Sender { address: address.parse().expect("an address"), header: None, identity: None }
    }

    #[test]
    fn who_is_one_client() {
        let key = |by: &By, address| by.key(&sender(address), 7);
        for (by, one, other, same) in [
            (By::Address, "192.0.2.1", "192.0.2.1", true),
            (By::Address, "192.0.2.1", "192.0.2.2", false),
            (By::Address, "::ffff:192.0.2.1", "192.0.2.1", true),
            (By::Address, "2001:db8::1", "2001:db8::2", false),
            (By::Network, "192.0.2.1", "192.0.2.2", false),
            (By::Network, "::ffff:192.0.2.1", "192.0.2.1", true),
            (By::Network, "2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true),
            (By::Network, "2001:db8:0:1::1", "2001:db8:0:2::1", false),
            (By::Identity, "2001:db8:0:1::1", "2001:db8:0:1::2", true),
        ] {
            assert_eq!(key(&by, one) == key(&by, other), same, "{by:?} {one} {other}");
        }
    }

    #[test]
    fn a_header_and_an_identity_stand_before_the_address() {
        let by_header = "header:X-Api-Key".parse::<By>().expect("a header");
        assert_eq!(by_header, By::Header("x-api-key".into()));
        let with = |header, identity, address| Sender { header, identity, ..sender(address) };
        let (one, two) = (with(Some(&b"k"[..]), None, "192.0.2.1"), with(Some(&b"k"[..]), None, "192.0.2.9"));
        assert_eq!(by_header.key(&one, 7), by_header.key(&two, 7));
        let (one, two) = (with(None, Some("a"), "192.0.2.1"), with(None, Some("b"), "192.0.2.1"));
        assert_ne!(By::Identity.key(&one, 7), By::Identity.key(&two, 7));
        let address = network(one.address).to_be_bytes();
        let poses_as_address = with(Some(&address), None, "192.0.2.7");
        assert_ne!(
            by_header.key(&poses_as_address, 7),
            By::Network.key(&one, 7),
            "no header spends another's rate"
        );
        assert_ne!(By::Network.key(&one, 7), By::Network.key(&one, 8), "the seed matters");
    }

    #[test]
    fn what_is_no_way_is_refused() {
        for text in ["", "header:", "header:a b", "cookie", "IP"] {
            assert_eq!(text.parse::<By>(), Err(ByInvalid), "{text}");
        }
        assert_eq!("ip".parse(), Ok(By::Network));
    }
}
