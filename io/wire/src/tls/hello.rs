//! What a connection's first bytes say: whether it speaks TLS, to which server, and which protocols it offers.

use std::future::poll_fn;
use std::io;

use crate::io::Io;

/// The longest ClientHello that is looked at, with the headers of all its records (Envoy's `max_client_hello_size`).
pub const HELLO_BYTES_MAX: usize = 16 * 1024;

/// What a client asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// In lower case; `None` if it names none, or none that is a host name.
    pub server_name: Option<Box<str>>,
    /// The protocols that it offers, in its order.
    pub alpn: Vec<Vec<u8>>,
}

/// What the bytes at hand are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inspected {
    /// They do not tell yet.
    Undecided,
    /// No TLS.
    Plain,
    Tls(Hello),
}

/// Reads until the first bytes tell. They stay unread. `None` if the peer closed before.
///
/// # Errors
/// The socket's.
pub async fn read(io: &mut Io) -> io::Result<Option<Inspected>> {
    loop {
        match inspect(io.unread()) {
            Inspected::Undecided => {}
            decided => return Ok(Some(decided)),
        }
        if poll_fn(|cx| io.poll_fill(cx)).await? == 0 {
            return Ok((!io.unread().is_empty()).then_some(Inspected::Plain));
        }
    }
}

/// Looks at the first bytes of a connection. What begins like TLS and then is not – too long, or cut in a way that
/// nobody could read – is [`Inspected::Plain`], as Envoy has it.
pub fn inspect(bytes: &[u8]) -> Inspected {
    match look(bytes) {
        // However finely it is cut: nobody is listened to for longer.
        Inspected::Undecided if bytes.len() > HELLO_BYTES_MAX => Inspected::Plain,
        seen => seen,
    }
}

fn look(bytes: &[u8]) -> Inspected {
    let mut message = Vec::new();
    let mut rest = bytes;
    loop {
        // ContentType handshake, legacy version 3.x, length.
        let header = [Some(22), Some(3)];
        for (byte, wanted) in rest.iter().zip(header) {
            if Some(*byte) != wanted {
                return Inspected::Plain;
            }
        }
        let Some((header, after)) = rest.split_at_checked(5) else { return Inspected::Undecided };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if length == 0 || length > HELLO_BYTES_MAX {
            return Inspected::Plain;
        }
        message.extend_from_slice(&after[..after.len().min(length)]);
        // ClientHello is message 1.
        if message.first().is_some_and(|kind| *kind != 1) {
            return Inspected::Plain;
        }
        if let Some(size) = message.get(1..4) {
            let size = usize::from(size[0]) << 16 | usize::from(size[1]) << 8 | usize::from(size[2]);
            if size > HELLO_BYTES_MAX {
                return Inspected::Plain;
            }
            if let Some(body) = message.get(4..4 + size) {
                return client_hello(body).map_or(Inspected::Plain, Inspected::Tls);
            }
        }
        if after.len() < length {
            return Inspected::Undecided;
        }
        rest = &after[length..];
        if rest.is_empty() {
            return Inspected::Undecided;
        }
    }
}

/// RFC 8446 §4.1.2.
fn client_hello(body: &[u8]) -> Option<Hello> {
    let mut reader = Reader(body);
    reader.take(2 + 32)?;
    reader.vector8()?;
    reader.vector16()?;
    reader.vector8()?;
    let mut hello = Hello::default();
    if reader.0.is_empty() {
        return Some(hello);
    }
    let mut extensions = Reader(reader.vector16()?);
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let content = extensions.vector16()?;
        match kind {
            0 => hello.server_name = server_name(content)?,
            16 => hello.alpn = protocols(content)?,
            _ => {}
        }
    }
    Some(hello)
}

/// RFC 6066 §3.
fn server_name(content: &[u8]) -> Option<Option<Box<str>>> {
    let mut names = Reader(Reader(content).vector16()?);
    while !names.0.is_empty() {
        let kind = names.take(1)?[0];
        let name = names.vector16()?;
        if kind == 0 {
            return Some(host_name(name));
        }
    }
    Some(None)
}

fn host_name(name: &[u8]) -> Option<Box<str>> {
    let text = std::str::from_utf8(name).ok()?;
    let valid = !text.is_empty()
        && text.len() <= 255
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    valid.then(|| text.to_ascii_lowercase().into())
}

/// RFC 7301 §3.1.
fn protocols(content: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut list = Reader(Reader(content).vector16()?);
    let mut protocols = Vec::new();
    while !list.0.is_empty() {
        protocols.push(list.vector8()?.to_vec());
    }
    Some(protocols)
}

/// Bytes that are taken from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn vector8(&mut self) -> Option<&'a [u8]> {
        let len = self.take(1)?[0];
        self.take(len.into())
    }

    fn vector16(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.take(len.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
        let mut bytes = kind.to_be_bytes().to_vec();
        bytes.extend((content.len() as u16).to_be_bytes());
        bytes.extend(content);
        bytes
    }

    fn hello(extensions: &[u8]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 1, 1, 0]);
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        let mut message = vec![1, 0];
        message.extend((body.len() as u16).to_be_bytes());
        message.extend(body);
        message
    }

    fn records(message: &[u8], size: usize) -> Vec<u8> {
        message.chunks(size).fold(Vec::new(), |mut bytes, chunk| {
            bytes.extend([22, 3, 1]);
            bytes.extend((chunk.len() as u16).to_be_bytes());
            bytes.extend(chunk);
            bytes
        })
    }

    fn example() -> Vec<u8> {
        let name = b"Foo.example";
        let mut sni = vec![0, name.len() as u8 + 3, 0, 0, name.len() as u8];
        sni.extend(name);
        let alpn = [&[0, 12, 2][..], b"h2", &[8], b"http/1.1"].concat();
        hello(&[extension(0, &sni), extension(43, &[2, 3, 4]), extension(16, &alpn)].concat())
    }

    #[test]
    fn every_prefix_of_a_hello_is_undecided_however_it_is_cut() {
        let expected = Hello {
            server_name: Some("foo.example".into()),
            alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        for size in [1, 3, 7, 16_384] {
            let bytes = records(&example(), size);
            for end in 0..bytes.len() {
                assert_eq!(inspect(&bytes[..end]), Inspected::Undecided, "{size} {end}");
            }
            assert_eq!(inspect(&bytes), Inspected::Tls(expected.clone()), "{size}");
        }
    }

    #[test]
    fn a_hello_that_never_ends_is_plain_however_it_is_cut() {
        for size in [1, 100, 16_384] {
            let mut message = example();
            message[1..4].copy_from_slice(&[0, 0x3f, 0xff]);
            message.resize(4 + 0x3fff, 0);
            let bytes = records(&message, size);
            assert_eq!(inspect(&bytes[..1000]), Inspected::Undecided, "{size}");
            assert_eq!(inspect(&bytes[..HELLO_BYTES_MAX + 1]), Inspected::Plain, "{size}");
        }
    }

    #[test]
    fn what_is_no_hello_is_plain() {
        let cut = hello(&[extension(0, &[0, 200, 0, 0, 9, b'x'])].concat());
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"\x16\x02\x01\0\x05",
            b"\x15\x03\x01\0\x02\x01\0",
            b"\x16\x03\x01\0\0",
            b"\x16\x03\x01\xff\xff\x01",
            b"\x16\x03\x01\0\x04\x02\0\0\0",
            b"\x16\x03\x01\0\x04\x01\xff\xff\xff",
            b"PRI * HTTP/2.0\r\n",
            &records(&cut, 16_384),
        ] {
            assert_eq!(inspect(bytes), Inspected::Plain, "{bytes:?}");
        }
    }

    #[test]
    fn a_server_name_that_is_no_host_name_is_none() {
        for name in [&b"a\0b"[..], b"a b", b"", "ü".as_bytes(), b"[::1]"] {
            let mut sni = vec![0, name.len() as u8 + 3, 0, 0, name.len() as u8];
            sni.extend(name);
            let bytes = records(&hello(&extension(0, &sni)), 16_384);
            assert_eq!(inspect(&bytes), Inspected::Tls(Hello::default()), "{name:?}");
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let bytes = records(&example(), 50);
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut broken = bytes.clone();
                broken[at] = value;
                let _ = inspect(&broken);
            }
        }
    }
}
