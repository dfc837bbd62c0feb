//! Filters: which a connection manager has, and what a route says about each.
//!
//! A connection manager has a filter if one of its routes says something about it, or if a policy governs its proxy as a
//! whole. The filters' order is the same everywhere.

use selvedge_model::policy::{self, TextMatch};
use selvedge_traffic::filter::{
    AbortBy, Coding, Compressor, CorsPolicy, DelayBy, Fault, FaultAbort, FaultDelay,
};
use selvedge_traffic::fraction::Denominator;
use selvedge_traffic::matching::header::{Pattern, PatternInvalid};
use selvedge_traffic::matching::{HeaderCondition, HeaderMatch, TextCondition};
use selvedge_traffic::{
    FilterEntry, FilterOverride, FilterSetting, Fraction, HttpFilter, Route, RouteFilter, RouteTable,
    matching,
};

const CORS: &str = "envoy.filters.http.cors";
const FAULT: &str = "envoy.filters.http.fault";

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

/// A percentage as a proxy draws it; nothing said is all.
pub(super) fn share(share: Option<policy::Percentage>) -> Fraction {
    let millionths = share.unwrap_or(policy::Percentage::ALL).0;
    match millionths % 10_000 {
        0 => Fraction { numerator: millionths / 10_000, denominator: Denominator::Hundred },
        _ => Fraction { numerator: millionths, denominator: Denominator::Million },
    }
}

fn text(spec: &TextMatch) -> Result<matching::TextMatch, PatternInvalid> {
    let condition = match spec {
        TextMatch::Exact(text) => TextCondition::Exact(text.clone()),
        TextMatch::Prefix(text) => TextCondition::Prefix(text.clone()),
        TextMatch::Suffix(text) => TextCondition::Suffix(text.clone()),
        TextMatch::Contains(text) => TextCondition::Contains(text.clone()),
        TextMatch::Regex(pattern) => TextCondition::Regex(Pattern::new(pattern)?),
    };
    Ok(matching::TextMatch { condition, ignore_case: false })
}

fn header(spec: &policy::HeaderCondition) -> Result<HeaderMatch, PatternInvalid> {
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
