//! Times in access logs: ISO 8601 with milliseconds, or a strftime pattern with Envoy's fractions.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

/// A compiled pattern; empty means `%Y-%m-%dT%H:%M:%E3SZ`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TimeFormat(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Year,
    YearOfCentury,
    Month,
    MonthName,
    Day,
    DayPadded,
    DayOfYear,
    WeekdayName,
    Hour,
    Hour12,
    AmPm,
    Minute,
    Second,
    Epoch,
    /// So many digits of the second's fraction.
    Fraction(usize),
    /// Seconds since the epoch together with so many digits of fraction, without a point.
    EpochScaled(usize),
    Zone,
    ZoneName,
}

/// `2016-04-15T20:17:00.310Z`
pub fn iso_time(time: SystemTime) -> String {
    let mut out = Vec::new();
    if let Some(format) = TimeFormat::parse("") {
        format.write(time, &mut out);
    }
    String::from_utf8(out).unwrap_or_default()
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

impl TimeFormat {
    /// `None` for a specifier that is not known.
    pub(super) fn parse(pattern: &str) -> Option<Self> {
        if pattern.is_empty() {
            return Self::parse("%Y-%m-%dT%H:%M:%S.%3fZ");
        }
        let mut parts = Vec::new();
        let mut rest = pattern;
        while let Some(percent) = rest.find('%') {
            if percent > 0 {
                parts.push(Part::Literal(rest[..percent].to_owned()));
            }
            rest = specifier(&rest[percent + 1..], &mut parts)?;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Some(Self(parts))
    }

    pub(super) fn write(&self, time: SystemTime, out: &mut Vec<u8>) {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let moment = Moment::new(since.as_secs(), since.subsec_nanos());
        for part in &self.0 {
            // Writing to a Vec cannot fail.
            let _ = moment.write(part, out);
        }
    }
}

/// Reads one specifier, without its percent sign; gives what follows.
fn specifier<'a>(text: &'a str, parts: &mut Vec<Part>) -> Option<&'a str> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits > 0 {
        let width: usize = text[..digits].parse().ok().filter(|width| (1..=9).contains(width))?;
        let part = match text.as_bytes().get(digits)? {
            b'f' => Part::Fraction(width),
            b's' => Part::EpochScaled(width),
            _ => return None,
        };
        parts.push(part);
        return Some(&text[digits + 1..]);
    }
    let mut sequence = |several: &[Part]| parts.extend_from_slice(several);
    let colon = || Part::Literal(":".to_owned());
    match text.chars().next()? {
        'Y' => sequence(&[Part::Year]),
        'y' => sequence(&[Part::YearOfCentury]),
        'm' => sequence(&[Part::Month]),
        'b' | 'h' => sequence(&[Part::MonthName]),
        'd' => sequence(&[Part::Day]),
        'e' => sequence(&[Part::DayPadded]),
        'j' => sequence(&[Part::DayOfYear]),
        'a' => sequence(&[Part::WeekdayName]),
        'H' => sequence(&[Part::Hour]),
        'I' => sequence(&[Part::Hour12]),
        'p' => sequence(&[Part::AmPm]),
        'M' => sequence(&[Part::Minute]),
        'S' => sequence(&[Part::Second]),
        's' => sequence(&[Part::Epoch]),
        'f' => sequence(&[Part::Fraction(9)]),
        'z' => sequence(&[Part::Zone]),
        'Z' => sequence(&[Part::ZoneName]),
        'T' => sequence(&[Part::Hour, colon(), Part::Minute, colon(), Part::Second]),
        'F' => sequence(&[
            Part::Year,
            Part::Literal("-".to_owned()),
            Part::Month,
            Part::Literal("-".to_owned()),
            Part::Day,
        ]),
        '%' => sequence(&[Part::Literal("%".to_owned())]),
        _ => return None,
    }
    // Every specifier above is one ASCII letter.
    Some(&text[1..])
}

/// A moment in UTC.
struct Moment {
    epoch: u64,
    nanos: u32,
    year: u64,
    month: u64,
    day: u64,
    day_of_year: u64,
    weekday: usize,
    second_of_day: u64,
}

impl Moment {
    /// Days to a civil date by Howard Hinnant's `civil_from_days`, for dates from 1970 on.
    fn new(epoch: u64, nanos: u32) -> Self {
        let days = epoch / 86_400;
        let shifted = days + 719_468;
        let era = shifted / 146_097;
        let day_of_era = shifted % 146_097;
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_march_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_march_year + 2) / 153;
        let day = day_of_march_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let leap =
            u64::from((year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400));
        let before_march = if month > 2 { 59 + leap } else { 0 };
        let day_of_year =
            if month > 2 { day_of_march_year + 1 + before_march } else { day_of_march_year - 306 + 1 };
        // The 1st of January 1970 was a Thursday.
        let weekday = (days % 7) as usize;
        Self { epoch, nanos, year, month, day, day_of_year, weekday, second_of_day: epoch % 86_400 }
    }

    fn write(&self, part: &Part, out: &mut Vec<u8>) -> io::Result<()> {
        let hour = self.second_of_day / 3600;
        let fraction = |width: usize| u64::from(self.nanos) / 10_u64.pow(9 - width as u32);
        match part {
            Part::Literal(text) => out.write_all(text.as_bytes()),
            Part::Year => write!(out, "{:04}", self.year),
            Part::YearOfCentury => write!(out, "{:02}", self.year % 100),
            Part::Month => write!(out, "{:02}", self.month),
            Part::MonthName => out.write_all(MONTHS[self.month as usize - 1].as_bytes()),
            Part::Day => write!(out, "{:02}", self.day),
            Part::DayPadded => write!(out, "{:2}", self.day),
            Part::DayOfYear => write!(out, "{:03}", self.day_of_year),
            Part::WeekdayName => out.write_all(WEEKDAYS[self.weekday].as_bytes()),
            Part::Hour => write!(out, "{hour:02}"),
            Part::Hour12 => write!(out, "{:02}", (hour + 11) % 12 + 1),
            Part::AmPm => out.write_all(if hour < 12 { b"AM" } else { b"PM" }),
            Part::Minute => write!(out, "{:02}", self.second_of_day / 60 % 60),
            Part::Second => write!(out, "{:02}", self.second_of_day % 60),
            Part::Epoch => write!(out, "{}", self.epoch),
            Part::Fraction(width) => write!(out, "{:0width$}", fraction(*width)),
            Part::EpochScaled(width) => write!(out, "{}{:0width$}", self.epoch, fraction(*width)),
            Part::Zone => out.write_all(b"+0000"),
            Part::ZoneName => out.write_all(b"UTC"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_print_as_their_pattern_says() {
        // 2016-04-15T20:17:00.310427 and leap days around it.
        let rows = [
            (1_460_751_420, 310_427_000, "", "2016-04-15T20:17:00.310Z"),
            (1_460_751_420, 310_427_000, "%s.%3f", "1460751420.310"),
            (1_460_751_420, 310_427_000, "%3s", "1460751420310"),
            (1_460_751_420, 310_427_000, "%d/%b/%Y:%H:%M:%S %z", "15/Apr/2016:20:17:00 +0000"),
            (1_460_751_420, 0, "%a %j %I%p %%", "Fri 106 08PM %"),
            (1_456_704_000, 0, "%F", "2016-02-29"),
            (951_782_400, 0, "%F %j", "2000-02-29 060"),
            (951_868_800, 0, "%F %j", "2000-03-01 061"),
            (1_704_067_199, 0, "%F %T %j", "2023-12-31 23:59:59 365"),
            (1_704_067_200, 0, "%F %T %j", "2024-01-01 00:00:00 001"),
        ];
        for (seconds, nanos, pattern, expected) in rows {
            let format = TimeFormat::parse(pattern).expect("a known pattern");
            let mut out = Vec::new();
            format.write(UNIX_EPOCH + Duration::new(seconds, nanos), &mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected, "{pattern}");
        }
    }

    #[test]
    fn an_unknown_specifier_is_refused() {
        for pattern in ["%Q", "%0f", "%12f", "%3x", "%"] {
            assert_eq!(TimeFormat::parse(pattern), None, "{pattern}");
        }
    }
}
