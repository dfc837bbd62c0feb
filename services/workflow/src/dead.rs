//! The dead-letter log: what failed for good, and what could not be delivered, until somebody replays or discards it.
//!
//! | kind | what it is | replayed |
//! |---|---|---|
//! | `execution` | an execution that failed or took too long, after all its retries | it goes on from where it failed |
//! | `express` | an express execution that nobody waited for and that failed | it is started anew |
//! | `schedule` | what a schedule wanted to start, and could not | it is started |
//! | `result` | a worker's answer for a task that had ended | it is given to the task that its state has under way |
//!
//! An execution's letter is written and removed in the transactions of its steps, and leaves with it. The others are kept up to
//! [`LOOSE_MAX`]; then the oldest leave.

mod replay;

use selvedge_asl::{Execution, Status};
use selvedge_store::{Error as StoreError, Read, Transaction};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(crate) use replay::ReplayError;

use crate::Engine;
use crate::engine::Start;
use crate::record::{self, ExecutionRecord};

/// Letters that are of no execution which is kept.
pub const LOOSE_MAX: u64 = 10_000;
/// Letters of a page.
pub const LETTERS_PAGE_MAX: usize = 100;
/// Letters that one page looks at, whatever it finds.
const LOOKED_AT_MAX: usize = 5000;
/// As much of a cause as a letter repeats.
const CAUSE_CHARS_MAX: usize = 1024;

const EXECUTIONS: &str = "dead/";
const LOOSE: &str = "dead-loose/";
const LOOSE_COUNT: &str = "dead-loose-count";

/// What a letter is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Execution,
    Express,
    Schedule,
    Result,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Letter {
    /// `T-I`, as it stands in its key.
    pub(crate) id: String,
    pub(crate) kind: Kind,
    pub(crate) at_ms: i64,
    /// The machine's name.
    pub(crate) machine: String,
    pub(crate) machine_arn: String,
    /// The execution's ARN, and its name; empty where there was none.
    pub(crate) execution: String,
    pub(crate) name: String,
    pub(crate) state: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) cause: Option<String>,
    /// What it was to be started with, or the result.
    pub(crate) payload: Option<String>,
}

/// Which letters somebody wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wanted {
    pub(crate) kind: Option<Kind>,
    /// A machine's name or ARN.
    pub(crate) machine: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) state: Option<String>,
    /// Not before, and before: milliseconds since 1970.
    pub(crate) after_ms: Option<i64>,
    pub(crate) before_ms: Option<i64>,
}

impl Kind {
    pub(crate) fn of(text: &str) -> Option<Self> {
        [Self::Execution, Self::Express, Self::Schedule, Self::Result]
            .into_iter()
            .find(|kind| kind.name() == text)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Execution => "execution",
            Self::Express => "express",
            Self::Schedule => "schedule",
            Self::Result => "result",
        }
    }
}

fn id_of(at_ms: i64, parts: &[&str]) -> String {
    format!("{:020}-{}", at_ms.max(0), record::fingerprint(parts))
}

fn short(text: &str) -> String {
    text.chars().take(CAUSE_CHARS_MAX).collect()
}

impl Letter {
    /// Where an execution's letter is, if it has one: a map run's children are their run's, and whoever stopped one knows of it.
    pub(crate) fn key_of(execution: &ExecutionRecord) -> Option<String> {
        let is_failure = matches!(execution.status, Status::Failed | Status::TimedOut);
        (is_failure && execution.child.is_none()).then(|| format!("{EXECUTIONS}{}", Self::id_of(execution)))
    }

    fn id_of(execution: &ExecutionRecord) -> String {
        let count = execution.redrive_count.to_string();
        id_of(execution.ended_ms.unwrap_or_default(), &[&execution.machine, &execution.name, &count])
    }

    pub(crate) fn of_execution(execution: &ExecutionRecord) -> Self {
        let default = (execution.status == Status::TimedOut).then(|| "States.Timeout".to_owned());
        Self {
            id: Self::id_of(execution),
            kind: Kind::Execution,
            at_ms: execution.ended_ms.unwrap_or_default(),
            machine: execution.machine.clone(),
            machine_arn: execution.machine_arn.clone(),
            execution: execution.arn.clone(),
            name: execution.name.clone(),
            state: execution.failed_state.clone(),
            error: execution.error.clone().or(default),
            cause: execution.cause.as_deref().map(short),
            payload: None,
        }
    }

    /// Of an express execution that nobody waited for.
    pub(crate) fn of_express(start: &Start, ended: &Execution) -> Self {
        let at_ms = ended.ended_ms().unwrap_or_else(|| ended.started_ms());
        let failure = ended.failure();
        Self {
            id: id_of(at_ms, &[&start.identity.arn]),
            kind: Kind::Express,
            at_ms,
            machine: start.machine.clone(),
            machine_arn: start.identity.machine_arn.to_string(),
            execution: start.identity.arn.to_string(),
            name: start.name.clone(),
            state: ended.failed_state().map(str::to_owned),
            error: failure.and_then(|failure| failure.error.clone()),
            cause: failure.and_then(|failure| failure.cause.as_deref()).map(short),
            payload: Some(start.input.clone()),
        }
    }

    /// Of a result for a task that had ended otherwise.
    pub(crate) fn of_result(
        execution: &ExecutionRecord,
        state: &str,
        event: u64,
        at_ms: i64,
        result: String,
    ) -> Self {
        Self {
            id: id_of(at_ms, &[&execution.arn, state, &event.to_string()]),
            kind: Kind::Result,
            at_ms,
            machine: execution.machine.clone(),
            machine_arn: execution.machine_arn.clone(),
            execution: execution.arn.clone(),
            name: execution.name.clone(),
            state: Some(state.to_owned()),
            error: Some("TaskTimedOut".to_owned()),
            cause: Some("the result came after its task had ended".to_owned()),
            payload: Some(result),
        }
    }

    /// Of what was to be started with `payload`, and could not.
    pub(crate) fn of_start(
        at_ms: i64,
        by: &str,
        machine_arn: &str,
        name: &str,
        (code, message): (&str, &str),
        payload: String,
    ) -> Self {
        Self {
            id: id_of(at_ms, &[by, name]),
            kind: Kind::Schedule,
            at_ms,
            machine: machine_arn.split(':').nth(6).unwrap_or_default().to_owned(),
            machine_arn: machine_arn.to_owned(),
            execution: String::new(),
            name: name.to_owned(),
            state: None,
            error: Some(code.to_owned()),
            cause: Some(short(message)),
            payload: Some(payload),
        }
    }

    /// As the API shows it.
    pub(crate) fn show(&self) -> Value {
        json!({
            "id": self.id,
            "kind": self.kind.name(),
            "atMs": self.at_ms,
            "machine": self.machine,
            "stateMachineArn": self.machine_arn,
            "execution": self.execution,
            "name": self.name,
            "state": self.state,
            "error": self.error,
            "cause": self.cause,
            "payload": self.payload,
        })
    }

    fn key(&self) -> String {
        let prefix = if self.kind == Kind::Execution { EXECUTIONS } else { LOOSE };
        format!("{prefix}{}", self.id)
    }

    pub(crate) fn append(&self, tx: &mut dyn Transaction) -> Result<(), StoreError> {
        if self.kind == Kind::Execution || tx.get(&self.key())?.is_some() {
            return tx.put(&self.key(), record::encode(self));
        }
        tx.put(&self.key(), record::encode(self))?;
        let count = count(tx)? + 1;
        let spare = usize::try_from(count.saturating_sub(LOOSE_MAX)).unwrap_or(0);
        let oldest = if spare > 0 { tx.scan(LOOSE, None, spare)? } else { Vec::new() };
        for letter in &oldest {
            tx.delete(&letter.key)?;
        }
        put_count(tx, count - oldest.len() as u64)
    }

    fn remove(&self, tx: &mut dyn Transaction) -> Result<bool, StoreError> {
        let is_gone = tx.delete(&self.key())?;
        if is_gone && self.kind != Kind::Execution {
            let count = count(tx)?.saturating_sub(1);
            put_count(tx, count)?;
        }
        Ok(is_gone)
    }
}

fn count(view: &dyn Transaction) -> Result<u64, StoreError> {
    view.get(LOOSE_COUNT)?.as_ref().map_or(Ok(0), record::decode)
}

fn put_count(tx: &mut dyn Transaction, count: u64) -> Result<(), StoreError> {
    tx.put(LOOSE_COUNT, record::encode(&count))
}

impl Wanted {
    pub(crate) fn takes(&self, letter: &Letter) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| Some(wanted) == found)
        };
        self.kind.is_none_or(|kind| kind == letter.kind)
            && self
                .machine
                .as_ref()
                .is_none_or(|machine| *machine == letter.machine || *machine == letter.machine_arn)
            && is(&self.error, letter.error.as_deref())
            && is(&self.state, letter.state.as_deref())
            && self.after_ms.is_none_or(|after_ms| letter.at_ms >= after_ms)
            && self.before_ms.is_none_or(|before_ms| letter.at_ms < before_ms)
    }

    /// Where to begin: ids are in the order of time.
    fn first(&self) -> String {
        format!("{:020}", self.after_ms.unwrap_or_default().max(0))
    }
}

/// A letter by its id.
pub(crate) fn find(view: &dyn Read, id: &str) -> Result<Option<Letter>, StoreError> {
    let is_id = id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if !is_id {
        return Ok(None);
    }
    for prefix in [EXECUTIONS, LOOSE] {
        if let Some(found) = view.get(&format!("{prefix}{id}"))? {
            return Ok(Some(record::decode(&found)?));
        }
    }
    Ok(None)
}

/// A page of letters after an id, the oldest first, and the id to go on after; none at the end.
pub(crate) fn list(
    view: &dyn Read,
    wanted: &Wanted,
    after: &str,
    limit: usize,
) -> Result<(Vec<Letter>, Option<String>), StoreError> {
    let mut after = if after.is_empty() { wanted.first() } else { after.to_owned() };
    let (mut letters, mut looked_at) = (Vec::new(), 0);
    loop {
        let mut page = Vec::new();
        for (prefix, is_theirs) in [
            (EXECUTIONS, wanted.kind.is_none_or(|kind| kind == Kind::Execution)),
            (LOOSE, wanted.kind != Some(Kind::Execution)),
        ] {
            if is_theirs {
                page.extend(view.scan(prefix, Some(&format!("{prefix}{after}")), LETTERS_PAGE_MAX)?);
            }
        }
        let mut page: Vec<Letter> = page.iter().map(record::decode).collect::<Result<_, _>>()?;
        page.sort_by(|one, other| one.id.cmp(&other.id));
        // What one prefix has beyond this page would stand between what the other has.
        page.truncate(LETTERS_PAGE_MAX);
        let is_last = page.len() < LETTERS_PAGE_MAX;
        for letter in page {
            if wanted.before_ms.is_some_and(|before_ms| letter.at_ms >= before_ms) {
                return Ok((letters, None));
            }
            looked_at += 1;
            after.clone_from(&letter.id);
            if wanted.takes(&letter) {
                letters.push(letter);
            }
            if letters.len() == limit || looked_at == LOOKED_AT_MAX {
                return Ok((letters, Some(after)));
            }
        }
        if is_last {
            return Ok((letters, None));
        }
    }
}

impl Engine {
    /// Keeps a letter that is of no execution. A failure is logged: there is nobody to tell.
    pub(crate) fn keep_letter(&self, letter: &Letter) {
        if let Err(error) = self.store.transact(&mut |tx| Ok(letter.append(tx)?)) {
            tracing::error!(machine = letter.machine, %error, "a dead letter could not be stored");
        }
    }
}

#[cfg(test)]
mod tests {
    use selvedge_store::Store as _;
    use selvedge_store::memory::Memory;

    use super::*;

    fn letter(at_ms: i64, kind: Kind, error: &str) -> Letter {
        Letter {
            id: id_of(at_ms, &[&at_ms.to_string(), error]),
            kind,
            at_ms,
            machine: "m".into(),
            machine_arn: "arn:m".into(),
            execution: String::new(),
            name: String::new(),
            state: Some("S".into()),
            error: Some(error.into()),
            cause: None,
            payload: None,
        }
    }

    #[test]
    fn letters_are_found_by_what_they_are_about_in_the_order_of_time() {
        let store = Memory::new();
        for at_ms in 0..250 {
            let kind = if at_ms % 2 == 0 { Kind::Execution } else { Kind::Express };
            let error = if at_ms % 5 == 0 { "A" } else { "B" };
            store.transact(&mut |tx| Ok(letter(at_ms, kind, error).append(tx)?)).unwrap();
        }
        let view = store.snapshot().unwrap();
        let all = |wanted: &Wanted| {
            let (mut found, mut after) = (Vec::new(), String::new());
            loop {
                let (page, next) = list(&*view, wanted, &after, 7).unwrap();
                found.extend(page.iter().map(|letter| letter.at_ms));
                match next {
                    Some(next) => after = next,
                    None => return found,
                }
            }
        };
        assert_eq!(all(&Wanted::default()), (0..250).collect::<Vec<_>>());
        let wanted = Wanted {
            error: Some("A".into()),
            after_ms: Some(100),
            before_ms: Some(121),
            ..Wanted::default()
        };
        assert_eq!(all(&wanted), [100, 105, 110, 115, 120]);
        let wanted = Wanted { kind: Some(Kind::Express), ..wanted };
        assert_eq!(all(&wanted), [105, 115]);
        assert_eq!(all(&Wanted { machine: Some("other".into()), ..Wanted::default() }), [0i64; 0]);
        assert!(find(&*view, "../x").unwrap().is_none());
    }

    #[test]
    fn the_oldest_loose_letters_leave_first() {
        let store = Memory::new();
        let more = 3;
        for at_ms in 0..i64::try_from(LOOSE_MAX).unwrap() + more {
            store.transact(&mut |tx| Ok(letter(at_ms, Kind::Express, "E").append(tx)?)).unwrap();
        }
        let view = store.snapshot().unwrap();
        let left = view.scan_all(LOOSE).unwrap();
        assert_eq!(left.len() as u64, LOOSE_MAX);
        let first: Letter = record::decode(&left[0]).unwrap();
        assert_eq!(first.at_ms, more);
        drop(view);
        let remove = &mut |tx: &mut dyn Transaction| {
            assert!(first.remove(tx)?);
            assert_eq!(count(tx)?, LOOSE_MAX - 1);
            Ok(())
        };
        store.transact(remove).unwrap();
    }
}
