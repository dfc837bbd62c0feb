//! The choice among some of a cluster's hosts, by their labels.

use std::collections::HashMap;

use selvedge_traffic::balance::{Balancer, Candidate, Choice};
use selvedge_traffic::{Label, Labels, SubsetFallback, Subsets};

use crate::hosts::Member;

/// A cluster has at most this many groups of hosts; combinations beyond have none of their own.
pub const SUBSETS_MAX: usize = 4096;

/// A balancer for each combination of values that hosts have.
#[derive(Debug)]
pub(crate) struct SubsetBalancers {
    selectors: Vec<(Vec<String>, Option<SubsetFallback>)>,
    groups: HashMap<Vec<(String, Label)>, Group>,
    fallback: SubsetFallback,
    default: Option<Group>,
    panic_mode_any: bool,
}

/// Some hosts, by their positions among all, and the choice among them.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) members: Vec<usize>,
    pub(crate) balancer: Balancer,
}

/// Where a request with labels goes.
#[derive(Debug)]
pub(crate) enum Chosen<'a> {
    Group(&'a Group),
    /// Any host of the cluster.
    Any,
    Nobody,
}

impl SubsetBalancers {
    pub(crate) fn new(
        subsets: &Subsets,
        members: &[Member],
        candidates: &[Candidate],
        choice: &Choice<'_>,
    ) -> Self {
        let group = |members: Vec<usize>| {
            let some: Vec<Candidate> = members.iter().map(|at| candidates[*at].clone()).collect();
            Group { balancer: Balancer::new(&some, choice), members }
        };
        let mut by_values: HashMap<Vec<(String, Label)>, Vec<usize>> = HashMap::new();
        for selector in &subsets.selectors {
            for (at, member) in members.iter().enumerate() {
                let labels = member.labels.as_deref();
                let value = |key: &String| Some((key.clone(), labels?.get(key)?.clone()));
                let Some(values) = selector.keys.iter().map(value).collect::<Option<Vec<_>>>() else {
                    continue;
                };
                if by_values.len() < SUBSETS_MAX || by_values.contains_key(&values) {
                    by_values.entry(values).or_default().push(at);
                }
            }
        }
        for group in by_values.values_mut() {
            // Two selectors with the same keys name a host once.
            group.dedup();
        }
        let default: Vec<usize> =
            (0..members.len()).filter(|at| members[*at].has_labels(&subsets.default)).collect();
        Self {
            selectors: subsets.selectors.iter().map(|one| (one.keys.clone(), one.fallback)).collect(),
            groups: by_values.into_iter().map(|(values, members)| (values, group(members))).collect(),
            fallback: subsets.fallback,
            default: (!default.is_empty()).then(|| group(default)),
            panic_mode_any: subsets.panic_mode_any,
        }
    }

    /// The hosts for a request that asks for `labels`. A set of keys that no selector has falls back.
    pub(crate) fn choose(&self, labels: &Labels) -> Chosen<'_> {
        let selector = self.selectors.iter().find(|(keys, _)| keys.iter().eq(labels.keys()));
        if selector.is_some() && !labels.is_empty() {
            let values: Vec<(String, Label)> =
                labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
            if let Some(group) = self.groups.get(&values) {
                return Chosen::Group(group);
            }
        }
        let fallback = selector.and_then(|(_, fallback)| *fallback).unwrap_or(self.fallback);
        match (fallback, &self.default) {
            (SubsetFallback::Any, _) => Chosen::Any,
            (SubsetFallback::Default, Some(group)) => Chosen::Group(group),
            (SubsetFallback::Default, None) if self.panic_mode_any => Chosen::Any,
            _ => Chosen::Nobody,
        }
    }
}
