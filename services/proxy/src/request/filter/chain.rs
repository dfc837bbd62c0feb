//! Which filters are in force for which route: decided when the configuration comes, not when requests do.

use std::collections::HashMap;
use std::sync::Arc;

use selvedge_traffic::compiled::Matched;
use selvedge_traffic::filter::settings;
use selvedge_traffic::{
    Action, FilterEntry, FilterOverride, FilterSetting, Route, RouteFilter, RouteTable, VirtualHost,
};

use super::{Filter, Scope};
use crate::serve::compile::{CompileError, Telemetry};

/// Filters in the order in which requests pass them.
pub(crate) type Chain = Arc<[Arc<Filter>]>;

/// A connection manager's filters.
#[derive(Debug)]
pub(crate) struct Filters {
    stat_prefix: String,
    entries: Vec<(FilterEntry, Arc<Filter>)>,
    /// Of requests that no route takes, and of routes that say nothing about filters.
    base: Chain,
}

/// The chains of one route table under one connection manager.
#[derive(Debug)]
pub(crate) struct Chains {
    base: Chain,
    /// For each virtual host, for each of its routes. Empty if the table says nothing about filters.
    hosts: Vec<Vec<OfRoute>>,
}

#[derive(Debug)]
struct OfRoute {
    chain: Chain,
    /// For each weighted cluster; empty if none of them says anything.
    clusters: Vec<Chain>,
}

impl Filters {
    pub(crate) fn new(
        entries: &[FilterEntry],
        stat_prefix: &str,
        telemetry: &Telemetry,
    ) -> Result<Self, CompileError> {
        let entries = entries
            .iter()
            .map(|entry| {
                let filter = Filter::new(&entry.filter, Scope { stat_prefix, telemetry })?;
                Ok((entry.clone(), Arc::new(filter)))
            })
            .collect::<Result<Vec<_>, CompileError>>()?;
        let enabled = entries.iter().filter(|(entry, _)| !entry.disabled);
        let base = enabled.map(|(_, filter)| Arc::clone(filter)).collect();
        Ok(Self { stat_prefix: stat_prefix.to_owned(), entries, base })
    }
}

impl Chains {
    pub(crate) fn new(
        filters: &Filters,
        table: &RouteTable,
        telemetry: &Telemetry,
    ) -> Result<Self, CompileError> {
        let base = Arc::clone(&filters.base);
        if filters.entries.is_empty() || !says_anything(table) {
            return Ok(Self { base, hosts: Vec::new() });
        }
        let mut making = Making { filters, telemetry, filter: HashMap::new(), chain: HashMap::new() };
        let hosts = table
            .virtual_hosts
            .iter()
            .map(|host| host.routes.iter().map(|route| making.route(table, host, route)).collect())
            .collect::<Result<_, _>>()?;
        Ok(Self { base, hosts })
    }

    /// The chain for a request: `cluster` is the place of the weighted cluster that was picked for it.
    pub(crate) fn of(&self, matched: Option<&Matched<'_>>, cluster: Option<usize>) -> &Chain {
        let of_route =
            matched.and_then(|matched| self.hosts.get(matched.position.0)?.get(matched.position.1));
        let Some(of_route) = of_route else { return &self.base };
        cluster.and_then(|cluster| of_route.clusters.get(cluster)).unwrap_or(&of_route.chain)
    }
}

fn says_anything(table: &RouteTable) -> bool {
    let in_route = |route: &Route| !route.filters.is_empty() || clusters_say_anything(route);
    let in_host = |host: &VirtualHost| !host.filters.is_empty() || host.routes.iter().any(in_route);
    !table.filters.is_empty() || table.virtual_hosts.iter().any(in_host)
}

fn clusters_say_anything(route: &Route) -> bool {
    let Action::Forward(forward) = &route.action else { return false };
    forward.clusters.iter().any(|cluster| !cluster.filters.is_empty())
}

/// Chains under way. A setting makes one filter however many routes it governs: what the filter keeps, they share.
struct Making<'a> {
    filters: &'a Filters,
    telemetry: &'a Telemetry,
    /// By the filter's place and the addresses of its configurations.
    filter: HashMap<(usize, Vec<*const RouteFilter>), Arc<Filter>>,
    /// By the addresses of its filters.
    chain: HashMap<Vec<*const Filter>, Chain>,
}

impl Making<'_> {
    fn route(
        &mut self,
        table: &RouteTable,
        host: &VirtualHost,
        route: &Route,
    ) -> Result<OfRoute, CompileError> {
        let levels = [&route.filters[..], &host.filters[..], &table.filters[..]];
        let chain = self.chain(&levels)?;
        let clusters = match &route.action {
            Action::Forward(forward) if clusters_say_anything(route) => forward
                .clusters
                .iter()
                .map(|cluster| self.chain(&[&cluster.filters[..], levels[0], levels[1], levels[2]]))
                .collect::<Result<_, _>>()?,
            _ => Vec::new(),
        };
        Ok(OfRoute { chain, clusters })
    }

    fn chain(&mut self, levels: &[&[FilterOverride]]) -> Result<Chain, CompileError> {
        let mut chain = Vec::new();
        for (place, (entry, filter)) in self.filters.entries.iter().enumerate() {
            let settings = || settings(&entry.name, levels.iter().copied());
            let disabled =
                settings().next().map_or(entry.disabled, |first| *first == FilterSetting::Disabled);
            if disabled {
                continue;
            }
            let configs: Vec<&RouteFilter> = settings()
                .filter_map(|setting| match setting {
                    FilterSetting::Config(config) => Some(config),
                    FilterSetting::Disabled | FilterSetting::Enabled => None,
                })
                .collect();
            chain.push(if configs.is_empty() { Arc::clone(filter) } else { self.filter(place, &configs)? });
        }
        let key = chain.iter().map(Arc::as_ptr).collect();
        Ok(Arc::clone(self.chain.entry(key).or_insert_with(|| chain.into())))
    }

    fn filter(&mut self, place: usize, configs: &[&RouteFilter]) -> Result<Arc<Filter>, CompileError> {
        let key = (place, configs.iter().map(|config| std::ptr::from_ref(*config)).collect());
        if let Some(made) = self.filter.get(&key) {
            return Ok(Arc::clone(made));
        }
        let (_, filter) = &self.filters.entries[place];
        let scope = Scope { stat_prefix: &self.filters.stat_prefix, telemetry: self.telemetry };
        let made = Arc::new(filter.for_route(configs, scope)?);
        self.filter.insert(key, Arc::clone(&made));
        Ok(made)
    }
}
