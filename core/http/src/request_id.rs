//! `x-request-id`: a random UUID whose version digit says, as in Envoy, whether the request is traced.

/// Length of an id as text.
pub const ID_BYTES: usize = 36;

/// A version 4 UUID of 128 random bits. Version digit 4 also is Envoy's "not traced".
pub fn from_random(random: u128) -> [u8; ID_BYTES] {
    let mut bytes = random.to_be_bytes();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut out = [b'-'; ID_BYTES];
    let mut at = 0;
    for (index, byte) in bytes.into_iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            at += 1;
        }
        out[at] = b"0123456789abcdef"[usize::from(byte >> 4)];
        out[at + 1] = b"0123456789abcdef"[usize::from(byte & 0xf)];
        at += 2;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_version_four_uuids() {
        assert_eq!(&from_random(0), b"00000000-0000-4000-8000-000000000000");
        assert_eq!(&from_random(u128::MAX), b"ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
