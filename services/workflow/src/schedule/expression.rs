//! When a schedule is due: `rate(…)`, `cron(…)` and `at(…)`, as EventBridge Scheduler has them.
//!
//! A cron expression is in the wall clock of its time zone: a time that a clock which is put forward leaves out does not come, and
//! one that comes twice counts once, the first time.

mod cron;

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

pub(crate) use cron::Cron;

/// An expression that nothing can be made of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Misfit(pub(crate) String);

/// What an expression says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expression {
    /// Every so many milliseconds.
    Rate(i64),
    Cron(Box<Cron>),
    /// Once.
    At(DateTime),
}

fn misfit(text: impl Into<String>) -> Misfit {
    Misfit(text.into())
}

/// A time zone by its name.
pub(crate) fn zone(name: &str) -> Result<TimeZone, Misfit> {
    TimeZone::get(name).map_err(|_| {
        let name: String = name.chars().take(50).collect();
        misfit(format!("ScheduleExpressionTimezone: there is no time zone '{name}'; there is such as UTC and Europe/Berlin"))
    })
}

impl Expression {
    /// Reads an expression.
    pub(crate) fn parse(text: &str) -> Result<Self, Misfit> {
        let wrong = || {
            misfit(format!(
                "ScheduleExpression: '{text}' is none: there is rate(5 minutes), cron(0 12 * * ? *) and at(2026-01-31T12:00:00)"
            ))
        };
        let (kind, rest) = text.split_once('(').ok_or_else(wrong)?;
        let inner = rest.strip_suffix(')').ok_or_else(wrong)?;
        match kind {
            "rate" => rate(inner),
            "cron" => Ok(Self::Cron(Box::new(Cron::parse(inner)?))),
            "at" => {
                let is_plain = inner.len() == 19 && inner.as_bytes()[10] == b'T';
                let at = inner.parse::<DateTime>().ok().filter(|_| is_plain);
                at.map(Self::At).ok_or_else(|| {
                    misfit(format!("ScheduleExpression: '{inner}' is no time such as 2026-01-31T12:00:00"))
                })
            }
            _ => Err(wrong()),
        }
    }

    /// The first time after `after_ms`, in milliseconds since 1970. A rate counts from `anchor_ms`, which is its first time.
    pub(crate) fn next(&self, zone: &TimeZone, anchor_ms: i64, after_ms: i64) -> Option<i64> {
        match self {
            Self::Rate(every_ms) => {
                if after_ms < anchor_ms {
                    return Some(anchor_ms);
                }
                let passed = (after_ms - anchor_ms) / every_ms + 1;
                anchor_ms.checked_add(passed.checked_mul(*every_ms)?)
            }
            Self::Cron(cron) => {
                let mut from = wall(zone, after_ms)?;
                loop {
                    let next = cron.next(from)?;
                    if let Some(at_ms) = instant(zone, next)
                        && at_ms > after_ms
                    {
                        return Some(at_ms);
                    }
                    // It does not come on this day, or it has been.
                    from = next;
                }
            }
            // One that a clock leaves out comes with the clock's new time.
            Self::At(at) => {
                let at_ms = zone.to_ambiguous_timestamp(*at).compatible().ok()?.as_millisecond();
                (at_ms > after_ms).then_some(at_ms)
            }
        }
    }
}

fn rate(inner: &str) -> Result<Expression, Misfit> {
    let wrong =
        || misfit(format!("ScheduleExpression: '{inner}' is no rate such as 5 minutes, 1 hour or 7 days"));
    let (count, unit) = inner.trim().split_once(' ').ok_or_else(wrong)?;
    let count: i64 = count.parse().ok().filter(|count| (1..=1_000_000).contains(count)).ok_or_else(wrong)?;
    let minutes = match unit.trim() {
        "minute" | "minutes" => 1,
        "hour" | "hours" => 60,
        "day" | "days" => 24 * 60,
        _ => return Err(wrong()),
    };
    Ok(Expression::Rate(count * minutes * 60_000))
}

fn wall(zone: &TimeZone, at_ms: i64) -> Option<DateTime> {
    Some(zone.to_datetime(jiff::Timestamp::from_millisecond(at_ms).ok()?))
}

/// The first moment at which clocks show that; none where they never do.
fn instant(zone: &TimeZone, wall: DateTime) -> Option<i64> {
    let found = zone.to_ambiguous_timestamp(wall);
    match found.offset() {
        AmbiguousOffset::Gap { .. } => None,
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => {
            found.earlier().ok().map(|at| at.as_millisecond())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
    }

    /// The next few times after another.
    fn check(expression: &str, zone_name: &str, after: &str, next: &[&str]) {
        let (expression, zone) = (Expression::parse(expression).unwrap(), zone(zone_name).unwrap());
        let mut after_ms = ms(after);
        for wanted in next {
            let found = expression.next(&zone, ms("2026-01-01T00:00:00Z"), after_ms).unwrap();
            assert_eq!(found, ms(wanted), "{expression:?} after {after_ms}");
            after_ms = found;
        }
    }

    #[test]
    fn each_kind_comes_when_it_should() {
        check(
            "rate(90 minutes)",
            "UTC",
            "2025-06-01T00:00:00Z",
            &["2026-01-01T00:00:00Z", "2026-01-01T01:30:00Z"],
        );
        check("rate(1 day)", "UTC", "2026-03-01T12:00:00Z", &["2026-03-02T00:00:00Z"]);
        check("at(2026-02-03T04:05:06)", "Asia/Tokyo", "2026-01-01T00:00:00Z", &["2026-02-02T19:05:06Z"]);
        check("cron(15 10 * * ? *)", "UTC", "2026-05-05T10:15:00Z", &["2026-05-06T10:15:00Z"]);
        check(
            "cron(0/20 8-9 ? * MON-FRI *)",
            "UTC",
            "2026-05-08T09:20:00Z",
            &["2026-05-08T09:40:00Z", "2026-05-11T08:00:00Z"],
        );
        check(
            "cron(0 0 L * ? *)",
            "UTC",
            "2026-01-31T00:00:00Z",
            &["2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z"],
        );
        check(
            "cron(0 0 1W * ? *)",
            "UTC",
            "2026-07-15T00:00:00Z",
            &["2026-08-03T00:00:00Z", "2026-09-01T00:00:00Z"],
        );
        check(
            "cron(0 0 ? * 6#3 *)",
            "UTC",
            "2026-01-01T00:00:00Z",
            &["2026-01-16T00:00:00Z", "2026-02-20T00:00:00Z"],
        );
        check("cron(0 0 ? * 6L *)", "UTC", "2026-01-01T00:00:00Z", &["2026-01-30T00:00:00Z"]);
        check(
            "cron(0 0 29 FEB ? *)",
            "UTC",
            "2026-01-01T00:00:00Z",
            &["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"],
        );
        check(
            "cron(30 6 1,15 1/6 ? 2027-2028)",
            "UTC",
            "2026-01-01T00:00:00Z",
            &["2027-01-01T06:30:00Z", "2027-01-15T06:30:00Z", "2027-07-01T06:30:00Z"],
        );
    }

    #[test]
    fn clocks_that_are_put_forward_skip_and_those_put_back_count_once() {
        // Berlin, 2026: 2:00 to 3:00 on 29 March, 3:00 to 2:00 on 25 October.
        check(
            "cron(30 2 * * ? *)",
            "Europe/Berlin",
            "2026-03-27T12:00:00Z",
            &["2026-03-28T01:30:00Z", "2026-03-30T00:30:00Z"],
        );
        check(
            "cron(30 2 * * ? *)",
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
        );
        check("at(2026-03-29T02:30:00)", "Europe/Berlin", "2026-03-01T00:00:00Z", &["2026-03-29T01:30:00Z"]);
    }

    #[test]
    fn what_is_over_or_never_comes_has_no_next() {
        for text in ["at(2020-01-01T00:00:00)", "cron(0 0 30 2 ? *)", "cron(0 0 1 1 ? 2020)"] {
            let expression = Expression::parse(text).unwrap();
            assert_eq!(expression.next(&TimeZone::UTC, 0, ms("2026-01-01T00:00:00Z")), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused_with_its_field() {
        for (text, problem) in [
            ("", "is none"),
            ("rate(5)", "is no rate"),
            ("rate(0 minutes)", "is no rate"),
            ("rate(5 seconds)", "is no rate"),
            ("rate(99999999999999999999 days)", "is no rate"),
            ("at(2026-01-31)", "is no time"),
            ("at(2026-02-30T00:00:00)", "is no time"),
            ("cron(* * * * *)", "six fields"),
            ("cron(60 * * * ? *)", "minutes"),
            ("cron(0 24 * * ? *)", "hours"),
            ("cron(0 0 * * * *)", "one of day of month and day of week"),
            ("cron(0 0 ? * ? *)", "one of day of month and day of week"),
            ("cron(0 0 32 * ? *)", "day of month"),
            ("cron(0 0 * 13 ? *)", "month"),
            ("cron(0 0 * FOO ? *)", "month"),
            ("cron(0 0 ? * 8 *)", "day of week"),
            ("cron(0 0 ? * 2#6 *)", "day of week"),
            ("cron(5-1 0 * * ? *)", "minutes"),
            ("cron(0/0 0 * * ? *)", "minutes"),
            ("cron(0 0 * * ? 1969)", "year"),
            ("fixed(1 day)", "is none"),
        ] {
            let found = Expression::parse(text).unwrap_err();
            assert!(found.0.contains(problem), "{text}: {found}");
        }
        assert!(zone("Middle/Earth").is_err());
    }
}
