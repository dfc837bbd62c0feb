//! When a certificate is to be replaced by another.

/// How much of a certificate's life passes before it is renewed: two thirds, as a share of 1000.
const AGE: i64 = 667;
/// How far before that the moment may be drawn, as a share of 1000 of the life: certificates that were made together
/// are not renewed together.
const SPREAD: i64 = 67;

/// The moment to renew, in seconds since the Unix epoch: between 0.600 and 0.667 of its life.
/// `draw` is a number that nobody can foretell, drawn once and kept with the certificate.
pub fn renewal(not_before: i64, not_after: i64, draw: u64) -> i64 {
    let life = not_after.saturating_sub(not_before).max(0);
    let spread = i64::try_from(draw % 1000).unwrap_or(0);
    let share = |of: i64| i64::try_from(i128::from(life) * i128::from(of) / 1000).unwrap_or(i64::MAX);
    let early = i64::try_from(i128::from(share(SPREAD)) * i128::from(spread) / 1000).unwrap_or(0);
    not_before.saturating_add(share(AGE)).saturating_sub(early)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lies_between_six_tenths_and_two_thirds_of_life() {
        for (from, until) in
            [(0, 90 * 86_400), (1_700_000_000, 1_700_003_600), (0, i64::MAX), (10, 10), (10, 0)]
        {
            let life = until.saturating_sub(from).max(0);
            for draw in [0, 1, 499, 999, u64::MAX] {
                let at = renewal(from, until, draw);
                let age = i128::from(at) - i128::from(from);
                assert!(age * 1000 >= i128::from(life) * 599 - 1000, "{from} {until} {draw}: {at}");
                assert!(age * 1000 <= i128::from(life) * 667, "{from} {until} {draw}: {at}");
            }
        }
        assert!(renewal(0, 90 * 86_400, 1) < renewal(0, 90 * 86_400, 0), "drawn");
    }
}
