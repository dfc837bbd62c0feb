//! Many executions, driven on at a rate: a run.
//!
//! ```text
//! RUNNING ──letters up to the moment of its start are through──▶ DONE
//!   │ ▲ └────────────────────────────────────────cancel────────▶ CANCELED
//! pause resume
//!   ▼ │
//! PAUSED
//! ```
//!
//! It walks the dead-letter log from the oldest letter on, as far as the log went when it was asked for: what fails anew is not
//! driven on anew. An execution's letter goes in the transaction in which it goes on, so that a run which is taken up after a
//! crash drives nothing on twice.

use std::sync::{Arc, Weak};
use std::time::Duration;

use selvedge_store::{Error as StoreError, Read, WriteError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::RedriveError;
use crate::Engine;
use crate::audit::Deed;
use crate::dead::{self, Kind, Letter, Wanted};
use crate::engine::LiveKey;
use crate::record;

/// Runs that are known, those that are over among them.
pub const RUNS_MAX: usize = 100;
/// Runs that are not over.
pub const RUNS_AT_ONCE_MAX: usize = 16;
/// Executions a second.
const RATE_MAX: u64 = 1000;
const RATE_DEFAULT: u64 = 10;
/// Refusals that a run remembers with their reasons.
const REFUSALS_MAX: usize = 20;
const PREFIX: &str = "redrive-run/";
/// After a failure of the store.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum RunStatus {
    Running,
    Paused,
    Done,
    Canceled,
}

/// A run as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) id: String,
    pub(crate) actor: String,
    pub(crate) wanted: Wanted,
    pub(crate) from: Option<String>,
    pub(crate) input: Option<Value>,
    /// Executions a second.
    pub(crate) rate: u64,
    pub(crate) status: RunStatus,
    pub(crate) created_ms: i64,
    pub(crate) ended_ms: Option<i64>,
    /// The last letter that was looked at.
    pub(crate) cursor: String,
    pub(crate) redriven: u64,
    pub(crate) refused: u64,
    pub(crate) refusals: Vec<(String, String)>,
}

/// What somebody asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) wanted: Wanted,
    pub(crate) from: Option<String>,
    pub(crate) input: Option<Value>,
    pub(crate) rate: Option<u64>,
    pub(crate) actor: String,
}

/// A run that was not begun or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("rate: 1 to {RATE_MAX} a second is expected")]
    Rate,
    #[error("input: it is for the state that is chosen with `from`")]
    InputWithoutState,
    #[error("{RUNS_AT_ONCE_MAX} runs are under way already")]
    TooMany,
    #[error("there is no run {0}")]
    Unknown(String),
    #[error("the run is {0} already")]
    Over(&'static str),
    #[error("the store failed")]
    Store(#[from] StoreError),
}

impl RunStatus {
    fn name(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Done => "DONE",
            Self::Canceled => "CANCELED",
        }
    }

    fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Canceled)
    }
}

impl Run {
    /// As the API shows it.
    pub(crate) fn show(&self) -> Value {
        let refusals =
            self.refusals.iter().map(|(arn, reason)| json!({ "execution": arn, "reason": reason }));
        json!({
            "id": self.id,
            "status": self.status.name(),
            "machine": self.wanted.machine,
            "error": self.wanted.error,
            "state": self.wanted.state,
            "afterMs": self.wanted.after_ms,
            "beforeMs": self.wanted.before_ms,
            "from": self.from,
            "input": self.input,
            "rate": self.rate,
            "createdMs": self.created_ms,
            "endedMs": self.ended_ms,
            "by": self.actor,
            "redriven": self.redriven,
            "refused": self.refused,
            "refusals": refusals.collect::<Vec<_>>(),
        })
    }
}

fn key(id: &str) -> String {
    format!("{PREFIX}{id}")
}

/// A run by its id.
pub(crate) fn find(view: &dyn Read, id: &str) -> Result<Run, RunError> {
    let is_id = !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    let found = if is_id { view.get(&key(id))? } else { None };
    let found = found.ok_or_else(|| RunError::Unknown(id.chars().take(64).collect()))?;
    Ok(record::decode(&found)?)
}

/// Every run, the oldest first.
pub(crate) fn list(view: &dyn Read) -> Result<Vec<Run>, StoreError> {
    view.scan(PREFIX, None, RUNS_MAX)?.iter().map(record::decode).collect()
}

impl Engine {
    /// Begins a run; it is durable when this returns.
    pub(crate) fn begin_run(&self, asked: &Asked) -> Result<Run, RunError> {
        let rate = asked.rate.unwrap_or(RATE_DEFAULT);
        if !(1..=RATE_MAX).contains(&rate) {
            return Err(RunError::Rate);
        }
        if asked.input.is_some() && asked.from.is_none() {
            return Err(RunError::InputWithoutState);
        }
        let now_ms = self.now_ms();
        let mut wanted = Wanted { kind: Some(Kind::Execution), ..asked.wanted.clone() };
        // What fails from here on is of another run.
        wanted.before_ms = Some(wanted.before_ms.unwrap_or(now_ms).min(now_ms));
        let run = Run {
            // In the order of their beginnings.
            id: format!("{now_ms:016x}-{:016x}", self.surroundings.draw()),
            actor: asked.actor.clone(),
            wanted,
            from: asked.from.clone(),
            input: asked.input.clone(),
            rate,
            status: RunStatus::Running,
            created_ms: now_ms,
            ended_ms: None,
            cursor: String::new(),
            redriven: 0,
            refused: 0,
            refusals: Vec::new(),
        };
        let deed = Deed {
            kind: "StartRedriveRun".into(),
            actor: run.actor.clone(),
            subject: run.id.clone(),
            details: run.show(),
        };
        let written = self.store.write(|tx| {
            let known = list(&*tx)?;
            if known.iter().filter(|run| !run.status.is_over()).count() >= RUNS_AT_ONCE_MAX {
                return Err(WriteError::Refused(RunError::TooMany));
            }
            if known.len() >= RUNS_MAX
                && let Some(oldest) = known.iter().find(|run| run.status.is_over())
            {
                tx.delete(&key(&oldest.id))?;
            }
            tx.put(&key(&run.id), record::encode(&run))?;
            Ok(deed.append(tx, now_ms)?)
        });
        flat(written)?;
        self.drive_run(&run);
        Ok(run)
    }

    /// Pauses a run, goes on with it, or ends it.
    pub(crate) fn turn_run(&self, id: &str, status: RunStatus, actor: &str) -> Result<Run, RunError> {
        find(&*self.store.snapshot()?, id)?;
        let now_ms = self.now_ms();
        let written = self.store.write(|tx| {
            let mut run = find(&*tx, id).map_err(refused)?;
            if run.status.is_over() {
                return Err(WriteError::Refused(RunError::Over(run.status.name())));
            }
            let was = run.status;
            run.status = status;
            run.ended_ms = status.is_over().then_some(now_ms);
            tx.put(&key(id), record::encode(&run))?;
            let details = json!({ "status": status.name() });
            let deed = Deed {
                kind: "TurnRedriveRun".into(),
                actor: actor.to_owned(),
                subject: id.to_owned(),
                details,
            };
            deed.append(tx, now_ms)?;
            Ok((run, was))
        });
        let (run, was) = flat(written)?;
        if was != RunStatus::Running && status == RunStatus::Running {
            self.drive_run(&run);
        }
        Ok(run)
    }

    /// After a restart: runs that were under way go on.
    pub(crate) fn take_up_runs(&self) -> Result<(), StoreError> {
        let runs = list(&*self.store.snapshot()?)?;
        runs.iter().filter(|run| run.status == RunStatus::Running).for_each(|run| self.drive_run(run));
        Ok(())
    }

    fn drive_run(&self, run: &Run) {
        let (own, id): (Weak<Self>, _) = (Weak::clone(&self.own), run.id.clone());
        let every = Duration::from_secs(1) / u32::try_from(run.rate.max(1)).unwrap_or(1);
        self.runtime.spawn(async move {
            let mut pace = tokio::time::interval(every);
            pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                pace.tick().await;
                let Some(engine) = own.upgrade() else { return };
                let (there, id_there) = (Arc::clone(&engine), id.clone());
                match engine.aside(move || there.drive_next(&id_there)).await {
                    Ok(Ok(true)) => {}
                    Ok(Ok(false)) | Err(_) => return,
                    Ok(Err(error)) => {
                        tracing::error!(run = id, %error, "a run of redrives could not go on; it is tried again");
                        engine.pause(TRY_AGAIN).await;
                    }
                }
            }
        });
    }

    /// Drives the run's next execution on; false when it is over, or stands still.
    fn drive_next(&self, id: &str) -> Result<bool, RunError> {
        let (run, letters, next) = {
            let view = self.store.snapshot()?;
            let run = match find(&*view, id) {
                Ok(run) if run.status == RunStatus::Running => run,
                Ok(_) | Err(RunError::Unknown(_)) => return Ok(false),
                Err(error) => return Err(error),
            };
            let (letters, next) = dead::list(&*view, &run.wanted, &run.cursor, 1)?;
            (run, letters, next)
        };
        let became = match letters.first() {
            None => None,
            Some(letter) => match self.drive_one(&run, letter) {
                Ok(()) => Some(Ok(())),
                Err(RedriveError::Store(error)) => return Err(error.into()),
                Err(error) => Some(Err((letter.execution.clone(), error.to_string()))),
            },
        };
        let now_ms = self.now_ms();
        let written = self.store.write(|tx| {
            // It may have been paused meanwhile: only how far it has come is changed.
            let mut run = find(&*tx, id).map_err(refused)?;
            match &became {
                Some(Ok(())) => run.redriven += 1,
                Some(Err(refusal)) => {
                    run.refused += 1;
                    if run.refusals.len() < REFUSALS_MAX {
                        run.refusals.push(refusal.clone());
                    }
                }
                None => {}
            }
            match &next {
                Some(next) => run.cursor.clone_from(next),
                None if run.status == RunStatus::Running => {
                    run.status = RunStatus::Done;
                    run.ended_ms = Some(now_ms);
                }
                None => {}
            }
            tx.put(&key(id), record::encode(&run))?;
            Ok(run.status)
        });
        Ok(flat(written)? == RunStatus::Running)
    }

    fn drive_one(&self, run: &Run, letter: &Letter) -> Result<(), RedriveError> {
        let execution = LiveKey::new(&letter.machine, &letter.name);
        if let Some(state) = &run.from {
            return self.redrive_from(&execution, state, run.input.as_ref(), &run.actor);
        }
        let deed = Deed {
            kind: "RedriveExecution".into(),
            actor: run.actor.clone(),
            subject: letter.execution.clone(),
            details: json!({ "run": run.id }),
        };
        self.redrive(&execution, None, self.now_ms(), deed)
    }
}

fn refused(error: RunError) -> WriteError<RunError> {
    match error {
        RunError::Store(error) => WriteError::Store(error),
        error => WriteError::Refused(error),
    }
}

fn flat<T>(written: Result<(T, selvedge_store::Revision), WriteError<RunError>>) -> Result<T, RunError> {
    match written {
        Ok((value, _)) => Ok(value),
        Err(WriteError::Refused(error)) => Err(error),
        Err(WriteError::Store(error)) => Err(RunError::Store(error)),
    }
}
