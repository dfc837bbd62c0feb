//! The Huffman code of RFC 7541, appendix B.
//!
//! The code is canonical: codes of one length follow one another in the order of their symbols, and shorter ones come
//! before longer ones. So the lengths say it all, and the tables are made of them when the program is compiled.

/// How many bits each symbol has.
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// The longest code; that of the symbol that ends a text, and that no text may hold, is all ones.
const BITS_MAX: usize = 30;
/// What decodes at one look: the codes of nearly everything that headers hold.
const SHORT_BITS: u32 = 8;

/// Codes of one length: the first of them, put to the left of 32 bits, and where their symbols stand.
#[derive(Clone, Copy)]
struct Class {
    /// The first code beyond this length, to the left of 32 bits.
    beyond: u64,
    first: u64,
    symbols_at: u16,
}

struct Code {
    /// By the first eight bits: the symbol and the length of its code, 0 of those that are longer.
    short: [(u8, u8); 1 << SHORT_BITS],
    classes: [Class; BITS_MAX + 1],
    /// In the order of their codes.
    symbols: [u8; 256],
}

static CODE: Code = code();

const fn code() -> Code {
    let mut made = Code {
        short: [(0, 0); 1 << SHORT_BITS],
        classes: [Class { beyond: 0, first: 0, symbols_at: 0 }; BITS_MAX + 1],
        symbols: [0; 256],
    };
    let (mut next, mut count, mut bits) = (0u64, 0, 1);
    while bits <= BITS_MAX {
        let width = 32 - bits;
        made.classes[bits].first = next << width;
        made.classes[bits].symbols_at = count as u16;
        let mut symbol = 0;
        while symbol < 256 {
            if LENGTHS[symbol] as usize == bits {
                made.symbols[count] = symbol as u8;
                count += 1;
                if bits <= SHORT_BITS as usize {
                    let spare = SHORT_BITS as usize - bits;
                    let mut at = 0;
                    while at < 1 << spare {
                        made.short[((next as usize) << spare) + at] = (symbol as u8, bits as u8);
                        at += 1;
                    }
                }
                next += 1;
            }
            symbol += 1;
        }
        made.classes[bits].beyond = next << width;
        next <<= 1;
        bits += 1;
    }
    made
}

/// Not a text in this code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Adds the text that `bytes` stand for.
///
/// # Errors
/// When they hold the end symbol, or end with anything but fewer than eight ones (RFC 7541 §5.2).
pub(super) fn decode(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let (mut held, mut count) = (0u64, 0u32);
    let mut bytes = bytes.iter();
    loop {
        while count <= 56 {
            let Some(byte) = bytes.next() else { break };
            held |= u64::from(*byte) << (56 - count);
            count += 8;
        }
        let (mut symbol, mut bits) = CODE.short[(held >> 56) as usize];
        if bits == 0 {
            (symbol, bits) = long(held >> 32).ok_or(Malformed)?;
        }
        if u32::from(bits) > count {
            break;
        }
        out.push(symbol);
        held <<= bits;
        count -= u32::from(bits);
    }
    let ones = u64::MAX.checked_shl(64 - count).unwrap_or(0);
    if count < 8 && held == ones { Ok(()) } else { Err(Malformed) }
}

/// The symbol that the next 32 bits begin with, if its code is a long one; `None` of the end symbol.
fn long(next: u64) -> Option<(u8, u8)> {
    let bits = (SHORT_BITS as usize + 1..=BITS_MAX).find(|bits| next < CODE.classes[*bits].beyond)?;
    let class = &CODE.classes[bits];
    let nth = next.checked_sub(class.first)? >> (32 - bits);
    let symbol = CODE.symbols.get(usize::from(class.symbols_at) + nth as usize)?;
    Some((*symbol, bits as u8))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut out = Vec::new();
        decode(bytes, &mut out).map(|()| out)
    }

    /// A text in the code, for what is to be decoded.
    fn encode(text: &[u8]) -> Vec<u8> {
        let (mut held, mut count, mut out) = (0u64, 0, Vec::new());
        for symbol in text {
            let bits = usize::from(LENGTHS[usize::from(*symbol)]);
            let class = &CODE.classes[bits];
            let at = CODE.symbols.iter().position(|known| known == symbol).unwrap();
            let code = (class.first >> (32 - bits)) + (at as u64 - u64::from(class.symbols_at));
            held = held << bits | code;
            count += bits;
            while count >= 8 {
                out.push((held >> (count - 8)) as u8);
                count -= 8;
            }
            held &= (1 << count) - 1;
        }
        if count > 0 {
            out.push((held << (8 - count) | ((1 << (8 - count)) - 1)) as u8);
        }
        out
    }

    #[test]
    fn the_examples_of_rfc_7541_appendix_c() {
        let rows: &[(&[u8], &str)] = &[
            (&[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff], "www.example.com"),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (&[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f], "custom-key"),
            (&[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf], "custom-value"),
            (&[0x64, 0x02], "302"),
            (&[0xae, 0xc3, 0x77, 0x1a, 0x4b], "private"),
            (&[], ""),
        ];
        for (bytes, text) in rows {
            assert_eq!(decoded(bytes).as_deref(), Ok(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn every_symbol_survives_in_every_place() {
        let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        for skip in 0..16 {
            assert_eq!(decoded(&encode(&all[skip..])).as_deref(), Ok(&all[skip..]), "{skip}");
        }
    }

    #[test]
    fn an_end_that_is_none_is_refused() {
        // A whole byte of padding, padding of zeros, the end symbol, a code that is cut off.
        for bytes in [&[0xf1, 0xe3, 0xff, 0xff][..], &[0x18], &[0xff; 4], &[0xff, 0xff], &[0x1f, 0xff]] {
            assert_eq!(decoded(bytes), Err(Malformed), "{bytes:x?}");
        }
    }
}
