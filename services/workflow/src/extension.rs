//! What a machine has beyond the original: an extended mode, a longer history, schemas for input and output.
//!
//! In the extended mode a value over 256 KiB does not end its execution with `States.DataLimitExceeded`: it is kept as a blob, once by
//! the hash of its contents, and checkpoints, histories and records have a reference to it ([`spill`]).

pub(crate) mod spill;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use selvedge_asl::{Execution, Failure, Options};
use selvedge_store::{Error as StoreError, Read, WriteError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Engine;
use crate::audit::Deed;
use crate::record;
use crate::schema::{Misfit, Schema};

/// The most bytes of a state's input or output in the extended mode.
pub const EXTENDED_PAYLOAD_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The most events that a machine's histories may be allowed.
pub const EXTENDED_HISTORY_EVENTS_MAX: u64 = 100_000_000;
const HISTORY_EVENTS_MIN: u64 = 100;
/// Machines whose extensions are in memory.
const KNOWN_MAX: usize = 4096;

/// How payloads are bounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Mode {
    /// As the original bounds them.
    #[default]
    Standard,
    /// Large ones are kept as blobs.
    Extended,
}

/// An extension as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Document {
    pub(crate) mode: Option<Mode>,
    pub(crate) history_events: Option<u64>,
    pub(crate) input_schema: Option<Value>,
    pub(crate) output_schema: Option<Value>,
}

/// An extension with its schemas read.
#[derive(Debug, Default)]
pub(crate) struct Extension {
    document: Document,
    input: Option<Schema>,
    output: Option<Schema>,
}

/// An extension that was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExtensionError {
    #[error("{0}")]
    Invalid(String),
    #[error("there is no state machine {0}")]
    Unknown(String),
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// The extensions that are in memory, by their machine's name.
#[derive(Default)]
pub(crate) struct Known(Mutex<HashMap<String, Arc<Extension>>>);

fn key(machine: &str) -> String {
    format!("extension/{machine}")
}

impl Document {
    /// Reads what somebody wrote.
    pub(crate) fn read(body: &Value) -> Result<Self, ExtensionError> {
        const KNOWN: &[&str] = &["mode", "historyEvents", "inputSchema", "outputSchema"];
        let invalid = |problem: String| ExtensionError::Invalid(problem);
        let members = body.as_object().ok_or_else(|| invalid("the body: an object is expected".into()))?;
        if let Some(unknown) = members.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            return Err(invalid(format!(
                "{unknown}: there is no such member; there is {}",
                KNOWN.join(", ")
            )));
        }
        let mode = match &body["mode"] {
            Value::Null => None,
            mode if mode == "STANDARD" => Some(Mode::Standard),
            mode if mode == "EXTENDED" => Some(Mode::Extended),
            _ => return Err(invalid("mode: it has to be STANDARD or EXTENDED".into())),
        };
        let history_events = match &body["historyEvents"] {
            Value::Null => None,
            value => Some(
                value
                    .as_u64()
                    .filter(|events| (HISTORY_EVENTS_MIN..=EXTENDED_HISTORY_EVENTS_MAX).contains(events))
                    .ok_or_else(|| {
                        invalid(format!(
                            "historyEvents: {HISTORY_EVENTS_MIN} to {EXTENDED_HISTORY_EVENTS_MAX} is expected"
                        ))
                    })?,
            ),
        };
        let schema = |member: &str| members.get(member).filter(|schema| !schema.is_null()).cloned();
        Ok(Self {
            mode,
            history_events,
            input_schema: schema("inputSchema"),
            output_schema: schema("outputSchema"),
        })
    }

    /// As the API shows it.
    pub(crate) fn show(&self) -> Value {
        let mode = self.mode.map(|mode| match mode {
            Mode::Standard => "STANDARD",
            Mode::Extended => "EXTENDED",
        });
        json!({
            "mode": mode, "historyEvents": self.history_events,
            "inputSchema": self.input_schema, "outputSchema": self.output_schema,
        })
    }
}

impl Extension {
    fn new(document: Document) -> Result<Self, ExtensionError> {
        let read = |schema: &Option<Value>, name: &str| {
            let schema = schema.as_ref().map(|schema| Schema::read(schema, name)).transpose();
            schema.map_err(|unfit| ExtensionError::Invalid(unfit.to_string()))
        };
        let input = read(&document.input_schema, "inputSchema")?;
        let output = read(&document.output_schema, "outputSchema")?;
        Ok(Self { document, input, output })
    }

    pub(crate) fn document(&self) -> &Document {
        &self.document
    }

    /// Checks an execution's input, where there is a schema for it.
    pub(crate) fn check_input(&self, input: &str) -> Result<(), Misfit> {
        let Some(schema) = &self.input else { return Ok(()) };
        // What is no JSON is refused as that.
        serde_json::from_str(input).map_or(Ok(()), |input| schema.check(&input))
    }

    /// Makes an execution that has just ended well fail where its output does not fit.
    pub(crate) fn check_output(&self, execution: &mut Execution) {
        let Some(schema) = &self.output else { return };
        let Some(output) = execution.output().and_then(|text| serde_json::from_str(text).ok()) else {
            return;
        };
        if let Err(misfit) = schema.check(&output) {
            let cause = format!("the output does not fit the machine's schema: {misfit}");
            execution.refuse_output(Failure::new("Selvedge.OutputSchema", cause));
        }
    }
}

impl Engine {
    /// What a machine has beyond the original; `machine` may have a label, as those of map runs' children do.
    pub(crate) fn extension(&self, machine: &str) -> Result<Arc<Extension>, StoreError> {
        let name = machine.split([':', '/']).next().unwrap_or_default();
        let known = |extensions: &Known| {
            extensions.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
        };
        if let Some(found) = known(&self.extensions) {
            return Ok(found);
        }
        let found = self.store.snapshot()?.get(&key(name))?;
        let document: Document = found.as_ref().map_or_else(|| Ok(Document::default()), record::decode)?;
        let read = Extension::new(document);
        let read = Arc::new(read.map_err(|error| StoreError::Corrupt(format!("extension/{name}: {error}")))?);
        let mut extensions = self.extensions.0.lock().unwrap_or_else(PoisonError::into_inner);
        if extensions.len() >= KNOWN_MAX {
            extensions.clear();
        }
        // Whoever has written it meanwhile has the newer one.
        Ok(Arc::clone(extensions.entry(name.to_owned()).or_insert(read)))
    }

    /// The bounds of a machine's executions.
    pub(crate) fn options(&self, extension: &Extension) -> Options {
        let own = self.settings.execution;
        let mode = extension.document.mode.unwrap_or_else(|| self.settings.mode());
        Options {
            payload_bytes: match mode {
                Mode::Standard => own.payload_bytes.min(selvedge_asl::PAYLOAD_BYTES_MAX),
                Mode::Extended => own.payload_bytes.max(EXTENDED_PAYLOAD_BYTES_MAX),
            },
            history_events: extension.document.history_events.unwrap_or(own.history_events),
        }
    }

    /// Gives a machine an extension, or takes it away; executions that begin from here on have it.
    pub(crate) fn extend(
        &self,
        machine: &str,
        document: Document,
        actor: &str,
    ) -> Result<Arc<Extension>, ExtensionError> {
        let extension = Arc::new(Extension::new(document)?);
        let now_ms = self.now_ms();
        let written = self.store.write(|tx| {
            let found = tx.get(&record::key::machine(machine))?;
            let found = found.ok_or_else(|| WriteError::Refused(machine.to_owned()))?;
            let found: record::Machine = record::decode(&found)?;
            if extension.document == Document::default() {
                tx.delete(&key(machine))?;
            } else {
                tx.put(&key(machine), record::encode(&extension.document))?;
            }
            let deed = Deed {
                kind: "ExtendStateMachine".into(),
                actor: actor.to_owned(),
                subject: found.arn,
                details: extension.document.show(),
            };
            Ok::<_, WriteError<String>>(deed.append(tx, now_ms)?)
        });
        match written {
            Ok(_) => {}
            Err(WriteError::Refused(name)) => return Err(ExtensionError::Unknown(name)),
            Err(WriteError::Store(error)) => return Err(error.into()),
        }
        let mut extensions = self.extensions.0.lock().unwrap_or_else(PoisonError::into_inner);
        extensions.insert(machine.to_owned(), Arc::clone(&extension));
        Ok(extension)
    }

    /// Forgets a machine's extension, which goes with the machine in the caller's transaction.
    pub(crate) fn forget_extension(&self, machine: &str) {
        self.extensions.0.lock().unwrap_or_else(PoisonError::into_inner).remove(machine);
    }
}

/// Whether a machine has an extension, for whoever deletes it.
pub(crate) fn delete(tx: &mut dyn selvedge_store::Transaction, machine: &str) -> Result<(), StoreError> {
    tx.delete(&key(machine)).map(drop)
}

/// An extension as it is stored.
pub(crate) fn find(view: &dyn Read, machine: &str) -> Result<Option<Document>, ExtensionError> {
    if view.get(&record::key::machine(machine))?.is_none() {
        return Err(ExtensionError::Unknown(machine.to_owned()));
    }
    Ok(view.get(&key(machine))?.as_ref().map(record::decode).transpose()?)
}
