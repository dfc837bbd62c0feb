//! How callers choose one of a node's instances.

use super::{Percentage, Rules, Span};
use crate::shape::{Bounds, Shape};
use crate::structure::{Shaped, enumeration, structure};
use crate::violation::Violations;

const CHOICES: Shape = Shape::integer("ChoiceCount", Bounds::between(2, 100));
const RING: Shape = Shape::integer("RingSize", Bounds::between(1, 1 << 23));
const TABLE: Shape = Shape::integer("TableSize", Bounds::between(2, 5_000_011));
const BALANCE: Shape = Shape::integer("BalancePercent", Bounds::between(100, 10_000));
const PERCENT: Shape = Shape::integer("Percent", Bounds::between(0, 100));
const KEYS: Shape = Shape::list("HashKeys", HashKey::SHAPE, Bounds::between(0, 8));
const NAME: Shape = Shape::string_of("Name", 1, 128);
const PLACE: Shape = Shape::string_of("Place", 1, 128);
const PLACES: Shape = Shape::list("Places", &PLACE, Bounds::between(0, 64));
const GROUPS: Shape = Shape::list("PlaceGroups", PlaceGroup::SHAPE, Bounds::between(0, 8));
const INSTANCES: Shape = Shape::integer("Instances", Bounds::between(1, 1_000_000));
const PATH: Shape = Shape::string_of("CookiePath", 1, 256);

structure! {
    /// How callers choose one of a node's instances.
    pub struct LoadBalancing {
        /// The way of choosing.
        required algorithm "algorithm": Algorithm,
        /// How many instances are compared, 2 to 100; 2 unless told otherwise. For leastRequest only.
        optional choice_count "choiceCount": u32 => &CHOICES,
        /// What of a request decides, for ringHash and maglev: requests that are alike in it go to one instance. A request
        /// that has nothing of it goes anywhere. Of a route with several nodes the first says.
        many hash "hash": HashKey => &KEYS,
        /// Places on the ring, at least; 1,024 unless told otherwise. For ringHash only.
        optional ring_size_min "ringSizeMin": u32 => &RING,
        /// … and at most; 8,388,608 unless told otherwise.
        optional ring_size_max "ringSizeMax": u32 => &RING,
        /// Places of the table, a prime number; 65,537 unless told otherwise. For maglev only.
        optional table_size "tableSize": u32 => &TABLE,
        /// No instance gets more than this share of the average, in percent, at least 100. For ringHash and maglev.
        optional balance_percent "balancePercent": u32 => &BALANCE,
        /// An instance that comes gets its share little by little. For roundRobin and leastRequest.
        optional slow_start "slowStart": SlowStart,
        /// While fewer than this share of instances are healthy, all are asked, healthy or not, in percent; 50 unless told
        /// otherwise, 0 never asks a sick one.
        optional panic_percent "panicPercent": u32 => &PERCENT,
        /// Callers prefer the instances of their own zone, as far as that loads all alike; or they do not. They do unless
        /// told otherwise, wherever both zones are known.
        optional zone_aware "zoneAware": ZoneAware,
        /// Places in the order in which they are called: as long as the instances of one are healthy enough, those of the
        /// next get nothing. Instances elsewhere come last.
        many priorities "priorities": PlaceGroup => &GROUPS,
    }
}

enumeration! {
    /// A way of choosing.
    pub enum Algorithm {
        RoundRobin "roundRobin",
        LeastRequest "leastRequest",
        Random "random",
        RingHash "ringHash",
        Maglev "maglev",
    }
}

structure! {
    /// One thing that decides, of several in their order: a header, a cookie, a parameter or the client's address.
    pub struct HashKey {
        /// The name of a header.
        optional header "header": String => &NAME,
        /// A cookie.
        optional cookie "cookie": HashCookie,
        /// The name of a parameter of the query string.
        optional query_parameter "queryParameter": String => &NAME,
        /// The client's address.
        optional source_ip "sourceIp": bool,
        /// Where a request has it, what comes after it does not matter.
        optional terminal "terminal": bool,
    }
}

structure! {
    /// A cookie that decides.
    pub struct HashCookie {
        /// Its name.
        required name "name": String => &NAME,
        /// Requests without one are given one that lasts so long; `"0s"` as long as the browser runs. Without it they are not.
        optional ttl "ttl": Span,
        /// The path of a cookie that is given.
        optional path "path": String => &PATH,
    }
}

structure! {
    /// An instance that comes gets its share little by little.
    pub struct SlowStart {
        /// How long it takes.
        required window "window": Span,
        /// The share that it begins with, in percent; 10 unless told otherwise.
        optional min_weight_percent "minWeightPercent": u32 => &PERCENT,
    }
}

structure! {
    /// Places that are alike.
    pub struct PlaceGroup {
        /// Zones, as sidecars and Cloud Map's instances say them.
        many zones "zones": String => &PLACES,
        /// Regions, with all of their zones.
        many regions "regions": String => &PLACES,
    }
}

structure! {
    /// How far callers prefer the instances of their own zone.
    pub struct ZoneAware {
        /// The share of requests for which the zone counts; all unless told otherwise, `"0%"` is none.
        optional share "share": Percentage,
        /// Nodes with fewer instances are not called by zone; 6 unless told otherwise.
        optional min_instances "minInstances": u32 => &INSTANCES,
    }
}

impl Algorithm {
    /// Whether a request's hash decides.
    pub const fn hashes(self) -> bool {
        matches!(self, Self::RingHash | Self::Maglev)
    }
}

impl Rules for LoadBalancing {
    fn check(&self, found: &mut Violations) {
        let mut only = |is_given: bool, member: &str, fits: &[Algorithm]| {
            if is_given && !fits.contains(&self.algorithm) {
                let fits: Vec<&str> = fits.iter().map(|one| one.as_str()).collect();
                found.rule(format!("spec.{member}"), format!("it is for {} only", fits.join(" and ")));
            }
        };
        use Algorithm::{LeastRequest, Maglev, RingHash, RoundRobin};
        only(self.choice_count.is_some(), "choiceCount", &[LeastRequest]);
        only(!self.hash.is_empty(), "hash", &[RingHash, Maglev]);
        only(self.balance_percent.is_some(), "balancePercent", &[RingHash, Maglev]);
        only(self.ring_size_min.is_some(), "ringSizeMin", &[RingHash]);
        only(self.ring_size_max.is_some(), "ringSizeMax", &[RingHash]);
        only(self.table_size.is_some(), "tableSize", &[Maglev]);
        only(self.slow_start.is_some(), "slowStart", &[RoundRobin, LeastRequest]);
        if self.algorithm.hashes() && self.hash.is_empty() {
            found.rule("spec.hash", "it says nothing by which requests are alike");
        }
        if self.ring_size_min.unwrap_or(1) > self.ring_size_max.unwrap_or(1 << 23) {
            found.rule("spec.ringSizeMin", "it must not be more than ringSizeMax");
        }
        if self.table_size.is_some_and(|size| !is_prime(size)) {
            found.rule("spec.tableSize", "it must be a prime number");
        }
        if self.slow_start.as_ref().is_some_and(|slow| slow.window.0.is_zero()) {
            found.rule("spec.slowStart.window", "it must be more than nothing");
        }
        check_keys("spec.hash", &self.hash, found);
        for (index, group) in self.priorities.iter().enumerate() {
            if group.zones.is_empty() && group.regions.is_empty() {
                found.rule(format!("spec.priorities[{index}]"), "it names neither zones nor regions");
            }
        }
        if self.zone_aware.is_some() && self.algorithm.hashes() {
            found.rule("spec.zoneAware", "where a hash decides, the zone does not");
        }
    }
}

pub(super) fn check_keys(path: &str, keys: &[HashKey], found: &mut Violations) {
    for (index, key) in keys.iter().enumerate() {
        let given = [
            key.header.is_some(),
            key.cookie.is_some(),
            key.query_parameter.is_some(),
            key.source_ip == Some(true),
        ];
        if given.into_iter().filter(|given| *given).count() != 1 {
            let text = "it is one of header, cookie, queryParameter and sourceIp";
            found.rule(format!("{path}[{index}]"), text);
        }
        if let Some(header) = &key.header {
            super::headers::check_name(&format!("{path}[{index}].header"), header, found);
        }
    }
}

fn is_prime(number: u32) -> bool {
    number >= 2
        && (2..)
            .take_while(|divisor| divisor * divisor <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}

#[cfg(test)]
mod tests {
    #[test]
    fn primes() {
        let found: Vec<u32> = (0..30).filter(|number| super::is_prime(*number)).collect();
        assert_eq!(found, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
        assert!(super::is_prime(5_000_011) && !super::is_prime(65_536));
    }
}
