//! JSON strings from whatever bytes a header holds.

use super::escape::turns;

/// Appends `bytes` as a JSON string; what is not UTF-8 becomes U+FFFD.
pub(super) fn write_string(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let plain = plain_len(bytes);
    out.extend_from_slice(&bytes[..plain]);
    escape(&bytes[plain..], out);
    out.push(b'"');
}

/// What is compared at once.
const BLOCK: usize = 16;

/// Whether all of it stands in a JSON string as it is: printable ASCII but for quote and backslash.
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    let mut last = [b' '; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    blocks.iter().chain([&last]).all(is_plain_block)
}

/// Both halves at once, without a look at each byte: every log line passes through here.
fn is_plain_block(block: &[u8; BLOCK]) -> bool {
    let (words, _) = block.as_chunks::<8>();
    words.iter().fold(0, |any, word| any | specials(u64::from_le_bytes(*word))) == 0
}

/// The highest bit of each byte that is special, of eight bytes side by side. A byte outside of ASCII has it anyway; of the others
/// none carries into its neighbour.
fn specials(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = ONES << 7;
    let low = word & !HIGH;
    let is_not = |byte: u8| (low ^ (ONES * u64::from(byte))) + (HIGH - ONES);
    let is_printable = ((word | HIGH) - ONES * 0x20) & is_not(0x7f) & is_not(b'"') & is_not(b'\\');
    (word | !is_printable) & HIGH
}

fn is_special(byte: u8) -> bool {
    !(0x20..0x7f).contains(&byte) | (byte == b'"') | (byte == b'\\')
}

/// How many bytes at the beginning are so.
fn plain_len(bytes: &[u8]) -> usize {
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    let plain = blocks.iter().take_while(|block| is_plain_block(block)).count() * BLOCK;
    plain + bytes[plain..].iter().take_while(|byte| !is_special(**byte)).count()
}

/// Appends what needs a closer look, without quotes.
fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                '\0'..' ' | '\x7f' => {
                    out.extend_from_slice(format!("\\u{:04x}", character as u32).as_bytes());
                }
                character if character.is_ascii() => out.push(character as u8),
                // Text that turns its reader round is legal JSON, and a trap in a terminal.
                character if turns(character) => {
                    out.extend_from_slice(format!("\\u{:04x}", character as u32).as_bytes());
                }
                character => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bytes_are_judged_as_one_is() {
        for byte in 0..=u8::MAX {
            for place in 0..8 {
                for around in [b' ', b'~', b'#', b']'] {
                    let mut word = [around; 8];
                    word[place] = byte;
                    let expected = if is_special(byte) { 0x80 << (8 * place) } else { 0 };
                    assert_eq!(
                        specials(u64::from_le_bytes(word)),
                        expected,
                        "{byte:#x} at {place} of {around:#x}"
                    );
                }
            }
        }
    }

    #[test]
    fn whatever_goes_in_json_comes_out() {
        let rows: [(&[u8], &str); 6] = [
            (
                b"a plain text of more than sixteen bytes\n and more",
                r#""a plain text of more than sixteen bytes\n and more""#,
            ),
            (b"sixteen bytes..\\", r#""sixteen bytes..\\""#),
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
