//! Waiting for a request's body, for the filters that must see it before it goes on.

use std::future::poll_fn;
use std::task::Poll;

use tokio::time::Instant;

use crate::request::body::{Broken, Gathered, RequestBody};
use crate::request::exchange::{Ended, Exchange, Interrupt};
use crate::request::forward::note_progress;
use crate::request::reply::Reply;

/// Reads the body until it is whole, or longer than `bytes_max`.
pub(super) async fn gather(
    x: &mut Exchange<'_>,
    body: &mut RequestBody,
    bytes_max: usize,
) -> Result<Gathered, Ended> {
    x.arm();
    let gathered = poll_fn(|cx| {
        let (before, whole) = (body.received, body.is_whole());
        let polled = body.poll_gather(cx, x.channel, bytes_max);
        note_progress(x, before, body.received);
        x.note_received(body.received);
        if body.is_whole() && !whole {
            x.request_arrived(Instant::now());
        }
        match polled {
            Poll::Ready(Ok(gathered)) => Poll::Ready(Ok(gathered)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(Waited::Broken(error))),
            Poll::Pending => x.poll_interrupt(cx).map(|interrupt| Err(Waited::Interrupted(interrupt))),
        }
    })
    .await;
    gathered.map_err(|waited| match waited {
        Waited::Interrupted(interrupt) => x.interrupted(interrupt),
        Waited::Broken(error) => crate::request::attempt::client_broke(x, &error),
    })
}

/// Why the wait ended without a body.
enum Waited {
    Interrupted(Interrupt),
    Broken(Broken),
}

/// The answer to a body that is too long.
pub(super) fn too_long(x: &mut Exchange<'_>) -> Ended {
    // What is at hand has come, too.
    x.log.bytes_received += x.channel.content().len() as u64;
    x.manager.stats.downstream_rq_too_large.inc();
    Ended::Reply(Reply::payload_too_large())
}
