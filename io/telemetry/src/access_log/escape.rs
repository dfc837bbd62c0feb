//! What a stranger put into a header must not look like another line, or move a reader's cursor.

/// Replaces, from `start` on, control characters by `\xNN`, the marks that turn the direction of text by `\uNNNN`, and
/// what is no text by `\xNN`. Everything else stays, quotes too: a line's own format decides about those.
pub(super) fn escape(out: &mut Vec<u8>, start: usize) {
    let suspicious = |byte: &u8| *byte < 0x20 || *byte >= 0x7f;
    if !out[start..].iter().any(suspicious) {
        return;
    }
    let written = out.split_off(start);
    for chunk in written.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_ascii_control() || ('\u{80}'..='\u{9f}').contains(&character) {
                push_byte(character as u8, out);
            } else if turns(character) {
                out.extend_from_slice(format!("\\u{:04x}", character as u32).as_bytes());
            } else {
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        chunk.invalid().iter().for_each(|byte| push_byte(*byte, out));
    }
}

/// Marks, embeddings, overrides and isolates of direction; separators of lines and paragraphs.
pub(super) fn turns(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}')
}

fn push_byte(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"\\x");
    out.push(HEX[usize::from(byte >> 4)]);
    out.push(HEX[usize::from(byte & 15)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_stranger_sends_ends_a_line_or_moves_the_cursor() {
        let rows: [(&[u8], &str); 7] = [
            (b"plain \"quoted\"", "plain \"quoted\""),
            (b"a\r\nb", "a\\x0d\\x0ab"),
            (b"\x1b[2J", "\\x1b[2J"),
            ("g\u{202e}nol".as_bytes(), "g\\u202enol"),
            ("ü€".as_bytes(), "ü€"),
            ("\u{9b}1m".as_bytes(), "\\x9b1m"),
            (b"\xff\x7f", "\\xff\\x7f"),
        ];
        for (given, expected) in rows {
            let mut out = b"before\n".to_vec();
            out.extend_from_slice(given);
            escape(&mut out, 7);
            assert_eq!(String::from_utf8_lossy(&out), format!("before\n{expected}"));
        }
    }
}
