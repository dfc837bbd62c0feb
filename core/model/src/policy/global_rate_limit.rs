//! Requests that are counted for all proxies together.

use super::{DescriptorEntry, Percentage, Rules, ServiceAddress, Span};
use crate::shape::{Bounds, Shape};
use crate::structure::{Shaped, structure};
use crate::violation::Violations;

const DOMAIN: Shape = Shape::string_of("Domain", 1, 128);
const STATUS: Shape = Shape::integer("Status", Bounds::between(400, 599));
const ENTRIES: Shape = Shape::list("DescriptorEntries", DescriptorEntry::SHAPE, Bounds::between(1, 8));
const COUNTED: Shape = Shape::list("Descriptors", Counted::SHAPE, Bounds::between(1, 16));

structure! {
    /// Where requests come in, a rate-limit service is asked, which counts for all proxies together. Unless told otherwise it
    /// is this control plane, with the limits of the mesh's `rateLimits` policy.
    pub struct GlobalRateLimit {
        /// Which of the service's limits apply.
        required domain "domain": String => &DOMAIN,
        /// What of a request is counted; each is looked up by itself, and one that is over its limit is enough.
        many descriptors "descriptors": Counted => &COUNTED,
        /// Another service that speaks `envoy.service.ratelimit.v3`; it is given the domain as it stands here.
        optional service "service": ServiceAddress,
        /// How long it may take; 100 ms unless told otherwise.
        optional timeout "timeout": Span,
        /// Requests are refused while it does not answer; they pass unless told otherwise.
        optional fail_closed "failClosed": bool,
        /// The answer to a request too many; 429 unless told otherwise.
        optional status "status": u16 => &STATUS,
        /// Answers tell how much is left: `x-ratelimit-limit`, `-remaining` and `-reset`.
        optional tell "tell": bool,
        /// The share of requests that is asked about; all unless told otherwise.
        optional share "share": Percentage,
    }
}

structure! {
    /// What is counted together.
    pub struct Counted {
        /// Keys and values, in the order in which limits name them.
        many entries "entries": DescriptorEntry => &ENTRIES,
    }
}

impl Rules for GlobalRateLimit {
    fn check(&self, found: &mut Violations) {
        for (index, counted) in self.descriptors.iter().enumerate() {
            for (place, entry) in counted.entries.iter().enumerate() {
                let path = format!("spec.descriptors[{index}].entries[{place}]");
                entry.check(&path, found);
                if let DescriptorEntry::Header(one) | DescriptorEntry::QueryParameter(one) = entry
                    && one.only.is_some()
                {
                    found.rule(path, "only is for rateLimit: here the service's limits name values");
                }
            }
        }
        if self.descriptors.is_empty() {
            found.rule("spec.descriptors", "nothing is counted");
        }
    }
}
