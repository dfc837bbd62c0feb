//! Task tokens: who holds one may answer for its task, once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use selvedge_asl::TaskId;

use super::LiveKey;

/// The tokens of tasks that are under way.
#[derive(Default)]
pub(super) struct Tokens(Mutex<Maps>);

#[derive(Default)]
struct Maps {
    tasks: HashMap<String, (LiveKey, TaskId)>,
    tokens: HashMap<(LiveKey, TaskId), String>,
}

impl Tokens {
    pub(super) fn insert(&self, token: &str, key: &LiveKey, task: TaskId) {
        let mut maps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        maps.tasks.insert(token.to_owned(), (key.clone(), task));
        maps.tokens.insert((key.clone(), task), token.to_owned());
    }

    pub(super) fn find(&self, token: &str) -> Option<(LiveKey, TaskId)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).tasks.get(token).cloned()
    }

    pub(super) fn remove(&self, key: &LiveKey, task: TaskId) {
        let mut maps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = maps.tokens.remove(&(key.clone(), task)) {
            maps.tasks.remove(&token);
        }
    }
}
