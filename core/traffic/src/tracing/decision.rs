//! Whether a request is traced, and how the request id tells it to the hops behind (Envoy's
//! `ConnectionManagerUtility::mutateTracingRequestHeader`).

use super::Tracing;

/// Position of the version digit in a UUID.
const DIGIT: usize = 14;
/// Percentages are compared with a precision of a hundredth.
const STEPS: f64 = 10_000.0;

/// Why a request is traced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reason {
    #[default]
    NotTraced,
    Sampled,
    /// A trusted service asked for it (`x-envoy-force-trace`).
    Forced,
    /// The client brought its own trace id (`x-client-trace-id`).
    Client,
}

impl Reason {
    /// What an id says; an id of another shape says nothing.
    pub fn of_id(id: &[u8]) -> Self {
        if id.len() != 36 {
            return Self::NotTraced;
        }
        match id[DIGIT] {
            b'9' => Self::Sampled,
            b'a' => Self::Forced,
            b'b' => Self::Client,
            _ => Self::NotTraced,
        }
    }

    /// Writes itself into an id; an id of another shape stays as it is.
    pub fn mark(self, id: &mut [u8]) {
        if id.len() == 36 {
            id[DIGIT] = match self {
                Self::NotTraced => b'4',
                Self::Sampled => b'9',
                Self::Forced => b'a',
                Self::Client => b'b',
            };
        }
    }

    pub fn is_traced(self) -> bool {
        self != Self::NotTraced
    }
}

/// The number below 10,000 that an id draws: the same on every hop.
fn draw(id: &[u8]) -> Option<u64> {
    let head = std::str::from_utf8(id.get(..8)?).ok()?;
    Some(u64::from_str_radix(head, 16).ok()? % STEPS as u64)
}

/// Decides for a request with this id. `client`: it brought an id of its own; `forced`: a trusted hop asked. `random` is
/// drawn where the id gives no number.
pub fn decide(tracing: &Tracing, id: &[u8], client: bool, forced: bool, random: impl Fn() -> u64) -> Reason {
    let draw = || draw(id).unwrap_or_else(|| random() % STEPS as u64) as f64;
    let within = |percent: f64| percent >= 100.0 || draw() < percent / 100.0 * STEPS;
    let mut reason = Reason::of_id(id);
    if reason == Reason::NotTraced {
        if client && within(tracing.client_sampling) {
            reason = Reason::Client;
        } else if forced {
            reason = Reason::Forced;
        } else if within(tracing.random_sampling) {
            reason = Reason::Sampled;
        }
    }
    if reason.is_traced() && !within(tracing.overall_sampling) {
        reason = Reason::NotTraced;
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &[u8] = b"000003e8-0000-4000-8000-000000000000";

    fn tracing(random_sampling: f64) -> Tracing {
        Tracing { random_sampling, ..Tracing::default() }
    }

    #[test]
    fn an_id_draws_the_same_number_everywhere() {
        // 0x3e8 is 1000: a tenth.
        for (percent, expected) in [
            (100.0, Reason::Sampled),
            (10.01, Reason::Sampled),
            (10.0, Reason::NotTraced),
            (0.0, Reason::NotTraced),
        ] {
            assert_eq!(decide(&tracing(percent), ID, false, false, || 0), expected, "{percent}");
        }
        assert_eq!(decide(&tracing(1.0), b"other", false, false, || 99), Reason::Sampled);
        assert_eq!(decide(&tracing(1.0), b"other", false, false, || 100), Reason::NotTraced);
    }

    #[test]
    fn a_decision_that_was_made_stands_unless_overall_sampling_takes_it_back() {
        let mut id = ID.to_vec();
        Reason::Forced.mark(&mut id);
        assert_eq!(decide(&tracing(0.0), &id, false, false, || 0), Reason::Forced);
        let none = Tracing { overall_sampling: 0.0, ..Tracing::default() };
        assert_eq!(decide(&none, &id, false, false, || 0), Reason::NotTraced);
        assert_eq!(decide(&tracing(0.0), ID, true, false, || 0), Reason::Client);
        assert_eq!(decide(&tracing(0.0), ID, false, true, || 0), Reason::Forced);
    }

    #[test]
    fn ids_of_another_shape_stay_as_they_are() {
        let mut id = b"abc".to_vec();
        Reason::Sampled.mark(&mut id);
        assert_eq!(id, b"abc");
        assert_eq!(Reason::of_id(b"abc"), Reason::NotTraced);
    }
}
