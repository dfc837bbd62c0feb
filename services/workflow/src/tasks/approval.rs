//! `approval:request`: people decide.
//!
//! ```text
//! requested ──▶ OPEN ──approve × minimum──▶ APPROVED   the task succeeds, with who, when and what they filled in
//!                │ ├──reject──────────────▶ REJECTED   the task fails: Approval.Rejected
//!                │ ├──due─────────────────▶ EXPIRED    the task fails: Approval.Expired
//!                │ ├──execution ends──────▶ CANCELED
//!                │ └──token answered──────▶ ANSWERED   the task has the answer of whoever held its token
//!                └──escalation: more people may decide
//! ```
//!
//! A record outlives the process. Its id is made of the execution and the event, so that a call that is made again finds what
//! was decided meanwhile. Each change is in the audit trail, in the same transaction.

mod form;
mod request;
mod run;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use selvedge_asl::{Failure, TaskOutcome};
use selvedge_store::{Error as StoreError, Read, Transaction};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::audit::{self, Act};
use crate::record;

pub(crate) const PREFIX: &str = "approval/";
const OPEN_PREFIX: &str = "approval-open/";
/// Characters of a comment.
pub(crate) const COMMENT_CHARS_MAX: usize = 4096;

/// How an approval stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Status {
    Open,
    Approved,
    Rejected,
    Expired,
    Canceled,
    /// Somebody answered with its task token.
    Answered,
}

/// Whoever may decide.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Circle {
    pub(crate) assignees: Vec<String>,
    pub(crate) groups: Vec<String>,
}

/// More people, later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Escalation {
    pub(crate) at_ms: i64,
    pub(crate) circle: Circle,
}

/// What somebody decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Decision {
    pub(crate) is_approval: bool,
    pub(crate) by: String,
    pub(crate) at_ms: i64,
    pub(crate) comment: Option<String>,
    pub(crate) form: Value,
}

/// An approval as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Approval {
    pub(crate) id: String,
    pub(crate) machine: String,
    pub(crate) execution: String,
    pub(crate) execution_arn: String,
    pub(crate) state: String,
    pub(crate) title: String,
    pub(crate) description: Option<String>,
    pub(crate) form: Value,
    /// What is decided about, and its hash: a decision may name it, so that nobody approves something else.
    pub(crate) payload: Value,
    pub(crate) payload_hash: String,
    pub(crate) circle: Circle,
    pub(crate) minimum: u64,
    pub(crate) requester: Option<String>,
    pub(crate) is_own_approval_allowed: bool,
    pub(crate) requested_ms: i64,
    pub(crate) due_ms: Option<i64>,
    pub(crate) escalations: Vec<Escalation>,
    /// How many escalations have happened.
    pub(crate) escalated: usize,
    pub(crate) status: Status,
    pub(crate) closed_ms: Option<i64>,
    pub(crate) decisions: Vec<Decision>,
}

/// What somebody asks for who decides.
pub(crate) struct Deciding {
    pub(crate) is_approval: bool,
    pub(crate) by: String,
    pub(crate) groups: Vec<String>,
    pub(crate) comment: Option<String>,
    pub(crate) form: Value,
    pub(crate) payload_hash: Option<String>,
}

/// A decision that was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecideError {
    #[error("there is no approval {0}")]
    Unknown(String),
    #[error("it is {0} already")]
    Closed(String),
    #[error("{0}")]
    Forbidden(String),
    #[error("{path}: {problem}")]
    Invalid { path: String, problem: String },
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// The approvals that somebody waits for, and how to wake him.
#[derive(Default)]
pub(crate) struct Waiting(Mutex<HashMap<String, Arc<Notify>>>);

impl Waiting {
    fn enter(&self, id: &str) -> Arc<Notify> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(waiting.entry(id.to_owned()).or_default())
    }

    fn find(&self, id: &str) -> Option<Arc<Notify>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn leave(&self, id: &str) -> Option<Arc<Notify>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id)
    }
}

fn key(id: &str) -> String {
    format!("{PREFIX}{id}")
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Open => "OPEN",
            Self::Approved => "APPROVED",
            Self::Rejected => "REJECTED",
            Self::Expired => "EXPIRED",
            Self::Canceled => "CANCELED",
            Self::Answered => "ANSWERED",
        }
    }
}

impl Circle {
    fn holds(&self, by: &str, groups: &[String]) -> bool {
        let is_open = self.assignees.is_empty() && self.groups.is_empty();
        is_open
            || self.assignees.iter().any(|one| one == by)
            || groups.iter().any(|one| self.groups.contains(one))
    }
}

impl Approval {
    /// As the API shows it.
    pub(crate) fn show(&self) -> Value {
        json!({
            "id": self.id,
            "kind": "approval",
            "status": self.status.name(),
            "title": self.title,
            "description": self.description,
            "execution": self.execution_arn,
            "state": self.state,
            "form": self.form,
            "payload": self.payload,
            "payloadHash": self.payload_hash,
            "assignees": self.circle.assignees,
            "groups": self.circle.groups,
            "minimumApprovals": self.minimum,
            "requester": self.requester,
            "requestedMs": self.requested_ms,
            "dueMs": self.due_ms,
            "escalations": self.escalations.len(),
            "escalated": self.escalated,
            "closedMs": self.closed_ms,
            "decisions": self.decisions.iter().map(Decision::show).collect::<Vec<_>>(),
        })
    }

    /// What the execution is told once it is closed.
    fn outcome(&self) -> Option<TaskOutcome> {
        let shown = json!({
            "TaskId": self.id,
            "Status": self.status.name(),
            "PayloadHash": self.payload_hash,
            "Decisions": self.decisions.iter().map(Decision::output).collect::<Vec<_>>(),
        });
        let error = match self.status {
            Status::Open => return None,
            Status::Answered => "Approval.Answered",
            Status::Approved => return Some(TaskOutcome::Succeeded { output: shown }),
            Status::Rejected => "Approval.Rejected",
            Status::Expired => "Approval.Expired",
            Status::Canceled => "Approval.Canceled",
        };
        Some(TaskOutcome::Failed(Failure::new(error, shown.to_string())))
    }

    /// When something is due by itself.
    fn next_ms(&self) -> Option<i64> {
        let escalation = self.escalations.get(self.escalated).map(|next| next.at_ms);
        escalation.into_iter().chain(self.due_ms).min()
    }

    /// Does what is due. What happened, for the trail.
    fn elapse(&mut self, now_ms: i64) -> Vec<&'static str> {
        let mut happened = Vec::new();
        if self.status != Status::Open {
            return happened;
        }
        while let Some(next) = self.escalations.get(self.escalated).filter(|next| next.at_ms <= now_ms) {
            // Where anybody may decide already, nobody is added.
            if !(self.circle.assignees.is_empty() && self.circle.groups.is_empty()) {
                let added = next.circle.clone();
                self.circle.assignees.extend(added.assignees);
                self.circle.groups.extend(added.groups);
            }
            self.escalated += 1;
            happened.push("ApprovalEscalated");
        }
        if self.due_ms.is_some_and(|due_ms| due_ms <= now_ms) {
            self.close(Status::Expired, now_ms);
            happened.push("ApprovalExpired");
        }
        happened
    }

    fn close(&mut self, status: Status, now_ms: i64) {
        self.status = status;
        self.closed_ms = Some(now_ms);
    }

    /// Takes a decision.
    fn decide(&mut self, deciding: &Deciding, now_ms: i64) -> Result<(), DecideError> {
        let forbidden = |problem: &str| DecideError::Forbidden(problem.to_owned());
        if self.status != Status::Open {
            return Err(DecideError::Closed(self.status.name().to_owned()));
        }
        if deciding.by.is_empty() {
            return Err(DecideError::Invalid { path: "by".into(), problem: "somebody has to decide".into() });
        }
        if !self.circle.holds(&deciding.by, &deciding.groups) {
            return Err(forbidden("it is neither assigned to you nor to a group of yours"));
        }
        if !self.is_own_approval_allowed && self.requester.as_ref() == Some(&deciding.by) {
            return Err(forbidden("who asked for it does not decide about it"));
        }
        if self.decisions.iter().any(|decision| decision.by == deciding.by) {
            return Err(forbidden("you have decided about it already"));
        }
        if deciding.payload_hash.as_ref().is_some_and(|hash| *hash != self.payload_hash) {
            return Err(forbidden("what it is about is not what you have seen"));
        }
        if deciding.is_approval {
            form::check(&self.form, &deciding.form, "form")
                .map_err(|(path, problem)| DecideError::Invalid { path, problem })?;
        }
        self.decisions.push(Decision {
            is_approval: deciding.is_approval,
            by: deciding.by.clone(),
            at_ms: now_ms,
            comment: deciding.comment.as_ref().map(|text| text.chars().take(COMMENT_CHARS_MAX).collect()),
            form: deciding.form.clone(),
        });
        let approvals = self.decisions.iter().filter(|decision| decision.is_approval).count() as u64;
        if !deciding.is_approval {
            self.close(Status::Rejected, now_ms);
        } else if approvals >= self.minimum {
            self.close(Status::Approved, now_ms);
        }
        Ok(())
    }

    fn write(&self, tx: &mut dyn Transaction) -> Result<(), StoreError> {
        tx.put(&key(&self.id), record::encode(self))?;
        let open = format!("{OPEN_PREFIX}{}", self.id);
        if self.status == Status::Open {
            tx.put(&open, bytes::Bytes::new())
        } else {
            tx.delete(&open).map(drop)
        }
    }

    fn note(
        &self,
        tx: &mut dyn Transaction,
        kind: &str,
        actor: &str,
        now_ms: i64,
        more: Value,
    ) -> Result<(), StoreError> {
        let details = json!({
            "task": self.id, "title": self.title, "state": self.state, "status": self.status.name(),
            "payloadHash": self.payload_hash, "more": more,
        });
        audit::append(tx, &Act { at_ms: now_ms, kind, actor, subject: &self.execution_arn, details })
    }
}

impl Decision {
    fn show(&self) -> Value {
        json!({
            "decision": if self.is_approval { "APPROVE" } else { "REJECT" },
            "by": self.by, "atMs": self.at_ms, "comment": self.comment, "form": self.form,
        })
    }

    fn output(&self) -> Value {
        json!({
            "Decision": if self.is_approval { "APPROVE" } else { "REJECT" },
            "By": self.by, "At": self.at_ms, "Comment": self.comment, "Form": self.form,
        })
    }
}

/// An approval by its id.
pub(crate) fn find(view: &dyn Read, id: &str) -> Result<Approval, DecideError> {
    let unknown = || DecideError::Unknown(id.chars().take(100).collect());
    if id.is_empty() || id.len() > 64 || !id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') {
        return Err(unknown());
    }
    let found = view.get(&key(id))?.ok_or_else(unknown)?;
    Ok(record::decode(&found)?)
}

/// Approvals in the order of their ids, the open ones or all; a page after an id.
pub(crate) fn list(
    view: &dyn Read,
    only_open: bool,
    after: &str,
    limit: usize,
) -> Result<Vec<Approval>, StoreError> {
    let prefix = if only_open { OPEN_PREFIX } else { PREFIX };
    let after = (!after.is_empty()).then(|| format!("{prefix}{after}"));
    let mut found = Vec::new();
    for one in view.scan(prefix, after.as_deref(), limit)? {
        let id = one.key.strip_prefix(prefix).unwrap_or_default();
        if let Some(found_there) = view.get(&key(id))? {
            found.push(record::decode(&found_there)?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
