//! Answers of backends that are remembered for all workers: looked for, fetched once for many, sent, forgotten.
//!
//! Every decision is `core/http`'s ([`selvedge_http::cache`]). Here stands who waits for whom: the first request that misses
//! asks the backend, with whatever the client has already taken off; it takes the whole answer in as fast as the backend
//! sends it, so that nobody waits for a slow client. What cannot be kept streams through, and then nobody waits at all.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use selvedge_guard::identity::is_alike;
use selvedge_http::cache::stored::{BODY_BYTES_MAX, strip_conditions};
use selvedge_http::cache::{Control, Found, Key, NotStored, Standing, Stored, Table, Ticket, Times};
use selvedge_http::conditional::{Conditions, Verdict, judge};
use selvedge_http::date;
use selvedge_http::head::RequestHead;
use selvedge_wire::channel::Channel;
use selvedge_wire::deadline::Deadline;
use tokio::sync::watch;

use crate::answer::gateway;
use crate::pace::Pacer;
use crate::request::response::Source as _;
use crate::request::{Body, Exchange, Flow, Peer, Response};
use crate::worker::Shared;

/// How long a request waits for another one's fetch; then it goes by itself.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(10);

/// Headers by which frameworks take a request for another than the one it is asked and kept as: who sends them would choose
/// what others are shown. `Forwarded` and `X-Forwarded-…` of proxies that are trusted stay.
const STEERING: &[&str] = &[
    "forwarded",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-url",
    "x-rewrite-url",
    "x-forwarded-path",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
];

/// The answers that all workers share.
#[derive(Debug)]
pub(crate) struct Cache {
    /// Locked for a look-up or a change, never while somebody waits.
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    table: Table,
    /// Those who wait for a fetch hear of its end when its sender is dropped.
    waiting: BTreeMap<Ticket, watch::Sender<()>>,
}

/// A fetch under way. Dropped without an answer, it has failed, and those who wait go by themselves.
struct Fetch {
    shared: Arc<Shared>,
    key: Key,
    ticket: Ticket,
    done: bool,
    /// What came of it says nothing about the requests of others.
    is_own: bool,
}

impl Cache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { inner: Mutex::new(Inner { table: Table::new(bytes_max), waiting: BTreeMap::new() }) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each change is whole before anything can panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fetch {
    fn put(mut self, request: &RequestHead, stored: Stored) -> Arc<Stored> {
        self.done = true;
        let mut inner = self.shared.cache.lock();
        inner.waiting.remove(&self.ticket);
        inner.table.put(&self.key, self.ticket, &request.fields, stored)
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        if !self.done {
            let mut inner = self.shared.cache.lock();
            inner.waiting.remove(&self.ticket);
            let now = if self.is_own { 0 } else { unix(SystemTime::now()) };
            inner.table.fail(&self.key, self.ticket, now);
        }
    }
}

/// Answers from memory, or from a backend by way of it. Goes on where the cache has no say.
pub(crate) async fn answer(x: &mut Exchange<'_>) -> Flow {
    let Some(key) = Key::new(x.scheme(), &x.host(), &x.target.text) else { return ControlFlow::Continue(()) };
    match x.head.method() {
        "GET" | "HEAD" => {}
        "PURGE" => return purge(x, &key),
        "OPTIONS" | "TRACE" => return pass(x, "fwd=method").await,
        _ => return change(x, &key).await,
    }
    // What is asked for in another protocol, or with a body, is not asked of a cache.
    if x.facts.framing.has_body() || x.head.fields.named("upgrade").is_some() {
        return pass(x, "fwd=bypass").await;
    }
    let trusted = x.conf.extforward.forwarder.trusts(x.peer.remote.ip().to_canonical());
    x.head.fields.retain(|_, name, _| {
        let name = std::str::from_utf8(name).unwrap_or_default();
        let steers = name.starts_with(['f', 'x']) && STEERING.iter().any(|steering| is_alike(name, steering));
        !steers || trusted && (name == "forwarded" || name.starts_with("x-forwarded-"))
    });
    let shared = Arc::clone(&x.worker.shared);
    let now = unix(x.begun_at);
    let only_if_cached = Control::of(&x.head.fields).only_if_cached;
    for _ in 0..2 {
        let found = shared.cache.lock().find(&key, x, now);
        match found {
            Looked::Found(Found::Fresh(stored)) => return hit(x, &stored, now, "hit"),
            Looked::Found(Found::Renew(stored, ticket)) => {
                if let Some(ticket) = ticket {
                    renew(x, fetch(&shared, &key, ticket), &stored);
                }
                return hit(x, &stored, now, "hit; detail=stale-while-revalidate");
            }
            // Nothing that is kept answers it (RFC 9111 §5.2.1.7).
            _ if only_if_cached => {
                let response = Response::status(504);
                return ControlFlow::Break(response.field("cache-status", "selvedge; detail=only-if-cached"));
            }
            Looked::Found(Found::Lead(kept, ticket)) => {
                return lead(x, fetch(&shared, &key, ticket), kept).await;
            }
            Looked::Found(Found::Pass | Found::Follow(_)) => {
                let head = x.head.method() == "HEAD";
                let status = if head { "fwd=miss; detail=head" } else { "fwd=miss; detail=not-kept-lately" };
                return pass(x, status).await;
            }
            Looked::Wait(mut ends) => {
                // Its sender is dropped when the fetch has ended, one way or another.
                if tokio::time::timeout(WAIT_MAX, ends.changed()).await.is_err() {
                    return pass(x, "fwd=miss; detail=waited-in-vain").await;
                }
            }
        }
    }
    pass(x, "fwd=miss; detail=waited-in-vain").await
}

/// Goes to the backend without the cache, and says why.
async fn pass(x: &mut Exchange<'_>, status: &'static str) -> Flow {
    // The mesh answers for itself, and nothing of it is kept.
    if x.conf.mesh.service.is_some() {
        return ControlFlow::Continue(());
    }
    let ControlFlow::Break(response) = gateway::by_path(x).await else { return ControlFlow::Continue(()) };
    ControlFlow::Break(response.field("cache-status", &format!("selvedge; {status}")))
}

enum Looked {
    Found(Found),
    Wait(watch::Receiver<()>),
}

impl Inner {
    fn find(&mut self, key: &Key, x: &Exchange<'_>, now: u64) -> Looked {
        match self.table.find(key, &x.head.fields, now) {
            Found::Follow(ticket) => match self.waiting.get(&ticket) {
                Some(sender) => Looked::Wait(sender.subscribe()),
                None => Looked::Found(Found::Pass),
            },
            Found::Lead(kept, ticket) => {
                // HEAD brings no body to keep, and the other asks nobody.
                if x.head.method() == "HEAD" || Control::of(&x.head.fields).only_if_cached {
                    self.table.fail(key, ticket, 0);
                    return Looked::Found(Found::Pass);
                }
                self.waiting.insert(ticket, watch::Sender::new(()));
                Looked::Found(Found::Lead(kept, ticket))
            }
            Found::Renew(stored, ticket) => {
                if let Some(ticket) = ticket {
                    self.waiting.insert(ticket, watch::Sender::new(()));
                }
                Looked::Found(Found::Renew(stored, ticket))
            }
            found => Looked::Found(found),
        }
    }
}

fn fetch(shared: &Arc<Shared>, key: &Key, ticket: Ticket) -> Fetch {
    Fetch { shared: Arc::clone(shared), key: key.clone(), ticket, done: false, is_own: false }
}

/// Asks the backend, and answers with what comes.
async fn lead(x: &mut Exchange<'_>, fetch: Fetch, kept: Option<Arc<Stored>>) -> Flow {
    let asked_by_client = x.head.clone();
    // Why it was asked for, as RFC 9211 §2.2 calls it.
    let fwd = if kept.is_some() { "stale" } else { "miss" };
    let brought = bring(x, fetch, kept).await;
    // What the client has already decides over what it is sent, and not over what is kept.
    *x.head = asked_by_client;
    match brought {
        Brought::Kept(stored, answered) => {
            let status = match fwd {
                "stale" => format!("fwd=stale; fwd-status={answered}; stored"),
                fwd => format!("fwd={fwd}; stored"),
            };
            hit(x, &stored, unix(SystemTime::now()), &status)
        }
        Brought::Checked(stored) => hit(x, &stored, unix(SystemTime::now()), "fwd=stale; fwd-status=304"),
        Brought::Stale(stored) => hit(x, &stored, unix(SystemTime::now()), "hit; detail=stale-if-error"),
        Brought::Passing(response, why) => {
            ControlFlow::Break(response.field("cache-status", &format!("selvedge; fwd={fwd}; detail={why}")))
        }
        Brought::Nobody => ControlFlow::Continue(()),
    }
}

enum Brought {
    /// It is kept; with the status of the backend's answer.
    Kept(Arc<Stored>, u16),
    /// The backend says that what is kept is still good, and not to keep it.
    Checked(Arc<Stored>),
    /// The backend failed, and what is kept may be sent in its place.
    Stale(Arc<Stored>),
    /// It cannot be kept, and why.
    Passing(Response, &'static str),
    /// No backend is configured for it.
    Nobody,
}

async fn bring(x: &mut Exchange<'_>, mut fetch: Fetch, kept: Option<Arc<Stored>>) -> Brought {
    match &kept {
        Some(stored) if stored.has_validator() => stored.ask(x.head),
        _ => strip_conditions(&mut x.head.fields),
    }
    let mut asked = unix(SystemTime::now());
    let ControlFlow::Break(mut response) = gateway::by_path(x).await else { return Brought::Nobody };
    if response.head.status == 304 && !kept.as_ref().is_some_and(|stored| stored.is_meant_by(&response.head))
    {
        // It speaks of something that is not kept here: of no use to anybody, so the whole answer is asked for.
        strip_conditions(&mut x.head.fields);
        asked = unix(SystemTime::now());
        let ControlFlow::Break(whole) = gateway::by_path(x).await else { return Brought::Nobody };
        response = whole;
    }
    let times = Times { asked, answered: unix(SystemTime::now()) };
    if response.head.status >= 500
        && let Some(stored) =
            kept.as_ref().filter(|stored| stored.standing(times.answered) == Standing::StaleIfError)
    {
        return Brought::Stale(Arc::clone(stored));
    }
    if response.head.status == 304
        && let Some(stored) = &kept
    {
        return match stored.freshened(x.is_somebodys(), x.head, &response.head, times) {
            Ok(stored) => Brought::Kept(fetch.put(x.head, stored), 304),
            Err(_) => Brought::Checked(Arc::clone(stored)),
        };
    }
    let worth = Stored::of_somebody(x.is_somebodys(), x.head, &response.head, times);
    let worth = worth.map_err(Refused::Rule).and_then(|stored| {
        let fits = response.body.length().is_none_or(|length| length <= BODY_BYTES_MAX as u64);
        let whole = match &response.body {
            Body::Stream(source, _) => !source.feeds(),
            Body::Backend(reader, _) => !reader.feeds(),
            body => matches!(body, Body::Bytes(_) | Body::None),
        };
        match (fits, whole, response.from_backend) {
            (true, true, true) => Ok(stored),
            (false, ..) => Err(Refused::Own(TOO_LONG)),
            (_, false, _) => Err(Refused::Own("streamed")),
            (.., false) => Err(Refused::Own("no-answer")),
        }
    });
    match worth {
        Ok(stored) => take_in(x, fetch, response, stored).await,
        Err(reason) => {
            // Whoever asks so that nothing can be kept does not keep others from each other's answers.
            fetch.is_own =
                reason == Refused::Rule(NotStored::Authorization) || Control::of(&x.head.fields).no_store;
            Brought::Passing(response, reason.word())
        }
    }
}

/// The body is longer than what is kept.
const TOO_LONG: &str = "too-long";
/// The backend's answer broke off.
const BROKEN_OFF: &str = "broken-off";

/// Why an answer is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// By HTTP's rules.
    Rule(NotStored),
    Own(&'static str),
}

impl Refused {
    /// As `detail` of `Cache-Status` says it.
    fn word(self) -> &'static str {
        match self {
            Self::Own(word) => word,
            Self::Rule(rule) => match rule {
                NotStored::Method => "method",
                NotStored::Status => "status",
                NotStored::NoStore => "no-store",
                NotStored::Private => "private",
                NotStored::Authorization => "authorization",
                NotStored::SetsCookie => "set-cookie",
                NotStored::Vary => "vary",
                NotStored::Undated => "undated",
                NotStored::Partial => "partial",
            },
        }
    }
}

/// Takes the whole body in. One that turns out too long streams on, with what was taken in before it.
async fn take_in(x: &Exchange<'_>, fetch: Fetch, mut response: Response, mut stored: Stored) -> Brought {
    let mut held = BytesMut::new();
    match std::mem::take(&mut response.body).into_stream() {
        Body::Stream(mut source, length) => loop {
            match poll_fn(|cx| source.poll_next(cx)).await {
                Ok(Some(bytes)) => held.extend_from_slice(&bytes),
                Ok(None) if length.is_none_or(|length| length == held.len() as u64) => break,
                Ok(None) => return Brought::Passing(Response::status(502), BROKEN_OFF),
                Err(error) => {
                    tracing::warn!(%error, path = x.path(), "a backend's answer broke off");
                    return Brought::Passing(Response::status(502), BROKEN_OFF);
                }
            }
            if held.len() > BODY_BYTES_MAX {
                response.body = Body::Stream(Box::new(Resumed { held: held.freeze(), rest: source }), length);
                return Brought::Passing(response, TOO_LONG);
            }
        },
        Body::Bytes(bytes) => held.extend_from_slice(&bytes),
        _ => {}
    }
    stored.body = held.freeze();
    let status = stored.status;
    Brought::Kept(fetch.put(x.head, stored), status)
}

/// Renews an answer while it is being sent, in a task of its own.
fn renew(x: &Exchange<'_>, fetch: Fetch, stored: &Arc<Stored>) {
    let (worker, site, conf) = (Rc::clone(x.worker), Rc::clone(&x.site), x.conf.clone());
    let peer = Peer {
        remote: x.peer.remote,
        local: x.peer.local,
        socket: Arc::clone(&x.peer.socket),
        tls: x.peer.tls.clone(),
        guest: None,
        pacer: Pacer::default(),
        http3: false,
    };
    let mut head = x.head.clone();
    head.set_method("GET");
    let (facts, target, stored) = (x.facts, x.target.clone(), Arc::clone(stored));
    let (identity, user, authorized) = (x.identity.clone(), x.user.clone(), x.authorized);
    let (remote, https) = (x.remote, x.https);
    tokio::task::spawn_local(async move {
        let (mut channel, mut deadline) = (Channel::Over, Deadline::default());
        let mut own = Exchange::new(&worker, &peer, &mut channel, &mut deadline, &mut head, facts, site);
        own.target_original.clone_from(&target.text);
        own.target = target;
        own.conf = conf;
        (own.identity, own.user, own.authorized) = (identity, user, authorized);
        (own.remote, own.https) = (remote, https);
        // What came of it stands in the table; a failure leaves the old answer until it is too old.
        let _ = bring(&mut own, fetch, Some(stored)).await;
    });
}

/// Sends what is kept, or that the client has it already.
fn hit(x: &Exchange<'_>, stored: &Stored, now: u64, status: &str) -> Flow {
    let mut head = stored.head(now);
    head.fields.append(b"cache-status", format!("selvedge; {status}").as_bytes());
    let text = |name: &str| stored.fields.named(name).and_then(|value| std::str::from_utf8(value).ok());
    let modified = text("last-modified").and_then(date::parse);
    let mut response = Response { head, modified, ..Response::default() };
    response.body = Body::Bytes(stored.body.clone());
    if stored.status == 200 {
        let conditions = Conditions {
            if_none_match: x.header("if-none-match"),
            if_modified_since: x.header("if-modified-since"),
            reading: true,
            range: x.header("range").is_some(),
        };
        match judge(conditions, text("etag"), modified) {
            Verdict::Send => {}
            Verdict::NotModified => {
                response.head.status = 304;
                response.body = Body::None;
            }
            Verdict::Failed => return ControlFlow::Break(Response::status(412)),
        }
    }
    response.from_backend = true;
    ControlFlow::Break(response)
}

/// Something is changed at the backend: what is kept of it is forgotten once it succeeded (RFC 9111 §4.4).
async fn change(x: &mut Exchange<'_>, key: &Key) -> Flow {
    let response = match gateway::by_path(x).await {
        ControlFlow::Break(response) => response,
        ControlFlow::Continue(()) => return ControlFlow::Continue(()),
    };
    if (200..400).contains(&response.head.status) {
        let cache = &x.worker.shared.cache;
        cache.lock().table.purge(key);
        for name in ["location", "content-location"] {
            let named = response.head.fields.named(name).and_then(|value| std::str::from_utf8(value).ok());
            if let Some(key) = named.and_then(|target| key.of_same_origin(target)) {
                cache.lock().table.purge(&key);
            }
        }
    }
    ControlFlow::Break(response.field("cache-status", "selvedge; fwd=method"))
}

/// `PURGE`, from this machine: forgets one answer, or with `x-purge: prefix` all below it.
fn purge(x: &Exchange<'_>, key: &Key) -> Flow {
    if !x.peer.remote.ip().to_canonical().is_loopback() || !x.remote.is_loopback() {
        return ControlFlow::Break(Response::status(403));
    }
    let mut inner = x.worker.shared.cache.lock();
    let count = match x.header("x-purge") {
        Some("prefix") => inner.table.purge_prefix(key.as_str()),
        _ => usize::from(inner.table.purge(key)),
    };
    let status = if count > 0 { 200 } else { 404 };
    ControlFlow::Break(Response::with(status, "text/plain; charset=utf-8", format!("{count} forgotten\n")))
}

/// A body of which a part has been read already.
struct Resumed {
    held: bytes::Bytes,
    rest: Box<dyn crate::request::response::Source>,
}

impl crate::request::response::Source for Resumed {
    fn feeds(&self) -> bool {
        self.rest.feeds()
    }

    fn poll_feed(
        &mut self,
        cx: &mut std::task::Context<'_>,
        channel: &mut Channel,
    ) -> std::task::Poll<std::io::Result<()>> {
        self.rest.poll_feed(cx, channel)
    }

    fn poll_next(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<Option<bytes::Bytes>>> {
        match self.held.is_empty() {
            true => self.rest.poll_next(cx),
            false => std::task::Poll::Ready(Ok(Some(std::mem::take(&mut self.held)))),
        }
    }
}

fn unix(moment: SystemTime) -> u64 {
    moment.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
