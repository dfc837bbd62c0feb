//! Operations: what was asked for, and how far it is.

use selvedge_aws::operations::servicediscovery::OPERATION_NOT_FOUND;
use selvedge_model::{Timestamp, Value};
use selvedge_registry::Operation;
use selvedge_registry::document::Key;
use selvedge_registry::operation::{OPERATIONS_MAX, RETENTION_MILLIS};
use selvedge_store::{Error as StoreError, Transaction};
use serde_json::{Map, json};

use super::failure::Failure;
use super::perform::{Scope, get, put, remove};
use super::query;

/// Operations that one write forgets, when there are too many. More than one, so that their number shrinks.
const SWEPT_PER_WRITE: usize = 4;

/// An operation that begins, and those that are to be forgotten for it.
pub(super) struct Begun {
    pub(super) operation: Operation,
    stale: Vec<String>,
}

/// Begins an operation. Reads the mirror, so it is called before the transaction.
pub(super) fn begin(
    scope: &Scope<'_>,
    kind: &str,
    status: &str,
    targets: &[(&str, &str)],
) -> Result<Begun, Failure> {
    let now = scope.now();
    let state = scope.mirror.read()?;
    let known = state.snapshot.operations();
    let surplus = (known.len() + 1).saturating_sub(OPERATIONS_MAX);
    let is_stale = |(index, one): &(usize, &Operation)| {
        *index < surplus || one.created_at.saturating_add(RETENTION_MILLIS) < now
    };
    let stale = known.enumerate().take_while(is_stale).take(SWEPT_PER_WRITE);
    let operation = Operation {
        id: Operation::id_at(now, &scope.unique()),
        kind: kind.to_owned(),
        status: status.to_owned(),
        created_at: now,
        updated_at: now,
        targets: targets.iter().map(|(sort, id)| ((*sort).to_owned(), (*id).to_owned())).collect(),
    };
    Ok(Begun { operation, stale: stale.map(|(_, one)| one.id.clone()).collect() })
}

impl Begun {
    pub(super) fn id(&self) -> &str {
        &self.operation.id
    }

    /// Writes it down.
    pub(super) fn write(&self, tx: &mut dyn Transaction) -> Result<(), Failure> {
        for id in &self.stale {
            remove(tx, &Key::Operation(id.clone()))?;
        }
        put(tx, &Key::Operation(self.operation.id.clone()), &self.operation)?;
        Ok(())
    }
}

/// An operation that was under way has ended.
pub(super) fn finish(tx: &mut dyn Transaction, id: &str, now: u64) -> Result<(), StoreError> {
    let key = Key::Operation(id.to_owned());
    if let Some(mut operation) = get::<Operation>(&*tx, &key)?
        && operation.status == Operation::PENDING
    {
        operation.status = Operation::SUCCESS.to_owned();
        operation.updated_at = now;
        put(tx, &key, &operation)?;
    }
    Ok(())
}

/// What most writes answer.
pub(super) fn answer(id: &str) -> Value {
    json!({ "OperationId": id })
}

pub(super) fn show(scope: &Scope<'_>) -> Result<Value, Failure> {
    let id = scope.text("OperationId");
    let state = scope.mirror.read()?;
    let Some(operation) = state.snapshot.operation(id) else {
        return Err(OPERATION_NOT_FOUND.because(format!("there is no operation {id}")).into());
    };
    let targets = operation.targets.iter().map(|(sort, id)| (sort.clone(), id.clone().into()));
    Ok(json!({ "Operation": {
        "Id": operation.id,
        "OwnerAccount": scope.api.account,
        "Type": operation.kind,
        "Status": operation.status,
        "CreateDate": Timestamp(operation.created_at).to_wire(),
        "UpdateDate": Timestamp(operation.updated_at).to_wire(),
        "Targets": Map::from_iter(targets),
    }}))
}

pub(super) fn list(scope: &Scope<'_>) -> Result<Value, Failure> {
    let filters = query::filters(scope)?;
    let state = scope.mirror.read()?;
    let fits = |operation: &&Operation| {
        filters.iter().all(|filter| match filter.name {
            "NAMESPACE_ID" => operation.target("NAMESPACE").is_some_and(|id| filter.fits(id)),
            "SERVICE_ID" => operation.target("SERVICE").is_some_and(|id| filter.fits(id)),
            "STATUS" => filter.fits(&operation.status),
            "TYPE" => filter.fits(&operation.kind),
            _ => filter.fits_time(operation.updated_at),
        })
    };
    let output = query::page(
        scope,
        state.snapshot.operations().filter(fits),
        |operation| &operation.id,
        |operation| json!({ "Id": operation.id, "Status": operation.status }),
        "Operations",
    )?;
    Ok(Value::Object(output))
}
