//! JSON strings from whatever bytes a header holds.

/// Appends `bytes` as a JSON string; what is not UTF-8 becomes U+FFFD.
pub(super) fn write_string(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for chunk in bytes.utf8_chunks() {
        for byte in chunk.valid().bytes() {
            match byte {
                b'"' => out.extend_from_slice(b"\\\""),
                b'\\' => out.extend_from_slice(b"\\\\"),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                0..0x20 | 0x7f => {
                    const HEX: &[u8; 16] = b"0123456789abcdef";
                    out.extend_from_slice(b"\\u00");
                    out.push(HEX[usize::from(byte >> 4)]);
                    out.push(HEX[usize::from(byte & 15)]);
                }
                _ => out.push(byte),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_goes_in_json_comes_out() {
        let rows: [(&[u8], &str); 4] = [
            (b"a\"b\\", r#""a\"b\\""#),
            (b"\n\x01\x7f", r#""\n\u0001\u007f""#),
            ("ü".as_bytes(), "\"ü\""),
            (b"\xff!", "\"\u{fffd}!\""),
        ];
        for (bytes, expected) in rows {
            let mut out = Vec::new();
            write_string(bytes, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected);
            serde_json::from_slice::<serde_json::Value>(&out).expect("valid JSON");
        }
    }
}
