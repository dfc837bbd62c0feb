//! Chance, as an argument.

/// Where `States.UUID`, `States.MathRandom`, `$uuid` and `$random` get their numbers from.
///
/// The caller owns it: a service draws from the system, a test and a simulation from a seed.
pub trait Entropy {
    /// 64 bits, uniformly distributed.
    fn draw(&mut self) -> u64;
}

impl<F: FnMut() -> u64> Entropy for F {
    fn draw(&mut self) -> u64 {
        self()
    }
}

/// A number in `[0, 1)` with the 53 bits that a double has.
pub(crate) fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// SplitMix64: enough for a draw that a seed must reproduce.
pub(crate) fn split_mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A random UUID (RFC 9562, version 4) in its usual form.
pub(crate) fn uuid(entropy: &mut dyn Entropy) -> String {
    let (high, low) = (entropy.draw(), entropy.draw());
    let high = (high & !0xF000) | 0x4000;
    let low = (low & !(0b11 << 62)) | (0b10 << 62);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xFFFF,
        high & 0xFFFF,
        low >> 48,
        low & 0xFFFF_FFFF_FFFF
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_says_its_version_and_variant() {
        let text = uuid(&mut || u64::MAX);
        assert_eq!(text, "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(uuid(&mut || 0), "00000000-0000-4000-8000-000000000000");
    }

    #[test]
    fn a_unit_number_stays_below_one() {
        assert!(unit(u64::MAX) < 1.0);
        assert_eq!(unit(0), 0.0);
    }
}
