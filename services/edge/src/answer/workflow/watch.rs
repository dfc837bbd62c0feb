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

use super::{CALL_TIMEOUT, call, input};
use crate::request::response::Source;
use crate::request::{Body, Exchange, Response};
use crate::worker::Worker;

/// How often an execution that is watched is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How long one request may watch; whoever wants more asks again.
pub(crate) const WATCH_MAX: Duration = Duration::from_secs(60);

/// An execution's ARN with a proof that it was started here: nobody can ask about others.
pub(super) fn token(secret: &[u8], execution: &str) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(execution), URL_SAFE_NO_PAD.encode(proof(secret, execution)))
}

fn proof(secret: &[u8], execution: &str) -> Vec<u8> {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    aws_lc_rs::hmac::sign(&key, format!("execution {execution}").as_bytes()).as_ref()[..16].to_vec()
}

fn execution(secret: &[u8], token: &str) -> Option<String> {
    let (execution, given) = token.split_once('.')?;
    let execution = String::from_utf8(URL_SAFE_NO_PAD.decode(execution).ok()?).ok()?;
    let given = URL_SAFE_NO_PAD.decode(given).ok()?;
    let ours = proof(secret, &execution);
    aws_lc_rs::constant_time::verify_slices_are_equal(&ours, &given).ok().map(|()| execution)
}

pub(super) async fn status(x: &Exchange<'_>, token: &str) -> Response {
    if !matches!(x.head.method(), "GET" | "HEAD") {
        return Response::status(405).field("allow", "GET, HEAD");
    }
    let Some(execution) = execution(&x.worker.shared.secret, token) else { return Response::status(404) };
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
            Response::with(202, "application/json", json!({ "status": "RUNNING" }).to_string())
                .field("retry-after", "1")
                .field("cache-control", "no-store")
        }
        Ok(described) => input::answer(&described).field("cache-control", "no-store"),
        Err(error) => super::Problem::Api(error).response(),
    }
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
        let made = token(b"secret", "arn:aws:states:x:execution:m:e");
        assert_eq!(execution(b"secret", &made).as_deref(), Some("arn:aws:states:x:execution:m:e"));
        assert_eq!(execution(b"other", &made), None);
        let (_, proof) = made.split_once('.').unwrap();
        let forged = format!("{}.{proof}", URL_SAFE_NO_PAD.encode("arn:aws:states:x:execution:m:other"));
        assert_eq!(execution(b"secret", &forged), None);
        for wrong in ["", ".", "a", "a.b.c", "%%.%%"] {
            assert_eq!(execution(b"secret", wrong), None, "{wrong}");
        }
    }
}
