//! How an execution goes on, as Server-Sent Events (HTML, §9.2): its status whenever that changes, and, where the route says
//! so, each state that it enters and leaves.
//!
//! ```text
//! retry: 1000
//!
//! event: state
//! id: 2/RUNNING
//! data: {"entered":"Approve","at":1700000000.25}
//!
//! event: status
//! id: 7/SUCCEEDED
//! data: {"status":"SUCCEEDED"}
//! ```
//! The id is the last event of the execution's history that was told, and the last status: whoever comes again with it
//! (`Last-Event-ID`, as browsers do by themselves) is told what follows, by whichever replica.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use selvedge_client::Error;
use serde_json::{Value, json};
use tokio::time::{Instant, Sleep};

use super::{CALL_TIMEOUT, call};
use crate::request::response::Source;
use crate::request::{Body, Exchange, Response};
use crate::worker::Worker;

/// How long one request may watch; whoever wants more asks again.
pub(crate) const WATCH_MAX: Duration = Duration::from_secs(60);
/// Events of a history that are looked through for states that have not been told; those before them are not told.
pub(crate) const BEHIND_MAX: usize = 10_000;
/// How often an execution that is watched is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// After so long without news a line is sent that says nothing: nobody between takes the connection for dead.
const LULL: Duration = Duration::from_secs(15);
/// What browsers are told to wait before they ask again, in milliseconds.
const RETRY_MS: u64 = 1000;
/// Events of a history that the first page has; the next ones have more.
const PAGES: (u64, u64) = (100, 1000);

/// What somebody has been told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told {
    /// The last event of the history.
    event: u64,
    status: String,
}

impl Told {
    /// Of a `Last-Event-ID`; nothing where it is none of ours.
    fn read(id: &str) -> Self {
        let read = || {
            let (event, status) = id.trim().split_once('/')?;
            let fits =
                status.len() <= 16 && status.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
            fits.then_some(Self { event: event.parse().ok()?, status: status.to_owned() })
        };
        read().unwrap_or_default()
    }

    /// Whether nothing more is to be told.
    fn is_over(&self) -> bool {
        !matches!(self.status.as_str(), "" | "RUNNING")
    }
}

/// Answers with events. Who has been told the end is told that there is no more, by which a browser stops asking (204).
pub(super) fn answer(x: &Exchange<'_>, execution: String) -> Response {
    let told = x.header("last-event-id").map(Told::read).unwrap_or_default();
    if told.is_over() {
        return Response::status(204).field("cache-control", "no-store");
    }
    let names_states = x.conf.mesh.workflow.as_ref().is_some_and(|route| route.states);
    let events = Events {
        worker: Rc::clone(x.worker),
        execution,
        names_states,
        until: Instant::now() + WATCH_MAX,
        told,
        ready: VecDeque::from([format!("retry: {RETRY_MS}\n\n")]),
        spoke: Instant::now(),
        wait: None,
        look: None,
        ended: false,
    };
    let mut response =
        Response::status(200).field("content-type", "text/event-stream").field("cache-control", "no-store");
    response.body = Body::Stream(Box::new(events), None);
    response
}

/// What was seen of an execution.
#[derive(Debug, Default)]
struct Seen {
    status: String,
    /// Entries and exits of states with the numbers of their events, the first one first.
    states: Vec<(u64, Value)>,
    /// The last event of the history.
    event: u64,
}

type Look = Pin<Box<dyn Future<Output = Result<Seen, Error>>>>;

struct Events {
    worker: Rc<Worker>,
    execution: String,
    names_states: bool,
    until: Instant,
    told: Told,
    /// What is to be sent.
    ready: VecDeque<String>,
    spoke: Instant,
    wait: Option<Pin<Box<Sleep>>>,
    look: Option<Look>,
    ended: bool,
}

impl Events {
    fn begin_look(&self) -> Look {
        let (worker, execution, after) = (Rc::clone(&self.worker), self.execution.clone(), self.told.event);
        let names_states = self.names_states;
        Box::pin(async move {
            // The status first: what is read of the history afterwards holds all that led to it.
            let asked = json!({ "executionArn": execution });
            let described = call(&worker, "DescribeExecution", &asked, CALL_TIMEOUT).await?;
            let status = described["status"].as_str().unwrap_or("RUNNING").to_owned();
            let seen = Seen { status, event: after, ..Seen::default() };
            if names_states { states_since(&worker, &execution, seen).await } else { Ok(seen) }
        })
    }

    /// That it has ended comes last, that it has begun first.
    fn tell(&mut self, seen: Seen) {
        if self.told.status.is_empty() && !seen.states.is_empty() {
            self.tell_status("RUNNING");
        }
        for (event, data) in seen.states {
            self.told.event = event;
            self.ready.push_back(format!("event: state\nid: {event}/{}\ndata: {data}\n\n", self.told.status));
        }
        self.told.event = seen.event;
        self.tell_status(&seen.status);
    }

    fn tell_status(&mut self, status: &str) {
        if self.told.status != status {
            let (event, data) = (self.told.event, json!({ "status": status }));
            self.ready.push_back(format!("event: status\nid: {event}/{status}\ndata: {data}\n\n"));
            self.told.status = status.to_owned();
        }
    }
}

impl Source for Events {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        loop {
            if let Some(text) = self.ready.pop_front() {
                self.spoke = Instant::now();
                return Poll::Ready(Ok(Some(Bytes::from(text))));
            }
            if self.ended {
                return Poll::Ready(Ok(None));
            }
            if let Some(wait) = &mut self.wait {
                ready!(wait.as_mut().poll(cx));
                self.wait = None;
            }
            if self.look.is_none() {
                self.look = Some(self.begin_look());
            }
            let Some(look) = &mut self.look else { continue };
            let seen = ready!(look.as_mut().poll(cx));
            self.look = None;
            match seen {
                Ok(seen) => self.tell(seen),
                // It is not there any more.
                Err(Error::Service(_)) => {
                    let event = self.told.event;
                    self.tell(Seen { status: "UNKNOWN".to_owned(), states: Vec::new(), event });
                }
                // Whoever keeps it is away for a moment, or for longer: it is looked at again.
                Err(_) => {}
            }
            // A process that ends sends its clients to its successor.
            self.ended = self.told.is_over() || Instant::now() >= self.until || self.worker.is_draining();
            self.wait = Some(Box::pin(tokio::time::sleep(LOOK)));
            if self.ready.is_empty() && !self.ended && self.spoke.elapsed() >= LULL {
                self.ready.push_back(":\n\n".to_owned());
            }
        }
    }
}

/// The states of the history after `seen.event`: read from its end, for nobody knows how long it is.
async fn states_since(worker: &Worker, execution: &str, mut seen: Seen) -> Result<Seen, Error> {
    let after = seen.event;
    let mut asked = json!({ "executionArn": execution, "reverseOrder": true, "includeExecutionData": false });
    let (first, more) = PAGES;
    asked["maxResults"] = json!(first);
    let mut looked = 0;
    loop {
        let page = call(worker, "GetExecutionHistory", &asked, CALL_TIMEOUT).await?;
        let events = page["events"].as_array().map(Vec::as_slice).unwrap_or_default();
        for event in events {
            let id = event["id"].as_u64().unwrap_or(0);
            if id <= after {
                seen.states.reverse();
                return Ok(seen);
            }
            seen.event = seen.event.max(id);
            seen.states.extend(state_of(event).map(|state| (id, state)));
        }
        looked += events.len();
        let next = page.get("nextToken").filter(|_| looked < BEHIND_MAX && !events.is_empty());
        let Some(next) = next else {
            seen.states.reverse();
            return Ok(seen);
        };
        asked["nextToken"] = next.clone();
        asked["maxResults"] = json!(more);
    }
}

/// What an event says about a state: its name and the time, and nothing of what it was given or made.
fn state_of(event: &Value) -> Option<Value> {
    let at = &event["timestamp"];
    if let Some(name) = event["stateEnteredEventDetails"]["name"].as_str() {
        return Some(json!({ "entered": name, "at": at }));
    }
    let name = event["stateExitedEventDetails"]["name"].as_str()?;
    Some(json!({ "exited": name, "at": at }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_has_been_told() {
        for (id, event, status, is_over) in [
            ("7/RUNNING", 7, "RUNNING", false),
            (" 7/SUCCEEDED", 7, "SUCCEEDED", true),
            ("7/", 7, "", false),
            ("7", 0, "", false),
            ("-1/RUNNING", 0, "", false),
            ("7/running", 0, "", false),
            ("99999999999999999999/RUNNING", 0, "", false),
            ("7/AAAAAAAAAAAAAAAAAAAAAAAA", 0, "", false),
            ("", 0, "", false),
        ] {
            let told = Told::read(id);
            assert_eq!((told.event, told.status.as_str(), told.is_over()), (event, status, is_over), "{id}");
        }
    }

    #[test]
    fn a_state_is_told_by_name_and_time_alone() {
        let details = json!({ "name": "A", "input": "{\"secret\":1}", "output": "{\"secret\":1}" });
        let event = |member: &str| json!({ "id": 2, "timestamp": 1.5, member: details });
        assert_eq!(state_of(&event("stateEnteredEventDetails")), Some(json!({ "entered": "A", "at": 1.5 })));
        assert_eq!(state_of(&event("stateExitedEventDetails")), Some(json!({ "exited": "A", "at": 1.5 })));
        assert_eq!(state_of(&event("taskScheduledEventDetails")), None);
    }
}
