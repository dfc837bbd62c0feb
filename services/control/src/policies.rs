//! `/selvedge/v1/policies`: what App Mesh's specs cannot say, attached to a resource by its ARN.
//!
//! ```text
//! GET    policies[?mesh=M&kind=K&target=ARN&limit=N&nextToken=T]   {"policies": […], "nextToken": "…"}
//! GET    policies/NAME                the policy, with its condition and the reasons for it
//! GET    policies/NAME/effect         which routes, clusters and proxies it has a part in
//! PUT    policies/NAME[?dryRun=true]  201 when it is new, 200 when it is not; the same document again changes nothing
//! DELETE policies/NAME                the policy as it was
//! GET    policy-kinds                 what there is to say, with every member
//! ```

mod effect;
mod kinds;
mod write;

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use selvedge_aws::page;
use selvedge_model::policy::PolicyKind;
use selvedge_model::{Policy, Snapshot, Value};
use selvedge_store::{Error as StoreError, PAGE_MAX as STORE_PAGE_MAX, Read, Store};
use selvedge_translate::{Diagnostic, policy};
use serde_json::json;

use crate::api::{self, Extension, Surroundings};
use crate::operations::{self, Settings, document};
use crate::status::{Condition, parameter, refuse, unknown_parameter};

pub use kinds::PolicyKindsRoute;

/// Policies of a page, unless fewer are asked for.
pub const PAGE_MAX: usize = 100;

/// The route.
pub struct PoliciesRoute {
    store: Arc<dyn Store>,
    settings: Settings,
    surroundings: Arc<dyn Surroundings>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{0}")]
    Malformed(String),
    #[error("there is no policy named {0}")]
    NotFound(String),
    #[error("{0}")]
    LimitExceeded(String),
    #[error("{0} is not done here")]
    Method(Method),
    #[error("the store failed")]
    Store(#[from] StoreError),
}

impl PoliciesRoute {
    pub fn new(store: Arc<dyn Store>, settings: Settings, surroundings: Arc<dyn Surroundings>) -> Self {
        Self { store, settings, surroundings }
    }

    fn answer(&self, request: &Request<Bytes>) -> Result<(StatusCode, Value), Refusal> {
        let query = request.uri().query().unwrap_or_default();
        let path = request.uri().path();
        let rest = path.split_once("/policies").map_or("", |(_, rest)| rest).trim_start_matches('/');
        let (name, below) = rest.split_once('/').unwrap_or((rest, ""));
        match (request.method(), name, below) {
            (&Method::GET, "", "") => self.list(query),
            (&Method::GET, name, "") => self.get(name),
            (&Method::GET, name, "effect") => self.effect(name),
            (&Method::PUT, name, "") if !name.is_empty() => self.put(name, query, request.body()),
            (&Method::DELETE, name, "") if !name.is_empty() => self.delete(name),
            (_, _, "" | "effect") => Err(Refusal::Method(request.method().clone())),
            _ => Err(Refusal::NotFound(rest.to_owned())),
        }
    }

    fn list(&self, query: &str) -> Result<(StatusCode, Value), Refusal> {
        check_parameters(query, &["mesh", "kind", "target", "limit", "nextToken"])?;
        let [mesh, kind, target] = ["mesh", "kind", "target"].map(|name| parameter(query, name));
        let limit = match parameter(query, "limit") {
            None => PAGE_MAX,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=PAGE_MAX).contains(limit))
                .ok_or_else(|| Refusal::Malformed(format!("limit: {text:?} is not 1 to {PAGE_MAX}")))?,
        };
        if let Some(kind) =
            kind.as_deref().filter(|kind| !PolicyKind::ALL.iter().any(|one| one.as_str() == *kind))
        {
            return Err(Refusal::Malformed(format!(
                "kind: there is no kind {kind:?}, only {}",
                kinds::words()
            )));
        }
        let prefix =
            mesh.as_deref().map_or_else(|| document::POLICIES_PREFIX.to_owned(), document::policies_in_mesh);
        let of =
            format!("{prefix}\u{0}{}\u{0}{}", kind.as_deref().unwrap_or(""), target.as_deref().unwrap_or(""));
        let mut after = match parameter(query, "nextToken") {
            None => None,
            Some(token) => {
                let position = page::decode("ListPolicies", &of, &token);
                Some(position.map_err(|error| Refusal::Malformed(format!("nextToken: {error}")))?)
            }
        };
        let takes = |policy: &Policy| {
            kind.as_deref().is_none_or(|kind| policy.kind().as_str() == kind)
                && target.as_deref().is_none_or(|target| policy.target.to_string() == target)
        };
        let view = self.store.snapshot()?;
        let view = &*view;
        let mut policies: Vec<Value> = Vec::new();
        let mut shown = Conditions::new(view);
        loop {
            let page = view.scan(&prefix, after.as_deref(), STORE_PAGE_MAX)?;
            for stored in &page {
                let policy = document::read_policy(stored)?;
                if takes(&policy) {
                    if policies.len() == limit {
                        let position = after.as_deref().unwrap_or_default();
                        let token = page::encode("ListPolicies", &of, position);
                        return Ok((StatusCode::OK, json!({ "policies": policies, "nextToken": token })));
                    }
                    policies.push(shown.show(&policy)?);
                }
                after = Some(stored.key.clone());
            }
            if page.len() < STORE_PAGE_MAX {
                return Ok((StatusCode::OK, json!({ "policies": policies })));
            }
        }
    }

    fn get(&self, name: &str) -> Result<(StatusCode, Value), Refusal> {
        let view = self.store.snapshot()?;
        let policy = find(&*view, name)?;
        Ok((StatusCode::OK, Conditions::new(&*view).show(&policy)?))
    }

    fn effect(&self, name: &str) -> Result<(StatusCode, Value), Refusal> {
        let view = self.store.snapshot()?;
        let policy = find(&*view, name)?;
        let snapshot = operations::load_mesh(&*view, policy.mesh())?;
        let mut shown = Conditions::new(&*view).show(&policy)?;
        shown["governs"] = snapshot.as_ref().map_or_else(|| json!([]), |snapshot| effect::of(snapshot, name));
        Ok((StatusCode::OK, shown))
    }
}

impl Extension for PoliciesRoute {
    fn path(&self) -> &str {
        "policies"
    }

    fn handle(&self, request: &Request<Bytes>) -> Response<Bytes> {
        match self.answer(request) {
            Ok((status, document)) => api::json(status, &document),
            Err(refusal) => refusal.answer(),
        }
    }
}

impl Refusal {
    fn answer(&self) -> Response<Bytes> {
        let (status, code) = match self {
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "BadRequestException"),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "NotFoundException"),
            Self::LimitExceeded(_) => (StatusCode::BAD_REQUEST, "LimitExceededException"),
            Self::Method(_) => (StatusCode::METHOD_NOT_ALLOWED, "BadRequestException"),
            Self::Store(error) => {
                tracing::error!(%error, "the store failed");
                (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableException")
            }
        };
        refuse(status, code, &self.to_string())
    }
}

fn check_parameters(query: &str, known: &[&str]) -> Result<(), Refusal> {
    match unknown_parameter(query, known) {
        None => Ok(()),
        Some(unknown) => {
            Err(Refusal::Malformed(format!("{unknown}: no such parameter; there is: {}", known.join(", "))))
        }
    }
}

/// The key under which the mesh of a policy stands.
fn mesh_key(name: &str) -> String {
    format!("selvedge-policy-mesh/{name}")
}

/// The key of a policy's own document.
fn key_of(mesh: &str, name: &str) -> String {
    format!("{}{name}", document::policies_in_mesh(mesh))
}

/// A policy by its name.
fn look_up(view: &dyn Read, name: &str) -> Result<Option<Policy>, StoreError> {
    // A name that could not have been put need not be looked for, nor fit a key.
    if name.is_empty() || name.len() > selvedge_model::policy::POLICY_NAME_LENGTH_MAX {
        return Ok(None);
    }
    let Some(mesh) = view.get(&mesh_key(name))? else { return Ok(None) };
    let mesh = String::from_utf8_lossy(&mesh.value).into_owned();
    view.get(&key_of(&mesh, name))?.map(|stored| document::read_policy(&stored)).transpose()
}

fn find(view: &dyn Read, name: &str) -> Result<Policy, Refusal> {
    look_up(view, name)?.ok_or_else(|| Refusal::NotFound(name.to_owned()))
}

/// The conditions of policies; a mesh is read once.
struct Conditions<'a> {
    view: &'a dyn Read,
    mesh: Option<(String, Vec<Diagnostic>)>,
}

impl<'a> Conditions<'a> {
    fn new(view: &'a dyn Read) -> Self {
        Self { view, mesh: None }
    }

    /// The policy with its condition.
    fn show(&mut self, policy: &Policy) -> Result<Value, StoreError> {
        if self.mesh.as_ref().is_none_or(|(mesh, _)| mesh != policy.mesh()) {
            let found = match operations::load_mesh(self.view, policy.mesh()) {
                Ok(snapshot) => snapshot.as_ref().map(policy::conditions),
                Err(StoreError::Corrupt(_)) => None,
                Err(error) => return Err(error),
            };
            self.mesh = Some((policy.mesh().to_owned(), found.unwrap_or_default()));
        }
        let exists = self.view.get(&document::key_of(&selvedge_model::Key::mesh(policy.mesh())))?.is_some();
        let found = self.mesh.iter().flat_map(|(_, found)| found);
        let mut shown = with_condition(policy, found);
        if !exists {
            let message = format!("there is no mesh/{}", policy.mesh());
            shown["condition"] = Condition::Inactive.as_str().into();
            shown["reasons"] =
                json!([{ "severity": "error", "code": "POLICY_TARGET_MISSING", "message": message }]);
        }
        Ok(shown)
    }
}

/// The policy as it would be shown in a mesh.
fn with_condition<'a>(policy: &Policy, found: impl Iterator<Item = &'a Diagnostic>) -> Value {
    let path = policy.path();
    let about = found.filter(|diagnostic| diagnostic.subject == path);
    let (condition, reasons) = crate::status::judge(about);
    let mut shown = policy.to_wire();
    shown["condition"] = condition.as_str().into();
    if !reasons.is_empty() {
        shown["reasons"] = reasons.into();
    }
    shown
}

/// The conditions that a policy would have, its effects included.
fn would_be(snapshot: &Snapshot, policy: &Policy) -> Value {
    let mut snapshot = snapshot.clone();
    snapshot.policies.put(policy.clone());
    let mut shown = with_condition(policy, policy::conditions(&snapshot).iter());
    shown["governs"] = effect::of(&snapshot, &policy.name);
    shown
}
