//! `/selvedge/v1/leases`: registrations that last as long as their holder says so.
//!
//! ```text
//! POST    {"service": "shop.local/web", "instance": "i-1", "attributes": {…}, "ttlMillis": 15000}   → {"epoch": …}
//! PUT     {"service": …, "instance": …, "epoch": …, "healthy": true}                                 → {}
//! DELETE  {"service": …, "instance": …, "epoch": …}                                                 → {"operation": …}
//! ```
//! `service` is a namespace's and a service's name, or a service's identifier or ARN. A holder whose lease was taken over
//! gets 409, one whose lease has ended 410.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use selvedge_aws::operations::{find_in, servicediscovery};
use selvedge_aws::{ApiError, Call, ErrorShape, Protocol};
use selvedge_model::{Value, json as parser};
use selvedge_registry::document::Key;
use selvedge_registry::lease::{Fenced, TTL_MILLIS};
use selvedge_registry::{Instance, Lease};
use selvedge_store::Store;
use serde_json::{Map, json};

use super::Mirror;
use super::failure::{self, Failure, invalid};
use super::instance;
use super::perform::{Scope, get, put, write};
use crate::api::{Extension, Surroundings, json as answer};
use crate::operations::{Context, Settings};

/// Another holds the lease.
const FENCED: ErrorShape = ErrorShape { code: "LeaseFenced", status: 409 };
/// Nobody holds it.
const ENDED: ErrorShape = ErrorShape { code: "LeaseEnded", status: 410 };

/// How long a lease lasts unless its holder says otherwise.
const TTL_MILLIS_DEFAULT: u64 = 15_000;

/// The route.
pub struct Leases {
    pub store: Arc<dyn Store>,
    pub mirror: Arc<Mirror>,
    pub settings: Settings,
    pub surroundings: Arc<dyn Surroundings>,
}

impl Extension for Leases {
    fn path(&self) -> &str {
        "leases"
    }

    fn handle(&self, request: &Request<Bytes>) -> Response<Bytes> {
        match self.perform(request) {
            Ok(document) => answer(StatusCode::OK, &document),
            Err(Failure::Api(error)) => refusal(&error),
            Err(Failure::Store(error)) => {
                tracing::error!(%error, "the store failed");
                refusal(&failure::WORDS.describe(&error))
            }
        }
    }
}

impl Leases {
    fn perform(&self, request: &Request<Bytes>) -> Result<Value, Failure> {
        let document =
            parser::parse(request.body()).map_err(|error| invalid(format!("the body: {error}")))?;
        let Value::Object(document) = document else { return Err(invalid("the body is not an object")) };
        let operation = find_in(&servicediscovery::SERVICE, "RegisterInstance").expect("Cloud Map has it");
        let mut input = Map::new();
        input.insert("ServiceId".into(), self.service(&document)?.into());
        input.insert("InstanceId".into(), document.get("instance").cloned().unwrap_or_default());
        let attributes = document.get("attributes").cloned().unwrap_or_else(|| json!({}));
        input.insert("Attributes".into(), attributes);
        let service = &servicediscovery::SERVICE;
        let call = Call { service, operation, input, protocol: Protocol::AwsJson1_1 };
        call.check(self.settings.strictness).map_err(|found| invalid(found.to_string()))?;
        let context = Context { now: self.surroundings.now(), uid: self.surroundings.uuid(), region: None };
        let scope = Scope { api: &self.settings, context: &context, call: &call, mirror: &self.mirror };
        match *request.method() {
            Method::POST => self.register(&scope, &document),
            Method::PUT => self.renew(&scope, &document),
            Method::DELETE => self.release(&scope, &document),
            _ => Err(invalid("leases are taken with POST, renewed with PUT and given back with DELETE")),
        }
    }

    /// The identifier of the service that is meant.
    fn service(&self, document: &Map<String, Value>) -> Result<String, Failure> {
        let text = document.get("service").and_then(Value::as_str).unwrap_or_default();
        if text.starts_with("arn:") || text.starts_with("srv-") {
            return Ok(text.to_owned());
        }
        let state = self.mirror.read()?;
        let named =
            text.split_once('/').and_then(|(namespace, name)| state.snapshot.service_named(namespace, name));
        let missing = || {
            let message = format!("there is no service {text}; it is written NAMESPACE/SERVICE or srv-…");
            servicediscovery::SERVICE_NOT_FOUND.because(message)
        };
        Ok(named.ok_or_else(missing)?.service.id.clone())
    }

    fn register(&self, scope: &Scope<'_>, document: &Map<String, Value>) -> Result<Value, Failure> {
        let ttl = document.get("ttlMillis").map_or(Some(TTL_MILLIS_DEFAULT), Value::as_u64);
        let ttl = ttl.filter(|ttl| TTL_MILLIS.contains(ttl)).ok_or_else(|| {
            let (least, most) = (TTL_MILLIS.start(), TTL_MILLIS.end());
            invalid(format!("ttlMillis: must be from {least} to {most}"))
        })?;
        let (service, id) = (scope.id("ServiceId", "service"), scope.text("InstanceId").to_owned());
        let attributes = instance::texts(scope.call.input.get("Attributes"));
        let begun = instance::begin_registration(scope, &service, &id)?;
        let epoch = write(&*self.store, |tx| {
            let existing: Option<Instance> = get(&*tx, &Key::instance(&service, &id))?;
            let lease = Lease::follow(existing.as_ref().and_then(|one| one.epoch), ttl, scope.now());
            let admitted = instance::admit(scope, &*tx, &service, existing.as_ref(), &attributes, &begun)?;
            // A holder that begins says anew how it is.
            let admitted = Instance {
                epoch: Some(lease.epoch),
                unhealthy: document.get("healthy") == Some(&Value::Bool(false)),
                ..admitted
            };
            instance::place(tx, scope, (&service, &id), existing.as_ref(), &admitted)?;
            put(tx, &Key::lease(&service, &id), &lease)?;
            begun.write(tx)?;
            Ok(lease.epoch)
        })?;
        Ok(json!({ "epoch": epoch, "operation": begun.id() }))
    }

    fn renew(&self, scope: &Scope<'_>, document: &Map<String, Value>) -> Result<Value, Failure> {
        let epoch = epoch(document)?;
        let (service, id) = (scope.id("ServiceId", "service"), scope.text("InstanceId").to_owned());
        write(&*self.store, |tx| {
            let key = Key::lease(&service, &id);
            let lease: Option<Lease> = get(&*tx, &key)?;
            let lease = lease.ok_or(Fenced::Ended).and_then(|lease| lease.renewed(epoch, scope.now()));
            put(tx, &key, &lease.map_err(fenced)?)?;
            if let Some(healthy) = document.get("healthy").and_then(Value::as_bool) {
                instance::set_health(tx, &service, &id, !healthy)?;
            }
            Ok(())
        })?;
        Ok(json!({}))
    }

    fn release(&self, scope: &Scope<'_>, document: &Map<String, Value>) -> Result<Value, Failure> {
        let epoch = epoch(document)?;
        let (service, id) = (scope.id("ServiceId", "service"), scope.text("InstanceId").to_owned());
        let operation = instance::take_away(&*self.store, scope, &service, &id, |view| {
            let lease: Option<Lease> = get(view, &Key::lease(&service, &id))?;
            let held = lease.ok_or(Fenced::Ended).and_then(|lease| lease.renewed(epoch, scope.now()));
            held.map(drop).map_err(fenced)
        })?;
        let drain = u64::try_from(self.settings.registry.drain.as_millis()).unwrap_or(u64::MAX);
        Ok(json!({ "operation": operation, "drainMillis": drain }))
    }
}

fn epoch(document: &Map<String, Value>) -> Result<u64, Failure> {
    let epoch = document.get("epoch").and_then(Value::as_u64);
    epoch.ok_or_else(|| invalid("epoch: is required, as it was given when the lease was taken"))
}

fn fenced(fenced: Fenced) -> Failure {
    let shape = if fenced == Fenced::Ended { ENDED } else { FENCED };
    shape.because(fenced.to_string()).into()
}

fn refusal(error: &ApiError) -> Response<Bytes> {
    let status = StatusCode::from_u16(error.shape.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer(status, &json!({ "code": error.shape.code, "message": error.message }))
}
