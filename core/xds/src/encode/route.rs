//! Route tables.

use selvedge_traffic::{
    Action, DirectResponse, Forward, Fraction, HashPolicy, HashSource, Hedge, HostRewrite, Mirror,
    PathRewrite, Priority, Redirect, Route, RouteTable, RouteUpgrades, SplitBy, VirtualHost,
};
use selvedge_xds_proto::envoy::config::core::v3::{DataSource, RoutingPriority, data_source};
use selvedge_xds_proto::envoy::config::route::v3 as proto;
use selvedge_xds_proto::envoy::config::route::v3::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use selvedge_xds_proto::envoy::config::route::v3::route_action::hash_policy::PolicySpecifier;
use selvedge_xds_proto::envoy::config::route::v3::route_action::upgrade_config::ConnectConfig;
use selvedge_xds_proto::envoy::config::route::v3::route_action::{
    ClusterNotFoundResponseCode, ClusterSpecifier, HostRewriteSpecifier,
};
use selvedge_xds_proto::envoy::config::route::v3::route_action::{MaxStreamDuration, hash_policy};
use selvedge_xds_proto::envoy::config::route::v3::weighted_cluster::RandomValueSpecifier;
use selvedge_xds_proto::envoy::r#type::matcher::v3::{RegexMatchAndSubstitute, RegexMatcher};

use super::{duration, filter, headers, matching, metadata, rate_limit, retry, text};

/// A whole path, as the pattern of a rewrite: how [`PathRewrite::Full`] travels.
pub(crate) const WHOLE_PATH: &str = "^.*$";

pub(super) fn table(table: &RouteTable) -> proto::RouteConfiguration {
    let (request_headers_to_add, request_headers_to_remove) = headers::encode(&table.headers.request);
    let (response_headers_to_add, response_headers_to_remove) = headers::encode(&table.headers.response);
    proto::RouteConfiguration {
        name: table.name.clone(),
        virtual_hosts: table.virtual_hosts.iter().map(virtual_host).collect(),
        ignore_port_in_host_matching: table.ignore_port_in_host_matching,
        request_headers_to_add,
        request_headers_to_remove,
        response_headers_to_add,
        response_headers_to_remove,
        most_specific_header_mutations_wins: table.most_specific_headers_win,
        typed_per_filter_config: filter::overrides(&table.filters),
    }
}

fn virtual_host(host: &VirtualHost) -> proto::VirtualHost {
    let (request_headers_to_add, request_headers_to_remove) = headers::encode(&host.headers.request);
    let (response_headers_to_add, response_headers_to_remove) = headers::encode(&host.headers.response);
    proto::VirtualHost {
        name: host.name.clone(),
        domains: host.domains.clone(),
        routes: host.routes.iter().map(route).collect(),
        request_headers_to_add,
        request_headers_to_remove,
        response_headers_to_add,
        response_headers_to_remove,
        include_request_attempt_count: host.include_attempt_count,
        include_attempt_count_in_response: host.include_attempt_count_in_response,
        retry_policy: host.retry.as_deref().map(retry::encode),
        rate_limits: rate_limit::all(&host.rate_limits),
        typed_per_filter_config: filter::overrides(&host.filters),
        hedge_policy: host.hedge.as_ref().map(hedge),
    }
}

fn route(route: &Route) -> proto::Route {
    let action = match &route.action {
        Action::Forward(forward) => proto::route::Action::Route(forward_action(forward)),
        Action::Redirect(redirect) => proto::route::Action::Redirect(redirect_action(redirect)),
        Action::Respond(response) => proto::route::Action::DirectResponse(respond_action(response)),
    };
    let (request_headers_to_add, request_headers_to_remove) = headers::encode(&route.request_headers);
    let (response_headers_to_add, response_headers_to_remove) = headers::encode(&route.response_headers);
    proto::Route {
        name: route.name.clone(),
        r#match: Some(matching::encode(&route.matches)),
        request_headers_to_add,
        request_headers_to_remove,
        response_headers_to_add,
        response_headers_to_remove,
        action: Some(action),
        typed_per_filter_config: filter::overrides(&route.filters),
    }
}

fn forward_action(forward: &Forward) -> proto::RouteAction {
    let (prefix_rewrite, regex_rewrite) = path_rewrite(forward.path_rewrite.as_ref());
    proto::RouteAction {
        cluster_not_found_response_code: match forward.cluster_not_found_status {
            404 => ClusterNotFoundResponseCode::NotFound,
            500 => ClusterNotFoundResponseCode::InternalServerError,
            _ => ClusterNotFoundResponseCode::ServiceUnavailable,
        }
        .into(),
        prefix_rewrite,
        regex_rewrite,
        timeout: forward.timeout.map(duration::encode),
        idle_timeout: forward.idle_timeout.map(duration::encode),
        retry_policy: forward.retry.as_deref().map(retry::encode),
        rate_limits: rate_limit::all(&forward.rate_limits),
        include_vh_rate_limits: forward.include_host_rate_limits.then_some(true),
        metadata_match: metadata::labels(&forward.labels),
        priority: match forward.priority {
            Priority::Default => RoutingPriority::Default,
            Priority::High => RoutingPriority::High,
        }
        .into(),
        hash_policy: forward.hash.iter().map(hash_policy).collect(),
        hedge_policy: forward.hedge.as_ref().map(hedge),
        upgrade_configs: upgrades(forward.upgrades),
        max_stream_duration: forward.stream_duration.is_set().then(|| MaxStreamDuration {
            max_stream_duration: forward.stream_duration.max.map(duration::encode),
            grpc_timeout_header_max: forward.stream_duration.grpc_timeout_max.map(duration::encode),
            grpc_timeout_header_offset: forward.stream_duration.grpc_timeout_offset.map(duration::encode),
        }),
        cluster_specifier: Some(clusters(forward)),
        host_rewrite_specifier: forward.host_rewrite.as_ref().map(|rewrite| match rewrite {
            HostRewrite::Literal(host) => HostRewriteSpecifier::HostRewriteLiteral(host.clone()),
            HostRewrite::Auto => HostRewriteSpecifier::AutoHostRewrite(true),
            HostRewrite::Header(name) => HostRewriteSpecifier::HostRewriteHeader(name.clone()),
            HostRewrite::PathRegex { pattern, substitution } => {
                HostRewriteSpecifier::HostRewritePathRegex(substitute(pattern, substitution.clone()))
            }
        }),
        append_x_forwarded_host: forward.append_forwarded_host,
        request_mirror_policies: forward.mirrors.iter().map(mirror).collect(),
    }
}

fn upgrades(upgrades: RouteUpgrades) -> Vec<proto::route_action::UpgradeConfig> {
    let one = |name: &str, enabled: Option<bool>, connect_config| {
        enabled.map(|enabled| proto::route_action::UpgradeConfig {
            upgrade_type: name.to_owned(),
            enabled: Some(enabled),
            connect_config,
        })
    };
    let terminates = upgrades.connect_terminates.then(ConnectConfig::default);
    let all = [one("websocket", upgrades.websocket, None), one("CONNECT", upgrades.connect, terminates)];
    all.into_iter().flatten().collect()
}

fn mirror(mirror: &Mirror) -> proto::route_action::RequestMirrorPolicy {
    proto::route_action::RequestMirrorPolicy {
        cluster: mirror.cluster.clone(),
        cluster_header: String::new(),
        runtime_fraction: (mirror.share != Fraction::ALL).then(|| text::fraction(mirror.share)),
        disable_shadow_host_suffix_append: mirror.keeps_host,
    }
}

fn hedge(hedge: &Hedge) -> proto::HedgePolicy {
    proto::HedgePolicy { hedge_on_per_try_timeout: hedge.on_per_try_timeout, ..proto::HedgePolicy::default() }
}

fn hash_policy(policy: &HashPolicy) -> proto::route_action::HashPolicy {
    let specifier = match &policy.source {
        HashSource::Header(name) => {
            PolicySpecifier::Header(hash_policy::Header { header_name: name.clone(), regex_rewrite: None })
        }
        HashSource::Cookie(cookie) => PolicySpecifier::Cookie(hash_policy::Cookie {
            name: cookie.name.clone(),
            ttl: cookie.ttl.map(duration::encode),
            path: cookie.path.clone(),
            attributes: cookie
                .attributes
                .iter()
                .map(|(name, value)| hash_policy::CookieAttribute {
                    name: name.clone(),
                    value: value.clone(),
                })
                .collect(),
        }),
        HashSource::SourceIp => {
            PolicySpecifier::ConnectionProperties(hash_policy::ConnectionProperties { source_ip: true })
        }
        HashSource::QueryParameter(name) => {
            PolicySpecifier::QueryParameter(hash_policy::QueryParameter { name: name.clone() })
        }
    };
    proto::route_action::HashPolicy { policy_specifier: Some(specifier), terminal: policy.terminal }
}

fn clusters(forward: &Forward) -> ClusterSpecifier {
    match forward.clusters.as_slice() {
        [only]
            if only.weight == 1
                && only.filters.is_empty()
                && only.headers.is_empty()
                && forward.split_by == SplitBy::Chance =>
        {
            ClusterSpecifier::Cluster(only.name.clone())
        }
        many => ClusterSpecifier::WeightedClusters(proto::WeightedCluster {
            clusters: many
                .iter()
                .map(|cluster| {
                    let (request_headers_to_add, request_headers_to_remove) =
                        headers::encode(&cluster.headers.request);
                    let (response_headers_to_add, response_headers_to_remove) =
                        headers::encode(&cluster.headers.response);
                    proto::weighted_cluster::ClusterWeight {
                        name: cluster.name.clone(),
                        weight: Some(cluster.weight),
                        request_headers_to_add,
                        request_headers_to_remove,
                        response_headers_to_add,
                        response_headers_to_remove,
                        typed_per_filter_config: filter::overrides(&cluster.filters),
                        metadata_match: None,
                    }
                })
                .collect(),
            random_value_specifier: match &forward.split_by {
                SplitBy::Chance => None,
                SplitBy::Header(name) => Some(RandomValueSpecifier::HeaderName(name.clone())),
                SplitBy::Hash => Some(RandomValueSpecifier::UseHashPolicy(true)),
            },
        }),
    }
}

fn substitute(pattern: &str, substitution: String) -> RegexMatchAndSubstitute {
    RegexMatchAndSubstitute { pattern: Some(RegexMatcher { regex: pattern.to_owned() }), substitution }
}

fn path_rewrite(rewrite: Option<&PathRewrite>) -> (String, Option<RegexMatchAndSubstitute>) {
    match rewrite {
        None => (String::new(), None),
        Some(PathRewrite::Prefix(prefix)) => (prefix.clone(), None),
        Some(PathRewrite::Full(path)) => {
            (String::new(), Some(substitute(WHOLE_PATH, path.replace('\\', "\\\\"))))
        }
        Some(PathRewrite::Regex { pattern, substitution }) => {
            (String::new(), Some(substitute(pattern, substitution.clone())))
        }
    }
}

fn redirect_action(redirect: &Redirect) -> proto::RedirectAction {
    proto::RedirectAction {
        host_redirect: redirect.host.clone().unwrap_or_default(),
        port_redirect: redirect.port.map(u32::from).unwrap_or_default(),
        response_code: match redirect.status {
            302 => RedirectResponseCode::Found,
            303 => RedirectResponseCode::SeeOther,
            307 => RedirectResponseCode::TemporaryRedirect,
            308 => RedirectResponseCode::PermanentRedirect,
            _ => RedirectResponseCode::MovedPermanently,
        }
        .into(),
        strip_query: redirect.strip_query,
        scheme_rewrite_specifier: redirect.scheme.clone().map(SchemeRewriteSpecifier::SchemeRedirect),
        path_rewrite_specifier: match path_rewrite(redirect.path_rewrite.as_ref()) {
            (_, Some(regex)) => Some(PathRewriteSpecifier::RegexRewrite(regex)),
            (prefix, None) if !prefix.is_empty() => Some(PathRewriteSpecifier::PrefixRewrite(prefix)),
            _ => redirect.path.clone().map(PathRewriteSpecifier::PathRedirect),
        },
    }
}

fn respond_action(response: &DirectResponse) -> proto::DirectResponseAction {
    proto::DirectResponseAction {
        status: response.status.into(),
        body: (!response.body.is_empty()).then(|| DataSource {
            specifier: Some(data_source::Specifier::InlineString(response.body.clone())),
        }),
    }
}
