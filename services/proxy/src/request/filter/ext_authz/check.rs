//! The question over gRPC.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use selvedge_http::known::HeaderId;
use selvedge_traffic::filter::AuthzService;
use selvedge_xds::rpc::authorization::{self as rpc, Answer, Body, Check};
use serde_json::Value;

use super::{ExtAuthz, NAMESPACE};
use crate::request::exchange::{Ended, Exchange};
use crate::request::filter::call::{Call, CallFailure, call, grpc};

/// Asks the service.
pub(super) async fn ask(
    authz: &ExtAuthz,
    x: &mut Exchange<'_>,
    seen: Option<(Vec<u8>, bool)>,
) -> Result<Result<Answer, CallFailure>, Ended> {
    let AuthzService::Grpc { cluster, authority, timeout } = &authz.config.service else {
        return Ok(Err(CallFailure::NoCluster));
    };
    let message = rpc::encode(&question(authz, x, seen));
    let authority = if authority.is_empty() { cluster } else { authority };
    let (head, body) = grpc(authority, rpc::PATH, &message);
    let asked = Call { cluster, head, body, grpc: true, timeout: *timeout };
    let worker = std::rc::Rc::clone(x.worker);
    let answered = match x.unless_interrupted(Box::pin(call(&worker, asked))).await {
        Ok(answered) => answered,
        Err(interrupt) => return Err(x.interrupted(interrupt)),
    };
    let verdict = answered.and_then(|answer| {
        let message = answer.message()?;
        rpc::decode(message).ok_or(CallFailure::Grpc(None))
    });
    Ok(verdict.map(|verdict| {
        for (name, value) in verdict.metadata {
            x.metadata.set(NAMESPACE, &name, value);
        }
        verdict.answer
    }))
}

fn question(authz: &ExtAuthz, x: &Exchange<'_>, seen: Option<(Vec<u8>, bool)>) -> Check {
    let head = &x.heads.request;
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let pseudo = [
        (":authority", head.authority().unwrap_or_default()),
        (":method", head.method()),
        (":path", head.path()),
        (":scheme", head.scheme()),
    ];
    for (name, value) in pseudo {
        if authz.shows(name, true) {
            headers.insert(name.to_owned(), value.to_owned());
        }
    }
    for (name, value) in head.fields.iter() {
        if authz.shows(name, true) {
            let lines = headers.entry(name.to_owned()).or_default();
            if !lines.is_empty() {
                lines.push(',');
            }
            lines.push_str(&text(value));
        }
    }
    let size = head.fields.get_str(HeaderId::ContentLength).and_then(|length| length.parse().ok());
    let as_bytes = authz.body.is_some_and(|body| body.as_bytes);
    let body = seen.map(|(bytes, whole)| {
        headers.insert("x-envoy-auth-partial-body".to_owned(), (!whole).to_string());
        if as_bytes { Body::Bytes(bytes) } else { Body::Text(String::from_utf8_lossy(&bytes).into_owned()) }
    });
    let namespaces = authz.config.metadata_namespaces.iter();
    let metadata = namespaces
        .filter_map(|name| Some((name.clone(), x.metadata.namespace(name)?.clone())))
        .collect::<BTreeMap<String, serde_json::Map<String, Value>>>();
    Check {
        source: x.peer.remote,
        destination: x.peer.original_dst.unwrap_or(x.peer.local),
        time: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        id: head.fields.get_str(HeaderId::XRequestId).unwrap_or_default().to_owned(),
        method: head.method().to_owned(),
        path: head.path().to_owned(),
        host: head.authority().unwrap_or_default().to_owned(),
        scheme: head.scheme().to_owned(),
        protocol: if x.is_http1() { "HTTP/1.1" } else { "HTTP/2" },
        headers,
        size: size.unwrap_or(-1),
        body,
        context: authz.context.clone(),
        metadata,
    }
}

/// A path with some query parameters set and others removed.
pub(super) fn with_query(path: &str, set: &[(String, String)], removed: &[String]) -> String {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let stays = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default();
        !pair.is_empty() && !removed.iter().any(|one| one == name) && !set.iter().any(|(one, _)| one == name)
    };
    let kept = query.split('&').filter(stays).map(str::to_owned);
    let set = set.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
    let query: Vec<String> = kept.chain(set).collect();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_set_and_removed_by_name() {
        let set = [("b".to_owned(), "x y".to_owned())];
        assert_eq!(with_query("/p?a=1&b=2&c", &set, &["c".to_owned()]), "/p?a=1&b=x%20y");
        assert_eq!(with_query("/p?a=1", &[], &["a".to_owned()]), "/p");
    }
}
