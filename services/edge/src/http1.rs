//! A client's HTTP/1 connection: request after request, until one side has had enough.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use selvedge_http::head::{RequestHead, Version};
use selvedge_http::parse::{Dialect, RequestError, RequestFacts};
use selvedge_wire::channel::Channel;
use selvedge_wire::deadline::Deadline;
use selvedge_wire::h1::{Http1, ReadError};
use selvedge_wire::io::Io;
use selvedge_wire::parking::Place;
use tokio::time::Instant;

use crate::connection::linger;
use crate::ready::{Content, Ready};
use crate::request::send::{self, SENDFILE_STEP_BYTES};
use crate::request::{self, Active, After, Exchange, Peer};
use crate::site::Site;
use crate::worker::Worker;

/// A request's head comes whole within this, however often a byte of it comes.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// What reading a head brought.
enum Read {
    Head(RequestFacts),
    Refused(RequestError, Version),
    /// The client took too long.
    Late,
    Over,
}

/// Serves a connection until it ends.
pub(crate) async fn serve(worker: Rc<Worker>, peer: Rc<Peer>, io: Io, place: Place) {
    let mut http = Http1::new(io);
    http.dialect = Dialect { head_bytes_max: worker.site().head_bytes_max(), ..Dialect::WEB };
    let used = request::used(&http);
    let mut connection = Connection {
        channel: Channel::Http1(Box::new(http)),
        deadline: Deadline::default(),
        requests: 0,
        used,
        idle: None,
        answered: None,
        worker,
        peer,
        place,
    };
    loop {
        if !connection.begun().await {
            break;
        }
        let mut head = connection.worker.lease_head();
        let site = connection.worker.site();
        let read = connection.read(&mut head, &site).await;
        // Whoever waits between two requests holds no more than it needs: what a whole request takes is on the heap.
        let after = match connection.ready(&read, &head, &site) {
            Some(found) => connection.send_ready(found, &site).await,
            None => Box::pin(connection.one(read, &mut head, site)).await,
        };
        connection.worker.give_back_head(head);
        connection.count();
        match after {
            After::Keep => {}
            After::Close => {
                if let Channel::Http1(http) = &mut connection.channel {
                    Box::pin(linger(&mut http.io, &mut connection.deadline)).await;
                }
                break;
            }
            After::Cut => break,
        }
    }
}

/// What an answer that is ready is sent by.
struct Found {
    ready: Rc<Ready>,
    /// Whether the connection goes on after it.
    keep: bool,
    /// When it was found, which is when the request was there.
    begun: Instant,
}

struct Connection {
    channel: Channel,
    deadline: Deadline,
    /// Requests that were read.
    requests: u32,
    /// Bytes that were used up to the last request's end.
    used: u64,
    /// How long the client may say nothing after a request.
    idle: Option<Duration>,
    /// When the last answer was out, where that is known: the next wait begins then.
    answered: Option<Instant>,
    worker: Rc<Worker>,
    peer: Rc<Peer>,
    place: Place,
}

impl Connection {
    /// Waits for the first byte of a request; `false` when there will be none.
    async fn begun(&mut self) -> bool {
        let answered = self.answered.take();
        let Channel::Http1(http) = &mut self.channel else { return false };
        if http.has_begun() {
            return true;
        }
        let idle = self.idle.unwrap_or(HEAD_TIMEOUT);
        let (worker, place, deadline) = (&self.worker, &self.place, &mut self.deadline);
        let fresh = self.requests == 0;
        let since = answered.unwrap_or_else(Instant::now);
        deadline.set(Some(since + idle));
        poll_fn(|cx| {
            match http.io.poll_fill(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(false),
                Poll::Ready(Ok(_)) => return Poll::Ready(true),
                Poll::Pending => {}
            }
            place.park(cx);
            // Whoever was just let in has a request on its way.
            if worker.is_draining() && !fresh {
                return Poll::Ready(false);
            }
            deadline.poll(cx).map(|()| false)
        })
        .await
    }

    /// Counts what has come with a request, whatever became of it.
    fn count(&mut self) {
        if let Channel::Http1(http) = &self.channel {
            let used = request::used(http);
            self.worker.shared.stats.received.add(used.saturating_sub(self.used));
            self.used = used;
        }
    }

    /// Reads one request.
    async fn read(&mut self, head: &mut RequestHead, site: &Site) -> Read {
        let base = &site.program.base().directives;
        let (idle, most) = (base.server.max_keep_alive_idle, base.server.max_keep_alive_requests);
        let timeout = Duration::from_millis(base.edge.header_timeout_ms.max(1));
        let mut read = self.read_head(head, timeout).await;
        match &mut read {
            Read::Late => self.worker.shared.stats.timed_out.add(1),
            Read::Over => {}
            Read::Refused(..) => self.requests = self.requests.saturating_add(1),
            Read::Head(facts) => {
                self.requests = self.requests.saturating_add(1);
                self.idle = Some(Duration::from_secs(u64::from(idle)));
                facts.close |= idle == 0 || self.requests > u32::from(most);
            }
        }
        read
    }

    /// The answer that is ready, where nothing else is to be done.
    fn ready(&self, read: &Read, head: &RequestHead, site: &Site) -> Option<Found> {
        let (Read::Head(facts), Channel::Http1(http)) = (read, &self.channel) else { return None };
        let begun = Instant::now();
        let ready = self.worker.shelf.borrow_mut().find(site, &self.peer, head, facts, begun)?;
        // Of a long file the kernel sends what it need not encrypt.
        let sent_as_it_is = http.io.is_plain() || matches!(ready.content, Content::Memory(_));
        let keep = !facts.close && !self.worker.is_draining();
        (ready.alone && sent_as_it_is).then_some(Found { ready, keep, begun })
    }

    /// Sends it.
    async fn send_ready(&mut self, Found { ready, keep, begun }: Found, site: &Site) -> After {
        let Channel::Http1(http) = &mut self.channel else { return After::Cut };
        let (worker, deadline) = (&self.worker, &mut self.deadline);
        let stats = &worker.shared.stats;
        let _active = Active::begin(stats);
        let date = worker.date_at(begun.into_std());
        http.queue(|out| ready.write_head(keep, &date, out));
        let (len, mut sent) = (ready.content.length(), 0);
        http.begin_writing(ready.content.framing());
        let outcome = poll_fn(|cx| {
            let polled = match &ready.content {
                Content::Memory(bytes) => http.poll_send(cx, &bytes[sent..]),
                Content::File { file, .. } => {
                    let step = SENDFILE_STEP_BYTES.min(len - sent);
                    http.poll_send_file(cx, file, sent as u64, step)
                }
            };
            match polled {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                // The file has become shorter: the announced length cannot be kept.
                Poll::Ready(Ok(0)) if len > 0 => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Poll::Ready(Ok(more)) => {
                    sent += more;
                    deadline.set(None);
                    if sent == len {
                        return Poll::Ready(Ok(()));
                    }
                    // Others have their turn.
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                Poll::Pending => {
                    if deadline.at().is_none() {
                        deadline.set(Some(Instant::now() + send::stall_max(&ready.conf)));
                    }
                    deadline.poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
                }
            }
        });
        let outcome: io::Result<()> = outcome.await;
        http.end();
        let now = Instant::now();
        self.answered = Some(now);
        let took = now - begun;
        stats.request(200, sent as u64, took);
        site.routes.request(ready.conf.0.id, 200, sent as u64, took);
        match outcome {
            Ok(()) if keep => After::Keep,
            Ok(()) => After::Close,
            Err(error) => {
                tracing::debug!(%error, client = %self.peer.remote, path = ready.path, "an answer broke off");
                After::Cut
            }
        }
    }

    /// Serves one request.
    async fn one(&mut self, read: Read, head: &mut RequestHead, site: Arc<Site>) -> After {
        let (facts, refused) = match read {
            Read::Head(facts) => (facts, None),
            Read::Refused(error, version) => {
                head.clear();
                head.version = version;
                (RequestFacts { close: true, ..RequestFacts::default() }, Some(error))
            }
            Read::Late | Read::Over => return After::Cut,
        };
        let Channel::Http1(http) = &self.channel else { return After::Cut };
        let bytes = (self.used, http.io.bytes_written);
        let requests = self.requests;
        let mut exchange =
            Exchange::new(&self.worker, &self.peer, &mut self.channel, &mut self.deadline, head, facts, site);
        exchange.connection_requests = requests;
        exchange.bytes_before = bytes;
        request::serve(&mut exchange, refused).await
    }

    async fn read_head(&mut self, head: &mut RequestHead, timeout: Duration) -> Read {
        let Channel::Http1(http) = &mut self.channel else { return Read::Over };
        let deadline = &mut self.deadline;
        let mut armed = false;
        let read = poll_fn(|cx| match http.poll_request(cx, head) {
            Poll::Ready(read) => Poll::Ready(Some(read)),
            Poll::Pending => {
                if !armed {
                    armed = true;
                    deadline.set(Some(Instant::now() + timeout));
                }
                deadline.poll(cx).map(|()| None)
            }
        })
        .await;
        deadline.set(None);
        match read {
            Some(Ok(Some(facts))) => Read::Head(facts),
            Some(Err(ReadError::Protocol(error))) => Read::Refused(error, spoken(http.io.unread())),
            Some(Ok(None) | Err(_)) => Read::Over,
            None => Read::Late,
        }
    }
}

/// The version that a request which was not understood seems to speak.
fn spoken(bytes: &[u8]) -> Version {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match line.trim_ascii_end().ends_with(b" HTTP/1.1") {
        true => Version::Http11,
        false => Version::Http10,
    }
}
