//! Ways that are known: what the steps before the answer found out about a head that has come before, byte for byte.
//!
//! A page's requests, a program's calls and a probe's come again in the same bytes ([`crate::verbatim`]). Where nothing but the
//! listener and the head decides how far the steps bring a request ([`Way::may_be_of`]), a second one need not be parsed, judged,
//! normalised and resolved again: it stands where the first one stood, and is answered from there by whoever answers, a backend,
//! the mesh or a workflow, as if it were the first. After [`KEPT_FOR`] the way is gone anew.
//!
//! What it gains: `docs/design/052-files-kept-ready.md`.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use selvedge_acme::Proofs;
use selvedge_http::framing::Framing;
use selvedge_http::head::RequestHead;
use selvedge_http::parse::{RequestFacts, Upgrade};
use selvedge_http::target::Target;
use selvedge_site::Directives;
use tokio::time::Instant;

use crate::ready::KEPT_FOR;
use crate::request::Exchange;
use crate::request::exchange::Conf;
use crate::site::asked_of_clients;
use crate::verbatim::HEAD_BYTES_MAX;

/// Where a request stands when it is to be answered.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) until: Instant,
    pub(crate) facts: RequestFacts,
    head: RequestHead,
    conf: Conf,
    target_original: String,
    target: Target,
    turned: bool,
    rewritten: bool,
    dressed: bool,
    /// What whoever answers was told last.
    told: RefCell<Option<Told>>,
}

/// A request as it was passed on.
#[derive(Debug)]
struct Told {
    /// On whose behalf: it is part of what is told.
    client: IpAddr,
    /// To which backend, by its name in the configuration.
    label: Arc<str>,
    words: Words,
}

/// The form in which it is passed on.
#[derive(Debug)]
enum Words {
    /// To the mesh.
    Head(RequestHead),
    /// To a backend by HTTP/1.
    Bytes(Box<[u8]>),
}

/// What a request says of the next one of its connection that has the same bytes.
#[derive(Debug, Default)]
pub(crate) enum Learning {
    /// The way is not to be remembered.
    #[default]
    Nothing,
    /// It may be, the next time.
    Possible,
    /// Should it lead to who answers by path alone, it is.
    Wanted,
    Learned(Box<Way>),
}

impl Way {
    /// Whether the same head would go the same way as this request has up to here.
    pub(crate) fn may_be_of(x: &Exchange<'_>) -> bool {
        // What was set aside for this request alone: nothing of it may be another one's.
        let alone = x.ticket.is_some()
            || x.user.is_some()
            || x.identity.is_some()
            || x.trace.is_some()
            || x.in_error_handler
            || x.authorized
            || x.method_original.is_some()
            || x.gathered.is_some()
            || x.server_name.is_some()
            || !x.set_cookies.is_empty()
            || !x.environment.is_empty()
            || !x.physical.path.is_empty();
        // A rewrite may make much of little.
        let is_short = x.target.text.len() <= HEAD_BYTES_MAX;
        // Each trace is one request's.
        let untraced = x.conf.mesh.traces.is_none();
        !alone && is_short && untraced && asks_nobody(&x.conf) && !x.path().starts_with(Proofs::HTTP_PATH)
    }

    /// The way that a request has gone up to here.
    pub(crate) fn of(x: &Exchange<'_>) -> Box<Self> {
        Box::new(Self {
            // From when the request began: nothing was looked at before.
            until: x.begun + KEPT_FOR,
            facts: x.facts,
            head: x.head.clone(),
            conf: x.conf.clone(),
            target_original: x.target_original.clone(),
            target: x.target.clone(),
            turned: x.turned,
            rewritten: x.rewritten,
            dressed: x.dressed,
            told: RefCell::default(),
        })
    }

    /// Brings a request whose head has the same bytes to where this way ends.
    pub(crate) fn lead(self: &Rc<Self>, x: &mut Exchange<'_>) {
        x.head.copy_from(&self.head);
        x.conf = self.conf.clone();
        x.target_original.clone_from(&self.target_original);
        x.target = self.target.clone();
        (x.turned, x.rewritten, x.dressed) = (self.turned, self.rewritten, self.dressed);
        (x.forwarded, x.stripped) = (true, true);
        x.arrived(self);
    }

    /// The way of a request that is passed on as the last one on it was, but for who asks.
    pub(crate) fn passed_on<'a>(x: &'a Exchange<'_>) -> Option<&'a Rc<Self>> {
        // A cache asks a backend whether what it holds is still so; the address that a client came in by is its connection's.
        x.way.as_ref().filter(|_| !x.conf.edge.cache && !x.conf.proxy.forwarded.by)
    }

    /// Copies the head that the mesh was told on behalf of this client; `false` if there is none.
    pub(crate) fn copy_head(&self, client: IpAddr, head: &mut RequestHead) -> bool {
        match &*self.told.borrow() {
            Some(Told { client: before, words: Words::Head(told), .. }) if *before == client => {
                head.copy_from(told);
                true
            }
            _ => false,
        }
    }

    /// Appends the bytes that a backend was told on behalf of this client; `false` if there are none.
    pub(crate) fn copy_bytes(&self, client: IpAddr, label: &Arc<str>, out: &mut Vec<u8>) -> bool {
        match &*self.told.borrow() {
            Some(Told { client: before, label: of, words: Words::Bytes(told) })
                if *before == client && Arc::ptr_eq(of, label) =>
            {
                out.extend_from_slice(told);
                true
            }
            _ => false,
        }
    }

    /// Remembers what the mesh was told.
    pub(crate) fn keep_head(&self, client: IpAddr, head: &RequestHead) {
        let words = Words::Head(head.clone());
        *self.told.borrow_mut() = Some(Told { client, label: Arc::from(""), words });
    }

    /// Remembers what a backend was told.
    pub(crate) fn keep_bytes(&self, client: IpAddr, label: &Arc<str>, bytes: &[u8]) {
        let words = Words::Bytes(bytes.into());
        *self.told.borrow_mut() = Some(Told { client, label: Arc::clone(label), words });
    }
}

/// Whether a request can be one whose way is remembered, by its head: nothing follows it, and nobody waits for a word in between.
pub(crate) fn may_come_again(head: &RequestHead, facts: &RequestFacts) -> bool {
    facts.framing == Framing::None
        && !facts.close
        && !facts.expects_continue
        && facts.upgrade == Upgrade::None
        && matches!(head.method(), "GET" | "HEAD")
}

/// Whether nothing that is configured looks, before the answer, at more than the head and its listener, counts requests, or
/// recognises somebody. Whatever is remembered of one request for another asks this: a rule about callers has to stand here.
pub(crate) fn asks_nobody(of: &Directives) -> bool {
    let (edge, forwarder) = (&of.edge, &of.extforward.forwarder);
    of.auth.require.is_empty()
        && forwarder.peers.is_empty()
        && forwarder.all.is_none()
        && asked_of_clients(of).is_none()
        && edge.per_client.is_none()
        && edge.allow.is_empty()
        && edge.deny.is_empty()
        && edge.sign_in.is_none()
        && edge.claims.is_empty()
        && edge.forward_auth.is_none()
        && edge.early_hints.is_empty()
}
