//! `POST /selvedge/v1/explain`: what a proxy would do with a request, and why.
//!
//! ```json
//! {"mesh": "shop", "from": "frontend", "method": "GET", "scheme": "http", "authority": "colors.local", "path": "/",
//!  "headers": [{"name": "x-beta-user", "value": "true"}]}
//! ```
//! `from` is a virtual node, or a virtual gateway. The answer is a [`selvedge_translate::Explanation`].

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use selvedge_model::Snapshot;
use selvedge_store::Store;
use selvedge_traffic::matching::PlainRequest;
use selvedge_translate::{Explanation, Proxy, explain};
use serde::Deserialize;

use crate::api::{self, Extension};
use crate::operations;
use crate::status::{Sessions, refuse};

/// Headers that a question may have; more than any server reads.
pub const HEADERS_MAX: usize = 256;

/// The route.
pub struct ExplainRoute {
    store: Arc<dyn Store>,
    sessions: Arc<dyn Sessions>,
}

/// A request to be explained.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    mesh: String,
    from: String,
    method: String,
    #[serde(default = "http_scheme")]
    scheme: String,
    authority: String,
    path: String,
    #[serde(default)]
    headers: Vec<Header>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    name: String,
    value: String,
}

/// Why there is no explanation.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("ask with POST and a JSON body")]
    Method,
    #[error("{0}")]
    Malformed(String),
    #[error("Mesh with name {0} is not present")]
    NoMesh(String),
    #[error("mesh {mesh} has neither a virtual node nor a virtual gateway named {from}")]
    NoProxy { mesh: String, from: String },
    #[error("the store cannot be read")]
    Store(#[from] selvedge_store::Error),
}

impl ExplainRoute {
    pub fn new(store: Arc<dyn Store>, sessions: Arc<dyn Sessions>) -> Self {
        Self { store, sessions }
    }

    fn explanation(&self, request: &Request<Bytes>) -> Result<Explanation, Refusal> {
        if request.method() != Method::POST {
            return Err(Refusal::Method);
        }
        let question: Question =
            serde_json::from_slice(request.body()).map_err(|error| Refusal::Malformed(error.to_string()))?;
        question.check()?;
        let view = self.store.snapshot()?;
        let snapshot = operations::load_mesh(&*view, &question.mesh)?;
        let snapshot = snapshot.ok_or_else(|| Refusal::NoMesh(question.mesh.clone()))?;
        let proxy = self
            .proxy(&snapshot, &question.from)
            .ok_or_else(|| Refusal::NoProxy { mesh: question.mesh.clone(), from: question.from.clone() })?;
        Ok(explain(&snapshot, &proxy, &question.into_request()))
    }
}

impl ExplainRoute {
    /// The node of that name, else the gateway: as one that is connected for it is reached, or else by interception.
    fn proxy(&self, snapshot: &Snapshot, name: &str) -> Option<Proxy> {
        let mut proxy = proxy(snapshot, name)?;
        let key = proxy.key(snapshot.name());
        let connected = self.sessions.connected(snapshot.name()).into_iter().find(|one| one.resource == key);
        if let Some(connected) = connected {
            proxy.interception = connected.interception;
        }
        Some(proxy)
    }
}

impl Question {
    fn check(&self) -> Result<(), Refusal> {
        let malformed = |text: &str| Err(Refusal::Malformed(text.to_owned()));
        if !self.path.starts_with('/') {
            return malformed("path: it must begin with /");
        }
        if self.authority.is_empty() {
            return malformed("authority: it must not be empty");
        }
        if !["http", "https"].contains(&self.scheme.as_str()) {
            return malformed("scheme: it must be http or https");
        }
        if self.headers.len() > HEADERS_MAX {
            return Err(Refusal::Malformed(format!("headers: at most {HEADERS_MAX}")));
        }
        Ok(())
    }

    fn into_request(self) -> PlainRequest {
        let headers = self.headers.into_iter().map(|header| (header.name.to_ascii_lowercase(), header.value));
        PlainRequest {
            method: self.method,
            scheme: self.scheme,
            authority: self.authority.to_ascii_lowercase(),
            path: self.path,
            headers: headers.collect(),
        }
    }
}

impl Extension for ExplainRoute {
    fn path(&self) -> &str {
        "explain"
    }

    fn handle(&self, request: &Request<Bytes>) -> Response<Bytes> {
        match self.explanation(request) {
            Ok(explanation) => match serde_json::to_value(&explanation) {
                Ok(document) => api::json(StatusCode::OK, &document),
                Err(error) => {
                    tracing::error!(%error, "an explanation could not be written");
                    refuse(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        "InternalServerErrorException",
                        "it cannot be written",
                    )
                }
            },
            Err(refusal) => refusal.answer(),
        }
    }
}

impl Refusal {
    fn answer(&self) -> Response<Bytes> {
        let (status, code) = match self {
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "BadRequestException"),
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "BadRequestException"),
            Self::NoMesh(_) | Self::NoProxy { .. } => (StatusCode::NOT_FOUND, "NotFoundException"),
            Self::Store(error) => {
                tracing::error!(%error, "the store failed");
                (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableException")
            }
        };
        refuse(status, code, &self.to_string())
    }
}

/// The node of that name, else the gateway.
fn proxy(snapshot: &Snapshot, name: &str) -> Option<Proxy> {
    if snapshot.virtual_nodes.contains_key(name) {
        return Some(Proxy::node(name));
    }
    snapshot.virtual_gateways.contains_key(name).then(|| Proxy::gateway(name))
}

fn http_scheme() -> String {
    "http".to_owned()
}

#[cfg(test)]
mod tests {
    use selvedge_store::memory::Memory;

    use super::*;
    use crate::status::NoSessions;

    #[test]
    fn a_question_that_cannot_be_answered_is_refused_with_its_reason() {
        let route = ExplainRoute::new(Arc::new(Memory::new()), Arc::new(NoSessions));
        let question = |changes: serde_json::Value| {
            let mut question =
                serde_json::json!({"mesh": "m", "from": "n", "method": "GET", "authority": "a", "path": "/"});
            for (name, value) in changes.as_object().expect("an object") {
                question[name] = value.clone();
            }
            Request::post("/selvedge/v1/explain").body(Bytes::from(question.to_string())).expect("a request")
        };
        for (request, status, reason) in [
            (Request::get("/selvedge/v1/explain").body(Bytes::new()).expect("a request"), 405, "POST"),
            (question(serde_json::json!({"pth": "/"})), 400, "unknown field `pth`"),
            (question(serde_json::json!({"path": "x"})), 400, "begin with /"),
            (question(serde_json::json!({"scheme": "ftp"})), 400, "scheme"),
            (question(serde_json::json!({"authority": ""})), 400, "authority"),
            (question(serde_json::json!({})), 404, "Mesh with name m"),
        ] {
            let response = route.handle(&request);
            let body = String::from_utf8_lossy(response.body()).into_owned();
            assert_eq!(response.status().as_u16(), status, "{body}");
            assert!(body.contains(reason), "{body}");
        }
    }
}
