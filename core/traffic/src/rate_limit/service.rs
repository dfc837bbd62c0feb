//! What a rate-limit service decides: limits as a tree, and counters in bounded memory.
//!
//! ```text
//!   domain ─▶ entry 1 ─▶ entry 2 ─▶ limit        a descriptor is held to the limit that all its entries lead to
//!   (domain, entries, unit's beginning) ─▶ count  one counter for each combination of values
//! ```
//! The meaning of the tree is that of the field's reference implementation: at each level an entry's key and value are
//! looked for, then values that end in `*` by how they begin, then the key alone. A unit of time begins with the clock's.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::Descriptor;

/// Counters kept at a time. Values that none is left for share one for each limit.
pub const COUNTERS_MAX: usize = 100_000;
/// Descriptors of one question; more than any policy makes.
pub const DESCRIPTORS_MAX: usize = 64;
/// Bytes of one descriptor's entries that are told apart; longer ones share a counter.
pub const DESCRIPTOR_BYTES_MAX: usize = 1024;

/// A unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

impl Unit {
    /// Its length in seconds: a month has 30 days and a year 365.
    pub const fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => 86_400,
            Self::Week => 604_800,
            Self::Month => 2_592_000,
            Self::Year => 31_536_000,
        }
    }
}

/// The limits of some domains.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    domains: BTreeMap<String, Vec<Node>>,
}

/// Requests whose next entry is this.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub key: String,
    /// `None` is any; with `*` at its end, how it begins.
    pub value: Option<String>,
    pub limit: Option<Limit>,
    /// Requests over the limit pass.
    pub shadow: bool,
    pub below: Vec<Self>,
}

/// How many requests there may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// May be empty.
    pub name: String,
    /// So many in a unit of time; `None` does not limit.
    pub rate: Option<(u32, Unit)>,
    /// Limits of these names do not count where this one does.
    pub replaces: Vec<String>,
}

/// What is said of a question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub over_limit: bool,
    /// One for each descriptor.
    pub statuses: Vec<Status>,
}

/// What is said of one descriptor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub over_limit: bool,
    /// The limit's name, its requests and unit; `None` if nothing limits it.
    pub limit: Option<(String, u32, Unit)>,
    pub remaining: u32,
    /// Until the next unit begins.
    pub reset: Duration,
}

/// What cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswerable {
    #[error("the domain must not be empty")]
    Domain,
    #[error("there must be a descriptor")]
    NoDescriptor,
    #[error("there must not be more than {DESCRIPTORS_MAX} descriptors")]
    Descriptors,
}

/// How often questions were decided which way, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub over_limit: u64,
    /// Over a limit that is only counted.
    pub shadowed: u64,
    /// Counted together because there were too many values.
    pub crowded: u64,
}

/// The service: its limits by owner, and its counters.
#[derive(Debug, Default)]
pub struct Service {
    /// By whoever set them: a mesh.
    limits: BTreeMap<String, Limits>,
    counters: HashMap<Counted, Count>,
    /// Those for values that no counter was left for; one for each limit at most.
    crowd: HashMap<Counted, Count>,
    /// The second of the last sweep.
    swept_at: u64,
    tally: Tally,
}

/// What a counter counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Counted {
    domain: String,
    entries: Vec<(String, String)>,
    unit: Unit,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    /// The second in which its unit ends.
    ends: u64,
    requests: u32,
}

// === impl Limits ===

impl Limits {
    pub fn new(domains: impl IntoIterator<Item = (String, Vec<Node>)>) -> Self {
        Self { domains: domains.into_iter().collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }
}

/// The keys and values of the nodes that entries led along.
type Path = Vec<(String, String)>;

/// The node that a descriptor's entries lead to, with the path that they took: what limits it, whatever the values.
fn find<'a>(nodes: &'a [Node], descriptor: &Descriptor) -> Option<(&'a Node, Path)> {
    let mut path = Vec::with_capacity(descriptor.entries.len());
    let mut level = nodes;
    let mut found = None;
    for (key, value) in &descriptor.entries {
        let of_key = || level.iter().filter(|node| node.key == *key);
        let exact = of_key().find(|node| node.value.as_deref() == Some(value));
        let beginning = || {
            of_key().find(|node| {
                let prefix = node.value.as_deref().and_then(|value| value.strip_suffix('*'));
                prefix.is_some_and(|prefix| value.starts_with(prefix))
            })
        };
        let node = exact.or_else(beginning).or_else(|| of_key().find(|node| node.value.is_none()))?;
        path.push((node.key.clone(), node.value.clone().unwrap_or_default()));
        level = &node.below;
        found = Some(node);
    }
    found.map(|node| (node, path))
}

// === impl Service ===

impl Service {
    /// Takes an owner's limits in place of those that it had. Counters stay: a limit that is changed does not begin anew.
    pub fn set(&mut self, owner: &str, limits: Limits) {
        if limits.is_empty() {
            self.limits.remove(owner);
        } else {
            self.limits.insert(owner.to_owned(), limits);
        }
    }

    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Counters in use.
    pub fn counters(&self) -> usize {
        self.counters.len() + self.crowd.len()
    }

    /// Counts a question, `hits` requests, and says whether they may pass. `now` counts from 1970.
    ///
    /// # Errors
    /// When it asks nothing.
    pub fn handle_question(
        &mut self,
        now: Duration,
        domain: &str,
        descriptors: &[Descriptor],
        hits: u32,
    ) -> Result<Verdict, Unanswerable> {
        match descriptors.len() {
            _ if domain.is_empty() => return Err(Unanswerable::Domain),
            0 => return Err(Unanswerable::NoDescriptor),
            1..=DESCRIPTORS_MAX => {}
            _ => return Err(Unanswerable::Descriptors),
        }
        let owner = self.limits.values().find_map(|limits| limits.domains.get(domain));
        let nodes = owner.map(Vec::as_slice).unwrap_or_default();
        let held: Vec<Option<(Limit, bool, Path)>> = descriptors
            .iter()
            .map(|descriptor| {
                let (node, path) = find(nodes, descriptor)?;
                Some((node.limit.clone()?, node.shadow, path))
            })
            .collect();
        let replaced: BTreeSet<String> =
            held.iter().flatten().flat_map(|(limit, ..)| limit.replaces.iter().cloned()).collect();
        let mut verdict = Verdict::default();
        for (descriptor, held) in descriptors.iter().zip(held) {
            let status = match held {
                Some((limit, ..)) if replaced.contains(&limit.name) => Status::default(),
                Some((Limit { name, rate: Some((requests, unit)), .. }, shadow, path)) => {
                    let counted =
                        Counted { domain: domain.to_owned(), entries: descriptor.entries.clone(), unit };
                    let (count, reset) = self.count(now, counted, path, hits);
                    let over = count > requests;
                    self.tally.shadowed += u64::from(over && shadow);
                    Status {
                        over_limit: over && !shadow,
                        limit: Some((name, requests, unit)),
                        remaining: requests.saturating_sub(count),
                        reset,
                    }
                }
                // An unlimited one passes and tells no bound.
                Some((Limit { rate: None, .. }, ..)) => Status { remaining: u32::MAX, ..Status::default() },
                None => Status::default(),
            };
            verdict.over_limit |= status.over_limit;
            verdict.statuses.push(status);
        }
        let tally = if verdict.over_limit { &mut self.tally.over_limit } else { &mut self.tally.passed };
        *tally += 1;
        Ok(verdict)
    }

    /// How many requests the counter has seen in its unit, these included, and how long the unit lasts.
    fn count(&mut self, now: Duration, counted: Counted, path: Path, hits: u32) -> (u32, Duration) {
        let second = now.as_secs();
        let length = counted.unit.seconds();
        let ends = (second / length + 1) * length;
        let bytes: usize = counted.entries.iter().map(|(key, value)| key.len() + value.len()).sum();
        let is_known = self.counters.contains_key(&counted);
        if !is_known && self.counters.len() >= COUNTERS_MAX && self.swept_at != second {
            self.swept_at = second;
            self.counters.retain(|_, count| count.ends > second);
        }
        let alone = bytes <= DESCRIPTOR_BYTES_MAX && (is_known || self.counters.len() < COUNTERS_MAX);
        let count = if alone {
            self.counters.entry(counted)
        } else {
            self.tally.crowded += 1;
            self.crowd.entry(Counted { entries: path, ..counted })
        };
        let count = count.or_insert(Count { ends, requests: 0 });
        if count.ends <= second {
            *count = Count { ends, requests: 0 };
        }
        count.requests = count.requests.saturating_add(hits);
        (count.requests, Duration::from_secs(ends).saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(key: &str, value: Option<&str>, rate: Option<(u32, Unit)>, below: Vec<Node>) -> Node {
        let limit = rate.map(|rate| Limit { rate: Some(rate), ..Limit::default() });
        Node { key: key.to_owned(), value: value.map(str::to_owned), limit, shadow: false, below }
    }

    fn service(nodes: Vec<Node>) -> Service {
        let mut service = Service::default();
        service.set("m", Limits::new([("d".to_owned(), nodes)]));
        service
    }

    fn asked(entries: &[(&str, &str)]) -> Descriptor {
        let entry = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Descriptor { entries: entries.iter().map(entry).collect() }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn ask(service: &mut Service, seconds: u64, entries: &[(&str, &str)]) -> Status {
        let verdict = service.handle_question(at(seconds), "d", &[asked(entries)], 1).expect("a question");
        assert_eq!(verdict.over_limit, verdict.statuses[0].over_limit);
        verdict.statuses[0].clone()
    }

    #[test]
    fn a_limit_holds_for_a_unit_of_the_clock() {
        let mut service = service(vec![node("path", None, Some((2, Unit::Minute)), vec![])]);
        let over: Vec<bool> = [0, 1, 59, 60, 61, 62]
            .into_iter()
            .map(|second| ask(&mut service, second, &[("path", "/a")]).over_limit)
            .collect();
        assert_eq!(over, [false, false, true, false, false, true]);
        let status = ask(&mut service, 130, &[("path", "/a")]);
        assert_eq!((status.remaining, status.reset), (1, at(50)));
        assert_eq!(status.limit, Some((String::new(), 2, Unit::Minute)));
        assert!(!ask(&mut service, 131, &[("path", "/b")]).over_limit, "each value is counted by itself");
    }

    #[test]
    fn entries_lead_down_the_tree_and_must_lead_to_a_limit() {
        let second = |requests| Some((requests, Unit::Second));
        let tree = vec![
            node(
                "tenant",
                Some("free"),
                second(1),
                vec![node("path", None, second(2), vec![]), node("path", Some("/v1/*"), second(3), vec![])],
            ),
            node("tenant", None, None, vec![node("user", Some("ann"), second(4), vec![])]),
        ];
        let mut service = service(tree);
        for (entries, requests) in [
            (&[("tenant", "free")][..], Some(1)),
            (&[("tenant", "free"), ("path", "/x")], Some(2)),
            (&[("tenant", "free"), ("path", "/v1/x")], Some(3)),
            (&[("tenant", "paid"), ("user", "ann")], Some(4)),
            (&[("tenant", "paid")], None),
            (&[("tenant", "paid"), ("user", "bob")], None),
            (&[("tenant", "free"), ("path", "/x"), ("more", "x")], None),
            (&[("path", "/x")], None),
        ] {
            let limit = ask(&mut service, 7, entries).limit.map(|(_, requests, _)| requests);
            assert_eq!(limit, requests, "{entries:?}");
        }
    }

    #[test]
    fn one_descriptor_over_its_limit_is_enough_and_all_are_counted() {
        let hour = |requests| Some((requests, Unit::Hour));
        let mut service = service(vec![node("a", None, hour(1), vec![]), node("b", None, hour(9), vec![])]);
        let both = [asked(&[("a", "x")]), asked(&[("b", "x")])];
        let mut ask = |hits| service.handle_question(at(1), "d", &both, hits).expect("a question");
        assert!(!ask(1).over_limit);
        let verdict = ask(3);
        assert!(verdict.over_limit && !verdict.statuses[1].over_limit);
        assert_eq!(verdict.statuses[1].remaining, 5, "several hits count for several");
        assert_eq!(service.tally(), Tally { passed: 1, over_limit: 1, ..Tally::default() });
    }

    #[test]
    fn shadow_unlimited_and_replaced_limits_let_requests_pass() {
        let mut shadow = node("shadow", None, Some((0, Unit::Day)), vec![]);
        shadow.shadow = true;
        let mut free = node("free", None, None, vec![]);
        free.limit = Some(Limit { replaces: vec!["strict".to_owned()], ..Limit::default() });
        let mut strict = node("strict", None, Some((0, Unit::Day)), vec![]);
        strict.limit.as_mut().expect("it has one").name = "strict".to_owned();
        let mut service = service(vec![shadow, free, strict]);
        let status = ask(&mut service, 1, &[("shadow", "x")]);
        assert!(!status.over_limit && status.limit.is_some());
        assert_eq!(service.tally().shadowed, 1);
        assert_eq!(ask(&mut service, 1, &[("free", "x")]).remaining, u32::MAX);
        assert!(ask(&mut service, 1, &[("strict", "x")]).over_limit);
        let both = [asked(&[("strict", "x")]), asked(&[("free", "x")])];
        assert!(!service.handle_question(at(1), "d", &both, 1).expect("a question").over_limit);
    }

    #[test]
    fn what_asks_nothing_is_refused_and_what_nobody_limits_passes() {
        let mut service = service(vec![]);
        let one = asked(&[("a", "b")]);
        let mut ask =
            |domain, descriptors: &[Descriptor]| service.handle_question(at(1), domain, descriptors, 1);
        assert_eq!(ask("", std::slice::from_ref(&one)), Err(Unanswerable::Domain));
        assert_eq!(ask("d", &[]), Err(Unanswerable::NoDescriptor));
        assert_eq!(ask("d", &vec![one.clone(); DESCRIPTORS_MAX + 1]), Err(Unanswerable::Descriptors));
        for domain in ["d", "elsewhere"] {
            let verdict = ask(domain, std::slice::from_ref(&one)).expect("a question");
            assert_eq!(verdict, Verdict { over_limit: false, statuses: vec![Status::default()] });
        }
    }

    #[test]
    fn counters_are_bounded_and_values_beyond_share_one() {
        let mut service = service(vec![node("user", None, Some((2, Unit::Hour)), vec![])]);
        for user in 0..COUNTERS_MAX - 1 {
            let entries = vec![("user".to_owned(), user.to_string())];
            let counted = Counted { domain: "d".to_owned(), entries, unit: Unit::Hour };
            service.counters.insert(counted, Count { ends: 3600, requests: 1 });
        }
        assert!(!ask(&mut service, 10, &[("user", "last")]).over_limit);
        assert_eq!(service.counters(), COUNTERS_MAX);
        let over: Vec<bool> =
            ["x", "y", "z"].iter().map(|user| ask(&mut service, 11, &[("user", user)]).over_limit).collect();
        assert_eq!(over, [false, false, true], "strangers are limited together");
        assert_eq!((service.counters(), service.tally().crowded), (COUNTERS_MAX + 1, 3));
        assert!(!ask(&mut service, 12, &[("user", "7")]).over_limit, "those that are known are not");
        assert!(!ask(&mut service, 3600, &[("user", "z")]).over_limit);
        assert_eq!(service.counters(), 2, "what is over is swept when room is needed");
    }

    #[test]
    fn long_values_share_a_counter() {
        let mut service = service(vec![node("user", None, Some((1, Unit::Hour)), vec![])]);
        let long = |end: &str| format!("{}{end}", "u".repeat(DESCRIPTOR_BYTES_MAX));
        assert!(!ask(&mut service, 1, &[("user", &long("a"))]).over_limit);
        assert!(ask(&mut service, 1, &[("user", &long("b"))]).over_limit);
    }

    #[test]
    fn limits_that_change_go_on_counting_and_those_that_go_limit_nothing() {
        let limits = |requests| vec![node("a", None, Some((requests, Unit::Day)), vec![])];
        let mut service = service(limits(2));
        assert!(!ask(&mut service, 1, &[("a", "x")]).over_limit);
        service.set("m", Limits::new([("d".to_owned(), limits(1))]));
        assert!(ask(&mut service, 1, &[("a", "x")]).over_limit);
        service.set("m", Limits::default());
        assert_eq!(ask(&mut service, 1, &[("a", "x")]), Status::default());
    }
}
