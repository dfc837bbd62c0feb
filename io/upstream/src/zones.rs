//! Where the proxy itself stands, and where its own cluster's hosts do: what zone-aware routing weighs.

use std::collections::HashMap;

use selvedge_traffic::Locality;
use selvedge_traffic::balance::HostHealth;

use crate::hosts::HostSet;

/// The cluster that the proxy belongs to and the place where it stands; its bootstrap says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalCluster {
    pub name: String,
    pub locality: Locality,
}

/// How many healthy hosts the proxy's own cluster has in each locality.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LocalZones {
    own: Option<Locality>,
    counts: HashMap<Locality, u64>,
}

impl LocalZones {
    pub(crate) fn new(own: Locality, hosts: &HostSet) -> Self {
        let mut counts = HashMap::new();
        for member in &hosts.members {
            if member.priority == 0 && member.host.health() == HostHealth::Healthy {
                *counts.entry(member.place.locality.clone()).or_default() += 1;
            }
        }
        Self { own: Some(own), counts }
    }

    /// Whether the proxy belongs to a cluster that has hosts.
    pub(crate) fn are_known(&self) -> bool {
        self.own.is_some() && !self.counts.is_empty()
    }

    pub(crate) fn is_own(&self, locality: &Locality) -> bool {
        self.own.as_ref() == Some(locality)
    }

    pub(crate) fn hosts(&self, locality: &Locality) -> u64 {
        self.counts.get(locality).copied().unwrap_or(0)
    }

    pub(crate) fn hosts_all(&self) -> u64 {
        self.counts.values().sum()
    }
}
