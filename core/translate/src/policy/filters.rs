//! Filters: which a connection manager has, and what a route says about each.
//!
//! A connection manager has a filter if one of its routes says something about it, or if a policy governs its proxy as a
//! whole. The filters' order is the same everywhere.

use selvedge_model::policy::{self, TextMatch};
use selvedge_traffic::access::{Permission, Policy, Principal, Rules, RulesAction};
use selvedge_traffic::filter::local_rate_limit::DYNAMIC_DESCRIPTORS_DEFAULT;
use selvedge_traffic::filter::{
    AbortBy, Buffer, Coding, Compressor, CorsPolicy, DelayBy, Fault, FaultAbort, FaultDelay, LocalRateLimit,
    Rbac,
};
use selvedge_traffic::fraction::Denominator;
use selvedge_traffic::matching::header::{Pattern, PatternInvalid};
use selvedge_traffic::matching::{Cidr, HeaderCondition, HeaderMatch, TextCondition};
use selvedge_traffic::rate_limit::{HostRateLimits, TokenBucket};
use selvedge_traffic::{
    FilterEntry, FilterOverride, FilterSetting, Fraction, HttpFilter, Route, RouteFilter, RouteTable,
    matching,
};

use super::descriptors;

const BUFFER: &str = "envoy.filters.http.buffer";
const GRPC_WEB: &str = "envoy.filters.http.grpc_web";
const CORS: &str = "envoy.filters.http.cors";
const FAULT: &str = "envoy.filters.http.fault";
const LOCAL_RATE_LIMIT: &str = "envoy.filters.http.local_ratelimit";
const RBAC: &str = "envoy.filters.http.rbac";
/// Before `http_local_rate_limit` in the names of statistics.
const RATE_LIMIT_STATS: &str = "policy";

/// The filters that the routes of a table speak of, in order.
pub(super) fn of_table(table: &RouteTable) -> Vec<FilterEntry> {
    let spoken_of = |name: &str| {
        let routes = table.virtual_hosts.iter().flat_map(|host| &host.routes);
        routes.flat_map(|route| &route.filters).any(|setting| setting.filter == name)
    };
    let known = [(CORS, HttpFilter::Cors), (FAULT, HttpFilter::Fault(Box::default()))];
    let entry =
        |(name, filter): (&str, HttpFilter)| FilterEntry { name: name.to_owned(), disabled: false, filter };
    known.into_iter().filter(|(name, _)| spoken_of(name)).map(entry).collect()
}

/// Notes what a route says about a filter; lists of settings are sorted by filter.
fn set(route: &mut Route, name: &str, config: RouteFilter) {
    let setting = FilterOverride { filter: name.to_owned(), setting: FilterSetting::Config(config) };
    route.filters.push(setting);
    route.filters.sort_by(|a, b| a.filter.cmp(&b.filter));
}

pub(super) fn cors(spec: &policy::Cors, route: &mut Route) {
    if let Ok(policy) = of_cors(spec) {
        set(route, CORS, RouteFilter::Cors(Box::new(policy)));
    }
}

/// # Errors
/// When an expression cannot be used; the API refuses such a policy.
pub(super) fn of_cors(spec: &policy::Cors) -> Result<CorsPolicy, PatternInvalid> {
    Ok(CorsPolicy {
        origins: spec.origins.iter().map(text).collect::<Result<_, _>>()?,
        methods: spec.methods.join(","),
        headers: spec.headers.join(","),
        expose_headers: spec.expose_headers.join(","),
        max_age: spec.max_age.map_or_else(String::new, |span| span.0.as_secs().to_string()),
        credentials: spec.credentials.unwrap_or(false),
        private_network: spec.private_network.unwrap_or(false),
        forward_unmatched_preflights: spec.forward_unmatched_preflights.unwrap_or(true),
        enabled: Fraction::ALL,
        shadow: Fraction::NONE,
    })
}

pub(super) fn fault(spec: &policy::Fault, route: &mut Route) {
    if let Ok(fault) = of_fault(spec) {
        set(route, FAULT, RouteFilter::Fault(Box::new(fault)));
    }
}

/// # Errors
/// When an expression cannot be used; the API refuses such a policy.
pub(super) fn of_fault(spec: &policy::Fault) -> Result<Fault, PatternInvalid> {
    let delay = spec.delay.as_ref().map(|delay| FaultDelay {
        by: delay.fixed.map_or(DelayBy::Header, |span| DelayBy::Fixed(span.0)),
        share: share(delay.share),
    });
    let abort = spec.abort.as_ref().map(|abort| FaultAbort {
        by: match (abort.status, abort.grpc_status) {
            (Some(status), _) => AbortBy::Http(status),
            (None, Some(status)) => AbortBy::Grpc(status),
            (None, None) => AbortBy::Header,
        },
        share: share(abort.share),
    });
    let headers = spec.headers.iter().map(header).collect::<Result<_, _>>()?;
    Ok(Fault { delay, abort, cluster: None, headers, active_max: spec.max_active })
}

/// Pages of other origins ask first whether they may: without saying who they are.
pub(super) fn is_before_access(filter: &str) -> bool {
    filter == CORS
}

/// # Errors
/// When an expression cannot be used; the API refuses such a policy.
pub(super) fn access(spec: &policy::Access) -> Result<FilterEntry, PatternInvalid> {
    let rules = Rules {
        action: match spec.action {
            policy::AccessAction::Allow => RulesAction::Allow,
            policy::AccessAction::Deny => RulesAction::Deny,
        },
        policies: policies(spec)?,
    };
    let rbac = Rbac { rules: Some(rules), ..Rbac::default() };
    Ok(FilterEntry { name: RBAC.to_owned(), disabled: false, filter: HttpFilter::Rbac(rbac) })
}

/// In the order of their names, in which proxies look at them.
fn policies(spec: &policy::Access) -> Result<Vec<Policy>, PatternInvalid> {
    let mut policies = spec.rules.iter().map(rule).collect::<Result<Vec<_>, _>>()?;
    policies.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(policies)
}

fn rule(rule: &policy::AccessRule) -> Result<Policy, PatternInvalid> {
    let mut all = Vec::new();
    if !rule.methods.is_empty() {
        let method = |method: &String| {
            let condition = HeaderCondition::Exact(method.to_ascii_uppercase());
            Permission::Header(HeaderMatch { name: ":method".to_owned(), condition, invert: false })
        };
        all.push(Permission::OneOf(rule.methods.iter().map(method).collect()));
    }
    if !rule.paths.is_empty() {
        let paths = rule.paths.iter().map(|path| text(path).map(Permission::UrlPath));
        all.push(Permission::OneOf(paths.collect::<Result<_, _>>()?));
    }
    for one in &rule.headers {
        all.push(Permission::Header(header(one)?));
    }
    let principals = match rule.from.is_empty() {
        true => vec![Principal::Any],
        false => rule.from.iter().map(caller).collect::<Result<_, _>>()?,
    };
    let permission = if all.is_empty() { Permission::Any } else { Permission::All(all) };
    Ok(Policy { name: rule.name.clone(), permissions: vec![permission], principals })
}

/// The address is the socket's own: no header can claim another.
fn caller(caller: &policy::Caller) -> Result<Principal, PatternInvalid> {
    let address = caller.block().and_then(|(address, length)| Cidr::new(address, length));
    let mut all: Vec<Principal> = address.map(Principal::DirectRemoteIp).into_iter().collect();
    if let Some(peer) = &caller.peer {
        all.push(Principal::Authenticated(Some(text(peer)?)));
    }
    Ok(Principal::All(all))
}

/// # Errors
/// When an expression cannot be used; the API refuses such a policy.
pub(super) fn rate_limit(spec: &policy::RateLimit) -> Result<FilterEntry, PatternInvalid> {
    let (rate_limits, descriptors) = descriptors::separate(&spec.limits)?;
    let limit = LocalRateLimit {
        stat_prefix: RATE_LIMIT_STATS.to_owned(),
        status: spec.status.unwrap_or(429),
        bucket: Some(TokenBucket {
            tokens_max: spec.burst.unwrap_or(spec.requests),
            tokens_per_fill: spec.requests,
            fill_interval: spec.per.0,
        }),
        descriptors,
        enabled: Fraction::ALL,
        enforced: Fraction::ALL,
        request_headers_when_not_enforced: Vec::new(),
        response_headers: Vec::new(),
        stage: 0,
        per_connection: spec.per_connection.unwrap_or(false),
        ratelimit_headers: spec.tell.unwrap_or(false),
        host_rate_limits: HostRateLimits::default(),
        always_consume_default: true,
        resource_exhausted: false,
        rate_limits,
        dynamic_descriptors_max: spec.distinct.unwrap_or(DYNAMIC_DESCRIPTORS_DEFAULT),
    };
    let filter = HttpFilter::LocalRateLimit(Box::new(limit));
    Ok(FilterEntry { name: LOCAL_RATE_LIMIT.to_owned(), disabled: false, filter })
}

/// Requests are kept until they have arrived whole.
pub(super) fn buffer(bytes: u32) -> FilterEntry {
    let filter = HttpFilter::Buffer(Buffer { request_bytes_max: bytes });
    FilterEntry { name: BUFFER.to_owned(), disabled: false, filter }
}

pub(super) fn grpc_web() -> FilterEntry {
    FilterEntry { name: GRPC_WEB.to_owned(), disabled: false, filter: HttpFilter::GrpcWeb }
}

/// A filter for each coding, the favourite first.
pub(super) fn compressors(spec: &policy::Compression) -> Vec<FilterEntry> {
    let codings: &[policy::Coding] =
        if spec.codings.is_empty() { policy::Coding::ALL } else { &spec.codings };
    let entry = |(place, coding): (usize, &policy::Coding)| FilterEntry {
        name: format!("selvedge.compressor.{coding}"),
        disabled: false,
        filter: HttpFilter::Compressor(Box::new(Compressor {
            coding: match coding {
                policy::Coding::Gzip => Coding::Gzip { level: 0 },
                policy::Coding::Brotli => Coding::Brotli { quality: BROTLI_QUALITY },
                policy::Coding::Zstd => Coding::Zstd { level: ZSTD_LEVEL },
            },
            length_min: spec.min_length.unwrap_or(30),
            content_types: spec.content_types.clone(),
            not_with_etag: spec.keep_etag.unwrap_or(false),
            remove_accept_encoding: false,
            not_for_statuses: Vec::new(),
            choose_first: place == 0,
        })),
    };
    codings.iter().enumerate().map(entry).collect()
}

/// Fast enough to do while somebody waits.
const BROTLI_QUALITY: u8 = 3;
const ZSTD_LEVEL: u8 = 3;

/// A percentage as a number.
pub(super) fn percent(share: Option<policy::Percentage>) -> f64 {
    f64::from(share.unwrap_or(policy::Percentage::ALL).0) / 10_000.0
}

/// A percentage as a proxy draws it; nothing said is all.
pub(super) fn share(share: Option<policy::Percentage>) -> Fraction {
    let millionths = share.unwrap_or(policy::Percentage::ALL).0;
    match millionths % 10_000 {
        0 => Fraction { numerator: millionths / 10_000, denominator: Denominator::Hundred },
        _ => Fraction { numerator: millionths, denominator: Denominator::Million },
    }
}

pub(super) fn text(spec: &TextMatch) -> Result<matching::TextMatch, PatternInvalid> {
    let condition = match spec {
        TextMatch::Exact(text) => TextCondition::Exact(text.clone()),
        TextMatch::Prefix(text) => TextCondition::Prefix(text.clone()),
        TextMatch::Suffix(text) => TextCondition::Suffix(text.clone()),
        TextMatch::Contains(text) => TextCondition::Contains(text.clone()),
        TextMatch::Regex(pattern) => TextCondition::Regex(Pattern::new(pattern)?),
    };
    Ok(matching::TextMatch { condition, ignore_case: false })
}

pub(super) fn header(spec: &policy::HeaderCondition) -> Result<HeaderMatch, PatternInvalid> {
    let condition = match &spec.matches {
        None => HeaderCondition::Present,
        Some(TextMatch::Exact(text)) => HeaderCondition::Exact(text.clone()),
        Some(TextMatch::Prefix(text)) => HeaderCondition::Prefix(text.clone()),
        Some(TextMatch::Suffix(text)) => HeaderCondition::Suffix(text.clone()),
        Some(TextMatch::Contains(text)) => HeaderCondition::Contains(text.clone()),
        Some(TextMatch::Regex(pattern)) => HeaderCondition::Regex(Pattern::new(pattern)?),
    };
    Ok(HeaderMatch { name: spec.name.to_ascii_lowercase(), condition, invert: false })
}
