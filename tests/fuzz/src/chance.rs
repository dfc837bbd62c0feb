//! Chance that an input decides: the same bytes are the same run.

use selvedge_query::Entropy;
use serde_json::{Value, json};

pub(crate) struct Chance(u64);

impl Chance {
    /// FNV-1a of the input.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let hash = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        Self(bytes.iter().fold(0xcbf2_9ce4_8422_2325, hash))
    }

    /// Something that a task may answer.
    pub(crate) fn value(&mut self) -> Value {
        match self.draw() % 6 {
            0 => Value::Null,
            1 => json!([1, 2, 3]),
            2 => json!({ "a": { "b": [1, "ж", null] }, "x": 1.5, "ok": true }),
            3 => json!(-1),
            4 => json!("2023-11-14T22:13:25Z"),
            _ => json!([]),
        }
    }
}

impl Entropy for Chance {
    /// SplitMix64.
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
