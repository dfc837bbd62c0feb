//! What filters count: a few counters under names that the filter brings along.

use std::sync::Arc;

use crate::{Counter, Sharded};

/// Counters that one filter may have in one place.
pub const FILTER_COUNTERS: usize = 12;

/// Whose statistics a filter's are among, and so the first part of their names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    /// `http.<stat_prefix>.`
    Http(String),
    /// `cluster.<name>.`
    Cluster(String),
    /// `listener.<address>.`, with the address as Envoy writes it
    Listener(String),
    /// `<stat_prefix>.http_local_rate_limit.`
    LocalRateLimit(String),
    /// `<stat_prefix>`, of a network filter.
    Network(String),
}

/// A filter's counters in one place, named by position.
#[derive(Clone, Debug)]
pub struct FilterStats {
    pub(crate) group: Arc<Sharded<FilterCounters>>,
}

impl FilterStats {
    /// Counts one. `position` is that of the name in the list that the counters were made with.
    pub fn inc(&self, position: usize) {
        if let Some(counter) = self.group.counters.get(position) {
            counter.inc();
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct FilterCounters {
    pub(crate) counters: [Counter; FILTER_COUNTERS],
}

/// What a filter's counters are held under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FilterKey {
    pub(crate) owner: Owner,
    /// Between the owner's part of a name and the counter's own, dots included.
    pub(crate) part: String,
    pub(crate) names: &'static [&'static str],
}

impl Owner {
    pub(crate) fn prefix(&self) -> String {
        match self {
            Self::Http(prefix) => format!("http.{prefix}."),
            Self::Cluster(name) => format!("cluster.{name}."),
            Self::Listener(address) => format!("listener.{address}."),
            Self::LocalRateLimit(prefix) => format!("{prefix}.http_local_rate_limit."),
            Self::Network(prefix) => prefix.clone(),
        }
    }
}
