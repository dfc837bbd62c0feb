//! Rate limits: what of a request is counted ([`Descriptor`]), and counters ([`bucket`], [`local`], [`service`]).

pub mod action;
pub mod bucket;
pub mod local;
pub mod service;

use std::net::IpAddr;

use serde::Serialize;

pub use action::RateLimitAction;
pub use bucket::{Bucket, TokenBucket};
pub use local::{LimitVerdict, LocalLimiter};

use crate::matching::RequestView;
use crate::metadata::Metadata;

/// The highest stage of a rate limit; filters pick theirs by it.
pub const STAGE_MAX: u32 = 10;

/// How a route or a virtual host makes a descriptor of a request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RateLimit {
    /// 0..=[`STAGE_MAX`].
    pub stage: u32,
    /// At least one; if one has nothing to say there is no descriptor.
    pub actions: Vec<RateLimitAction>,
}

/// What is counted: keys and values in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Descriptor {
    pub entries: Vec<(String, String)>,
}

/// What a virtual host's rate limits are beside a route's own, for one filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum HostRateLimits {
    /// Used if the route has none.
    #[default]
    Override,
    /// Used in addition.
    Include,
    Ignore,
}

/// What actions look at.
#[derive(Debug)]
pub struct Context<'a, R> {
    pub request: R,
    pub metadata: &'a Metadata,
    pub remote: IpAddr,
    /// The cluster that this proxy's node belongs to.
    pub source_cluster: &'a str,
    /// The cluster that the request goes to.
    pub destination_cluster: &'a str,
}

impl RateLimit {
    /// The descriptor of a request, if each action has something to say.
    pub fn descriptor<R: RequestView>(&self, context: &Context<'_, R>) -> Option<Descriptor> {
        let mut entries = Vec::with_capacity(self.actions.len());
        for action in &self.actions {
            match action.entry(context) {
                action::Entry::Is(key, value) => entries.push((key, value)),
                action::Entry::Skipped => {}
                action::Entry::Missing => return None,
            }
        }
        (!entries.is_empty()).then_some(Descriptor { entries })
    }
}
