//! `cron(minutes hours day-of-month month day-of-week year)`.

use jiff::civil::{Date, DateTime};

use super::{Misfit, misfit};

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
/// The week begins with Sunday, which is 1.
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
const YEARS: (u32, u32) = (1970, 2199);

/// A cron expression: sets of numbers as bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cron {
    minutes: u64,
    hours: u64,
    days: Days,
    months: u64,
    /// One bit a year from 1970 on.
    years: [u64; 4],
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Days {
    OfMonth(u64),
    LastOfMonth,
    /// `15W`: the day from Monday to Friday that is nearest, in the same month.
    NearestWeekday(u32),
    OfWeek(u64),
    /// `6L`: the last Friday of the month.
    LastOfWeek(u32),
    /// `6#3`: the third Friday of the month.
    Nth(u32, u32),
}

impl Cron {
    pub(super) fn parse(text: &str) -> Result<Self, Misfit> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minutes, hours, day, month, weekday, year] = fields[..] else {
            return Err(misfit(format!(
                "ScheduleExpression: cron has six fields – minutes, hours, day of month, month, day of week, year – and '{text}' has {}",
                fields.len()
            )));
        };
        let days = match (day, weekday) {
            (day, "?") if day != "?" => day_of_month(day)?,
            ("?", weekday) if weekday != "?" => day_of_week(weekday)?,
            _ => {
                return Err(misfit(
                    "ScheduleExpression: exactly one of day of month and day of week has to be ?",
                ));
            }
        };
        let mut years = [0; 4];
        set(year, "year", YEARS, &[], &mut |number| {
            let at = (number - YEARS.0) as usize;
            years[at / 64] |= 1 << (at % 64);
        })?;
        Ok(Self {
            minutes: bits(minutes, "minutes", (0, 59), &[])?,
            hours: bits(hours, "hours", (0, 23), &[])?,
            days,
            months: bits(month, "month", (1, 12), &MONTHS)?,
            years,
        })
    }

    /// The first minute after `after`, by the wall clock.
    pub(super) fn next(&self, after: DateTime) -> Option<DateTime> {
        let mut date = after.date();
        // Of the first day, what is after that minute.
        let mut past = Some((i64::from(after.hour()), i64::from(after.minute())));
        loop {
            let year = u32::try_from(date.year()).ok()?;
            if year > YEARS.1 {
                return None;
            }
            if !self.has_year(year) {
                date = Date::new(date.year() + 1, 1, 1).ok()?;
                past = None;
                continue;
            }
            if self.months & (1 << date.month()) == 0 {
                date = date.first_of_month().checked_add(jiff::Span::new().months(1)).ok()?;
                past = None;
                continue;
            }
            if self.days.holds(date)
                && let Some((hour, minute)) = self.time(past)
            {
                return date.at(hour, minute, 0, 0).into();
            }
            date = date.tomorrow().ok()?;
            past = None;
        }
    }

    fn has_year(&self, year: u32) -> bool {
        let Some(at) = year.checked_sub(YEARS.0).map(|at| at as usize) else { return false };
        self.years[at / 64] & (1 << (at % 64)) != 0
    }

    /// The first time of a day, after `past` if that is of this day.
    fn time(&self, past: Option<(i64, i64)>) -> Option<(i8, i8)> {
        let (past_hour, past_minute) = past.unwrap_or((0, -1));
        for hour in past_hour..24 {
            if self.hours & (1 << hour) == 0 {
                continue;
            }
            let first = if hour == past_hour { past_minute + 1 } else { 0 };
            let minute = (first..60).find(|minute| self.minutes & (1 << minute) != 0);
            if let Some(minute) = minute {
                return Some((i8::try_from(hour).ok()?, i8::try_from(minute).ok()?));
            }
        }
        None
    }
}

impl Days {
    fn holds(&self, date: Date) -> bool {
        let day = u32::try_from(date.day()).unwrap_or(0);
        let last = u32::try_from(date.days_in_month()).unwrap_or(0);
        let weekday = number_of(date);
        match *self {
            Self::OfMonth(days) => days & (1 << day) != 0,
            Self::LastOfMonth => day == last,
            Self::NearestWeekday(wanted) => nearest(date, wanted.min(last), last) == day,
            Self::OfWeek(days) => days & (1 << weekday) != 0,
            Self::LastOfWeek(wanted) => weekday == wanted && day + 7 > last,
            Self::Nth(wanted, nth) => weekday == wanted && day.div_ceil(7) == nth,
        }
    }
}

/// 1 is Sunday.
fn number_of(date: Date) -> u32 {
    u32::try_from(date.weekday().to_sunday_one_offset()).unwrap_or(0)
}

fn nearest(date: Date, wanted: u32, last: u32) -> u32 {
    let weekday_of = |day: u32| {
        let day = i8::try_from(day).unwrap_or(1);
        Date::new(date.year(), date.month(), day).map_or(0, number_of)
    };
    match weekday_of(wanted) {
        7 if wanted == 1 => 3,
        7 => wanted - 1,
        1 if wanted == last => wanted - 2,
        1 => wanted + 1,
        _ => wanted,
    }
}

fn wrong(field: &str, text: &str, (low, high): (u32, u32)) -> Misfit {
    misfit(format!("ScheduleExpression: {field}: '{text}' is not of {low} to {high}"))
}

fn day_of_month(text: &str) -> Result<Days, Misfit> {
    if text == "L" {
        return Ok(Days::LastOfMonth);
    }
    if let Some(day) = text.strip_suffix('W') {
        let day = day.parse().ok().filter(|day| (1..=31).contains(day));
        return day.map(Days::NearestWeekday).ok_or_else(|| wrong("day of month", text, (1, 31)));
    }
    Ok(Days::OfMonth(bits(text, "day of month", (1, 31), &[])?))
}

fn day_of_week(text: &str) -> Result<Days, Misfit> {
    const FIELD: &str = "day of week";
    let one = |text: &str| number(text, FIELD, (1, 7), &WEEKDAYS);
    if text == "L" {
        return Ok(Days::OfWeek(1 << 7));
    }
    if let Some(day) = text.strip_suffix('L') {
        return Ok(Days::LastOfWeek(one(day)?));
    }
    if let Some((day, nth)) = text.split_once('#') {
        let nth = nth.parse().ok().filter(|nth| (1..=5).contains(nth));
        return Ok(Days::Nth(one(day)?, nth.ok_or_else(|| wrong(FIELD, text, (1, 7)))?));
    }
    Ok(Days::OfWeek(bits(text, FIELD, (1, 7), &WEEKDAYS)?))
}

fn bits(text: &str, field: &str, bounds: (u32, u32), names: &[&str]) -> Result<u64, Misfit> {
    let mut found = 0;
    set(text, field, bounds, names, &mut |number| found |= 1 << number)?;
    Ok(found)
}

/// `*`, `5`, `1-5`, `0/15`, `1-30/5`, and several of them between commas.
fn set(
    text: &str,
    field: &str,
    (low, high): (u32, u32),
    names: &[&str],
    take: &mut dyn FnMut(u32),
) -> Result<(), Misfit> {
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => {
                let step = step.parse::<usize>().ok().filter(|step| *step > 0);
                (range, Some(step.ok_or_else(|| wrong(field, part, (low, high)))?))
            }
            None => (part, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (low, high),
            Some((from, to)) => {
                (number(from, field, (low, high), names)?, number(to, field, (low, high), names)?)
            }
            None => {
                let one = number(range, field, (low, high), names)?;
                (one, if step.is_some() { high } else { one })
            }
        };
        if from > to {
            return Err(wrong(field, part, (low, high)));
        }
        (from..=to).step_by(step.unwrap_or(1)).for_each(&mut *take);
    }
    Ok(())
}

/// A number, or a name that stands for one.
fn number(text: &str, field: &str, (low, high): (u32, u32), names: &[&str]) -> Result<u32, Misfit> {
    let named = names.iter().zip(1..).find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, at)| at);
    let found = named.or_else(|| text.parse().ok()).filter(|found| (low..=high).contains(found));
    found.ok_or_else(|| wrong(field, text, (low, high)))
}
