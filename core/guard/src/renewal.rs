//! When a certificate is renewed, and when an attempt that failed is made again.
//!
//! An authority that offers renewal information (RFC 9773) says when; of any other, a certificate is renewed after two
//! thirds of its life. Failures wait longer each time, and never the same time for everybody. All times are seconds since
//! 1970; a `draw` is a random number, the whole range of a `u32`.

use std::time::Duration;

/// The wait after the first failure.
pub const RETRY_FIRST: Duration = Duration::from_secs(60);
/// The longest wait after a failure.
pub const RETRY_MAX: Duration = Duration::from_secs(86_400);
/// How often at most an authority is asked for renewal information.
const ASK_MIN: u64 = 60;
/// How often at least.
const ASK_MAX: u64 = 86_400;
/// And without a word about it (RFC 9773 §4.3.3 recommends six hours after an error).
const ASK_DEFAULT: u64 = 6 * 3600;

/// From when until when a certificate lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    pub not_before: u64,
    pub not_after: u64,
}

/// When the authority would like it renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub start: u64,
    pub end: u64,
}

/// The moment from which a certificate is due.
///
/// With a window: a moment of it, by the draw, as RFC 9773 §4.2 has it; a window that makes no sense counts as none. A window
/// never makes a certificate wait until it has ended.
pub fn due_at(life: Life, window: Option<Window>, draw: u32) -> u64 {
    let lasts = life.not_after.saturating_sub(life.not_before);
    match window {
        Some(Window { start, end }) if start <= end => {
            let within = scaled(end - start, draw);
            // A hundredth of its life before the end somebody has to act, whatever the window says.
            (start + within).min(life.not_after.saturating_sub(lasts / 100))
        }
        _ => life.not_before + lasts / 3 * 2,
    }
}

/// When to ask for renewal information next: as the authority's `Retry-After` says, within a minute and a day.
pub fn ask_again_at(now: u64, retry_after: Option<Duration>) -> u64 {
    now + retry_after.map_or(ASK_DEFAULT, |wait| wait.as_secs().clamp(ASK_MIN, ASK_MAX))
}

/// How long to wait after that many failures in a row (at least one): doubled each time up to a day, and by the draw from
/// half of it to the whole. An authority's own `Retry-After` is waited for in any case.
pub fn wait_after(failures: u32, retry_after: Option<Duration>, draw: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let whole = RETRY_FIRST.as_secs().saturating_mul(1 << doublings).min(RETRY_MAX.as_secs());
    let own = Duration::from_secs(whole - scaled(whole / 2, draw));
    own.max(retry_after.unwrap_or_default().min(RETRY_MAX))
}

/// When a certificate is ordered again after that many failures in a row.
///
/// As [`wait_after`]; but of what is left of the life of the one in force at most an eighth is waited, so that an authority that
/// comes back is met before the end, and never less than a minute.
pub fn retry_at(
    now: u64,
    failures: u32,
    retry_after: Option<Duration>,
    draw: u32,
    life: Option<Life>,
) -> u64 {
    let left = life.map_or(u64::MAX, |life| life.not_after.saturating_sub(now));
    let own = wait_after(failures, None, draw).as_secs().min((left / 8).max(RETRY_FIRST.as_secs()));
    now + own.max(retry_after.unwrap_or_default().min(RETRY_MAX).as_secs())
}

/// A part of `whole`, from nothing to all of it.
fn scaled(whole: u64, draw: u32) -> u64 {
    (u128::from(whole) * u128::from(draw) / u128::from(u32::MAX)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;
    const LIFE: Life = Life { not_before: 1_000 * DAY, not_after: 1_090 * DAY };

    #[test]
    fn without_a_window_two_thirds_of_its_life() {
        assert_eq!(due_at(LIFE, None, 0), 1_060 * DAY);
        assert_eq!(due_at(LIFE, None, u32::MAX), 1_060 * DAY);
        let backwards = Window { start: 1_050 * DAY, end: 1_040 * DAY };
        assert_eq!(due_at(LIFE, Some(backwards), 7), 1_060 * DAY);
    }

    #[test]
    fn a_window_is_met_anywhere_between_its_ends() {
        let window = Window { start: 1_040 * DAY, end: 1_042 * DAY };
        assert_eq!(due_at(LIFE, Some(window), 0), window.start);
        assert_eq!(due_at(LIFE, Some(window), u32::MAX), window.end);
        assert_eq!(due_at(LIFE, Some(window), u32::MAX / 2) / DAY, 1_040);
        let revoked = Window { start: 5 * DAY, end: 6 * DAY };
        assert!(due_at(LIFE, Some(revoked), 9) < LIFE.not_before, "a window in the past: at once");
        let late = Window { start: 2_000 * DAY, end: 2_001 * DAY };
        assert!(due_at(LIFE, Some(late), 9) < LIFE.not_after, "never after its end");
    }

    #[test]
    fn failures_wait_longer_and_apart() {
        assert_eq!(wait_after(1, None, 0), Duration::from_secs(60));
        assert_eq!(wait_after(1, None, u32::MAX), Duration::from_secs(30));
        assert_eq!(wait_after(4, None, 0), Duration::from_secs(480));
        for failures in 1..100 {
            let longest = wait_after(failures, None, 0);
            assert!(longest <= RETRY_MAX && longest >= wait_after(failures, None, u32::MAX), "{failures}");
            assert!(wait_after(failures + 1, None, 0) >= longest, "{failures}");
        }
        assert_eq!(wait_after(u32::MAX, None, 0), RETRY_MAX);
        assert_eq!(wait_after(1, Some(Duration::from_secs(3600)), 0), Duration::from_secs(3600));
        assert_eq!(
            wait_after(1, Some(Duration::from_secs(u64::MAX)), 0),
            RETRY_MAX,
            "nobody stops us for good"
        );
    }

    #[test]
    fn an_order_is_repeated_before_the_certificate_ends() {
        let now = LIFE.not_after - 8 * 3600;
        assert_eq!(retry_at(now, 20, None, 0, None), now + DAY);
        assert_eq!(retry_at(now, 20, None, 0, Some(LIFE)), now + 3600, "an eighth of what is left");
        assert_eq!(retry_at(now, 1, None, 0, Some(LIFE)), now + 60, "no later than without");
        let asked = Some(Duration::from_secs(7200));
        assert_eq!(retry_at(now, 20, asked, 0, Some(LIFE)), now + 7200, "the authority's wish counts");
        assert_eq!(
            retry_at(LIFE.not_after, 20, None, 0, Some(LIFE)),
            LIFE.not_after + 60,
            "once it has ended"
        );
        let for_ever = Some(Duration::from_secs(u64::MAX));
        assert_eq!(retry_at(now, 1, for_ever, 0, Some(LIFE)), now + DAY, "nobody stops us for good");
        // Days without an authority: bounded in number as well as in time.
        let (mut moment, mut attempts) = (LIFE.not_after - 30 * DAY, 0);
        while moment < LIFE.not_after {
            attempts += 1;
            moment = retry_at(moment, attempts, None, u32::MAX, Some(LIFE));
        }
        assert!(attempts < 600, "{attempts}");
    }

    #[test]
    fn an_authority_is_asked_between_each_minute_and_each_day() {
        let next = |seconds| ask_again_at(0, Some(Duration::from_secs(seconds)));
        assert_eq!([next(0), next(3600), next(u64::MAX)], [60, 3600, DAY]);
        assert_eq!(ask_again_at(10, None), 10 + 6 * 3600);
    }
}
