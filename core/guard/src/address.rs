//! Which addresses nobody reaches on a stranger's word: this machine, its link, metadata services, and what is no machine's.
//! Private networks are not among them: what an operator runs stands there.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is not called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The machine itself.
    Loopback,
    /// The link: metadata services live there.
    LinkLocal,
    /// A metadata service elsewhere.
    Metadata,
    /// Not one machine's address.
    NoHost,
    /// A port that steers something, whatever the address.
    ControlPort,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "it is the machine itself",
            Self::LinkLocal => "it is local to the link, where metadata services are",
            Self::Metadata => "it is a metadata service",
            Self::NoHost => "it is no machine's address",
            Self::ControlPort => "the port steers something",
        })
    }
}

/// AWS's metadata service by IPv6, AWS's and other clouds' elsewhere.
const METADATA: [IpAddr; 3] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
];

/// Whether an address may be reached on a stranger's word.
///
/// # Errors
/// Why not.
pub fn judge(address: IpAddr) -> Result<(), Why> {
    let address = plain(address);
    if METADATA.contains(&address) {
        return Err(Why::Metadata);
    }
    match address {
        IpAddr::V4(address) => check_v4(address),
        IpAddr::V6(address) => check_v6(address),
    }
}

/// The IPv4 address in an IPv6 address that stands for one: mapped, compatible, translated (RFC 6052) or of 6to4; any other as
/// it is.
pub fn plain(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let segments = v6.segments();
    let low = || v4(segments[6], segments[7]);
    match segments {
        [0, 0, 0, 0, 0, 0xffff, _, _] | [0x64, 0xff9b, 0, 0, 0, 0, _, _] => low(),
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => ip,
        [0, 0, 0, 0, 0, 0, _, _] => low(),
        [0x2002, high, low, ..] => v4(high, low),
        _ => ip,
    }
}

fn check_v4(ip: Ipv4Addr) -> Result<(), Why> {
    if ip.is_loopback() {
        Err(Why::Loopback)
    } else if ip.is_link_local() {
        Err(Why::LinkLocal)
    } else if ip.octets()[0] == 0 {
        // Linux takes 0.0.0.0 for itself.
        Err(Why::Loopback)
    } else if ip.is_multicast() || ip.octets()[0] >= 240 {
        Err(Why::NoHost)
    } else {
        Ok(())
    }
}

fn check_v6(ip: Ipv6Addr) -> Result<(), Why> {
    if ip.is_loopback() || ip.is_unspecified() {
        Err(Why::Loopback)
    } else if ip.segments()[0] & 0xffc0 == 0xfe80 {
        Err(Why::LinkLocal)
    } else if ip.is_multicast() {
        Err(Why::NoHost)
    } else {
        Ok(())
    }
}

fn v4(high: u16, low: u16) -> IpAddr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_an_inner_address_is_one() {
        for (address, why) in [
            ("127.0.0.1", Why::Loopback),
            ("127.9.9.9", Why::Loopback),
            ("0.0.0.0", Why::Loopback),
            ("0.1.2.3", Why::Loopback),
            ("::1", Why::Loopback),
            ("::", Why::Loopback),
            ("169.254.169.254", Why::LinkLocal),
            ("fe80::1", Why::LinkLocal),
            ("fd00:ec2::254", Why::Metadata),
            ("100.100.100.200", Why::Metadata),
            ("::ffff:100.100.100.200", Why::Metadata),
            ("224.0.0.1", Why::NoHost),
            ("240.0.0.1", Why::NoHost),
            ("255.255.255.255", Why::NoHost),
            ("ff02::1", Why::NoHost),
            ("::ffff:127.0.0.1", Why::Loopback),
            ("::127.0.0.1", Why::Loopback),
            ("64:ff9b::a9fe:a9fe", Why::LinkLocal),
            ("2002:7f00:1::", Why::Loopback),
        ] {
            assert_eq!(judge(address.parse().expect(address)), Err(why), "{address}");
        }
        for address in ["10.0.0.1", "192.168.1.1", "93.184.216.34", "2001:db8::1", "fd00::1"] {
            assert_eq!(judge(address.parse().expect(address)), Ok(()), "{address}");
        }
    }
}
