//! Task tokens: who holds one may answer for its task, once.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use selvedge_asl::TaskId;

use super::LiveKey;

/// Tokens of tasks that ended before they were answered, that are known: what comes late is kept.
pub const LATE_TOKENS_MAX: usize = 10_000;

/// The tokens of tasks that are under way, and of the last that ended otherwise.
#[derive(Default)]
pub(super) struct Tokens(Mutex<Maps>);

#[derive(Default)]
struct Maps {
    tasks: HashMap<String, Asked>,
    tokens: HashMap<(LiveKey, TaskId), String>,
    late: HashMap<String, Asked>,
    /// The same, the oldest first.
    late_order: VecDeque<String>,
}

/// What a token is for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) key: LiveKey,
    pub(super) task: TaskId,
    pub(super) state: Box<str>,
}

impl Tokens {
    pub(super) fn insert(&self, token: &str, key: &LiveKey, task: TaskId, state: &str) {
        let mut maps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        maps.tasks.insert(token.to_owned(), Asked { key: key.clone(), task, state: state.into() });
        maps.tokens.insert((key.clone(), task), token.to_owned());
    }

    pub(super) fn find(&self, token: &str) -> Option<Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).tasks.get(token).cloned()
    }

    /// What a token was for, whose task ended before it was answered; that is told once.
    pub(super) fn take_late(&self, token: &str) -> Option<Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).late.remove(token)
    }

    /// Whether a token's task ended before it was answered.
    pub(super) fn is_late(&self, token: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).late.contains_key(token)
    }

    /// A task was answered.
    pub(super) fn remove(&self, key: &LiveKey, task: TaskId) {
        let mut maps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = maps.tokens.remove(&(key.clone(), task)) {
            maps.tasks.remove(&token);
        }
    }

    /// A task ended before it was answered.
    pub(super) fn expire(&self, key: &LiveKey, task: TaskId) {
        let mut maps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(token) = maps.tokens.remove(&(key.clone(), task)) else { return };
        let Some(asked) = maps.tasks.remove(&token) else { return };
        if maps.late_order.len() >= LATE_TOKENS_MAX
            && let Some(oldest) = maps.late_order.pop_front()
        {
            maps.late.remove(&oldest);
        }
        maps.late_order.push_back(token.clone());
        maps.late.insert(token, asked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_tokens_that_came_too_late_are_known() {
        let tokens = Tokens::default();
        let key = LiveKey::new("m", "e");
        for task in 0..=LATE_TOKENS_MAX as u64 {
            tokens.insert(&format!("t{task}"), &key, TaskId(task), "S");
            tokens.expire(&key, TaskId(task));
        }
        assert!(!tokens.is_late("t0"), "the oldest is forgotten");
        assert_eq!(&*tokens.take_late("t1").unwrap().state, "S");
        assert!(tokens.take_late("t1").is_none(), "once");
        tokens.insert("answered", &key, TaskId(1), "S");
        tokens.remove(&key, TaskId(1));
        assert!(!tokens.is_late("answered"));
        assert!(tokens.find("answered").is_none());
    }
}
