//! A service of the mesh, by its virtual service's name: through a sidecar, whose retries, time-outs and TLS apply.
//!
//! `arn:selvedge:states:::mesh:invoke` with `Service` and what `http:invoke` takes besides; or the virtual service's own ARN as
//! the resource.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Uri};
use selvedge_asl::Failure;
use selvedge_outbound::{ANSWER_BYTES_MAX, Outgoing, Trust};
use serde_json::Value;

use super::http::{Asked, encoded_form, shown, unreached};
use super::{Call, needed, unfit};
use crate::Engine;

/// How long is waited at the most: the mesh has time-outs of its own.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which service.
pub(super) struct Service {
    /// `colors.demo.local`, with a port where one is needed.
    authority: String,
}

/// What is sent to it.
pub(super) struct Message {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// The service that the ARN of a virtual service names.
pub(super) fn service_of(arn: &str) -> Option<Service> {
    let mut parts = arn.splitn(6, ':');
    let (scheme, _, product) = (parts.next()?, parts.next()?, parts.next()?);
    let resource = parts.nth(2)?;
    if scheme != "arn" || product != "appmesh" {
        return None;
    }
    let (_, name) = resource.strip_prefix("mesh/")?.split_once("/virtualService/")?;
    (!name.is_empty()).then(|| Service { authority: name.to_owned() })
}

pub(super) async fn invoke(engine: &Arc<Engine>, call: &Call, action: &str) -> Result<Value, Failure> {
    let parameters = call.parameters();
    let mut service = match service_of(action) {
        Some(service) => service,
        None if action == "invoke" => {
            let name = needed(parameters, "Service")?;
            service_of(name).unwrap_or_else(|| Service { authority: name.to_owned() })
        }
        None => return Err(unfit(format!("mesh:{action} is not offered: there is mesh:invoke"))),
    };
    if let Some(port) = parameters.get("Port") {
        let port = port.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
        let port = port.ok_or_else(|| unfit("Port: 1 to 65535 is expected"))?;
        service.authority = format!("{}:{port}", service.authority);
    }
    let asked = Asked::read(engine, call).await?;
    let mut path = parameters.get("Path").map_or(Ok("/"), |_| needed(parameters, "Path"))?.to_owned();
    if !path.starts_with('/') {
        return Err(unfit("Path: it has to begin with /"));
    }
    if !asked.query.is_empty() {
        let query = asked.query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        path.push(if path.contains('?') { '&' } else { '?' });
        path.push_str(&encoded_form(query));
    }
    let body = asked.body.bytes(&Default::default())?;
    let message = Message { method: asked.method, headers: asked.headers, body };
    let outgoing = outgoing(engine, &service, &path, message, PATIENCE, ANSWER_BYTES_MAX).map_err(unfit)?;
    let answer = engine.tasks.client.send(outgoing).await.map_err(|error| unreached(&error))?;
    shown(engine, &answer, false).await
}

/// The call: to the sidecar where one is configured, to the service's own name where interception leads it there.
pub(super) fn outgoing(
    engine: &Engine,
    service: &Service,
    target: &str,
    message: Message,
    patience: Duration,
    answer_bytes_max: usize,
) -> Result<Outgoing, String> {
    let Message { method, mut headers, body } = message;
    let name: http::uri::Authority =
        service.authority.parse().map_err(|_| format!("'{}' can be no service's name", service.authority))?;
    if name.as_str().contains('@') {
        return Err(format!("'{name}' can be no service's name"));
    }
    let (base, trust) = match &engine.tasks.mesh_egress {
        Some(egress) => (egress.to_string().trim_end_matches('/').to_owned(), Trust::Operator),
        None => (format!("http://{name}"), Trust::Guarded),
    };
    let host = HeaderValue::try_from(name.as_str()).map_err(|error| error.to_string())?;
    headers.insert(HOST, host);
    let url: Uri = format!("{base}{target}").parse().map_err(|_| "Path: it makes no URL".to_owned())?;
    Ok(Outgoing { method, url, headers, body, patience, answer_bytes_max, trust, keeps: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_services_are_known_by_their_arns() {
        for (arn, expected) in [
            (
                "arn:aws:appmesh:eu-west-1:123456789012:mesh/demo/virtualService/colors.demo.local",
                Some("colors.demo.local"),
            ),
            ("arn:aws:appmesh:eu-west-1:123456789012:mesh/demo/virtualNode/colors", None),
            ("arn:aws:lambda:eu-west-1:123456789012:function:f", None),
            ("arn:aws:appmesh:eu-west-1:123456789012:mesh/demo/virtualService/", None),
            ("f", None),
        ] {
            assert_eq!(service_of(arn).map(|service| service.authority).as_deref(), expected, "{arn}");
        }
    }
}
