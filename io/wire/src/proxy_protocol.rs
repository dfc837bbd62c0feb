//! The PROXY protocol: the word before all others in which a load balancer says whose connection it passes on
//! (haproxy.org, `proxy-protocol.txt`).
//!
//! ```text
//! PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n                                            version 1
//! 0D 0A 0D 0A 00 0D 0A 51 55 49 54 0A | 21 | 11 | 00 0C | C0 00 02 01 C6 33 64 01 DC 04 01 BB   version 2
//! ```

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::io::Io;

/// The longest line of version 1, with its end.
pub const LINE_BYTES_MAX: usize = 107;
/// The longest word of version 2 that is taken, with its type-length-value entries: more than the certificates of a
/// client need, and less than a head may have.
pub const WORD_BYTES_MAX: usize = 16 * 1024;

const SIGNATURE_V1: &[u8] = b"PROXY";
const SIGNATURE_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const HEADER_BYTES: usize = 16;

/// How the word is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

/// Both ends of the connection that is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ends {
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

/// What the bytes at hand are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// They do not tell yet.
    Undecided,
    /// Something else than the PROXY protocol.
    Other,
    /// The word, and how many bytes it has. Without ends the load balancer speaks for itself, or does not know.
    Word { version: Version, ends: Option<Ends>, len: usize },
}

/// Bytes that begin like the PROXY protocol and are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WordInvalid {
    #[error("a line of version 1 that is not what it should be")]
    Line,
    #[error("a version, command or family that is not known")]
    Kind,
    #[error("addresses that do not fit into the length")]
    Addresses,
    #[error("a type-length-value entry that goes beyond the end")]
    Entry,
    #[error("a word of more than {WORD_BYTES_MAX} bytes")]
    TooLong,
}

/// Reads until the first bytes tell. They stay unread. `None` if the peer closed before.
///
/// # Errors
/// The socket's; `InvalidData` for a word that is none.
pub async fn read(io: &mut Io) -> io::Result<Option<Parsed>> {
    loop {
        match parse(io.unread()) {
            Ok(Parsed::Undecided) => {}
            Ok(parsed) => return Ok(Some(parsed)),
            Err(invalid) => return Err(io::Error::new(io::ErrorKind::InvalidData, invalid)),
        }
        if poll_fn(|cx| io.poll_fill(cx)).await? == 0 {
            return Ok(None);
        }
    }
}

/// Looks at the first bytes of a connection.
///
/// # Errors
/// When they begin like the PROXY protocol and cannot be understood.
pub fn parse(bytes: &[u8]) -> Result<Parsed, WordInvalid> {
    let begins = |signature: &[u8]| bytes.iter().zip(signature).all(|(byte, wanted)| byte == wanted);
    if begins(SIGNATURE_V2) {
        return if bytes.len() < SIGNATURE_V2.len() { Ok(Parsed::Undecided) } else { binary(bytes) };
    }
    if begins(SIGNATURE_V1) {
        return match bytes.get(SIGNATURE_V1.len()) {
            None => Ok(Parsed::Undecided),
            Some(b' ') => line(bytes),
            Some(_) => Ok(Parsed::Other),
        };
    }
    Ok(Parsed::Other)
}

fn line(bytes: &[u8]) -> Result<Parsed, WordInvalid> {
    let within = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = within.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < LINE_BYTES_MAX { Ok(Parsed::Undecided) } else { Err(WordInvalid::Line) };
    };
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| WordInvalid::Line)?;
    let len = end + 2;
    let mut words = text.split(' ').skip(1);
    let v4 = match words.next() {
        // What follows is of no account.
        Some("UNKNOWN") => return Ok(Parsed::Word { version: Version::V1, ends: None, len }),
        Some("TCP4") => true,
        Some("TCP6") => false,
        _ => return Err(WordInvalid::Line),
    };
    let address = |word: Option<&str>| {
        let address: IpAddr = word?.parse().ok()?;
        (address.is_ipv4() == v4).then_some(address)
    };
    // No sign, no leading zeros.
    let port = |word: Option<&str>| {
        let word = word?;
        let plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
        word.parse::<u16>().ok().filter(|_| plain)
    };
    let source = address(words.next());
    let destination = address(words.next());
    let ports = (port(words.next()), port(words.next()));
    let (Some(source), Some(destination), (Some(from), Some(to)), None) =
        (source, destination, ports, words.next())
    else {
        return Err(WordInvalid::Line);
    };
    let ends = Ends { source: SocketAddr::new(source, from), destination: SocketAddr::new(destination, to) };
    Ok(Parsed::Word { version: Version::V1, ends: Some(ends), len })
}

fn binary(bytes: &[u8]) -> Result<Parsed, WordInvalid> {
    let Some((header, rest)) = bytes.split_at_checked(HEADER_BYTES) else {
        return match bytes.get(12) {
            Some(command) if !matches!(command, 0x20 | 0x21) => Err(WordInvalid::Kind),
            _ => Ok(Parsed::Undecided),
        };
    };
    let (command, family) = (header[12], header[13]);
    let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
    let len = HEADER_BYTES + length;
    // What there are of addresses, and how many bytes they take.
    let addresses = match (command, family) {
        // The load balancer's own connection, such as a health check; whatever follows is of no account.
        (0x20, _) => None,
        // Of streams and, as Envoy takes them, of datagrams.
        (0x21, 0x11 | 0x12) => Some(12),
        (0x21, 0x21 | 0x22) => Some(36),
        _ => return Err(WordInvalid::Kind),
    };
    // After the kind, which may have been refused before the length had come.
    if len > WORD_BYTES_MAX {
        return Err(WordInvalid::TooLong);
    }
    if addresses.is_some_and(|size| size > length) {
        return Err(WordInvalid::Addresses);
    }
    let Some(rest) = rest.get(..length) else { return Ok(Parsed::Undecided) };
    let Some(size) = addresses else {
        return Ok(Parsed::Word { version: Version::V2, ends: None, len });
    };
    let (addresses, entries) = rest.split_at(size);
    check_entries(entries)?;
    Ok(Parsed::Word { version: Version::V2, ends: ends(addresses), len })
}

/// Type, length in two bytes, value; nothing beyond the end.
fn check_entries(mut entries: &[u8]) -> Result<(), WordInvalid> {
    while !entries.is_empty() {
        let (head, rest) = entries.split_at_checked(3).ok_or(WordInvalid::Entry)?;
        let length = usize::from(u16::from_be_bytes([head[1], head[2]]));
        entries = rest.get(length..).ok_or(WordInvalid::Entry)?;
    }
    Ok(())
}

/// Two addresses and two ports; their length tells the family.
fn ends(bytes: &[u8]) -> Option<Ends> {
    let (addresses, ports) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    let (source, destination) = addresses.split_at(addresses.len() / 2);
    let (from, to) = ports.split_at(2);
    let end = |address: &[u8], port: &[u8]| {
        let address = match address.len() {
            4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(address).ok()?)),
            _ => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?)),
        };
        Some(SocketAddr::new(address, u16::from_be_bytes(port.try_into().ok()?)))
    };
    Some(Ends { source: end(source, from)?, destination: end(destination, to)? })
}

/// Writes the word. Ends of different families are both written as IPv6.
pub fn encode(version: Version, ends: Option<Ends>) -> Vec<u8> {
    let canonical = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
    let ends =
        ends.map(|ends| Ends { source: canonical(ends.source), destination: canonical(ends.destination) });
    match version {
        Version::V1 => encode_line(ends),
        Version::V2 => encode_binary(ends),
    }
}

fn encode_line(ends: Option<Ends>) -> Vec<u8> {
    let Some(Ends { source, destination }) = ends else { return b"PROXY UNKNOWN\r\n".to_vec() };
    let (from, to) = (source.port(), destination.port());
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            format!("PROXY TCP4 {source} {destination} {from} {to}\r\n")
        }
        (source, destination) => {
            let (source, destination) = (v6(source), v6(destination));
            format!("PROXY TCP6 {source} {destination} {from} {to}\r\n")
        }
    }
    .into_bytes()
}

fn encode_binary(ends: Option<Ends>) -> Vec<u8> {
    let mut word = SIGNATURE_V2.to_vec();
    let Some(Ends { source, destination }) = ends else {
        word.extend_from_slice(&[0x20, 0x00, 0, 0]);
        return word;
    };
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            word.extend_from_slice(&[0x21, 0x11, 0, 12]);
            word.extend_from_slice(&source.octets());
            word.extend_from_slice(&destination.octets());
        }
        (source, destination) => {
            word.extend_from_slice(&[0x21, 0x21, 0, 36]);
            word.extend_from_slice(&v6(source).octets());
            word.extend_from_slice(&v6(destination).octets());
        }
    }
    word.extend_from_slice(&source.port().to_be_bytes());
    word.extend_from_slice(&destination.port().to_be_bytes());
    word
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(source: &str, destination: &str) -> Ends {
        Ends { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut word = SIGNATURE_V2.to_vec();
        word.extend_from_slice(&[command, family]);
        word.extend_from_slice(&u16::try_from(rest.len()).unwrap().to_be_bytes());
        word.extend_from_slice(rest);
        word
    }

    const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 0x04, 0x01, 0xbb];

    #[test]
    fn lines_are_read_to_the_letter() {
        let tcp4 = Some(ends("192.0.2.1:56324", "198.51.100.1:443"));
        let tcp6 = Some(ends("[2001:db8::1]:1", "[2001:db8::2]:65535"));
        for (line, expected) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n", Ok(tcp4)),
            ("PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n", Ok(tcp6)),
            ("PROXY UNKNOWN\r\n", Ok(None)),
            ("PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", Ok(None)),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\n\r\n", Err(WordInvalid::Line)),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n", Err(WordInvalid::Line)),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443 1\r\n", Err(WordInvalid::Line)),
            ("PROXY TCP4  192.0.2.1 198.51.100.1 56324 443\r\n", Err(WordInvalid::Line)),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 65536\r\n", Err(WordInvalid::Line)),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 +1 443\r\n", Err(WordInvalid::Line)),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 01 443\r\n", Err(WordInvalid::Line)),
            ("PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", Err(WordInvalid::Line)),
            ("PROXY TCP6 192.0.2.1 198.51.100.1 1 2\r\n", Err(WordInvalid::Line)),
            ("PROXY UDP4 192.0.2.1 198.51.100.1 1 2\r\n", Err(WordInvalid::Line)),
            ("PROXY TCP4 192.0.2.256 198.51.100.1 1 2\r\n", Err(WordInvalid::Line)),
        ] {
            let bytes = [line.as_bytes(), b"GET / HTTP/1.1\r\n"].concat();
            let parsed = |ends| Parsed::Word { version: Version::V1, ends, len: line.len() };
            assert_eq!(parse(&bytes), expected.map(parsed), "{line:?}");
        }
        let endless = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
        assert_eq!(parse(&endless), Err(WordInvalid::Line));
        assert_eq!(parse(&endless[..LINE_BYTES_MAX - 1]), Ok(Parsed::Undecided));
    }

    #[test]
    fn words_are_read_to_the_byte() {
        let entry = |kind: u8, len: u16, value: &[u8]| [&[kind], &len.to_be_bytes()[..], value].concat();
        let with = |entries: &[u8]| [&V4, entries].concat();
        let v6 = [[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]; 2].concat();
        let v6 = [v6, vec![0, 80, 0, 81]].concat();
        let tcp4 = Some(ends("192.0.2.1:56324", "198.51.100.1:443"));
        let tcp6 = Some(ends("[2001:db8::1]:80", "[2001:db8::1]:81"));
        for (word, expected) in [
            (v2(0x21, 0x11, &V4), Ok(tcp4)),
            (v2(0x21, 0x21, &v6), Ok(tcp6)),
            (v2(0x20, 0x00, &[]), Ok(None)),
            (v2(0x20, 0x11, &V4), Ok(None)),
            (v2(0x20, 0x00, &[1, 2, 3]), Ok(None)),
            (v2(0x21, 0x11, &with(&entry(4, 2, b"ab"))), Ok(tcp4)),
            (v2(0x21, 0x11, &with(&entry(4, 0, b""))), Ok(tcp4)),
            (v2(0x21, 0x11, &with(&entry(4, 3, b"ab"))), Err(WordInvalid::Entry)),
            (v2(0x21, 0x11, &with(&entry(4, u16::MAX, b"ab"))), Err(WordInvalid::Entry)),
            (v2(0x21, 0x11, &with(&[4, 0])), Err(WordInvalid::Entry)),
            (v2(0x21, 0x11, &V4[..11]), Err(WordInvalid::Addresses)),
            (v2(0x21, 0x21, &v6[..35]), Err(WordInvalid::Addresses)),
            (v2(0x21, 0x12, &V4), Ok(tcp4)),
            (v2(0x21, 0x13, &V4), Err(WordInvalid::Kind)),
            (v2(0x21, 0x31, &[0; 216]), Err(WordInvalid::Kind)),
            (v2(0x21, 0x00, &[]), Err(WordInvalid::Kind)),
            (v2(0x22, 0x11, &V4), Err(WordInvalid::Kind)),
            (v2(0x11, 0x11, &V4), Err(WordInvalid::Kind)),
            (v2(0x21, 0x11, &[0; WORD_BYTES_MAX]), Err(WordInvalid::TooLong)),
            (v2(0x0a, 0x11, &[0; WORD_BYTES_MAX]), Err(WordInvalid::Kind)),
        ] {
            let parsed = |ends| Parsed::Word { version: Version::V2, ends, len: word.len() };
            assert_eq!(parse(&word), expected.map(parsed), "{word:02x?}");
        }
    }

    #[test]
    fn a_word_that_has_not_come_whole_is_waited_for() {
        for word in [v2(0x21, 0x11, &V4), b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n".to_vec()] {
            for cut in 0..word.len() {
                assert_eq!(parse(&word[..cut]), Ok(Parsed::Undecided), "{cut} of {word:02x?}");
            }
        }
        for other in ["GET / HTTP/1.1\r\n", "PROXYING", "PRI * HTTP/2.0\r\n", "\r\n\r\nGET", "\x16\x03\x01"] {
            assert_eq!(parse(other.as_bytes()), Ok(Parsed::Other), "{other:?}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for (source, destination) in [
            ("192.0.2.1:56324", "198.51.100.1:443"),
            ("[2001:db8::1]:1", "[2001:db8::2]:2"),
            ("192.0.2.1:1", "[2001:db8::2]:2"),
            ("[::ffff:192.0.2.1]:1", "198.51.100.1:2"),
        ] {
            let ends = ends(source, destination);
            let same = |end: SocketAddr| (end.ip().to_canonical(), end.port());
            for version in [Version::V1, Version::V2] {
                let word = encode(version, Some(ends));
                let Ok(Parsed::Word { ends: Some(read), len, .. }) = parse(&word) else {
                    panic!("{word:02x?}")
                };
                assert_eq!(len, word.len());
                assert_eq!(same(read.source), same(ends.source));
                assert_eq!(same(read.destination), same(ends.destination));
            }
        }
        for version in [Version::V1, Version::V2] {
            let word = encode(version, None);
            assert_eq!(parse(&word), Ok(Parsed::Word { version, ends: None, len: word.len() }));
        }
    }
}
