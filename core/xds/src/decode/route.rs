//! Route tables.

use std::sync::Arc;

use selvedge_traffic::hash::HashCookie;
use selvedge_traffic::{
    Action, DirectResponse, Forward, Fraction, HashPolicy, HashSource, HeaderEdits, Hedge, HostRewrite,
    Mirror, PathRewrite, Priority, Redirect, Route, RouteTable, RouteUpgrades, SplitBy, StreamDuration,
    VirtualHost, WeightedCluster,
};
use selvedge_xds_proto::envoy::config::core::v3::{DataSource, RoutingPriority, data_source};
use selvedge_xds_proto::envoy::config::route::v3 as proto;
use selvedge_xds_proto::envoy::config::route::v3::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use selvedge_xds_proto::envoy::config::route::v3::route_action::hash_policy::PolicySpecifier;
use selvedge_xds_proto::envoy::config::route::v3::route_action::{
    ClusterNotFoundResponseCode, ClusterSpecifier, HostRewriteSpecifier,
};
use selvedge_xds_proto::envoy::config::route::v3::weighted_cluster::RandomValueSpecifier;

use selvedge_xds_proto::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;

use super::bounds::{known, not_empty, one_line, port, status};
use super::{Reason, all, duration, exact, filter, headers, matching, metadata, rate_limit, retry, text};
use crate::encode::route::WHOLE_PATH;

/// The longest body of a direct response, as Envoy has it unless it is told otherwise.
const DIRECT_BODY_BYTES_MAX: usize = 4096;

pub(super) fn table(message: proto::RouteConfiguration) -> Result<RouteTable, Reason> {
    let virtual_hosts = all(message.virtual_hosts, virtual_host)?;
    unique_domains(&virtual_hosts)?;
    let mut table = RouteTable {
        name: message.name,
        virtual_hosts,
        ignore_port_in_host_matching: message.ignore_port_in_host_matching,
        headers: HeaderEdits {
            request: headers::decode(message.request_headers_to_add, message.request_headers_to_remove)?,
            response: headers::decode(message.response_headers_to_add, message.response_headers_to_remove)?,
        },
        most_specific_headers_win: message.most_specific_header_mutations_wins,
        filters: filter::overrides(message.typed_per_filter_config)?,
    };
    table.share_policies();
    Ok(table)
}

/// As Envoy has it, a domain may stand once in a table.
fn unique_domains(hosts: &[VirtualHost]) -> Result<(), Reason> {
    let mut seen = std::collections::HashSet::new();
    for domain in hosts.iter().flat_map(|host| &host.domains) {
        if !seen.insert(domain.to_ascii_lowercase()) {
            return Err(Reason::Invalid {
                field: "virtual_hosts.domains",
                value: domain.clone(),
                expected: "stands there twice",
            });
        }
    }
    Ok(())
}

fn virtual_host(message: proto::VirtualHost) -> Result<VirtualHost, Reason> {
    if message.domains.is_empty() {
        return Err(Reason::Missing("virtual_hosts.domains"));
    }
    Ok(VirtualHost {
        name: not_empty("virtual_hosts.name", message.name)?,
        domains: exact(message.domains),
        routes: all(message.routes, route)?,
        retry: message.retry_policy.map(retry::decode).transpose()?.map(Arc::new),
        hedge: message.hedge_policy.as_ref().map(hedge),
        include_attempt_count: message.include_request_attempt_count,
        headers: HeaderEdits {
            request: headers::decode(message.request_headers_to_add, message.request_headers_to_remove)?,
            response: headers::decode(message.response_headers_to_add, message.response_headers_to_remove)?,
        },
        rate_limits: rate_limit::all(message.rate_limits)?,
        filters: filter::overrides(message.typed_per_filter_config)?,
        include_attempt_count_in_response: message.include_attempt_count_in_response,
    })
}

fn route(message: proto::Route) -> Result<Route, Reason> {
    let action = match message.action {
        None => return Err(Reason::Missing("routes.action")),
        Some(proto::route::Action::Route(action)) => Action::Forward(forward(action)?),
        Some(proto::route::Action::Redirect(action)) => Action::Redirect(redirect(action)?),
        Some(proto::route::Action::DirectResponse(action)) => Action::Respond(respond(action)?),
    };
    Ok(Route {
        name: message.name,
        matches: matching::decode(message.r#match.ok_or(Reason::Missing("routes.match"))?)?,
        action,
        request_headers: headers::decode(message.request_headers_to_add, message.request_headers_to_remove)?,
        response_headers: headers::decode(
            message.response_headers_to_add,
            message.response_headers_to_remove,
        )?,
        filters: filter::overrides(message.typed_per_filter_config)?,
    })
}

fn forward(message: proto::RouteAction) -> Result<Forward, Reason> {
    let status =
        match known("route.cluster_not_found_response_code", message.cluster_not_found_response_code)? {
            ClusterNotFoundResponseCode::ServiceUnavailable => 503,
            ClusterNotFoundResponseCode::NotFound => 404,
            ClusterNotFoundResponseCode::InternalServerError => 500,
        };
    let (clusters, split_by) = clusters(message.cluster_specifier)?;
    let durations = message.max_stream_duration.unwrap_or_default();
    Ok(Forward {
        labels: metadata::labels(message.metadata_match.as_ref()),
        priority: match known("route.priority", message.priority)? {
            RoutingPriority::Default => Priority::Default,
            RoutingPriority::High => Priority::High,
        },
        hash: all(message.hash_policy, hash_policy)?,
        hedge: message.hedge_policy.as_ref().map(hedge),
        stream_duration: StreamDuration {
            max: duration::optional(
                "max_stream_duration.max_stream_duration",
                durations.max_stream_duration,
            )?,
            grpc_timeout_max: duration::optional(
                "max_stream_duration.grpc_timeout_header_max",
                durations.grpc_timeout_header_max,
            )?,
            grpc_timeout_offset: duration::optional(
                "max_stream_duration.grpc_timeout_header_offset",
                durations.grpc_timeout_header_offset,
            )?,
        },
        clusters,
        split_by,
        upgrades: upgrades(message.upgrade_configs)?,
        timeout: duration::optional("route.timeout", message.timeout)?,
        idle_timeout: duration::optional("route.idle_timeout", message.idle_timeout)?,
        retry: message.retry_policy.map(retry::decode).transpose()?.map(Arc::new),
        path_rewrite: path_rewrite(message.prefix_rewrite, message.regex_rewrite)?,
        host_rewrite: message.host_rewrite_specifier.map(host_rewrite).transpose()?.flatten(),
        append_forwarded_host: message.append_x_forwarded_host,
        mirrors: all(message.request_mirror_policies, mirror)?,
        cluster_not_found_status: status,
        rate_limits: rate_limit::all(message.rate_limits)?,
        include_host_rate_limits: message.include_vh_rate_limits.unwrap_or_default(),
    })
}

/// Further requests from the start are not implemented in Envoy either, and passed over as there.
fn hedge(message: &proto::HedgePolicy) -> Hedge {
    Hedge { on_per_try_timeout: message.hedge_on_per_try_timeout }
}

fn hash_policy(message: proto::route_action::HashPolicy) -> Result<HashPolicy, Reason> {
    let source = match message.policy_specifier {
        None => return Err(Reason::Missing("hash_policy.policy_specifier")),
        Some(PolicySpecifier::Header(header)) => {
            if header.regex_rewrite.is_some() {
                return Err(Reason::Unsupported {
                    field: "hash_policy.header.regex_rewrite",
                    value: header.header_name,
                });
            }
            let name = not_empty("hash_policy.header.header_name", header.header_name)?;
            HashSource::Header(name.to_ascii_lowercase())
        }
        Some(PolicySpecifier::Cookie(cookie)) => HashSource::Cookie(HashCookie {
            name: not_empty("hash_policy.cookie.name", cookie.name)?,
            ttl: duration::optional("hash_policy.cookie.ttl", cookie.ttl)?,
            path: cookie.path,
            attributes: cookie
                .attributes
                .into_iter()
                .map(|attribute| (attribute.name, attribute.value))
                .collect(),
        }),
        Some(PolicySpecifier::ConnectionProperties(connection)) if connection.source_ip => {
            HashSource::SourceIp
        }
        Some(PolicySpecifier::ConnectionProperties(_)) => {
            return Err(Reason::Missing("hash_policy.connection_properties.source_ip"));
        }
        Some(PolicySpecifier::QueryParameter(parameter)) => {
            HashSource::QueryParameter(not_empty("hash_policy.query_parameter.name", parameter.name)?)
        }
        Some(PolicySpecifier::FilterState(state)) => {
            return Err(Reason::Unsupported { field: "hash_policy.filter_state", value: state.key });
        }
    };
    Ok(HashPolicy { source, terminal: message.terminal })
}

fn mirror(message: proto::route_action::RequestMirrorPolicy) -> Result<Mirror, Reason> {
    if !message.cluster_header.is_empty() {
        let (field, value) = ("route.request_mirror_policies.cluster_header", message.cluster_header);
        return Err(Reason::Unsupported { field, value });
    }
    let share = message.runtime_fraction;
    let share = share.map(|share| text::fraction("route.request_mirror_policies.runtime_fraction", share));
    Ok(Mirror {
        cluster: not_empty("route.request_mirror_policies.cluster", message.cluster)?,
        share: share.transpose()?.unwrap_or(Fraction::ALL),
        keeps_host: message.disable_shadow_host_suffix_append,
    })
}

/// Of one type the last word counts.
fn upgrades(configs: Vec<proto::route_action::UpgradeConfig>) -> Result<RouteUpgrades, Reason> {
    let mut upgrades = RouteUpgrades::default();
    for config in configs {
        let enabled = config.enabled.unwrap_or(true);
        let connect = config.upgrade_type.eq_ignore_ascii_case("connect");
        match &config.connect_config {
            Some(_) if !connect => {
                return Err(Reason::Invalid {
                    field: "route.upgrade_configs.connect_config",
                    value: config.upgrade_type,
                    expected: "is not CONNECT",
                });
            }
            Some(inner) if inner.proxy_protocol_config.is_some() || inner.allow_post => {
                return Err(Reason::Unsupported {
                    field: "route.upgrade_configs.connect_config",
                    value: "proxy_protocol_config or allow_post".to_owned(),
                });
            }
            _ => {}
        }
        if connect {
            upgrades.connect = Some(enabled);
            upgrades.connect_terminates = config.connect_config.is_some();
        } else if config.upgrade_type.eq_ignore_ascii_case("websocket") {
            upgrades.websocket = Some(enabled);
        } else if enabled {
            return Err(Reason::Unsupported {
                field: "route.upgrade_configs.upgrade_type",
                value: config.upgrade_type,
            });
        }
    }
    Ok(upgrades)
}

fn clusters(specifier: Option<ClusterSpecifier>) -> Result<(Vec<WeightedCluster>, SplitBy), Reason> {
    let (weighted, by) = match specifier {
        None => return Err(Reason::Missing("route.cluster_specifier")),
        Some(ClusterSpecifier::Cluster(name)) => {
            let only = WeightedCluster::new(not_empty("route.cluster", name)?, 1);
            return Ok((vec![only], SplitBy::Chance));
        }
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            (weighted.clusters, weighted.random_value_specifier)
        }
    };
    if weighted.is_empty() {
        return Err(Reason::Missing("weighted_clusters.clusters"));
    }
    let clusters = all(weighted, |cluster| {
        let name = not_empty("weighted_clusters.clusters.name", cluster.name)?;
        if cluster.metadata_match.is_some() {
            return Err(Reason::Unsupported {
                field: "weighted_clusters.clusters.metadata_match",
                value: name,
            });
        }
        let filters = filter::overrides(cluster.typed_per_filter_config)?;
        let headers = HeaderEdits {
            request: headers::decode(cluster.request_headers_to_add, cluster.request_headers_to_remove)?,
            response: headers::decode(cluster.response_headers_to_add, cluster.response_headers_to_remove)?,
        };
        Ok(WeightedCluster { name, weight: cluster.weight.unwrap_or_default(), filters, headers })
    })?;
    let total: u64 = clusters.iter().map(|cluster| u64::from(cluster.weight)).sum();
    if total == 0 || total > u64::from(u32::MAX) {
        return Err(Reason::Invalid {
            field: "weighted_clusters",
            value: total.to_string(),
            expected: "is not in 1..=4294967295",
        });
    }
    let split_by = match by {
        None | Some(RandomValueSpecifier::UseHashPolicy(false)) => SplitBy::Chance,
        Some(RandomValueSpecifier::UseHashPolicy(true)) => SplitBy::Hash,
        Some(RandomValueSpecifier::HeaderName(name)) => {
            SplitBy::Header(not_empty("weighted_clusters.header_name", name)?.to_ascii_lowercase())
        }
    };
    Ok((clusters, split_by))
}

fn host_rewrite(specifier: HostRewriteSpecifier) -> Result<Option<HostRewrite>, Reason> {
    Ok(match specifier {
        HostRewriteSpecifier::HostRewriteLiteral(host) => {
            Some(HostRewrite::Literal(one_line("route.host_rewrite_literal", host)?))
        }
        HostRewriteSpecifier::AutoHostRewrite(auto) => auto.then_some(HostRewrite::Auto),
        HostRewriteSpecifier::HostRewriteHeader(name) => {
            Some(HostRewrite::Header(not_empty("route.host_rewrite_header", name)?.to_ascii_lowercase()))
        }
        HostRewriteSpecifier::HostRewritePathRegex(regex) => {
            let (pattern, substitution) = substitution("route.host_rewrite_path_regex.pattern", regex)?;
            Some(HostRewrite::PathRegex { pattern, substitution })
        }
    })
}

/// A usable expression, and what comes in its place.
fn substitution(field: &'static str, regex: RegexMatchAndSubstitute) -> Result<(String, String), Reason> {
    let pattern = regex.pattern.ok_or(Reason::Missing(field))?.regex;
    selvedge_traffic::matching::header::Pattern::new(&pattern).map_err(|error| Reason::Invalid {
        field,
        value: error.to_string(),
        expected: "is no usable expression",
    })?;
    Ok((pattern, one_line(field, regex.substitution)?))
}

fn path_rewrite(
    prefix: String,
    regex: Option<RegexMatchAndSubstitute>,
) -> Result<Option<PathRewrite>, Reason> {
    let Some(regex) = regex else {
        let prefix = one_line("route.prefix_rewrite", prefix)?;
        return Ok((!prefix.is_empty()).then_some(PathRewrite::Prefix(prefix)));
    };
    if !prefix.is_empty() {
        return Err(Reason::Unsupported {
            field: "route.regex_rewrite",
            value: "beside prefix_rewrite".to_owned(),
        });
    }
    regex_rewrite(regex).map(Some)
}

fn regex_rewrite(regex: RegexMatchAndSubstitute) -> Result<PathRewrite, Reason> {
    let (pattern, substitution) = substitution("route.regex_rewrite.pattern", regex)?;
    if pattern == WHOLE_PATH
        && let Some(path) = literal(&substitution)
    {
        return Ok(PathRewrite::Full(path));
    }
    Ok(PathRewrite::Regex { pattern, substitution })
}

/// The text of a substitution without groups; `\\` stands for a backslash.
fn literal(substitution: &str) -> Option<String> {
    let mut text = String::with_capacity(substitution.len());
    let mut rest = substitution.chars();
    while let Some(character) = rest.next() {
        if character == '\\' && rest.next() != Some('\\') {
            return None;
        }
        text.push(character);
    }
    Some(text)
}

fn redirect(message: proto::RedirectAction) -> Result<Redirect, Reason> {
    let (path, path_rewrite) = match message.path_rewrite_specifier {
        None => (None, None),
        Some(PathRewriteSpecifier::PathRedirect(path)) => {
            (Some(one_line("redirect.path_redirect", path)?), None)
        }
        Some(PathRewriteSpecifier::PrefixRewrite(prefix)) => {
            let prefix = one_line("redirect.prefix_rewrite", prefix)?;
            (None, (!prefix.is_empty()).then_some(PathRewrite::Prefix(prefix)))
        }
        Some(PathRewriteSpecifier::RegexRewrite(regex)) => (None, Some(regex_rewrite(regex)?)),
    };
    Ok(Redirect {
        scheme: match message.scheme_rewrite_specifier {
            Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => Some(scheme),
            Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => Some("https".to_owned()),
            Some(SchemeRewriteSpecifier::HttpsRedirect(false)) | None => None,
        },
        host: (!message.host_redirect.is_empty())
            .then(|| one_line("redirect.host_redirect", message.host_redirect))
            .transpose()?,
        port: match message.port_redirect {
            0 => None,
            value => Some(port("redirect.port_redirect", value)?),
        },
        path,
        path_rewrite,
        status: match known("redirect.response_code", message.response_code)? {
            RedirectResponseCode::MovedPermanently => 301,
            RedirectResponseCode::Found => 302,
            RedirectResponseCode::SeeOther => 303,
            RedirectResponseCode::TemporaryRedirect => 307,
            RedirectResponseCode::PermanentRedirect => 308,
        },
        strip_query: message.strip_query,
    })
}

fn respond(message: proto::DirectResponseAction) -> Result<DirectResponse, Reason> {
    let status = match status("direct_response.status", message.status)? {
        interim @ ..200 => {
            let (field, value) = ("direct_response.status", interim.to_string());
            return Err(Reason::Invalid { field, value, expected: "ends no request" });
        }
        status => status,
    };
    let body = message.body.map(|body| inline_text("direct_response.body", body)).transpose()?;
    let body = body.unwrap_or_default();
    if body.len() > DIRECT_BODY_BYTES_MAX {
        let (field, value) = ("direct_response.body", format!("{} bytes", body.len()));
        return Err(Reason::Invalid { field, value, expected: "is longer than 4096 bytes" });
    }
    Ok(DirectResponse { status, body })
}

/// Text that stands in the configuration itself.
pub(super) fn inline_text(field: &'static str, source: DataSource) -> Result<String, Reason> {
    match source.specifier {
        None => Err(Reason::Missing(field)),
        Some(data_source::Specifier::InlineString(text)) => Ok(text),
        Some(data_source::Specifier::InlineBytes(bytes)) => String::from_utf8(bytes.to_vec())
            .map_err(|_| Reason::Unsupported { field, value: "bytes that are not UTF-8".to_owned() }),
        Some(data_source::Specifier::Filename(path)) => Err(Reason::Unsupported { field, value: path }),
    }
}
