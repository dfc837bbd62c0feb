//! `POST /selvedge/v1/trust`: what an edge has to know of the mesh's authorities to judge by them as proxies do – proxies are told by
//! xDS –, all of it public.
//!
//! ```text
//! {"authority": "arn:aws:acm-pca:…"}    → {"certificate": "PEM", "revocations": "PEM"}, the list once there is one to be heeded
//! {"certificate": "arn:aws:acm:…"}      → {"revoked": true}, whether its authority took the one in force back
//! ```

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use selvedge_identity::arn;
use selvedge_model::{Value, json as parser};
use selvedge_store::{Error as StoreError, Read, Store};
use serde_json::json;

use super::document::{Authority, Certificate, Revocations, authority_key, certificate_key, revocations_key};
use super::get;
use crate::api::{Extension, json as answer};

/// The route.
pub struct TrustRoute(Arc<dyn Store>);

/// Why there is no answer.
enum Refusal {
    Invalid(&'static str),
    /// There is none of that name, or it vouches for nobody.
    Unknown(String),
    Store(StoreError),
}

impl TrustRoute {
    /// Over `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    fn perform(&self, request: &Request<Bytes>) -> Result<Value, Refusal> {
        const ASKED: &str = "the body has either authority or certificate, an ARN";
        if request.method() != Method::POST {
            return Err(Refusal::Invalid("this is asked with POST"));
        }
        let question = parser::parse(request.body()).map_err(|_| Refusal::Invalid(ASKED))?;
        let text = |member: &str| question.get(member).and_then(Value::as_str);
        let view = self.0.snapshot()?;
        match (text("authority"), text("certificate")) {
            (Some(name), None) => authority(&*view, name),
            (None, Some(name)) => certificate(&*view, name),
            _ => Err(Refusal::Invalid(ASKED)),
        }
    }
}

fn authority(view: &dyn Read, name: &str) -> Result<Value, Refusal> {
    let unknown = || Refusal::Unknown(format!("{name} is no authority that vouches for anybody"));
    let id = arn::authority_id(name).ok_or_else(unknown)?;
    let found: Option<Authority> = get(view, &authority_key(id))?;
    let vouches = |one: &Authority| one.arn == name && !one.certificate.is_empty() && one.status != "DELETED";
    let found = found.filter(vouches).ok_or_else(unknown)?;
    let revocations = get::<Revocations>(view, &revocations_key(id))?.filter(|one| one.is_in_force);
    let list = revocations.map(|one| one.list);
    Ok(json!({ "certificate": found.certificate, "revocations": list }))
}

fn certificate(view: &dyn Read, name: &str) -> Result<Value, Refusal> {
    let unknown = || Refusal::Unknown(format!("{name} is no certificate that is known"));
    let id = arn::certificate_id(name).ok_or_else(unknown)?;
    let found: Option<Certificate> = get(view, &certificate_key(id))?;
    let found = found.filter(|one| one.arn == name).ok_or_else(unknown)?;
    let signer = found.authority.as_deref().and_then(arn::authority_id);
    let revocations: Option<Revocations> =
        signer.map(|id| get(view, &revocations_key(id))).transpose()?.flatten();
    let serial = found.serial.replace(':', "");
    let is_revoked = revocations.is_some_and(|taken| taken.revoked.iter().any(|one| one.serial == serial));
    Ok(json!({ "revoked": is_revoked }))
}

impl Extension for TrustRoute {
    fn path(&self) -> &str {
        "trust"
    }

    fn handle(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let refused =
            |status, code: &str, message: &str| answer(status, &json!({ "code": code, "message": message }));
        match self.perform(request) {
            Ok(document) => answer(StatusCode::OK, &document),
            Err(Refusal::Invalid(message)) => {
                refused(StatusCode::BAD_REQUEST, "BadRequestException", message)
            }
            Err(Refusal::Unknown(message)) => refused(StatusCode::NOT_FOUND, "NotFoundException", &message),
            Err(Refusal::Store(error)) => {
                tracing::error!(%error, "the store failed");
                refused(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableException", &error.to_string())
            }
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
