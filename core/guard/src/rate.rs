//! How often a client may ask: the generic cell rate algorithm over a table of fixed size.
//!
//! For each client one number is kept: when its bucket would be whole again. A request moves that time on by one interval,
//! and is refused while it would lie further ahead than the burst allows (ITU-T I.371, as a virtual scheduling algorithm).
//! The table is built as a processor's cache is: a client's key names a set of a few places. A new client takes one that is
//! free, one whose bucket is whole (it says nothing), or the one that is nearest to that; so a stranger with many addresses
//! makes no memory grow, and what is forgotten first is what matters least.

use std::str::FromStr;
use std::time::Duration;

use crate::client::Key;

/// Clients that are counted at a time, unless told otherwise.
pub const CLIENTS_DEFAULT: usize = 65_536;
/// The most clients that can be counted at a time.
pub const CLIENTS_MAX: usize = 4_194_304;
/// The most requests that a burst may have.
pub const BURST_MAX: u32 = 1_000_000;

/// Places that a key may take.
const WAYS: usize = 8;

/// So many requests in so much time, and how many of them may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Nanoseconds between two requests in the long run; at least one.
    interval: u64,
    /// At least one.
    burst: u32,
}

/// What is said to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    /// Come again after this time.
    Refuse(Duration),
}

/// The clients that are counted. All of one table have the same rate.
#[derive(Debug)]
pub struct Table {
    rate: Rate,
    /// Zero: free. A key is made odd so that none is zero.
    keys: Vec<u128>,
    /// When the bucket is whole again, in nanoseconds since the process began.
    whole_at: Vec<u64>,
    sets: usize,
}

/// Why a text is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateInvalid {
    #[error("write a rate as a number and a unit of time, such as 20/s, 100/m or 1000/h")]
    Form,
    #[error("a rate lets at least one request pass")]
    Zero,
    #[error("a rate cannot be more than a thousand million requests a second")]
    TooFast,
    #[error("a burst is from 1 to {BURST_MAX} requests")]
    Burst,
}

impl Rate {
    /// `requests` in `period`, of which `burst` may come at once.
    ///
    /// # Errors
    /// When nothing, or more than one in a nanosecond, would pass; when the burst is out of bounds.
    pub fn new(requests: u32, period: Duration, burst: u32) -> Result<Self, RateInvalid> {
        if requests == 0 {
            return Err(RateInvalid::Zero);
        }
        if !(1..=BURST_MAX).contains(&burst) {
            return Err(RateInvalid::Burst);
        }
        let interval = u64::try_from(period.as_nanos() / u128::from(requests)).unwrap_or(u64::MAX);
        // A burst of an hour's intervals stays within the range of a u64 of nanoseconds (584 years).
        let interval = interval.min(Duration::from_secs(86_400).as_nanos() as u64);
        if interval == 0 { Err(RateInvalid::TooFast) } else { Ok(Self { interval, burst }) }
    }

    /// With another burst.
    ///
    /// # Errors
    /// When it is out of bounds.
    pub fn with_burst(self, burst: u32) -> Result<Self, RateInvalid> {
        if (1..=BURST_MAX).contains(&burst) { Ok(Self { burst, ..self }) } else { Err(RateInvalid::Burst) }
    }
}

/// `20/s`, `100/m`, `1000/h`, `5000/d`; the burst is as many as in one unit of time, at most [`BURST_MAX`].
impl FromStr for Rate {
    type Err = RateInvalid;

    fn from_str(text: &str) -> Result<Self, RateInvalid> {
        let (requests, unit) = text.split_once('/').ok_or(RateInvalid::Form)?;
        let requests: u32 = requests.trim().parse().map_err(|_| RateInvalid::Form)?;
        let seconds = match unit.trim() {
            "s" => 1,
            "m" | "min" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return Err(RateInvalid::Form),
        };
        Self::new(requests, Duration::from_secs(seconds), requests.clamp(1, BURST_MAX))
    }
}

impl Table {
    /// For `clients` at a time: rounded up to full sets, at most [`CLIENTS_MAX`].
    pub fn new(rate: Rate, clients: usize) -> Self {
        let sets = clients.clamp(1, CLIENTS_MAX).div_ceil(WAYS);
        // Zeros from the allocator: pages that no client has touched are not resident.
        Self { rate, keys: vec![0; sets * WAYS], whole_at: vec![0; sets * WAYS], sets }
    }

    /// Counts a request of a client at `now`, which is time since the process began and never goes back.
    pub fn ask(&mut self, client: Key, now: Duration) -> Verdict {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX / 2);
        let place = self.place(client, now);
        let tolerance = self.rate.interval.saturating_mul(u64::from(self.rate.burst));
        let next = self.whole_at[place].max(now).saturating_add(self.rate.interval);
        let ahead = next - now;
        if ahead > tolerance {
            return Verdict::Refuse(Duration::from_nanos(ahead - tolerance));
        }
        self.whole_at[place] = next;
        Verdict::Pass
    }

    /// How many clients have a place.
    pub fn len(&self) -> usize {
        self.keys.iter().filter(|key| **key != 0).count()
    }

    /// Whether nobody has asked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn place(&mut self, client: Key, now: u64) -> usize {
        let key = client.0 | 1;
        let set = ((key >> 64) as u64 ^ key as u64 >> 1) as usize % self.sets;
        let places = set * WAYS..(set + 1) * WAYS;
        if let Some(place) = places.clone().find(|place| self.keys[*place] == key) {
            return place;
        }
        let least = |place: &usize| if self.keys[*place] == 0 { 0 } else { self.whole_at[*place].max(now) };
        let place = places.min_by_key(least).unwrap_or(0);
        self.keys[place] = key;
        self.whole_at[place] = 0;
        place
    }
}

/// Whole seconds for `Retry-After`, never too few and never none.
pub fn retry_after(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn table(rate: &str, burst: u32, clients: usize) -> Table {
        Table::new(rate.parse::<Rate>().and_then(|rate| rate.with_burst(burst)).expect("a rate"), clients)
    }

    fn client(number: u64) -> Key {
        Key::of_text(&number.to_string(), 7)
    }

    #[test]
    fn a_burst_passes_and_what_follows_is_paced() {
        let mut table = table("10/s", 3, 64);
        let at = |millis: u64| Duration::from_millis(1_000 + millis);
        for _ in 0..3 {
            assert_eq!(table.ask(client(1), at(0)), Verdict::Pass);
        }
        assert_eq!(table.ask(client(1), at(0)), Verdict::Refuse(Duration::from_millis(100)));
        assert_eq!(table.ask(client(1), at(40)), Verdict::Refuse(Duration::from_millis(60)));
        assert_eq!(table.ask(client(1), at(100)), Verdict::Pass);
        assert_eq!(table.ask(client(1), at(100)), Verdict::Refuse(Duration::from_millis(100)));
        assert_eq!(table.ask(client(2), at(100)), Verdict::Pass, "others are not meant");
        for _ in 0..3 {
            assert_eq!(table.ask(client(1), at(10_000)), Verdict::Pass, "after a rest the burst is back");
        }
    }

    #[test]
    fn in_the_long_run_the_rate_holds_whatever_the_spacing() {
        for step_millis in [1, 7, 33, 100] {
            let mut table = table("20/s", 5, 64);
            let asked = (0..10_000 / step_millis).map(|turn| Duration::from_millis(turn * step_millis));
            let passed = asked.filter(|now| table.ask(client(1), *now) == Verdict::Pass).count() as u64;
            let most = (10 * 20 + 5).min(10_000 / step_millis + 1);
            assert!(passed <= most && passed + 2 >= most.min(10 * 20), "{step_millis} ms: {passed}");
        }
    }

    #[test]
    fn a_million_strangers_make_nothing_grow_and_do_not_free_a_refused_client() {
        let mut table = table("1/h", 1, 1024);
        assert_eq!(table.ask(client(0), SECOND), Verdict::Pass);
        for stranger in 1..1_000 {
            table.ask(client(stranger), SECOND);
        }
        let refused = (1..1_000).filter(|n| table.ask(client(*n), SECOND) != Verdict::Pass).count();
        assert!(refused > 600, "with as many clients as places, most are still counted: {refused}");
        for stranger in 1_000..200_000 {
            table.ask(client(stranger), SECOND);
        }
        assert_eq!(table.len(), 1024);
        assert_eq!((table.keys.len(), table.whole_at.len()), (1024, 1024));
    }

    #[test]
    fn whole_buckets_make_room_before_those_in_use() {
        let mut table = table("1/m", 1, WAYS);
        for number in 0..WAYS as u64 {
            table.ask(client(number), if number == 3 { SECOND } else { 100 * SECOND });
        }
        table.ask(client(99), 110 * SECOND);
        for number in (0..WAYS as u64).filter(|number| *number != 3) {
            assert!(matches!(table.ask(client(number), 110 * SECOND), Verdict::Refuse(_)), "{number}");
        }
    }

    #[test]
    fn rates_as_they_are_written() {
        for text in ["20/s", " 20 / s", "100/m", "1000/h", "1/d"] {
            assert!(text.parse::<Rate>().is_ok(), "{text}");
        }
        for (text, error) in [
            ("20", RateInvalid::Form),
            ("20/", RateInvalid::Form),
            ("x/s", RateInvalid::Form),
            ("0/s", RateInvalid::Zero),
            ("-1/s", RateInvalid::Form),
            ("4000000000/s", RateInvalid::TooFast),
        ] {
            assert_eq!(text.parse::<Rate>(), Err(error), "{text}");
        }
        assert_eq!("1/s".parse::<Rate>().and_then(|rate| rate.with_burst(0)), Err(RateInvalid::Burst));
    }

    #[test]
    fn to_come_again_is_said_in_whole_seconds() {
        let cases = [(0, 1), (1, 1), (1000, 1), (1001, 2), (59_001, 60)];
        for (millis, seconds) in cases {
            assert_eq!(retry_after(Duration::from_millis(millis)), seconds, "{millis}");
        }
    }
}
