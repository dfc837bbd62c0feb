//! From a call to its output: the list of all operations.

use bytes::Bytes;
use selvedge_aws::Call;
use selvedge_aws::error::UNKNOWN_OPERATION;
use selvedge_aws::operations::servicediscovery::INVALID_INPUT;
use selvedge_model::Value;
use selvedge_registry::document::{self, Key};
use selvedge_store::{Error as StoreError, Read, Store, Transaction, WriteError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::failure::{self, Failure};
use super::{Mirror, attributes, discovery, instance, namespace, operation, service, tags};
use crate::operations::{Context, Settings as ApiSettings, Unperformed};

/// What an operation needs besides the store.
pub(super) struct Scope<'a> {
    pub(super) api: &'a ApiSettings,
    pub(super) context: &'a Context,
    pub(super) call: &'a Call,
    pub(super) mirror: &'a Mirror,
}

/// Performs an operation of Cloud Map. May block on the store.
///
/// # Errors
/// What the caller is told, with the store's failure beside it. Nothing was changed, unless the cause is
/// [`StoreError::Uncertain`].
pub fn perform(
    store: &dyn Store,
    mirror: &Mirror,
    settings: &ApiSettings,
    context: &Context,
    call: &Call,
) -> Result<Value, Unperformed> {
    let checked = call.check(settings.strictness);
    checked.map_err(|found| Unperformed { error: INVALID_INPUT.because(found.to_string()), cause: None })?;
    let scope = Scope { api: settings, context, call, mirror };
    dispatch(store, &scope).map_err(|failure| match failure {
        Failure::Api(error) => Unperformed { error, cause: None },
        Failure::Store(cause) => Unperformed { error: failure::WORDS.describe(&cause), cause: Some(cause) },
    })
}

fn dispatch(store: &dyn Store, scope: &Scope<'_>) -> Result<Value, Failure> {
    match scope.call.operation.name {
        "CreateHttpNamespace" | "CreatePrivateDnsNamespace" => namespace::create(store, scope),
        "CreatePublicDnsNamespace" => Err(namespace::public()),
        "GetNamespace" => namespace::show(scope),
        "ListNamespaces" => namespace::list(scope),
        "UpdateHttpNamespace" | "UpdatePrivateDnsNamespace" | "UpdatePublicDnsNamespace" => {
            namespace::update(store, scope)
        }
        "DeleteNamespace" => namespace::delete(store, scope),
        "CreateService" => service::create(store, scope),
        "GetService" => service::show(scope),
        "ListServices" => service::list(scope),
        "UpdateService" => service::update(store, scope),
        "DeleteService" => service::delete(store, scope),
        "GetServiceAttributes" => attributes::show(scope),
        "UpdateServiceAttributes" => attributes::update(store, scope),
        "DeleteServiceAttributes" => attributes::delete(store, scope),
        "RegisterInstance" => instance::register(store, scope),
        "DeregisterInstance" => instance::deregister(store, scope),
        "GetInstance" => instance::show(scope),
        "ListInstances" => instance::list(scope),
        "GetInstancesHealthStatus" => instance::health(scope),
        "UpdateInstanceCustomHealthStatus" => instance::update_health(store, scope),
        "DiscoverInstances" => discovery::discover(scope),
        "DiscoverInstancesRevision" => discovery::revision(scope),
        "GetOperation" => operation::show(scope),
        "ListOperations" => operation::list(scope),
        "TagResource" => tags::tag(store, scope),
        "UntagResource" => tags::untag(store, scope),
        "ListTagsForResource" => tags::list(scope),
        name => Err(UNKNOWN_OPERATION.because(format!("{name} is not performed here")).into()),
    }
}

impl Scope<'_> {
    /// A text member; empty when absent.
    pub(super) fn text(&self, member: &str) -> &str {
        self.call.text(member).unwrap_or_default()
    }

    pub(super) fn now(&self) -> u64 {
        self.context.now.0
    }

    pub(super) fn region(&self) -> String {
        self.context.region.clone().unwrap_or_else(|| self.api.region.clone())
    }

    /// The ARN of a namespace or a service.
    pub(super) fn arn(&self, region: &str, sort: &str, id: &str) -> String {
        let (partition, account) = (&self.api.partition, &self.api.account);
        format!("arn:{partition}:servicediscovery:{region}:{account}:{sort}/{id}")
    }

    /// The identifier that a member holds, by itself or in an ARN of that sort.
    pub(super) fn id(&self, member: &str, sort: &str) -> String {
        let text = self.text(member);
        self.id_in(text, sort).unwrap_or_else(|| text.to_owned())
    }

    /// The identifier in an ARN of that sort that belongs to this account.
    pub(super) fn id_in(&self, arn: &str, sort: &str) -> Option<String> {
        let mut parts = arn.splitn(6, ':');
        let (scheme, partition, name) = (parts.next()?, parts.next()?, parts.next()?);
        let (_region, account, resource) = (parts.next()?, parts.next()?, parts.next()?);
        let is_ours = scheme == "arn"
            && partition == self.api.partition
            && name == "servicediscovery"
            && account == self.api.account;
        let id = resource.strip_prefix(sort)?.strip_prefix('/')?;
        let start = if sort == "service" { "srv-" } else { "ns-" };
        (is_ours && id.starts_with(start) && !id.contains('/')).then(|| id.to_owned())
    }

    /// Sixteen letters and digits that nobody has seen.
    pub(super) fn unique(&self) -> String {
        let digits: String = self.context.uid.chars().filter(char::is_ascii_alphanumeric).collect();
        digits[digits.len().saturating_sub(16)..].to_owned()
    }

    /// A number that nobody can foretell.
    pub(super) fn draw(&self) -> u64 {
        u64::from_str_radix(&self.unique(), 16).unwrap_or_default()
    }

    /// The token with which a request may be repeated; clients fill it by themselves.
    pub(super) fn token(&self) -> String {
        self.call.operation.idempotency_token.map(|member| self.text(member)).unwrap_or_default().to_owned()
    }
}

/// Runs one transaction.
pub(super) fn write<T>(
    store: &dyn Store,
    mut f: impl FnMut(&mut dyn Transaction) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let (value, _) = store.write(|tx| f(tx).map_err(WriteError::from))?;
    Ok(value)
}

/// A document inside a transaction.
pub(super) fn get<T: DeserializeOwned>(view: &dyn Read, key: &Key) -> Result<Option<T>, StoreError> {
    let Some(document) = view.get(&key.to_string())? else { return Ok(None) };
    document::read(&document.value)
        .map(Some)
        .ok_or_else(|| StoreError::Corrupt(format!("{key} is not readable")))
}

pub(super) fn put<T: Serialize>(tx: &mut dyn Transaction, key: &Key, value: &T) -> Result<(), StoreError> {
    tx.put(&key.to_string(), Bytes::from(document::write(value)))
}

pub(super) fn remove(tx: &mut dyn Transaction, key: &Key) -> Result<bool, StoreError> {
    tx.delete(&key.to_string())
}
