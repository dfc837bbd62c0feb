//! The question over HTTP: the request's head, whose answer's status is the answer.

use selvedge_traffic::HeaderEdit;
use selvedge_traffic::filter::AuthzHttp;
use selvedge_traffic::matching::TextMatch;
use selvedge_xds::rpc::authorization::Answer;

use super::ExtAuthz;
use crate::request::exchange::{Ended, Exchange};
use crate::request::filter::call::{self, Call, CallFailure, call};

/// Headers that the service sees whatever is configured, beside the pseudo-headers.
const ALWAYS: [&str; 1] = ["authorization"];
/// Headers of a refusal that the client sees whatever is configured.
const ALWAYS_BACK: [&str; 3] = ["www-authenticate", "location", "proxy-authenticate"];
/// What concerns the call and nobody else.
const OF_THE_CALL: [&str; 8] =
    ["connection", "content-length", "transfer-encoding", "keep-alive", "te", "trailer", "upgrade", "host"];

/// Asks the service.
pub(super) async fn ask(
    authz: &ExtAuthz,
    service: &AuthzHttp,
    x: &mut Exchange<'_>,
    seen: Option<(Vec<u8>, bool)>,
) -> Result<Result<Answer, CallFailure>, Ended> {
    let asked = question(authz, service, x, seen);
    let worker = std::rc::Rc::clone(x.worker);
    let answered = match x.unless_interrupted(Box::pin(call(&worker, asked))).await {
        Ok(answered) => answered,
        Err(interrupt) => return Err(x.interrupted(interrupt)),
    };
    Ok(answered.and_then(|answer| {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let all = answer.head.fields.iter().map(|(name, value)| (name.to_owned(), text(value)));
        let all = all.filter(|(name, _)| !OF_THE_CALL.contains(&name.as_str()));
        match answer.head.status {
            200 => Ok(allowed(service, all)),
            status @ 500.. => Err(CallFailure::Grpc(Some(status.into()))),
            status => {
                let passes = |name: &str| {
                    service.client_headers.is_empty()
                        || ALWAYS_BACK.contains(&name)
                        || takes(&service.client_headers, name)
                };
                let headers = all.filter(|(name, _)| passes(name)).collect();
                let body = String::from_utf8_lossy(&answer.body).into_owned();
                Ok(Answer::Denied { status: status.into(), headers, body })
            }
        }
    }))
}

fn question<'a>(
    authz: &ExtAuthz,
    service: &'a AuthzHttp,
    x: &Exchange<'_>,
    seen: Option<(Vec<u8>, bool)>,
) -> Call<'a> {
    let own = &x.heads.request;
    let path = format!("{}{}", service.path_prefix, own.path());
    let mut head = call::request(own.method(), own.authority().unwrap_or_default(), &path);
    let shown = |name: &str| {
        !OF_THE_CALL.contains(&name)
            && (ALWAYS.contains(&name) || takes(&service.allowed_headers, name) || authz.shows(name, false))
    };
    for (name, value) in own.fields.iter().filter(|(name, _)| shown(name)) {
        head.fields.append(name.as_bytes(), value);
    }
    for (name, value) in &service.headers_to_add {
        head.fields.set(&name.to_ascii_lowercase(), value.as_bytes());
    }
    let mut body = Vec::new();
    if let Some((bytes, whole)) = seen {
        head.fields.append(b"x-envoy-auth-partial-body", (!whole).to_string().as_bytes());
        body = bytes;
    }
    head.fields.append(b"content-length", body.len().to_string().as_bytes());
    Call { cluster: &service.cluster, head, body, grpc: false, timeout: service.timeout }
}

fn takes(matches: &[TextMatch], name: &str) -> bool {
    matches.iter().any(|one| one.takes(name))
}

fn allowed(service: &AuthzHttp, all: impl Iterator<Item = (String, String)>) -> Answer {
    let (mut request, mut response) = (Vec::new(), Vec::new());
    for (name, value) in all {
        if takes(&service.upstream_headers, &name) {
            request.push(HeaderEdit::Overwrite { name: name.clone(), value: value.clone() });
        }
        if takes(&service.upstream_headers_to_append, &name) {
            request.push(HeaderEdit::Append { name: name.clone(), value: value.clone() });
        }
        if takes(&service.client_headers_on_success, &name) {
            response.push(HeaderEdit::Append { name, value });
        }
    }
    Answer::Allowed { request, response, query_set: Vec::new(), query_removed: Vec::new() }
}
