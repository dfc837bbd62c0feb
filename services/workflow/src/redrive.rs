//! Driving executions on after a failure: one from where it failed or from a chosen state, or many at a rate.
//!
//! From a chosen state an execution goes on with an input that somebody wrote, or with the one that the state had last. That is
//! kept with the execution as a revision, and in the audit trail, in the transaction in which it goes on.

mod run;

use selvedge_asl::{At, Detail, Event, Status};
use selvedge_store::{Error as StoreError, PAGE_MAX};
use serde_json::{Value, json};

pub(crate) use run::{Asked, Run, RunError, RunStatus, find as find_run, list as list_runs};
pub use run::{RUNS_AT_ONCE_MAX, RUNS_MAX};

use crate::Engine;
use crate::audit::Deed;
use crate::engine::{LiveKey, TakenUp};
use crate::record::{self, Edit, ExecutionRecord, Revision, history, key, status_name};

/// The most redrives from a chosen state of one execution.
pub const EDITS_MAX: usize = 100;
/// How many client tokens of redrives are remembered.
const TOKENS_MAX: usize = 10;

/// An execution that was not driven on.
#[derive(Debug, thiserror::Error)]
pub enum RedriveError {
    /// There is none of that name.
    #[error("there is no execution {0}")]
    Unknown(String),
    /// It is under way, or ended well.
    #[error("Execution is {0} and cannot be redriven")]
    Standing(&'static str),
    /// It belongs to a map run.
    #[error("Execution is REDRIVABLE_BY_MAP_RUN: redrive the execution that its map run belongs to")]
    Child,
    /// Its machine has no such state.
    #[error(
        "from: the machine has no state '{0}' of its own; states within Parallel and Map states cannot be chosen"
    )]
    NoState(String),
    /// Nobody knows what the state's input was.
    #[error("input: the execution has never been in the state '{0}', so an input has to be given")]
    NoInput(String),
    /// The input is too large.
    #[error("input: it has {found} bytes, and a state's input has at most {most}")]
    TooLarge {
        /// What it has.
        found: usize,
        /// What it may have.
        most: usize,
    },
    /// The input nests too deep.
    #[error("input: it nests more than {} levels deep", selvedge_asl::PAYLOAD_DEPTH_MAX)]
    TooDeep,
    /// It was edited as often as it may be.
    #[error("it was driven on from a chosen state {EDITS_MAX} times already")]
    TooManyEdits,
    /// It has no checkpoint to go on from.
    #[error("Execution has nothing to go on from")]
    Nothing,
    /// Somebody else was quicker.
    #[error(
        "Execution is being redriven by another call, or has been a moment ago; describe it, and redrive it again if it still failed"
    )]
    Raced,
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

fn driven(taken: TakenUp) -> Result<(), RedriveError> {
    match taken {
        TakenUp::GoesOn => Ok(()),
        TakenUp::Nothing => Err(RedriveError::Nothing),
        TakenUp::Busy => Err(RedriveError::Raced),
    }
}

impl Engine {
    fn over(&self, key: &LiveKey) -> Result<ExecutionRecord, RedriveError> {
        let found = self.store.snapshot()?.get(&key::execution(&key.machine, &key.name))?;
        let found = found.ok_or_else(|| RedriveError::Unknown(key.to_string()))?;
        let record: ExecutionRecord = record::decode(&found)?;
        if matches!(record.status, Status::Running | Status::Succeeded) {
            return Err(RedriveError::Standing(status_name(record.status)));
        }
        if record.child.is_some() {
            return Err(RedriveError::Child);
        }
        Ok(record)
    }

    /// Drives an execution on from one of its machine's own states, with `input` or with the input that the state had last.
    pub(crate) fn redrive_from(
        &self,
        key: &LiveKey,
        state: &str,
        input: Option<&Value>,
        actor: &str,
    ) -> Result<(), RedriveError> {
        let record = self.over(key)?;
        if record.edits.len() >= EDITS_MAX {
            return Err(RedriveError::TooManyEdits);
        }
        let revision = Revision::known(&*self.store.snapshot()?, &record.machine, &record.revision)?;
        let definition = self.definition(&record.machine, &revision)?;
        if definition.state(selvedge_asl::ScopeId::TOP, state).is_none() {
            return Err(RedriveError::NoState(state.chars().take(80).collect()));
        }
        let input = match input {
            Some(input) => input.clone(),
            None => self.last_input(key, state)?.ok_or_else(|| RedriveError::NoInput(state.to_owned()))?,
        };
        let text = input.to_string();
        let most = self.options(&*self.extension(&record.machine)?).payload_bytes;
        if text.len() > most {
            return Err(RedriveError::TooLarge { found: text.len(), most });
        }
        if !selvedge_query::nests_within(&input, selvedge_asl::PAYLOAD_DEPTH_MAX) {
            return Err(RedriveError::TooDeep);
        }
        let now_ms = self.now_ms();
        let deed = Deed {
            kind: "RedriveExecution".into(),
            actor: actor.to_owned(),
            subject: record.arn,
            details: json!({ "from": state, "inputSha256": crate::audit::hash(&text), "revision": record.edits.len() + 1 }),
        };
        let taken = self.take_up(key, Some(deed), |execution, record, definition| {
            let mut draw = || self.surroundings.draw();
            let mut at = At { definition, now_ms, entropy: &mut draw };
            let is_driven = execution.handle_redrive_from(state, input.clone(), &mut at);
            if is_driven {
                let redrive_count = execution.redrive_count();
                record.redriven_ms = Some(now_ms);
                let (state, input, by) = (state.to_owned(), text.clone(), actor.to_owned());
                record.edits.push(Edit { redrive_count, at_ms: now_ms, by, state, input });
            }
            is_driven
        })?;
        driven(taken)
    }

    /// Goes on from the states that failed.
    pub(crate) fn redrive(
        &self,
        key: &LiveKey,
        token: Option<&str>,
        now_ms: i64,
        deed: Deed,
    ) -> Result<(), RedriveError> {
        self.over(key)?;
        driven(self.go_on(key, token, now_ms, Some(deed))?)
    }

    /// The same for whoever knows that it may.
    pub(crate) fn go_on(
        &self,
        key: &LiveKey,
        token: Option<&str>,
        now_ms: i64,
        deed: Option<Deed>,
    ) -> Result<TakenUp, StoreError> {
        self.take_up(key, deed, |execution, record, definition| {
            let mut draw = || self.surroundings.draw();
            let is_redriven = execution.handle_redrive(&mut At { definition, now_ms, entropy: &mut draw });
            if is_redriven {
                record.redriven_ms = Some(now_ms);
                if let Some(token) = token {
                    record.redrive_tokens.push((token.to_owned(), now_ms));
                    let spare = record.redrive_tokens.len().saturating_sub(TOKENS_MAX);
                    record.redrive_tokens.drain(..spare);
                }
            }
            is_redriven
        })
    }

    /// What a state was entered with last.
    fn last_input(&self, key: &LiveKey, state: &str) -> Result<Option<Value>, StoreError> {
        let (mut last, mut after) = (None, None);
        let mut look = |events: Vec<Event>| {
            for event in events {
                if let Detail::StateEntered { name, input, .. } = event.detail
                    && &*name == state
                {
                    last = Some(input);
                }
            }
        };
        let found = self.store.snapshot()?.get(&key::execution(&key.machine, &key.name))?;
        if let Some(record) = found.as_ref().map(record::decode::<ExecutionRecord>).transpose()? {
            look(record.first_events.events()?);
        }
        let prefix = key::histories(&key.machine, &key.name);
        loop {
            let page = self.store.snapshot()?.scan(&prefix, after.as_deref(), PAGE_MAX)?;
            for found in &page {
                look(history::decode(found)?);
            }
            if page.len() < PAGE_MAX {
                return Ok(last.and_then(|text| serde_json::from_str(&text).ok()));
            }
            after = page.last().map(|found| found.key.clone());
        }
    }
}
