//! Functions that workers call: each call waits until somebody lets it be answered.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use selvedge_asl::Failure;
use selvedge_workflow::{FunctionCall, Functions};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::chance::Chance;

type Answer = Result<Value, Failure>;

/// The world beyond the workers.
#[derive(Clone, Default)]
pub(super) struct Outside(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    under_way: Vec<UnderWay>,
    /// Which workers made which call.
    made: BTreeMap<String, Vec<u32>>,
    /// The calls of each execution, by the number in its input.
    keys: BTreeMap<u64, BTreeSet<String>>,
    /// Tokens that were handed out, the oldest first.
    tokens: Vec<String>,
    broken: Option<String>,
}

struct UnderWay {
    call: FunctionCall,
    answer: oneshot::Sender<Answer>,
}

/// The functions as one worker reaches them.
pub(super) struct Seen {
    pub(super) outside: Outside,
    pub(super) worker: u32,
}

impl Outside {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, call: FunctionCall, worker: u32) -> oneshot::Receiver<Answer> {
        let (answer, receiver) = oneshot::channel();
        let mut state = self.state();
        let made = state.made.entry(call.idempotency_key.clone()).or_default();
        if made.contains(&worker) {
            let broken = format!("worker {worker} makes the call {} twice", call.idempotency_key);
            state.broken.get_or_insert(broken);
        } else {
            made.push(worker);
        }
        let number = call.input["n"].as_u64().unwrap_or(u64::MAX);
        state.keys.entry(number).or_default().insert(call.idempotency_key.clone());
        state.under_way.push(UnderWay { call, answer });
        receiver
    }

    /// Answers one of the calls that are under way: what it was asked, and what it says.
    pub(super) fn answer(
        &self,
        chance: &mut Chance,
        f: impl FnOnce(&FunctionCall, &mut Chance) -> Answer,
    ) -> Option<String> {
        let mut state = self.state();
        state.under_way.retain(|waiting| !waiting.answer.is_closed());
        if state.under_way.is_empty() {
            return None;
        }
        let one = chance.below(state.under_way.len());
        let UnderWay { call, answer } = state.under_way.remove(one);
        if let Some(token) = call.input["token"].as_str() {
            state.tokens.push(token.to_owned());
        }
        let said = f(&call, chance);
        let told = match &said {
            Ok(value) => value.to_string(),
            Err(failure) => failure.error.clone().unwrap_or_default(),
        };
        // The worker may have died meanwhile.
        let _ = answer.send(said);
        Some(format!("the call {} is answered {told}", call.idempotency_key))
    }

    /// Takes one of the tokens that were handed out, its call answered or not.
    pub(super) fn take_token(&self, chance: &mut Chance) -> Option<String> {
        let mut state = self.state();
        let early: Vec<String> = state
            .under_way
            .iter()
            .filter_map(|waiting| waiting.call.input["token"].as_str().map(str::to_owned))
            .collect();
        let count = state.tokens.len() + early.len();
        if count == 0 {
            return None;
        }
        let one = chance.below(count);
        if one < state.tokens.len() {
            return Some(state.tokens.remove(one));
        }
        early.get(one - state.tokens.len()).cloned()
    }

    pub(super) fn keep_token(&self, token: String) {
        self.state().tokens.push(token);
    }

    /// What went against the rules: a worker calls once, and no execution calls more often than its retries allow.
    pub(super) fn audit(&self, tries_max: impl Fn(u64) -> usize) -> Result<(), String> {
        let state = self.state();
        if let Some(broken) = &state.broken {
            return Err(broken.clone());
        }
        for (number, keys) in &state.keys {
            let most = tries_max(*number);
            if keys.len() > most {
                return Err(format!("execution {number} has made {} calls, and may make {most}", keys.len()));
            }
        }
        Ok(())
    }
}

impl Functions for Seen {
    fn call(&self, call: FunctionCall) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
        let answer = self.outside.take(call, self.worker);
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(Failure::new("Gone", "the world ends"))) })
    }
}
