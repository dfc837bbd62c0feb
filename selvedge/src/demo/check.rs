//! Whether an observed split is the configured one.

/// How far an honest split may stray: four standard deviations, once in sixteen thousand runs by chance.
const SIGMAS: f64 = 4.0;

/// One version's part in a run of requests.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Share {
    pub(super) version: String,
    /// The configured part, 0 to 1.
    pub(super) expected: f64,
    pub(super) requests: u64,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) shares: Vec<Share>,
    pub(super) failed: u64,
}

impl Verdict {
    pub(super) fn total(&self) -> u64 {
        self.shares.iter().map(|share| share.requests).sum::<u64>() + self.failed
    }

    /// Every request answered, and each version within [`SIGMAS`] standard deviations of its binomial expectation.
    pub(super) fn holds(&self) -> bool {
        self.failed == 0
            && self
                .shares
                .iter()
                .all(|share| (share.requests as f64 - self.expected(share)).abs() <= self.tolerance(share))
    }

    /// One line for each version, one for the failures.
    pub(super) fn lines(&self) -> Vec<String> {
        let shares = self.shares.iter().map(|share| {
            format!(
                "  {:<10} {:>5} requests, {:>5.1} % (configured {:.0} %, allowed {:.0} to {:.0})",
                share.version,
                share.requests,
                100.0 * share.requests as f64 / self.total().max(1) as f64,
                100.0 * share.expected,
                (self.expected(share) - self.tolerance(share)).max(0.0).ceil(),
                self.expected(share) + self.tolerance(share),
            )
        });
        shares.chain((self.failed > 0).then(|| format!("  {} requests failed", self.failed))).collect()
    }

    fn expected(&self, share: &Share) -> f64 {
        self.total() as f64 * share.expected
    }

    fn tolerance(&self, share: &Share) -> f64 {
        SIGMAS * (self.total() as f64 * share.expected * (1.0 - share.expected)).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(v1: u64, v2: u64, failed: u64) -> Verdict {
        let share = |version: &str, expected, requests| Share { version: version.into(), expected, requests };
        Verdict { shares: vec![share("v1", 0.8, v1), share("v2", 0.2, v2)], failed }
    }

    #[test]
    fn only_the_configured_split_passes() {
        // 2000 requests at 80/20: a standard deviation is 17.9, four are 71.6.
        for (v1, v2, failed, holds) in [
            (1600, 400, 0, true),
            (1671, 329, 0, true),
            (1672, 328, 0, false),
            (1000, 1000, 0, false),
            (2000, 0, 0, false),
            (1599, 400, 1, false),
        ] {
            assert_eq!(verdict(v1, v2, failed).holds(), holds, "{v1}/{v2}, {failed} failed");
        }
    }

    #[test]
    fn a_version_without_weight_must_get_nothing() {
        let share = |version: &str, expected, requests| Share { version: version.into(), expected, requests };
        assert!(Verdict { shares: vec![share("v1", 0.0, 0), share("v2", 1.0, 10)], failed: 0 }.holds());
        assert!(!Verdict { shares: vec![share("v1", 0.0, 1), share("v2", 1.0, 9)], failed: 0 }.holds());
    }
}
