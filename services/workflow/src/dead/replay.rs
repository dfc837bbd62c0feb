//! Replaying letters, and discarding them.

use std::sync::Arc;

use selvedge_asl::TaskOutcome;
use selvedge_store::{Error as StoreError, WriteError};
use serde_json::{Value, json};

use super::{Kind, Letter, find};
use crate::Engine;
use crate::audit::Deed;
use crate::engine::LiveKey;
use crate::operations::execution::{Asked, start_named};
use crate::operations::failure::Failed;
use crate::redrive::RedriveError;

/// A letter that was not replayed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplayError {
    #[error("there is no dead letter {0}")]
    Unknown(String),
    #[error("{0}")]
    Redrive(#[from] RedriveError),
    #[error("{0}")]
    Refused(String),
    #[error("the store failed")]
    Store(#[from] StoreError),
}

impl Engine {
    /// Does what did not work once more; the letter is gone then. `from` and `input` are for executions.
    pub(crate) fn replay(
        self: &Arc<Self>,
        id: &str,
        from: Option<&str>,
        input: Option<&Value>,
        actor: &str,
    ) -> Result<Letter, ReplayError> {
        let letter = find(&*self.store.snapshot()?, id)?;
        let letter = letter.ok_or_else(|| ReplayError::Unknown(id.chars().take(64).collect()))?;
        let key = LiveKey::new(&letter.machine, &letter.name);
        let deed = |kind: &str| Deed {
            kind: kind.to_owned(),
            actor: actor.to_owned(),
            subject: if letter.execution.is_empty() {
                letter.machine_arn.clone()
            } else {
                letter.execution.clone()
            },
            details: json!({ "letter": letter.id, "kind": letter.kind.name() }),
        };
        match letter.kind {
            // Its letter goes in the step's own transaction.
            Kind::Execution => match from {
                Some(state) => self.redrive_from(&key, state, input, actor)?,
                None => self.redrive(&key, None, self.now_ms(), deed("RedriveExecution"))?,
            },
            Kind::Express | Kind::Schedule => {
                let asked = Asked {
                    name: (letter.kind == Kind::Schedule && !letter.name.is_empty()).then_some(&*letter.name),
                    input: letter.payload.as_deref().unwrap_or("{}"),
                    trace_header: None,
                };
                match start_named(self, &letter.machine_arn, &asked) {
                    Ok(_) => {}
                    Err(Failed::Store(error)) => return Err(error.into()),
                    Err(Failed::Api(error)) => return Err(ReplayError::Refused(error.message)),
                }
                self.remove_letter(&letter, &deed("ReplayDeadLetter"))?;
            }
            Kind::Result => {
                let text = letter.payload.as_deref().unwrap_or("null");
                let output = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
                let state = letter.state.as_deref().unwrap_or_default();
                let task = self.task_of(&key, state)?.ok_or_else(|| {
                    ReplayError::Refused(format!(
                        "the execution has no task under way in the state '{state}': redrive it first"
                    ))
                })?;
                if !self.task(&key, task, TaskOutcome::Succeeded { output })? {
                    return Err(ReplayError::Refused("the task has just ended otherwise".to_owned()));
                }
                self.remove_letter(&letter, &deed("ReplayDeadLetter"))?;
            }
        }
        Ok(letter)
    }

    /// Takes a letter out of the log.
    pub(crate) fn discard(&self, id: &str, actor: &str) -> Result<Letter, ReplayError> {
        let letter = find(&*self.store.snapshot()?, id)?;
        let letter = letter.ok_or_else(|| ReplayError::Unknown(id.chars().take(64).collect()))?;
        let deed = Deed {
            kind: "DiscardDeadLetter".into(),
            actor: actor.to_owned(),
            subject: letter.execution.clone(),
            details: letter.show(),
        };
        self.remove_letter(&letter, &deed)?;
        Ok(letter)
    }

    fn remove_letter(&self, letter: &Letter, deed: &Deed) -> Result<(), StoreError> {
        let now_ms = self.now_ms();
        let written = self.store.write::<_, StoreError>(|tx| {
            if letter.remove(tx)? {
                deed.append(tx, now_ms)?;
            }
            Ok(())
        });
        match written {
            Ok(_) => Ok(()),
            Err(WriteError::Refused(error) | WriteError::Store(error)) => Err(error),
        }
    }
}
