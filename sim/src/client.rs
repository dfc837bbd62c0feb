//! Somebody who uses the API: calls, waits, tries again, and looks at what became of it.

use crate::chance::Chance;
use crate::intent::{Intent, Subject};
use crate::moment::Moment;
use crate::network::ConnectionId;
use serde_json::Value;
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
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
    /// There is no such resource.
    Absent,
    /// Against the rules; nothing was done. The exception and its message.
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
    /// What it believes to be there, from the answers it got.
    there: BTreeSet<Subject>,
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

// === impl Request ===

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { intent, .. } => intent.fmt(f),
            Self::Read(subject) => write!(f, "Describe {subject}"),
        }
    }
}

// === impl Answer ===

impl Answer {
    /// What a read saw: a spec or its absence; `None` if it saw nothing.
    pub fn seen(&self) -> Option<Option<&Value>> {
        match self {
            // The output has one member, the resource.
            Self::Done(output) => {
                let resource = output.as_object().and_then(|members| members.values().next());
                Some(resource.and_then(|resource| resource.get("spec")))
            }
            Self::Absent => Some(None),
            Self::Refused(_) | Self::Unavailable | Self::Unknown => None,
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(_) => f.write_str("done"),
            Self::Absent => f.write_str("absent"),
            Self::Refused(why) => write!(f, "refused: {why}"),
            Self::Unavailable => f.write_str("unavailable"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

// === impl Client ===

impl Client {
    /// A client without anything to do.
    pub fn new(name: u8, chance: Chance) -> Self {
        Self {
            name,
            chance,
            script: VecDeque::new(),
            whims: 0,
            there: BTreeSet::new(),
            request: None,
            attempts: 0,
            calls: 0,
            state: State::Content,
        }
    }

    /// Adds to what it has been told, and to the calls that occur to it.
    pub fn tell(&mut self, now: Moment, intents: Vec<Intent>, whims: u32) {
        self.script.extend(intents);
        self.whims += whims;
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
        self.learn(answer);
        match answer {
            Answer::Done(_) | Answer::Absent | Answer::Refused(_) => self.rest(now),
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

    fn learn(&mut self, answer: &Answer) {
        let (subject, is_there) = match (&self.request, answer) {
            (Some(Request::Write { intent, .. }), Answer::Done(_)) => {
                (&intent.subject, intent.wish.is_some())
            }
            // Refused because it is there already, or not there at all; or for another reason, and the next try tells.
            (Some(Request::Write { intent, .. }), Answer::Refused(why)) => {
                (&intent.subject, why.contains("already exists"))
            }
            (Some(Request::Read(subject)), Answer::Done(_)) => (subject, true),
            (Some(Request::Read(subject)), Answer::Absent) => (subject, false),
            _ => return,
        };
        if is_there {
            self.there.insert(subject.clone());
        } else {
            self.there.remove(subject);
        }
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
                let intent = Intent::random(&mut self.chance, &self.there);
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
