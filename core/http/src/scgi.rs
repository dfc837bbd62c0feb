//! SCGI requests: a netstring of names and values, then the body. The response is a gateway program's
//! ([`crate::cgi`]).

/// Writes what precedes the body. `CONTENT_LENGTH` comes first, as the protocol demands, and `SCGI` says its version.
pub fn encode<'a>(length: u64, variables: impl Iterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let mut list = Vec::with_capacity(2048);
    let mut push = |name: &str, value: &[u8]| {
        list.extend_from_slice(name.as_bytes());
        list.push(0);
        list.extend(value.iter().filter(|byte| **byte != 0));
        list.push(0);
    };
    push("CONTENT_LENGTH", itoa::Buffer::new().format(length).as_bytes());
    push("SCGI", b"1");
    for (name, value) in variables.filter(|(name, _)| !matches!(*name, "CONTENT_LENGTH" | "SCGI")) {
        push(name, value);
    }
    let mut out = itoa::Buffer::new().format(list.len()).as_bytes().to_vec();
    out.push(b':');
    out.append(&mut list);
    out.push(b',');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request() {
        let variables = [("REQUEST_METHOD", &b"POST"[..]), ("X", b"a\0b")];
        assert_eq!(
            encode(27, variables.into_iter()),
            b"50:CONTENT_LENGTH\x0027\0SCGI\x001\0REQUEST_METHOD\0POST\0X\0ab\0,"
        );
    }
}
