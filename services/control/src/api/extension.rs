//! Routes of our own, beside App Mesh's.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use selvedge_model::Value;

use super::text;

/// What all of them begin with.
pub(super) const PREFIX: &str = "/selvedge/v1";

/// A route below `/selvedge/v1/`.
pub trait Extension: Send + Sync {
    /// The first segments below the prefix, such as `status`; requests for it and for all below it come here.
    fn path(&self) -> &str;

    /// Answers a request. May block on the store.
    fn handle(&self, request: &Request<Bytes>) -> Response<Bytes>;
}

/// An answer that is a JSON document.
pub fn json(status: StatusCode, document: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(format!("{document}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

pub(super) fn answer(extensions: &[Box<dyn Extension>], request: &Request<Bytes>) -> Response<Bytes> {
    let rest = request.uri().path().strip_prefix(PREFIX).unwrap_or_default().trim_start_matches('/');
    let is_below =
        |path: &str| rest.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let nearest = extensions.iter().filter(|extension| is_below(extension.path()));
    match nearest.max_by_key(|extension| extension.path().len()) {
        Some(extension) => extension.handle(request),
        None => {
            let paths = extensions.iter().map(|extension| format!("{PREFIX}/{}\n", extension.path()));
            text(StatusCode::NOT_FOUND, format!("there is:\n{}", paths.collect::<String>()))
        }
    }
}

/// What somebody sees who opens the address with nothing in particular in mind.
pub(super) fn welcome() -> Response<Bytes> {
    text(
        StatusCode::NOT_FOUND,
        "This is Selvedge's API: App Mesh's operations, /healthz, /readyz and /selvedge/v1.\n\
         `selvedge env` prints how an AWS client finds it.\n",
    )
}
