//! A resource in a few words.

use selvedge_model::{
    GatewayRouteSpec, HttpGatewayRouteMatch, HttpPathMatch, HttpRouteMatch, Kind, PortMapping, RouteSpec,
    VirtualServiceSpec, WeightedTarget,
};

use super::ConnectedProxy;

/// `virtualRouter` as `virtual router`.
pub(super) fn words(segment: &str) -> String {
    let mut words = String::with_capacity(segment.len() + 1);
    for one in segment.chars() {
        if one.is_ascii_uppercase() {
            words.push(' ');
        }
        words.push(one.to_ascii_lowercase());
    }
    words
}

/// `-> virtual router colors`
pub(super) fn service(spec: &VirtualServiceSpec) -> String {
    match spec.provider.as_ref().map(|provider| provider.target()) {
        Some((Kind::VirtualNode, name)) => format!("-> virtual node {name}"),
        Some((_, name)) => format!("-> virtual router {name}"),
        None => String::new(),
    }
}

/// `http /api -> a 80 %, b 20 %`
pub(super) fn route(spec: &RouteSpec) -> String {
    let priority = spec.priority.map(|priority| format!("priority {priority}, ")).unwrap_or_default();
    let http = spec.http_route.as_ref().map(|route| ("http", route));
    let http2 = spec.http2_route.as_ref().map(|route| ("http2", route));
    let (what, targets) = if let Some((protocol, route)) = http.or(http2) {
        (format!("{protocol} {}", http_match(&route.matcher)), &route.action.weighted_targets)
    } else if let Some(route) = &spec.grpc_route {
        let service = route.matcher.service_name.as_deref().unwrap_or("*");
        let method =
            route.matcher.method_name.as_deref().map(|method| format!("/{method}")).unwrap_or_default();
        (format!("grpc {service}{method}"), &route.action.weighted_targets)
    } else if let Some(route) = &spec.tcp_route {
        ("tcp".to_owned(), &route.action.weighted_targets)
    } else {
        return String::new();
    };
    format!("{priority}{what} -> {}", shares(targets))
}

/// `http /api -> virtual service colors.local`
pub(super) fn gateway_route(spec: &GatewayRouteSpec) -> String {
    let priority = spec.priority.map(|priority| format!("priority {priority}, ")).unwrap_or_default();
    let http = spec.http_route.as_ref().map(|route| ("http", route));
    let http2 = spec.http2_route.as_ref().map(|route| ("http2", route));
    let (what, service) = if let Some((protocol, route)) = http.or(http2) {
        let what = format!("{protocol} {}", gateway_match(&route.matcher));
        (what, &route.action.target.virtual_service.virtual_service_name)
    } else if let Some(route) = &spec.grpc_route {
        let name = route.matcher.service_name.as_deref().unwrap_or("*");
        (format!("grpc {name}"), &route.action.target.virtual_service.virtual_service_name)
    } else {
        return String::new();
    };
    format!("{priority}{what} -> virtual service {service}")
}

/// `http 8080, grpc 9090; 2 proxies`
pub(super) fn listeners<'a>(
    ports: impl Iterator<Item = &'a PortMapping>,
    proxies: Option<&[&ConnectedProxy]>,
) -> String {
    let ports: Vec<String> = ports.map(|mapping| format!("{} {}", mapping.protocol, mapping.port)).collect();
    let connected = proxies.map(|proxies| match proxies.len() {
        0 => "no proxy".to_owned(),
        1 => "1 proxy".to_owned(),
        count => format!("{count} proxies"),
    });
    let behind = proxies.map_or(0, |proxies| proxies.iter().filter(|proxy| !proxy.up_to_date).count());
    let behind = (behind > 0).then(|| format!("{behind} not up to date"));
    let ports = Some(ports.join(", ")).filter(|ports| !ports.is_empty());
    [ports, connected, behind].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn http_match(matcher: &HttpRouteMatch) -> String {
    let method = matcher.method.as_ref().map(|method| format!("{method} ")).unwrap_or_default();
    let conditions = conditions(matcher.headers.len(), matcher.query_parameters.len());
    format!("{method}{}{conditions}", path(matcher.prefix.as_deref(), matcher.path.as_ref()))
}

fn gateway_match(matcher: &HttpGatewayRouteMatch) -> String {
    let conditions = conditions(matcher.headers.len(), matcher.query_parameters.len());
    format!("{}{conditions}", path(matcher.prefix.as_deref(), matcher.path.as_ref()))
}

fn path(prefix: Option<&str>, path: Option<&HttpPathMatch>) -> String {
    let exact = path.and_then(|path| path.exact.as_ref()).map(|exact| format!("= {exact}"));
    let regex = path.and_then(|path| path.regex.as_ref()).map(|regex| format!("~ {regex}"));
    prefix.map(str::to_owned).or(exact).or(regex).unwrap_or_else(|| "*".to_owned())
}

fn conditions(headers: usize, parameters: usize) -> String {
    let count = |count: usize, what: &str| match count {
        0 => None,
        1 => Some(format!(" + 1 {what}")),
        count => Some(format!(" + {count} {what}s")),
    };
    [count(headers, "header"), count(parameters, "query parameter")].into_iter().flatten().collect()
}

fn shares(targets: &[WeightedTarget]) -> String {
    let sum: u64 = targets.iter().map(|target| u64::from(target.weight)).sum();
    let share = |target: &WeightedTarget| match sum {
        0 => format!("{} weight 0", target.virtual_node),
        sum => format!("{} {} %", target.virtual_node, (200 * u64::from(target.weight) + sum) / (2 * sum)),
    };
    targets.iter().map(share).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use selvedge_model::Shaped;
    use serde_json::json;

    use super::*;

    #[test]
    fn routes_are_told_in_a_line() {
        for (spec, expected) in [
            (
                json!({"priority": 10, "httpRoute": {"match": {"prefix": "/api", "method": "GET", "headers": [{"name": "x"}]},
                    "action": {"weightedTargets": [{"virtualNode": "a", "weight": 2}, {"virtualNode": "b", "weight": 1}]}}}),
                "priority 10, http GET /api + 1 header -> a 67 %, b 33 %",
            ),
            (
                json!({"grpcRoute": {"match": {"serviceName": "s", "methodName": "m"},
                    "action": {"weightedTargets": [{"virtualNode": "a", "weight": 0}]}}}),
                "grpc s/m -> a weight 0",
            ),
            (
                json!({"tcpRoute": {"action": {"weightedTargets": [{"virtualNode": "a", "weight": 1}]}}}),
                "tcp -> a 100 %",
            ),
            (json!({}), ""),
        ] {
            let spec = RouteSpec::decode(&spec).expect("a spec");
            assert_eq!(route(&spec), expected);
        }
    }
}
