//! Names of addresses, as `in-addr.arpa` and `ip6.arpa` write them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The address that a name asks about, lower case and without a final dot. (RFC 1035 section 3.5, RFC 3596 section 2.5.)
pub fn address(name: &str) -> Option<IpAddr> {
    if let Some(labels) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0_u8; 4];
        let mut given = labels.split('.');
        for octet in octets.iter_mut().rev() {
            let label = given.next()?;
            // As it is written, and in no other way.
            *octet = label.parse().ok().filter(|octet: &u8| octet.to_string() == label)?;
        }
        return given.next().is_none().then(|| Ipv4Addr::from(octets).into());
    }
    let labels = name.strip_suffix(".ip6.arpa")?;
    let mut bits = 0_u128;
    let mut count = 0;
    for label in labels.split('.') {
        let digit = match label.as_bytes() {
            [digit @ (b'0'..=b'9' | b'a'..=b'f')] => char::from(*digit).to_digit(16)?,
            _ => return None,
        };
        if count == 32 {
            return None;
        }
        bits |= u128::from(digit) << (4 * count);
        count += 1;
    }
    (count == 32).then(|| Ipv6Addr::from_bits(bits).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_written() {
        let v6 = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
        for (name, expected) in [
            ("4.3.2.1.in-addr.arpa", Some("1.2.3.4")),
            (v6, Some("2001:db8::1")),
            ("3.2.1.in-addr.arpa", None),
            ("5.4.3.2.1.in-addr.arpa", None),
            ("04.3.2.1.in-addr.arpa", None),
            ("256.3.2.1.in-addr.arpa", None),
            (&v6[2..], None),
            ("10.0.0.0.ip6.arpa", None),
            ("in-addr.arpa", None),
            ("a.example", None),
        ] {
            let expected: Option<IpAddr> = expected.map(|text| text.parse().expect("an address"));
            assert_eq!(address(name), expected, "{name}");
        }
    }
}
