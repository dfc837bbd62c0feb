//! The life of a request: guard → normalise → identify → reshape → admit → answer → dress → record.
//!
//! ```text
//! guard      what no request may be                              guard
//! normalise  the target, once                                    core/http target
//! identify   who asks: forwarding headers, then basic or digest  identify
//! reshape    rewrites (conditions are judged again), redirects   reshape
//! admit      access lists, rates                                 admit
//! answer     status page · backend by prefix · file, script,
//!            backend by suffix, directory                        answer
//! dress      headers, expiry, ranges, compression                dress
//! record     access log, counters                                record
//! ```
//! The order in which lighttpd's modules would act is fixed here; a step that answers ends the way to the answer.

pub(crate) mod body;
pub(crate) mod exchange;
mod guard;
pub(crate) mod page;
mod physical;
mod reshape;
pub(crate) mod response;
mod send;

use std::ops::ControlFlow;

pub(crate) use exchange::{Exchange, Peer, User};
pub(crate) use physical::{join, to_folder};
pub(crate) use response::{Body, Response};
use selvedge_http::parse::RequestError;

use crate::{admit, answer, dress, early, identify, record, who};

/// What a step says: go on, or this is the answer.
pub(crate) type Flow = ControlFlow<Response>;

/// How often one request may be turned into another: by rewrites, error handlers and scripts.
const TURNS_MAX: u8 = 20;

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Keep,
    Close,
    /// Nothing more can be sent.
    Cut,
}

/// Serves one request whose head has been read. `refused` says why a head was not understood.
pub(crate) async fn serve(mut x: Exchange<'_>, refused: Option<RequestError>) -> After {
    let answered = match refused {
        Some(error) => guard::refuse(&mut x, error),
        None => Box::pin(respond(&mut x)).await,
    };
    let answered = dress::finish(&mut x, answered);
    let after = send::send(&mut x, answered).await;
    record::record(&mut x, after);
    after
}

/// The answer to a request, the answer of an error handler included.
async fn respond(x: &mut Exchange<'_>) -> Response {
    let mut answered = turns(x).await;
    if let Some(handler) = error_handler(x, &answered) {
        let Handler { target, keep_status } = handler;
        let status = answered.head.status;
        x.begin_error_handler(&target, keep_status.then_some(status));
        let second = turns(x).await;
        let own = second.head.status;
        answered = second;
        if keep_status || own == 403 || own == 404 {
            answered.head.status = status;
        }
    }
    if answered.is_bare_error() {
        page::fill(x, &mut answered);
    }
    answered
}

struct Handler {
    target: String,
    /// The status stays what it was, whatever the handler says.
    keep_status: bool,
}

fn error_handler(x: &Exchange<'_>, answered: &Response) -> Option<Handler> {
    let server = &x.conf.server;
    let status = answered.head.status;
    if status < 400 || answered.from_backend && !server.error_intercept || x.in_error_handler {
        return None;
    }
    let configured = |text: &Option<selvedge_site::directive::Text>| {
        text.as_deref().filter(|text| text.starts_with('/')).map(str::to_owned)
    };
    if let Some(target) = configured(&server.error_handler) {
        return Some(Handler { target, keep_status: true });
    }
    let target = configured(&server.error_handler_404).filter(|_| matches!(status, 403 | 404))?;
    Some(Handler { target, keep_status: false })
}

async fn turns(x: &mut Exchange<'_>) -> Response {
    for _ in 0..TURNS_MAX {
        match once(x).await {
            ControlFlow::Break(response) if response.turn.is_some() => {
                if let Some(target) = response.turn {
                    x.turn_to(&target);
                }
            }
            ControlFlow::Break(response) => return response,
            ControlFlow::Continue(()) => return nobody(x),
        }
    }
    Response::status(500)
}

async fn once(x: &mut Exchange<'_>) -> Flow {
    guard::check(x)?;
    x.normalise()?;
    answer::workflow::adopt(x);
    identify::forwarded(x);
    x.resolve()?;
    guard::misdirected(x)?;
    who::strip(x);
    crate::acme::answer(x).await?;
    if x.ticket.is_none() {
        reshape::rewrite(x)?;
    }
    dress::request_headers(x);
    reshape::redirect(x)?;
    admit::admit(x)?;
    identify::authenticate(x).await?;
    who::identify(x).await?;
    admit::rate_by_identity(x)?;
    early::hint(x).await;
    answer::by_path(x).await?;
    physical::find(x)?;
    answer::by_file(x).await
}

/// The path is there and nobody answers for it.
fn nobody(x: &Exchange<'_>) -> Response {
    match x.head.method() {
        "OPTIONS" => answer::options(),
        "GET" | "HEAD" | "POST" => Response::status(403),
        "CONNECT" => Response::status(405).closing(),
        _ => Response::status(501),
    }
}
