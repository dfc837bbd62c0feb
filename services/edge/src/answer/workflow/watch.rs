//! How an execution is doing, for whoever was given its address: as JSON once, or as events until it ends.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{CALL_TIMEOUT, call};
use crate::request::response::Source;
use crate::request::{Body, Exchange, Response};
use crate::worker::Worker;

/// How often an execution that is watched is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How long one request may watch; whoever wants more asks again.
pub(crate) const WATCH_MAX: Duration = Duration::from_secs(60);

/// What the address of an execution says: which one it is, and the request that started it, whose rules hold for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    execution: String,
    /// The path of the request that started it.
    pub(crate) path: String,
    pub(crate) method: String,
    /// Who started it, where that was known: nobody else is told.
    user: Option<String>,
}

impl Ticket {
    pub(super) fn new(x: &Exchange<'_>, execution: &str) -> Self {
        Self {
            execution: execution.to_owned(),
            path: x.path().to_owned(),
            method: x.method_original.as_deref().unwrap_or_else(|| x.head.method()).to_owned(),
            user: x.user.as_ref().map(|user| user.name.clone()),
        }
    }

    /// As part of an address, with a proof that it was made here: nobody can ask about others.
    pub(super) fn sealed(&self, secret: &[u8]) -> String {
        let text = json!([self.execution, self.path, self.method, self.user]).to_string();
        format!("{}.{}", URL_SAFE_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(proof(secret, &text)))
    }

    fn opened(secret: &[u8], token: &str) -> Option<Self> {
        let (text, given) = token.split_once('.')?;
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let given = URL_SAFE_NO_PAD.decode(given).ok()?;
        aws_lc_rs::constant_time::verify_slices_are_equal(&proof(secret, &text), &given).ok()?;
        let (execution, path, method, user) = serde_json::from_str(&text).ok()?;
        Some(Self { execution, path, method, user })
    }
}

fn proof(secret: &[u8], text: &str) -> Vec<u8> {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    aws_lc_rs::hmac::sign(&key, format!("execution {text}").as_bytes()).as_ref()[..16].to_vec()
}

/// The ticket of a request that asks how an execution is.
pub(super) fn ticket(x: &Exchange<'_>) -> Option<Ticket> {
    let token = x.path().strip_prefix(super::STATUS_PREFIX)?;
    Ticket::opened(&x.worker.shared.secret, token)
}

pub(super) async fn status(x: &mut Exchange<'_>) -> Response {
    if !matches!(x.head.method(), "GET" | "HEAD") {
        return Response::status(405).field("allow", "GET, HEAD");
    }
    let user = x.user.as_ref().map(|user| user.name.as_str());
    let Some(ticket) = x.ticket.clone().filter(|ticket| ticket.user.as_deref() == user) else {
        return Response::status(404);
    };
    let execution = ticket.execution;
    if x.header("accept").is_some_and(|accept| accept.contains("text/event-stream")) {
        let events = Events {
            worker: Rc::clone(x.worker),
            execution,
            until: Instant::now() + WATCH_MAX,
            last: None,
            wait: None,
            look: None,
            ended: false,
        };
        let mut response = Response::status(200)
            .field("content-type", "text/event-stream")
            .field("cache-control", "no-store");
        response.body = Body::Stream(Box::new(events), None);
        return response;
    }
    let described =
        call(x.worker, "DescribeExecution", &json!({ "executionArn": execution }), CALL_TIMEOUT).await;
    match described {
        Ok(described) if described["status"] == "RUNNING" => {
            let response =
                Response::with(202, "application/json", json!({ "status": "RUNNING" }).to_string())
                    .field("retry-after", "1")
                    .field("cache-control", "no-store");
            // Somebody who looks on by a browser is shown the end when it is there.
            if is_page(x) { response.field("refresh", "1") } else { response }
        }
        Ok(described) => super::ended(x, &described).field("cache-control", "no-store"),
        Err(error) => super::Problem::Api(error).response(),
    }
}

/// Whether a browser shows the answer to somebody.
pub(super) fn is_page(x: &Exchange<'_>) -> bool {
    x.header("accept").is_some_and(|accept| accept.contains("text/html"))
}

type Look = Pin<Box<dyn Future<Output = Result<Value, selvedge_client::Error>>>>;

/// `event: status` whenever the status changes, until the end or until time is up.
struct Events {
    worker: Rc<Worker>,
    execution: String,
    until: Instant,
    last: Option<String>,
    wait: Option<Pin<Box<tokio::time::Sleep>>>,
    look: Option<Look>,
    ended: bool,
}

impl Source for Events {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        loop {
            if self.ended {
                return Poll::Ready(Ok(None));
            }
            if let Some(wait) = &mut self.wait {
                ready!(wait.as_mut().poll(cx));
                self.wait = None;
            }
            let look = self.look.get_or_insert_with(|| {
                let (worker, input) = (Rc::clone(&self.worker), json!({ "executionArn": self.execution }));
                Box::pin(async move { call(&worker, "DescribeExecution", &input, CALL_TIMEOUT).await })
            });
            let described = ready!(look.as_mut().poll(cx));
            self.look = None;
            let status = match &described {
                Ok(described) => described["status"].as_str().unwrap_or("RUNNING").to_owned(),
                Err(_) => "UNKNOWN".to_owned(),
            };
            self.ended = status != "RUNNING" || Instant::now() >= self.until;
            self.wait = Some(Box::pin(tokio::time::sleep(LOOK)));
            if self.last.as_ref() != Some(&status) {
                let event = format!("event: status\ndata: {}\n\n", json!({ "status": status }));
                self.last = Some(status);
                return Poll::Ready(Ok(Some(Bytes::from(event))));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_started_here_can_be_asked_about() {
        let ticket = |execution: &str| Ticket {
            execution: execution.to_owned(),
            path: "/orders/1".to_owned(),
            method: "POST".to_owned(),
            user: Some("ann".to_owned()),
        };
        let made = ticket("arn:e").sealed(b"secret");
        assert_eq!(Ticket::opened(b"secret", &made), Some(ticket("arn:e")));
        assert_eq!(Ticket::opened(b"other", &made), None);
        let (_, proof) = made.split_once('.').unwrap();
        let (text, _) = ticket("arn:other")
            .sealed(b"x")
            .split_once('.')
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .unwrap();
        assert_eq!(Ticket::opened(b"secret", &format!("{text}.{proof}")), None);
        for wrong in ["", ".", "a", "a.b.c", "%%.%%"] {
            assert_eq!(Ticket::opened(b"secret", wrong), None, "{wrong}");
        }
    }
}
