//! Going on after a failure, from the states that failed.

use super::branch::{BranchId, Phase};
use super::event::Detail;
use super::{At, Execution, Status, later};

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

    fn has_branches(&self, id: BranchId) -> bool {
        self.branches.range(id..).any(|(_, run)| run.parent.is_some_and(|(above, _)| above == id))
    }
}
