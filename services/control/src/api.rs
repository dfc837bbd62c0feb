//! The front door: an HTTP request in, an HTTP answer out, without a socket.
//!
//! Who calls the AWS API is recognised by method and path, by `X-Amz-Target`, or by form; beside it stand `/healthz`, `/readyz` and
//! our own `/selvedge/v1/…`. The server and the simulation call the same [`Api::handle`].

mod extension;
mod health;
mod host;
mod model;
mod service;
mod surroundings;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use selvedge_aws::error::UNKNOWN_OPERATION;
use selvedge_aws::{CredentialScope, dispatch};
use selvedge_store::Store;

use crate::operations::{self, Settings, Unperformed};
use crate::registry::lease::Leases;
use crate::registry::{self, Mirror};

pub use extension::{Extension, json};
pub use health::{Check, Readiness};
pub use host::Hosts;
pub use service::{Answer, Caller, Channel, Service};
pub use surroundings::{Surroundings, System};

/// The API over a store.
pub struct Api {
    store: Arc<dyn Store>,
    settings: Settings,
    surroundings: Arc<dyn Surroundings>,
    readiness: Readiness,
    hosts: Hosts,
    extensions: Vec<Box<dyn Extension>>,
    registry: Arc<Mirror>,
    services: Vec<Box<dyn Service>>,
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

impl Api {
    /// An API without extensions, ready when `readiness` says so.
    pub fn new(
        store: Arc<dyn Store>,
        settings: Settings,
        surroundings: Arc<dyn Surroundings>,
        readiness: Readiness,
        hosts: Hosts,
    ) -> Self {
        let registry = Arc::new(Mirror::new(Arc::clone(&store)));
        let leases = Leases {
            store: Arc::clone(&store),
            mirror: Arc::clone(&registry),
            settings: settings.clone(),
            surroundings: Arc::clone(&surroundings),
        };
        let extensions: Vec<Box<dyn Extension>> = vec![Box::new(model::Model), Box::new(leases)];
        Self { store, settings, surroundings, readiness, hosts, extensions, registry, services: Vec::new() }
    }

    /// The registry as this API reads it.
    pub fn registry(&self) -> Arc<Mirror> {
        Arc::clone(&self.registry)
    }

    /// Adds a route below `/selvedge/v1/`.
    #[must_use]
    pub fn with_extension(mut self, extension: impl Extension + 'static) -> Self {
        self.extensions.push(Box::new(extension));
        self
    }

    /// Adds a service of AWS's that another role performs.
    #[must_use]
    pub fn with_service(mut self, service: impl Service + 'static) -> Self {
        self.services.push(Box::new(service));
        self
    }

    /// Answers a request. May block on the store. What takes its time is refused: [`Api::begin`] is for those who can wait.
    pub fn handle(&self, request: &Request<Bytes>) -> Response<Bytes> {
        match self.begin(request) {
            Answer::Now(response) => response,
            Answer::Later(_) => text(StatusCode::NOT_IMPLEMENTED, "this operation takes its time\n"),
        }
    }

    /// Answers a request, or begins to. May block on the store.
    pub fn begin(&self, request: &Request<Bytes>) -> Answer<Response<Bytes>> {
        let path = request.uri().path();
        match path {
            "/healthz" => return Answer::Now(health::live()),
            "/readyz" => return Answer::Now(self.readiness.answer()),
            _ => {}
        }
        if let Some(refusal) = self.hosts.refusal(request) {
            return Answer::Now(refusal);
        }
        match path.strip_prefix(extension::PREFIX) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                Answer::Now(extension::answer(&self.extensions, request))
            }
            _ if path == "/" && request.method() == Method::GET => Answer::Now(extension::welcome()),
            _ => self.begin_aws(request),
        }
    }

    fn begin_aws(&self, request: &Request<Bytes>) -> Answer<Response<Bytes>> {
        let request_id = self.surroundings.uuid();
        let view = view(request);
        let call = match dispatch::decode(&view) {
            Ok(call) => call,
            Err(refused) => {
                let answer = dispatch::encode_error(refused.protocol, &refused.error, &request_id);
                return Answer::Now(to_http(answer, &request_id));
            }
        };
        let channel = request.extensions().get::<Channel>().copied().unwrap_or_default();
        match self.perform(&view, &call, channel) {
            Answer::Now(performed) => Answer::Now(finish(&call, performed, &request_id)),
            Answer::Later(performed) => {
                Answer::Later(Box::pin(async move { finish(&call, performed.await, &request_id) }))
            }
        }
    }

    fn perform(
        &self,
        view: &selvedge_aws::Request<'_>,
        call: &selvedge_aws::Call,
        channel: Channel,
    ) -> Answer<Result<selvedge_model::Value, Unperformed>> {
        let scope = view.authorization.and_then(CredentialScope::of);
        let access_key =
            scope.as_ref().map(|scope| scope.access_key).filter(|key| is_region(key)).map(str::to_owned);
        let region = scope.map(|scope| scope.region).filter(|region| is_region(region)).map(str::to_owned);
        if let Some(service) = self.services.iter().find(|service| service.name() == call.service.name) {
            return service.perform(Caller { region, access_key, channel }, call);
        }
        let context =
            operations::Context { now: self.surroundings.now(), uid: self.surroundings.uuid(), region };
        let (store, settings) = (&*self.store, &self.settings);
        Answer::Now(match call.service.name {
            "appmesh" => operations::perform(store, settings, &context, call),
            "servicediscovery" => registry::perform(store, &self.registry, settings, &context, call),
            name => {
                let error = UNKNOWN_OPERATION.because(format!("the service {name} is not served here"));
                Err(Unperformed { error, cause: None })
            }
        })
    }
}

/// Logs what became of a call, and writes the answer.
fn finish(
    call: &selvedge_aws::Call,
    performed: Result<selvedge_model::Value, Unperformed>,
    request_id: &str,
) -> Response<Bytes> {
    let operation = call.operation.name;
    let answer = match performed {
        Ok(output) => {
            tracing::debug!(operation, request_id, "performed");
            dispatch::encode(call, &output, request_id)
        }
        Err(failed) => {
            let code = failed.error.shape.code;
            match &failed.cause {
                Some(cause) => tracing::error!(operation, request_id, code, %cause, "the store failed"),
                None => {
                    tracing::debug!(operation, request_id, code, message = failed.error.message, "refused");
                }
            }
            dispatch::encode_error(call.protocol, &failed.error, request_id)
        }
    };
    to_http(answer, request_id)
}

/// What of a request decides which operation is called.
fn view(request: &Request<Bytes>) -> selvedge_aws::Request<'_> {
    let text = |name: &str| header(request.headers(), name);
    selvedge_aws::Request {
        method: request.method().as_str(),
        path: request.uri().path(),
        query: request.uri().query().unwrap_or_default(),
        content_type: text("content-type"),
        target: text("x-amz-target"),
        authorization: text("authorization"),
        smithy_protocol: text("smithy-protocol"),
        body: request.body(),
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// A region becomes part of ARNs, so it has to look like one.
fn is_region(text: &str) -> bool {
    const LENGTH_MAX: usize = 64;
    text.len() <= LENGTH_MAX && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn to_http(answer: selvedge_aws::Response, request_id: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, value);
    }
    response
}

/// A short answer in plain text.
fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
