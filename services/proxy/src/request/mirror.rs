//! Copies of requests, for clusters whose answers nobody waits for.
//!
//! A copy is made when the request has arrived as a whole, so that nothing about it can hold the request up; what is
//! longer than may be kept for a retry is not copied. How many are under way is bounded for each worker.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use selvedge_http::framing::Framing;
use selvedge_http::head::{RequestHead, ResponseHead};
use selvedge_http::known::HeaderId;
use selvedge_traffic::{Forward, HttpProtocol};
use selvedge_upstream::pool::{Protocol, Wish};
use selvedge_upstream::{Cluster, Outcome, PickContext, PickedHost, Priority, random};
use selvedge_wire::channel::Content;
use smallvec::SmallVec;

use super::body::RequestBody;
use super::exchange::Exchange;
use crate::serve::worker::Worker;

/// Copies of a worker that are under way at a time.
pub(crate) const MIRRORS_MAX: usize = 256;
/// A copy is given up after this where the request itself has no bound.
const TIME_MAX: Duration = Duration::from_secs(60);

/// The copies that are to be made of a request.
pub(super) struct Mirrors {
    to: SmallVec<[(Arc<Cluster>, bool); 1]>,
    timeout: Duration,
}

impl Mirrors {
    /// Draws which copies there will be; none costs nothing.
    pub(super) fn draw(x: &Exchange<'_>, forward: &Forward, timeout: Option<Duration>) -> Option<Box<Self>> {
        let drawn = forward.mirrors.iter().filter(|mirror| mirror.share.takes(random::next()));
        let to: SmallVec<[_; 1]> = drawn
            .filter_map(|mirror| Some((x.worker.clusters.get(&mirror.cluster)?, mirror.keeps_host)))
            .collect();
        (!to.is_empty()).then(|| Box::new(Self { to, timeout: timeout.unwrap_or(TIME_MAX) }))
    }

    /// Sends the copies once the request is whole and kept; once.
    pub(super) fn send(&mut self, x: &Exchange<'_>, body: &RequestBody) {
        if self.to.is_empty() || !body.is_whole() {
            return;
        }
        let to = std::mem::take(&mut self.to);
        let Some(kept) = body.kept() else { return };
        let content: Rc<[u8]> = kept.into();
        for (cluster, keeps_host) in to {
            let Some(place) = Place::take(x.worker) else {
                cluster.stats.retry_or_shadow_abandoned.inc();
                continue;
            };
            let head = copied(x, keeps_host);
            let copy = Copy { cluster, head, framing: x.facts.framing, content: Rc::clone(&content) };
            let timeout = self.timeout;
            tokio::task::spawn_local(async move {
                let _ = tokio::time::timeout(timeout, copy.send(&place.0)).await;
            });
        }
    }
}

/// The head of a copy: its host says that it is one, and that it comes from inside.
fn copied(x: &Exchange<'_>, keeps_host: bool) -> RequestHead {
    let mut head = x.heads.request.clone();
    if !keeps_host {
        let authority = head.authority().unwrap_or_default();
        let shadow = match authority.rsplit_once(':') {
            Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
                format!("{host}-shadow:{port}")
            }
            _ => format!("{authority}-shadow"),
        };
        head.set_authority(&shadow);
    }
    head.fields.set_id(HeaderId::XEnvoyInternal, b"true");
    if let Some(address) = x.worker.node_address {
        let before: Vec<&[u8]> = head.fields.all(HeaderId::XForwardedFor).collect();
        let address = address.to_string();
        let joined = before.into_iter().chain([address.as_bytes()]).collect::<Vec<_>>().join(&b","[..]);
        head.fields.set_id(HeaderId::XForwardedFor, &joined);
    }
    head
}

/// A place among the copies of a worker, given back at the end.
struct Place(Rc<Worker>);

impl Place {
    fn take(worker: &Rc<Worker>) -> Option<Self> {
        let active: &Cell<usize> = &worker.mirrors;
        if active.get() >= MIRRORS_MAX {
            return None;
        }
        active.set(active.get() + 1);
        Some(Self(Rc::clone(worker)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.mirrors.set(self.0.mirrors.get() - 1);
    }
}

struct Copy {
    cluster: Arc<Cluster>,
    head: RequestHead,
    framing: Framing,
    content: Rc<[u8]>,
}

impl Copy {
    /// Sends it and reads its answer to the end, so that the connection can be used again.
    async fn send(self, worker: &Worker) -> Option<()> {
        let PickedHost { host, mut leave, .. } = self.cluster.pick(&PickContext::default()).ok()?;
        let protocol = match self.cluster.config.protocol {
            HttpProtocol::Http2 => Protocol::Http2,
            HttpProtocol::Http1 | HttpProtocol::Downstream => Protocol::Http1,
        };
        let acquired =
            worker.pools.acquire(&self.cluster, &host, protocol, Wish::new(Priority::Default)).await;
        let mut stream = acquired.ok()?;
        stream.send_head(&self.head, self.framing).ok()?;
        let (mut at, mut ended, mut flushed) = (0, false, false);
        let mut response = ResponseHead::default();
        let answered = poll_fn(|cx| {
            while at < self.content.len() {
                match stream.channel.poll_send(cx, &self.content[at..], false) {
                    Poll::Ready(Ok(sent)) => at += sent,
                    Poll::Ready(Err(_)) => return Poll::Ready(None),
                    Poll::Pending => break,
                }
            }
            if at == self.content.len() && !ended {
                if stream.channel.end(None).is_err() {
                    return Poll::Ready(None);
                }
                ended = true;
            }
            if ended && !flushed {
                flushed = match stream.channel.poll_flush(cx) {
                    Poll::Ready(Ok(())) => true,
                    Poll::Ready(Err(_)) => return Poll::Ready(None),
                    Poll::Pending => false,
                };
            }
            stream.poll_head(cx, self.head.method(), &mut response).map(Result::ok)
        })
        .await;
        let Some(_) = answered else {
            host.report(Outcome::ConnectFailed);
            leave.ended(false);
            return None;
        };
        host.report(Outcome::Status(response.status));
        leave.ended(response.status < 500);
        self.cluster.stats.rq.record(response.status);
        self.cluster.stats.external.record(response.status);
        let read = poll_fn(|cx| {
            loop {
                match std::task::ready!(stream.channel.poll_content(cx)) {
                    Ok(Content::Bytes) => {
                        let length = stream.channel.content().len();
                        stream.channel.consume(length);
                    }
                    Ok(Content::End) => return Poll::Ready(true),
                    Err(_) => return Poll::Ready(false),
                }
            }
        })
        .await;
        if read {
            stream.finish(flushed);
        }
        Some(())
    }
}
