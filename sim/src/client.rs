//! Somebody who uses the API: calls, waits, tries again, and looks at what became of it.

use crate::chance::Chance;
use crate::intent::{Intent, Subject};
use crate::moment::Moment;
use crate::network::ConnectionId;
use serde_json::Value;
use std::collections::VecDeque;
use std::time::Duration;

/// How long a client waits for an answer before it hangs up.
const PATIENCE: Duration = Duration::from_secs(6);
/// The shortest and longest pause between two calls.
const THINKING: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(3));
/// How often a client repeats a call that may not have been done.
const ATTEMPTS_MAX: u8 = 4;

/// What a client sends.
#[derive(Clone, Debug)]
pub struct Call {
    /// Counts this client's calls; repeats have numbers of their own.
    pub number: u64,
    /// What it asks for.
    pub request: Request,
}

/// What a [`Call`] asks for.
#[derive(Clone, Debug)]
pub enum Request {
    /// To write. The token is the same in every repeat.
    Write {
        /// What is wanted.
        intent: Intent,
        /// Identifies the wish.
        token: String,
    },
    /// To read.
    Read(Subject),
}

/// What the control plane answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Done; what was written or read.
    Done(Value),
    /// Against the rules; nothing was done. The exception's name.
    Refused(String),
    /// Not possible at the moment; nothing was done.
    Unavailable,
    /// Something broke, and whether it was done is not known.
    Unknown,
}

/// A user of the API.
#[derive(Debug)]
pub struct Client {
    name: u8,
    chance: Chance,
    /// What it has been told to do, before it follows its own mind.
    script: VecDeque<Intent>,
    /// Calls of its own mind that are left.
    whims: u32,
    request: Option<Request>,
    attempts: u8,
    calls: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Until then.
    Thinking(Moment),
    /// For the answer to the last call, on that connection, until then.
    Waiting(ConnectionId, Moment),
    /// Nothing is left to do.
    Content,
}

// === impl Client ===

impl Client {
    /// A client that works off `script` and then makes `whims` calls that occur to it.
    pub fn new(name: u8, script: Vec<Intent>, whims: u32, mut chance: Chance) -> Self {
        let start = Moment::START + chance.between(THINKING.0, THINKING.1);
        Self {
            name,
            chance,
            script: script.into(),
            whims,
            request: None,
            attempts: 0,
            calls: 0,
            state: State::Thinking(start),
        }
    }

    /// Adds to what it has been told.
    pub fn tell(&mut self, now: Moment, intents: impl IntoIterator<Item = Intent>) {
        self.script.extend(intents);
        if matches!(self.state, State::Content) {
            self.state = State::Thinking(now);
        }
    }

    /// Whether everything it was told is done or given up.
    pub fn is_content(&self) -> bool {
        matches!(self.state, State::Content)
    }

    /// When it wants [`Client::wake`].
    pub fn next_timeout(&self) -> Option<Moment> {
        match self.state {
            State::Thinking(until) | State::Waiting(_, until) => Some(until),
            State::Content => None,
        }
    }

    /// Its time has come. Returns a connection to hang up, and whether it wants to call.
    pub fn wake(&mut self, now: Moment) -> (Option<ConnectionId>, Option<Call>) {
        if self.next_timeout().is_none_or(|at| at > now) {
            return (None, None);
        }
        let hung_up = match self.state {
            State::Waiting(connection, _) => {
                self.fail(now);
                Some(connection)
            }
            _ => None,
        };
        let is_ready = matches!(self.state, State::Thinking(until) if until <= now);
        (hung_up, if is_ready { self.next_call() } else { None })
    }

    /// The call that [`Client::wake`] gave is on its way on `connection`.
    pub fn called(&mut self, now: Moment, connection: ConnectionId) {
        self.state = State::Waiting(connection, now + PATIENCE);
    }

    /// An answer arrived. True if it is to the last call.
    pub fn answered(&mut self, now: Moment, connection: ConnectionId, number: u64, answer: &Answer) -> bool {
        let is_awaited = matches!(self.state, State::Waiting(awaited, _) if awaited == connection);
        if !is_awaited || number != self.calls {
            return false;
        }
        match answer {
            Answer::Done(_) | Answer::Refused(_) => self.rest(now),
            Answer::Unavailable | Answer::Unknown => self.fail(now),
        }
        true
    }

    /// A connection closed.
    pub fn closed(&mut self, now: Moment, connection: ConnectionId) {
        if matches!(self.state, State::Waiting(awaited, _) if awaited == connection) {
            self.fail(now);
        }
    }

    /// Which of `controls` replicas to call: another one after each failure.
    pub fn choice(&self, controls: u8) -> u8 {
        (self.name + self.attempts) % controls.max(1)
    }

    fn next_call(&mut self) -> Option<Call> {
        if self.request.is_none() {
            self.request = self.next_request();
        }
        let Some(request) = self.request.clone() else {
            self.state = State::Content;
            return None;
        };
        self.calls += 1;
        Some(Call { number: self.calls, request })
    }

    fn next_request(&mut self) -> Option<Request> {
        let intent = match self.script.pop_front() {
            Some(intent) => intent,
            None if self.whims > 0 => {
                self.whims -= 1;
                let intent = Intent::random(&mut self.chance);
                if self.chance.hits(200) {
                    return Some(Request::Read(intent.subject));
                }
                intent
            }
            None => return None,
        };
        let token = format!("client-{}-{}", self.name, self.calls + 1);
        Some(Request::Write { intent, token })
    }

    fn rest(&mut self, now: Moment) {
        self.request = None;
        self.attempts = 0;
        // Told what to do, a client does it without a pause.
        let pause =
            if self.script.is_empty() { self.chance.between(THINKING.0, THINKING.1) } else { THINKING.0 };
        self.state = State::Thinking(now + pause);
    }

    fn fail(&mut self, now: Moment) {
        self.attempts += 1;
        if self.attempts >= ATTEMPTS_MAX && self.script.is_empty() {
            return self.rest(now);
        }
        let pause = Duration::from_millis(100) * u32::from(self.attempts.min(20));
        self.state = State::Thinking(now + pause);
    }
}
