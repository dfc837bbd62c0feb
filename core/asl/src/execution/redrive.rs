//! Going on after a failure, from the states that failed.

use serde_json::Value;

use super::branch::{BranchId, Phase};
use super::event::Detail;
use super::{At, Execution, Status, later};
use crate::ScopeId;

impl Execution {
    /// Goes on from every state that failed or was ended with it; what had succeeded is not run again. False for an
    /// execution that is under way or ended well.
    pub fn handle_redrive(&mut self, at: &mut At<'_>) -> bool {
        if matches!(self.status, Status::Running | Status::Succeeded) || self.branches.is_empty() {
            return false;
        }
        self.status = Status::Running;
        self.ended_ms = None;
        self.failure = None;
        self.redrive_count += 1;
        self.redriven_ms = Some(at.now_ms);
        self.deadline_ms = at.definition.timeout_seconds.map(|seconds| later(at.now_ms, seconds));
        let event = self.emit(
            self.last_event,
            at.now_ms,
            Detail::ExecutionRedriven { redrive_count: self.redrive_count },
        );
        let again: Vec<BranchId> = self
            .branches
            .iter()
            .filter(|(id, run)| match &run.phase {
                // A state whose branches go on goes on by itself.
                Phase::Failed(_) | Phase::Aborted => !self.has_branches(**id),
                Phase::Parallel(_) | Phase::Map(_) | Phase::MapRun(_) | Phase::Done => false,
                _ => true,
            })
            .map(|(id, _)| *id)
            .collect();
        self.redrive_map_runs(event, at);
        for id in again {
            let run = self.branches.get_mut(&id).expect("found above");
            run.last_event = event;
            run.attempts.clear();
            run.phase = Phase::Enter;
            self.ready.push_back(id);
        }
        self.run(at);
        true
    }

    /// Goes on from one of the machine's own states, with an input that somebody wrote for it; what else was under way is
    /// given up, variables are kept. False where [`Execution::handle_redrive`] is, and for a state that is not the machine's own.
    pub fn handle_redrive_from(&mut self, state: &str, input: Value, at: &mut At<'_>) -> bool {
        let is_over = !matches!(self.status, Status::Running | Status::Succeeded);
        if !is_over || at.definition.state(ScopeId::TOP, state).is_none() {
            return false;
        }
        let variables = self.branches.values_mut().find(|run| run.parent.is_none());
        let variables = variables.map(|run| std::mem::take(&mut run.variables)).unwrap_or_default();
        self.branches.clear();
        self.status = Status::Running;
        self.ended_ms = None;
        self.failure = None;
        self.redrive_count += 1;
        self.redriven_ms = Some(at.now_ms);
        self.deadline_ms = at.definition.timeout_seconds.map(|seconds| later(at.now_ms, seconds));
        let redriven = Detail::ExecutionRedriven { redrive_count: self.redrive_count };
        let event = self.emit(self.last_event, at.now_ms, redriven);
        let id = self.fork(None, ScopeId::TOP, input, event, at.definition);
        let run = self.branches.get_mut(&id).expect("forked just now");
        run.state = state.into();
        run.variables = variables;
        self.run(at);
        true
    }

    fn has_branches(&self, id: BranchId) -> bool {
        self.branches.range(id..).any(|(_, run)| run.parent.is_some_and(|(above, _)| above == id))
    }
}
