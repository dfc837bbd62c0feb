//! What Envoy's default tag rules take out of a statistic's name.

use super::{Name, Scope};
use crate::codes::Code;
use crate::stats::Dimensions;
use crate::stats::Owner;

/// A statistic's name without its tags, and the tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tagged {
    /// `cluster.upstream_rq`
    pub(crate) name: String,
    /// Of the statistic itself: its response code or class.
    pub(crate) own: Option<(&'static str, String)>,
}

/// Takes a response code or class out of a name: `upstream_rq_503` is `upstream_rq` with a tag, `downstream_rq_5xx` is
/// `downstream_rq_xx` with a tag.
pub(crate) fn split(scope: &Scope, name: &Name) -> Tagged {
    let kind = match scope {
        Scope::Server => "",
        Scope::Cluster(_) => "cluster.",
        Scope::Http(_) => "http.",
        Scope::Tcp(_) => "tcp.",
        Scope::Listener(_) => "listener.",
        Scope::ListenerWorker(..) => "listener.worker_",
        Scope::ListenerHttp(..) => "listener.http.",
        Scope::Filter(Owner::Http(_), part) => &format!("http.{part}"),
        Scope::Filter(Owner::Cluster(_), part) => &format!("cluster.{part}"),
        Scope::Filter(Owner::Listener(_), part) => &format!("listener.{part}"),
        Scope::Filter(Owner::LocalRateLimit(_), part) => &format!("http_local_rate_limit.{part}"),
        Scope::Filter(Owner::Network(prefix), part) => &format!("{prefix}{part}"),
        Scope::Sidecar | Scope::Target { .. } => "appmesh.",
    };
    match name {
        Name::Code(prefix, Code::Status(status)) => Tagged {
            name: format!("{kind}{prefix}upstream_rq"),
            own: Some(("envoy.response_code", status.to_string())),
        },
        Name::Code(prefix, Code::Class(class)) => Tagged {
            name: format!("{kind}{prefix}upstream_rq_xx"),
            own: Some(("envoy.response_code_class", class.to_string())),
        },
        Name::Code(_, Code::Completed) => Tagged { name: format!("{kind}{}", name.text()), own: None },
        Name::Plain(plain) => match class_suffix(plain) {
            Some((rest, class)) => Tagged {
                name: format!("{kind}{rest}xx"),
                own: Some(("envoy.response_code_class", class.to_owned())),
            },
            None => Tagged { name: format!("{kind}{plain}"), own: None },
        },
    }
}

/// `downstream_rq_` and `5` of `downstream_rq_5xx`.
fn class_suffix(name: &str) -> Option<(&str, &str)> {
    let rest = name.strip_suffix("xx")?;
    let (rest, class) = rest.split_at_checked(rest.len().checked_sub(1)?)?;
    (rest.ends_with("_rq_") && class.bytes().all(|byte| byte.is_ascii_digit())).then_some((rest, class))
}

/// The tags that stand for a scope; `dimensions` are those of the metrics extension.
pub(crate) fn of_scope(scope: &Scope, dimensions: Option<&Dimensions>) -> Vec<(&'static str, String)> {
    match scope {
        Scope::Server => Vec::new(),
        Scope::Sidecar => dimensions.map(|it| it.identity.clone()).unwrap_or_default(),
        Scope::Cluster(name) | Scope::Filter(Owner::Cluster(name), _) => {
            vec![("envoy.cluster_name", name.clone())]
        }
        Scope::Filter(Owner::LocalRateLimit(prefix), _) => {
            vec![("envoy.local_http_ratelimit_prefix", prefix.clone())]
        }
        Scope::Filter(Owner::Network(_), _) => Vec::new(),
        Scope::Http(prefix) | Scope::Filter(Owner::Http(prefix), _) => {
            manager("envoy.http_conn_manager_prefix", prefix)
        }
        Scope::Tcp(prefix) => manager("envoy.tcp_prefix", prefix),
        Scope::Listener(address) | Scope::Filter(Owner::Listener(address), _) => {
            vec![("envoy.listener_address", address.clone())]
        }
        Scope::ListenerWorker(address, worker) => {
            vec![("envoy.worker_id", worker.to_string()), ("envoy.listener_address", address.clone())]
        }
        Scope::ListenerHttp(address, prefix) => {
            let mut tags = manager("envoy.http_conn_manager_prefix", prefix);
            tags.push(("envoy.listener_address", address.clone()));
            tags
        }
        Scope::Target { service, node } => {
            let Some(dimensions) = dimensions else { return Vec::new() };
            let target =
                [(dimensions.target_node, node.clone()), (dimensions.target_service, service.clone())];
            dimensions.identity.iter().cloned().chain(target).collect()
        }
    }
}

/// App Mesh names the managers of a resource with several listeners `ingress.<protocol>.<port>`, and takes both out.
fn manager(tag: &'static str, prefix: &str) -> Vec<(&'static str, String)> {
    let mut parts = prefix.split('.');
    if let (Some(direction @ ("ingress" | "egress")), Some(protocol), Some(port), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
        && !port.is_empty()
        && port.bytes().all(|byte| byte.is_ascii_digit())
    {
        return vec![
            ("appmesh.listener_protocol", protocol.to_owned()),
            ("appmesh.listener_port", port.to_owned()),
            (tag, direction.to_owned()),
        ];
    }
    vec![(tag, prefix.to_owned())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_classes_become_tags_and_nothing_else_does() {
        let cluster = Scope::Cluster("up".to_owned());
        let http = Scope::Http("ingress".to_owned());
        let rows = [
            (
                &cluster,
                Name::Code("external.", Code::Status(503)),
                "cluster.external.upstream_rq",
                Some("503"),
            ),
            (&cluster, Name::Code("", Code::Class(5)), "cluster.upstream_rq_xx", Some("5")),
            (&cluster, Name::Code("", Code::Completed), "cluster.upstream_rq_completed", None),
            (&http, Name::Plain("downstream_rq_4xx"), "http.downstream_rq_xx", Some("4")),
            (&http, Name::Plain("downstream_rq_time"), "http.downstream_rq_time", None),
            (&Scope::Server, Name::Plain("server.live"), "server.live", None),
        ];
        for (scope, name, expected, own) in rows {
            let tagged = split(scope, &name);
            assert_eq!((tagged.name.as_str(), tagged.own.as_ref().map(|(_, v)| v.as_str())), (expected, own));
        }
    }

    #[test]
    fn a_manager_of_one_of_several_listeners_is_told_by_protocol_and_port() {
        let tags = of_scope(&Scope::Http("ingress.http.8080".to_owned()), None);
        let expected = [
            ("appmesh.listener_protocol", "http"),
            ("appmesh.listener_port", "8080"),
            ("envoy.http_conn_manager_prefix", "ingress"),
        ];
        assert_eq!(tags, expected.map(|(tag, value)| (tag, value.to_owned())));
        assert_eq!(of_scope(&Scope::Http("my.http.x".to_owned()), None)[0].1, "my.http.x");
    }
}
