//! A share of the requests, decided by a number drawn for each.

use serde::Serialize;

/// `numerator` of `denominator` requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Fraction {
    pub numerator: u32,
    pub denominator: Denominator,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Denominator {
    #[default]
    Hundred,
    TenThousand,
    Million,
}

impl Fraction {
    pub const NONE: Self = Self { numerator: 0, denominator: Denominator::Hundred };
    pub const ALL: Self = Self { numerator: 100, denominator: Denominator::Hundred };

    /// Whether the request with this random number is in the share.
    pub fn takes(self, random: u64) -> bool {
        let denominator = match self.denominator {
            Denominator::Hundred => 100,
            Denominator::TenThousand => 10_000,
            Denominator::Million => 1_000_000,
        };
        random % denominator < u64::from(self.numerator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_exact_over_a_whole_period() {
        for (numerator, denominator, of) in [
            (0, Denominator::Hundred, 100),
            (37, Denominator::Hundred, 100),
            (5, Denominator::TenThousand, 10_000),
        ] {
            let fraction = Fraction { numerator, denominator };
            assert_eq!((0..of).filter(|random| fraction.takes(*random)).count(), numerator as usize);
        }
        assert!(Fraction::ALL.takes(99) && !Fraction::NONE.takes(0));
    }
}
