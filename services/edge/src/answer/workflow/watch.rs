//! How an execution is doing, for whoever was given its address: as JSON once, or as events ([`super::events`]).

use selvedge_guard::seal::{Ring, Salt};
use serde_json::json;

use super::{CALL_TIMEOUT, call};
use crate::request::{Exchange, Response};

/// What is sealed with it.
const PURPOSE: &str = "execution";
/// What the address of an execution says: which one it is, and the request that started it, whose rules hold for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    execution: String,
    /// The path of the request that started it.
    pub(crate) path: String,
    pub(crate) method: String,
    /// Who started it, where that was known: nobody else is told.
    user: Option<String>,
    /// The host that it was asked of: by the rules of another one others may be let in, and other files handed out.
    host: String,
}

impl Ticket {
    pub(super) fn new(x: &Exchange<'_>, execution: &str) -> Self {
        Self {
            execution: execution.to_owned(),
            path: x.path().to_owned(),
            method: x.method_original.as_deref().unwrap_or_else(|| x.head.method()).to_owned(),
            user: x.caller(),
            host: host(x),
        }
    }

    /// As part of an address: nobody can read it, or ask about others. The same request again gets the same address, so
    /// there is no salt; the cipher bears that (RFC 8452 §1), and only shows that two are the same.
    pub(super) fn sealed(&self, ring: &Ring) -> String {
        let text = json!([self.execution, self.path, self.method, self.user, self.host]).to_string();
        ring.seal(PURPOSE, text.as_bytes(), Salt::default())
    }

    fn opened<'a>(mut rings: impl Iterator<Item = &'a Ring>, token: &str) -> Option<Self> {
        let text = rings.find_map(|ring| ring.open(PURPOSE, token))?;
        let (execution, path, method, user, host) = serde_json::from_slice(&text).ok()?;
        Some(Self { execution, path, method, user, host })
    }
}

/// The host that a request is for, on whichever port.
fn host(x: &Exchange<'_>) -> String {
    selvedge_http::authority::without_port(&x.host()).to_owned()
}

/// The ticket of a request that asks how an execution is.
pub(super) fn ticket(x: &Exchange<'_>) -> Option<Ticket> {
    let token = x.path().strip_prefix(super::STATUS_PREFIX)?;
    Ticket::opened(x.site.guards.tickets()?.rings(), token)
}

pub(super) async fn status(x: &mut Exchange<'_>) -> Response {
    if !matches!(x.head.method(), "GET" | "HEAD") {
        return Response::status(405).field("allow", "GET, HEAD");
    }
    let (caller, host) = (x.caller(), host(x));
    let Some(ticket) = x.ticket.clone().filter(|ticket| ticket.user == caller && ticket.host == host) else {
        return Response::status(404);
    };
    let execution = ticket.execution;
    if x.header("accept").is_some_and(|accept| accept.contains("text/event-stream")) {
        return super::events::answer(x, execution);
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
            host: "shop.example.com".to_owned(),
        };
        let ring = |secret: &str| Ring::new(&[secret.repeat(32)]).unwrap();
        let (ours, of_others) = (ring("a"), ring("b"));
        let made = ticket("arn:e").sealed(&ours);
        assert_eq!(Ticket::opened([&of_others, &ours].into_iter(), &made), Some(ticket("arn:e")));
        assert_eq!(Ticket::opened([&of_others].into_iter(), &made), None);
        // What was sealed for something else is no ticket.
        let text = json!(["arn:e", "/orders/1", "POST", "ann"]).to_string();
        assert_eq!(
            Ticket::opened([&ours].into_iter(), &ours.seal("session", text.as_bytes(), [8; 12])),
            None
        );
        for wrong in ["", ".", "a", "a.b.c", "%%.%%"] {
            assert_eq!(Ticket::opened([&ours].into_iter(), wrong), None, "{wrong}");
        }
    }
}
