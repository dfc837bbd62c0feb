//! The life of a request: admit → route → filter → answer, redirect or forward → record.
//!
//! Forwarding in turn is: cluster → rewrite → (pick → connect or reuse → send) once a try → retry or pass on. Every step
//! may end the request with an answer of the proxy's own; nothing else ends it early but the client.

mod attempt;
mod beside;
mod body;
mod certificate;
mod coding;
pub(crate) mod edit;
mod exchange;
pub(crate) mod filter;
pub(crate) mod forward;
mod grpc_web;
mod hedge;
mod limits;
mod mirror;
mod record;
pub(crate) mod reply;
pub(crate) mod respond;
mod view;

pub(crate) use exchange::{After, Ended, Exchange, Peer};
pub(crate) use reply::Reply;
pub(crate) use view::Request as RequestHeadView;

use body::RequestBody;
use selvedge_telemetry::details;
use selvedge_traffic::Action;
use view::Request;

/// Serves one request whose head has been read. `refused` is the answer to a head that was not understood.
pub(crate) async fn serve(x: &mut Exchange<'_>, refused: Option<Box<Reply>>) -> After {
    x.begin();
    let ended = match refused {
        Some(reply) => Err(Ended::Reply(*reply)),
        None => run(x).await,
    };
    let after = match ended {
        Ok(after) => after,
        Err(Ended::Reply(reply)) => Box::pin(respond::reply(x, reply)).await,
        Err(Ended::Gone) => x.gone(),
        Err(Ended::Cut) => After::Cut,
    };
    x.record();
    after
}

async fn run<'a>(x: &mut Exchange<'a>) -> Result<After, Ended> {
    x.admit().await?;
    if let Some(tracing) = &x.manager.tracing {
        x.begin_trace(tracing);
    }
    x.admit_upgrade()?;
    let mut body = RequestBody::new(x.facts.framing);
    if x.facts.upgrade.is_tunnel() {
        body.stay_open();
    }
    x.find_route();
    if !x.chain.is_empty() {
        x.note_cluster();
        // The way through filters is long; boxed, it costs nothing to those who have none.
        Box::pin(filter::request(x, &mut body)).await?;
        if x.rerouted {
            let chain = x.chain;
            x.find_route();
            x.chain = chain;
        }
    }
    let matched = x.routed()?;
    x.edits = x.routes.edits.of(&matched, x.share);
    match &matched.route.action {
        Action::Forward(forward) => forward::forward(x, matched, forward, body).await,
        Action::Redirect(redirect) => {
            x.manager.stats.rq_direct_response.inc();
            let rewritten = matched.rewritten_path(&Request(&x.heads.request));
            let location = redirect.location(&Request(&x.heads.request), rewritten.as_deref());
            let reply = Reply::new(redirect.status, None, details::DIRECT_RESPONSE, "");
            let headers = vec![("location".into(), location.into_bytes())];
            if let Some(rewritten) = rewritten {
                forward::set_path(x, &rewritten);
            }
            Err(Ended::Reply(Reply { headers, edited: true, ..reply }))
        }
        Action::Respond(direct) => {
            x.manager.stats.rq_direct_response.inc();
            let reply = Reply::new(direct.status, None, details::DIRECT_RESPONSE, "");
            Err(Ended::Reply(Reply { body: direct.body.clone().into(), edited: true, ..reply }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Exchange, serve};

    /// It is moved onto the heap once for each request.
    const STATE_BYTES_MAX: usize = 3584;

    fn state_bytes<'a, F>(_: impl FnOnce(&'a mut Exchange<'a>) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_state_of_a_request_is_small() {
        let bytes = state_bytes(|x| serve(x, None));
        assert!(bytes <= STATE_BYTES_MAX, "{bytes} bytes: what few requests need is boxed where it begins");
    }
}
