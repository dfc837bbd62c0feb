//! A client's HTTP/1 connection: request after request, until one side has had enough.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use selvedge_http::date::DATE_BYTES;
use selvedge_http::head::{RequestHead, Version};
use selvedge_http::parse::{Dialect, RequestError, RequestFacts};
use selvedge_wire::channel::Channel;
use selvedge_wire::deadline::Deadline;
use selvedge_wire::h1::{Http1, ReadError};
use selvedge_wire::io::Io;
use selvedge_wire::parking::Place;
use tokio::time::Instant;

use crate::connection::linger;
use crate::ready::{Content, Led, Ready};
use crate::request::send::{self, SENDFILE_STEP_BYTES};
use crate::request::{self, Active, After, Exchange, Peer};
use crate::scoreboard::{Seat, State};
use crate::site::{Current, Site};
use crate::verbatim;
use crate::way::{self, Learning, Way};
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
pub(crate) async fn serve(worker: Rc<Worker>, peer: Rc<Peer>, io: Io, (place, seat): (Place, Seat)) {
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
        guess: 0,
        led: LedTo::Nothing,
        worker,
        peer,
        place,
        seat,
    };
    loop {
        if !connection.begun().await {
            break;
        }
        let site = connection.worker.site();
        let after = match connection.repeated(&site) {
            Some(Repeated::Ready(found)) => connection.send_ready(found, &site).await,
            Some(Repeated::Way(way)) => connection.again(&way, site).await,
            None => connection.next(site).await,
        };
        connection.count();
        match after {
            After::Keep => {}
            After::Close => {
                connection.seat.is(State::Close);
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

/// What a head that has come before leads to.
enum Repeated {
    Ready(Found),
    Way(Rc<Way>),
}

/// What the last head led to, and so whether the bytes of the next one are worth remembering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LedTo {
    Nothing,
    /// An answer that was kept.
    Ready,
    /// The head and its listener settled where it was answered.
    Way,
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
    /// Where the bytes of a head of this connection were last found.
    guess: u16,
    led: LedTo,
    worker: Rc<Worker>,
    peer: Rc<Peer>,
    place: Place,
    seat: Seat,
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
        self.seat.is_since(if fresh { State::Read } else { State::KeepAlive }, since);
        poll_fn(|cx| {
            match http.io.poll_fill(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(false),
                Poll::Ready(Ok(_)) => return Poll::Ready(true),
                Poll::Pending => {}
            }
            place.park(cx);
            // Whoever was just let in has a request on its way.
            if worker.ends_idle() && !fresh {
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
            self.worker.counts().received.add(used.saturating_sub(self.used));
            self.used = used;
        }
    }

    /// What a head that came before in the same bytes leads to; the head is passed then.
    fn repeated(&mut self, site: &Site) -> Option<Repeated> {
        let Channel::Http1(http) = &mut self.channel else { return None };
        let begun = Instant::now();
        let shelf = self.worker.shelf.borrow();
        let (led, len) = shelf.find_verbatim(site, &self.peer, http.io.unread(), &mut self.guess, begun)?;
        drop(shelf);
        if len > http.dialect.head_bytes_max {
            return None;
        }
        http.pass_head(len);
        self.deadline.set(None);
        Some(match led {
            Led::Ready(ready) => {
                let keep = !self.counts_as_last(site) && !self.worker.is_draining();
                Repeated::Ready(Found { ready, keep, begun })
            }
            Led::Way(way) => Repeated::Way(way),
        })
    }

    /// Serves a request whose way is known.
    async fn again(&mut self, way: &Rc<Way>, site: Current) -> After {
        let mut head = self.worker.lease_head();
        let facts = RequestFacts { close: self.counts_as_last(&site), ..way.facts };
        let after = Box::pin(async {
            let mut exchange = self.exchange(&mut head, facts, site);
            way.lead(&mut exchange);
            request::serve(&mut exchange, None).await
        })
        .await;
        self.worker.give_back_head(head);
        after
    }

    /// Reads the next request and serves it.
    async fn next(&mut self, site: Current) -> After {
        let mut head = self.worker.lease_head();
        let bytes = self.head_to_remember();
        let read = self.read(&mut head, &site).await;
        // Whoever waits between two requests holds no more than it needs: what a whole request takes is on the heap.
        let found = self.ready(&read, &head, &site);
        self.led = if found.is_some() { LedTo::Ready } else { LedTo::Nothing };
        let after = match found {
            Some(found) => {
                if let (Read::Head(RequestFacts { close: false, .. }), Some(bytes)) = (&read, &bytes) {
                    self.worker.shelf.borrow_mut().keep_verbatim(&self.peer, bytes, &found.ready);
                }
                self.send_ready(found, &site).await
            }
            None => Box::pin(self.one(read, &mut head, site, bytes.as_deref())).await,
        };
        if let Some(bytes) = bytes {
            self.worker.buffers.give_back(bytes);
        }
        self.worker.give_back_head(head);
        after
    }

    /// A copy of the next head, if it may be one that comes again. It is one only if nothing precedes its request line: then its
    /// first empty line is its end.
    fn head_to_remember(&self) -> Option<Vec<u8>> {
        let Channel::Http1(http) = &self.channel else { return None };
        let unread = http.io.unread();
        if self.led == LedTo::Nothing || !unread.starts_with(b"GET ") && !unread.starts_with(b"HEAD ") {
            return None;
        }
        let head = verbatim::head_of(unread)?;
        if self.led == LedTo::Way && !self.worker.shelf.borrow_mut().has_seen(head) {
            return None;
        }
        let mut copy = self.worker.buffers.scratch();
        copy.extend_from_slice(head);
        Some(copy)
    }

    /// Counts a request; whether it is the connection's last one by what is configured.
    fn counts_as_last(&mut self, site: &Site) -> bool {
        let server = &site.program.base().directives.server;
        self.requests = self.requests.saturating_add(1);
        self.idle = Some(Duration::from_secs(u64::from(server.max_keep_alive_idle)));
        server.max_keep_alive_idle == 0 || self.requests > u32::from(server.max_keep_alive_requests)
    }

    /// Reads one request.
    async fn read(&mut self, head: &mut RequestHead, site: &Site) -> Read {
        let base = &site.program.base().directives;
        let timeout = Duration::from_millis(base.edge.header_timeout_ms.max(1));
        let mut read = self.read_head(head, timeout).await;
        match &mut read {
            Read::Late => self.worker.shared.stats.timed_out.add(1),
            Read::Over => {}
            Read::Refused(..) => self.requests = self.requests.saturating_add(1),
            Read::Head(facts) => facts.close |= self.counts_as_last(site),
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
        let counts = worker.counts();
        let _active = Active::begin(counts);
        let date = worker.date_at(begun.into_std());
        let mut sent = 0;
        let mut outcome = begin(http, &ready, keep, &date, &mut sent).await;
        if outcome.is_ok() && (sent < ready.content.length() || !http.is_flushed()) {
            self.seat.sends_ready(&ready, begun);
            outcome = send_rest(http, deadline, &ready, &mut sent).await;
        }
        http.end();
        let now = Instant::now();
        self.answered = Some(now);
        let took = now - begun;
        counts.request(200, sent as u64, took);
        site.routes.request(ready.conf.0.route, 200, sent as u64, took);
        match outcome {
            Ok(()) if keep => After::Keep,
            Ok(()) => After::Close,
            Err(error) => {
                tracing::debug!(%error, client = %self.peer.remote, path = ready.path, "an answer broke off");
                After::Cut
            }
        }
    }

    /// Serves one request; its way is remembered under the bytes of its head, if there are some and it is one that comes again.
    async fn one(
        &mut self,
        read: Read,
        head: &mut RequestHead,
        site: Current,
        bytes: Option<&[u8]>,
    ) -> After {
        let (facts, refused) = match read {
            Read::Head(facts) => (facts, None),
            Read::Refused(error, version) => {
                head.clear();
                head.version = version;
                (RequestFacts { close: true, ..RequestFacts::default() }, Some(error))
            }
            Read::Late | Read::Over => return After::Cut,
        };
        let comes_again = site.keeps_ways && refused.is_none() && way::may_come_again(head, &facts);
        let mut exchange = self.exchange(head, facts, Rc::clone(&site));
        if comes_again {
            exchange.learning = if bytes.is_some() { Learning::Wanted } else { Learning::Possible };
        }
        let after = request::serve(&mut exchange, refused).await;
        let learned = std::mem::take(&mut exchange.learning);
        if !matches!(learned, Learning::Nothing) {
            self.led = LedTo::Way;
        }
        if let (Learning::Learned(way), Some(bytes)) = (learned, bytes) {
            self.worker.shelf.borrow_mut().keep_way(&site.program, &self.peer, bytes, way);
        }
        after
    }

    /// A request of this connection.
    fn exchange<'a>(
        &'a mut self,
        head: &'a mut RequestHead,
        facts: RequestFacts,
        site: Current,
    ) -> Exchange<'a> {
        let written = match &self.channel {
            Channel::Http1(http) => http.io.bytes_written,
            _ => 0,
        };
        let (used, requests) = (self.used, self.requests);
        let mut exchange =
            Exchange::new(&self.worker, &self.peer, &mut self.channel, &mut self.deadline, head, facts, site);
        exchange.connection_requests = requests;
        exchange.slot = Some(Rc::clone(&self.seat));
        exchange.bytes_before = (used, written);
        exchange
    }

    async fn read_head(&mut self, head: &mut RequestHead, timeout: Duration) -> Read {
        let Channel::Http1(http) = &mut self.channel else { return Read::Over };
        let (deadline, seat) = (&mut self.deadline, &self.seat);
        let mut armed = false;
        let read = poll_fn(|cx| match http.poll_request(cx, head) {
            Poll::Ready(read) => Poll::Ready(Some(read)),
            Poll::Pending => {
                if !armed {
                    armed = true;
                    let now = Instant::now();
                    seat.is_since(State::Read, now);
                    deadline.set(Some(now + timeout));
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

/// Begins an answer that is ready: a short one leaves as a whole, as a rule. `sent` counts the bytes of its content.
async fn begin(
    http: &mut Http1,
    ready: &Ready,
    keep: bool,
    date: &[u8; DATE_BYTES],
    sent: &mut usize,
) -> io::Result<()> {
    http.begin_writing(ready.content.framing());
    let (Content::Memory(content), true) = (&ready.content, keep) else {
        http.queue(|out| ready.form.write_head(keep, date, out));
        return Ok(());
    };
    let begun = poll_fn(|cx| {
        let send = |parts: &[IoSlice<'_>], head| http.begin_prepared(cx, parts, head);
        Poll::Ready(ready.form.send(date, content, send))
    });
    *sent = begun.await?;
    Ok(())
}

/// Sends what is left of an answer that is ready.
async fn send_rest(
    http: &mut Http1,
    deadline: &mut Deadline,
    ready: &Ready,
    sent: &mut usize,
) -> io::Result<()> {
    let len = ready.content.length();
    poll_fn(|cx| {
        let polled = match &ready.content {
            Content::Memory(bytes) => http.poll_send(cx, &bytes[*sent..]),
            Content::File { file, .. } => {
                let step = SENDFILE_STEP_BYTES.min(len - *sent);
                http.poll_send_file(cx, file, *sent as u64, step)
            }
        };
        match polled {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // The file has become shorter: the announced length cannot be kept.
            Poll::Ready(Ok(0)) if *sent < len => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Poll::Ready(Ok(more)) => {
                *sent += more;
                deadline.set(None);
                if *sent == len {
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
    })
    .await
}

/// The version that a request which was not understood seems to speak.
fn spoken(bytes: &[u8]) -> Version {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match line.trim_ascii_end().ends_with(b" HTTP/1.1") {
        true => Version::Http11,
        false => Version::Http10,
    }
}
