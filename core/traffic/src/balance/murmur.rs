//! MurmurHash64A, as GNU's C++ library hashes text.

const SEED: u64 = 0xc70f_6907;
const MULTIPLIER: u64 = 0xc6a4_a793_5bd1_e995;

/// What `std::hash<std::string>` gives for `text` there.
pub fn murmur2(text: &[u8]) -> u64 {
    let mix = |value: u64| value ^ (value >> 47);
    let mut hash = SEED ^ (text.len() as u64).wrapping_mul(MULTIPLIER);
    let (words, rest) = text.as_chunks::<8>();
    for word in words {
        let mixed = mix(u64::from_le_bytes(*word).wrapping_mul(MULTIPLIER)).wrapping_mul(MULTIPLIER);
        hash = (hash ^ mixed).wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(MULTIPLIER);
    }
    mix(mix(hash).wrapping_mul(MULTIPLIER))
}

#[cfg(test)]
mod tests {
    /// What GNU's C++ library says (`g++` 12, `std::hash<std::string>{}(text)`).
    #[test]
    fn it_hashes_as_the_library_does() {
        for (text, hash) in VECTORS {
            assert_eq!(super::murmur2(text.as_bytes()), *hash, "{text:?}");
        }
    }

    const VECTORS: &[(&str, u64)] = &[
        ("", 6142509188972423790),
        ("a", 4993892634952068459),
        ("10.0.0.1:80_0", 13659246566588789388),
        ("10.0.0.1:80_17", 4437040220721654695),
        ("12345678", 10113836418918046885),
        ("123456789abcdefgh", 10280977052341072324),
    ];
}
