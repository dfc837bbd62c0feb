//! From a call to its output: the list of all operations.

use selvedge_aws::error::UNKNOWN_OPERATION;
use selvedge_aws::operations::appmesh::BAD_REQUEST;
use selvedge_aws::{ApiError, Call};
use selvedge_model::{
    GatewayRouteSpec, Kind, MeshSpec, RouteSpec, Timestamp, Value, VirtualGatewaySpec, VirtualNodeSpec,
    VirtualRouterSpec, VirtualServiceSpec,
};
use selvedge_store::{Error as StoreError, Read, Store, Transaction, WriteError};

use super::collection::{self, Scope, wrap};
use super::failure::{self, Failure};
use super::settings::Settings;
use super::tags;
use super::token::Token;

/// Calls a function for the spec of a kind.
macro_rules! on_kind {
    ($kind:expr, $function:path, $scope:expr, $view:expr) => {{
        use $function as call;
        match $kind {
            Kind::Mesh => call::<MeshSpec>($scope, $view),
            Kind::VirtualNode => call::<VirtualNodeSpec>($scope, $view),
            Kind::VirtualService => call::<VirtualServiceSpec>($scope, $view),
            Kind::VirtualRouter => call::<VirtualRouterSpec>($scope, $view),
            Kind::Route => call::<RouteSpec>($scope, $view),
            Kind::VirtualGateway => call::<VirtualGatewaySpec>($scope, $view),
            Kind::GatewayRoute => call::<GatewayRouteSpec>($scope, $view),
        }
    }};
}

/// What a call happens in: everything that core may not find out for itself.
#[derive(Clone, Debug)]
pub struct Context {
    pub now: Timestamp,
    /// A fresh UUID, for the resource should one come into being.
    pub uid: String,
    /// The region that the caller's signature names, if any.
    pub region: Option<String>,
}

/// An operation that did not happen: what the caller is told, and what the log is.
#[derive(Debug)]
pub struct Unperformed {
    pub error: ApiError,
    /// The store's failure, if it was that.
    pub cause: Option<StoreError>,
}

/// Performs an operation of App Mesh, in one transaction. May block on the store.
///
/// # Errors
/// What the caller is told, with the store's failure beside it. Nothing was changed, unless the cause is
/// [`StoreError::Uncertain`].
pub fn perform(
    store: &dyn Store,
    settings: &Settings,
    context: &Context,
    call: &Call,
) -> Result<Value, Unperformed> {
    let checked = call.check(settings.strictness);
    checked.map_err(|found| Unperformed { error: BAD_REQUEST.because(found.to_string()), cause: None })?;
    let scope = Scope { settings, context, call };
    let output = match call.operation.method {
        "GET" => read(store, &scope),
        _ => write(store, &scope),
    };
    output.map_err(|failure| match failure {
        Failure::Api(error) => Unperformed { error, cause: None },
        Failure::Store(cause) => Unperformed { error: failure::WORDS.describe(&cause), cause: Some(cause) },
    })
}

fn read(store: &dyn Store, scope: &Scope<'_>) -> Result<Value, Failure> {
    let snapshot = store.snapshot()?;
    let view: &dyn Read = &*snapshot;
    let (verb, kind) = split(scope.call.operation.name);
    let resource = match (verb, kind) {
        ("ListTagsForResource", _) => tags::list_tags(scope, view),
        ("List", Some(kind)) => on_kind!(kind, collection::list, scope, view),
        ("Describe", Some(kind)) => on_kind!(kind, collection::describe, scope, view),
        _ => Err(unknown(scope.call)),
    };
    resource.map(|resource| wrap(scope.call, resource))
}

fn write(store: &dyn Store, scope: &Scope<'_>) -> Result<Value, Failure> {
    let token = Token::of(scope.call)?;
    let written = store.write(|tx| write_once(scope, token.as_ref(), tx).map_err(WriteError::from));
    match written {
        Ok((resource, _)) => Ok(wrap(scope.call, resource)),
        Err(WriteError::Refused(error)) => Err(Failure::Api(error)),
        Err(WriteError::Store(error)) => Err(Failure::Store(error)),
    }
}

fn write_once(scope: &Scope<'_>, token: Option<&Token>, tx: &mut dyn Transaction) -> Result<Value, Failure> {
    if let Some(token) = token
        && let Some(output) = token.recall(tx, scope.context.now)?
    {
        return Ok(output);
    }
    let (verb, kind) = split(scope.call.operation.name);
    let output = match (verb, kind) {
        ("TagResource", _) => tags::tag_resource(scope, tx),
        ("UntagResource", _) => tags::untag_resource(scope, tx),
        ("Create", Some(kind)) => on_kind!(kind, collection::create, scope, tx),
        ("Update", Some(kind)) => on_kind!(kind, collection::update, scope, tx),
        ("Delete", Some(kind)) => on_kind!(kind, collection::delete, scope, tx),
        _ => Err(unknown(scope.call)),
    }?;
    if let Some(token) = token {
        token.remember(tx, scope.context.now, &output)?;
    }
    Ok(output)
}

/// Splits the name of an operation into its verb and the kind it is about: `ListMeshes` is `List` and meshes.
fn split(name: &str) -> (&str, Option<Kind>) {
    for verb in ["Create", "Update", "Describe", "Delete", "List"] {
        if let Some(noun) = name.strip_prefix(verb) {
            let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == noun || kind.plural() == noun);
            if kind.is_some() {
                return (verb, kind);
            }
        }
    }
    (name, None)
}

fn unknown(call: &Call) -> Failure {
    UNKNOWN_OPERATION.because(format!("{} is not performed here", call.operation.name)).into()
}
