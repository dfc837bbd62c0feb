//! One request with everything that the steps find out about it.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use selvedge_guard::Identity;
use selvedge_http::fields::Fields;
use selvedge_http::head::{RequestHead, Version};
use selvedge_http::hop;
use selvedge_http::parse::{RequestFacts, Upgrade};
use selvedge_http::target::{self, Target};
use selvedge_site::{Directives, Headers, Program, Resolved};
use selvedge_wire::channel::Channel;
use selvedge_wire::deadline::Deadline;
use selvedge_wire::h1::Http1;
use selvedge_wire::tls;
use tokio::time::Instant;

use super::response::Response;
use super::{Case, Flow, Handled, body};
use crate::answer::workflow::Ticket;
use crate::clients::Guest;
use crate::pace::Pacer;
use crate::scoreboard::Slot;
use crate::site::Current;
use crate::trace::Trace;
use crate::way::{Learning, Way};
use crate::worker::Worker;

/// What holds for a request.
#[derive(Clone, Debug)]
pub(crate) struct Conf(pub(crate) Arc<Resolved>);

impl std::ops::Deref for Conf {
    type Target = Directives;

    fn deref(&self) -> &Directives {
        &self.0.directives
    }
}

/// A connection's two ends.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Who is at the other end; the source that a PROXY header names, where one is believed.
    pub(crate) remote: SocketAddr,
    pub(crate) local: SocketAddr,
    /// The listener, as conditions know it.
    pub(crate) socket: Arc<str>,
    pub(crate) tls: Option<Rc<tls::Facts>>,
    /// The client's place among its own connections; requests of our own have none.
    pub(crate) guest: Option<Guest>,
    /// How fast this connection is answered.
    pub(crate) pacer: Pacer,
    /// What the client speaks is HTTP/3; it arrives here as HTTP/2.
    pub(crate) http3: bool,
}

/// Who has shown that they are somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    /// `Basic`, `Digest`, …: `AUTH_TYPE`.
    pub(crate) method: &'static str,
}

/// Where a path leads in the file system.
#[derive(Clone, Debug, Default)]
pub(crate) struct Physical {
    /// The root that the path was joined to: beneath it everything is opened.
    pub(crate) root: String,
    /// `DOCUMENT_ROOT`: the root, or what an alias put in its place.
    pub(crate) base: String,
    /// The file or directory.
    pub(crate) path: String,
    /// What follows the file in the path: `PATH_INFO`.
    pub(crate) info: String,
    pub(crate) facts: Option<std::fs::Metadata>,
}

/// One request.
pub(crate) struct Exchange<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) peer: &'a Peer,
    pub(crate) channel: &'a mut Channel,
    pub(crate) deadline: &'a mut Deadline,
    pub(crate) head: &'a mut RequestHead,
    pub(crate) facts: RequestFacts,
    /// The configuration that the request began with.
    pub(crate) site: Current,
    /// What holds for it.
    pub(crate) conf: Conf,
    pub(crate) begun: Instant,
    pub(crate) begun_at: SystemTime,
    pub(crate) connection_requests: u32,
    /// Bytes that the connection had used, up to the request's first, and written before.
    pub(crate) bytes_before: (u64, u64),
    // normalise
    /// As it came: `REQUEST_URI`.
    pub(crate) target_original: String,
    pub(crate) target: Target,
    normalised: bool,
    /// It stands where it is answered: the same head has come here before.
    arrived: bool,
    /// The way that it was led by.
    pub(crate) way: Option<Rc<Way>>,
    pub(crate) learning: Learning,
    /// The request asks how an execution is, and is held to the rules of the one that started it.
    pub(crate) ticket: Option<Box<Ticket>>,
    /// The path is another than it was.
    pub(crate) turned: bool,
    // identify
    pub(crate) remote: IpAddr,
    pub(crate) remote_port: u16,
    pub(crate) https: bool,
    pub(crate) forwarded: bool,
    /// What holds for it was found already, and it has not become another since.
    pub(crate) settled: bool,
    pub(crate) user: Option<User>,
    /// Its nonce has been counted: it is not, a second time, where the rules are gone through again.
    pub(crate) nonce_taken: bool,
    /// The limits of clients that it has been counted under, a bit for each (`CLIENT_RATES_MAX`).
    pub(crate) counted: u64,
    /// Who it is, beyond a name.
    pub(crate) identity: Option<Identity>,
    /// Its place in its trace, where there are traces.
    pub(crate) trace: Option<Trace>,
    /// What only we may say has been taken off.
    pub(crate) stripped: bool,
    /// Cookies that the browser is told to keep, whatever the answer is.
    pub(crate) set_cookies: Vec<String>,
    /// Links have been sent ahead.
    pub(crate) hinted: bool,
    // reshape
    pub(crate) rewritten: bool,
    pub(crate) rewritten_for_file: bool,
    pub(crate) dressed: bool,
    /// An authorizer has been asked and said yes.
    pub(crate) authorized: bool,
    pub(crate) in_error_handler: bool,
    pub(crate) method_original: Option<String>,
    /// Variables for programs, besides those that every request has.
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) server_name: Option<String>,
    pub(crate) physical: Physical,
    pub(crate) gathered: Option<body::Gathered>,
    // record
    /// Where it is noted how it goes; requests of our own have none.
    pub(crate) slot: Option<Rc<Slot>>,
    pub(crate) status: u16,
    pub(crate) sent: u64,
    pub(crate) response_fields: Fields,
    pub(crate) keep: bool,
}

impl<'a> Exchange<'a> {
    pub(crate) fn new(
        worker: &'a Rc<Worker>,
        peer: &'a Peer,
        channel: &'a mut Channel,
        deadline: &'a mut Deadline,
        head: &'a mut RequestHead,
        facts: RequestFacts,
        site: Current,
    ) -> Self {
        Self {
            worker,
            peer,
            channel,
            deadline,
            head,
            facts,
            conf: Conf(Arc::clone(site.program.base())),
            site,
            begun: Instant::now(),
            begun_at: SystemTime::now(),
            connection_requests: 1,
            bytes_before: (0, 0),
            target_original: String::new(),
            target: Target::default(),
            normalised: false,
            arrived: false,
            way: None,
            learning: Learning::Nothing,
            ticket: None,
            turned: false,
            remote: peer.remote.ip().to_canonical(),
            remote_port: peer.remote.port(),
            https: peer.tls.is_some(),
            forwarded: false,
            settled: false,
            user: None,
            nonce_taken: false,
            counted: 0,
            identity: None,
            trace: None,
            stripped: false,
            set_cookies: Vec::new(),
            hinted: false,
            rewritten: false,
            rewritten_for_file: false,
            dressed: false,
            authorized: false,
            in_error_handler: false,
            method_original: None,
            environment: Vec::new(),
            server_name: None,
            physical: Physical::default(),
            gathered: None,
            slot: None,
            status: 0,
            sent: 0,
            response_fields: Fields::default(),
            keep: true,
        }
    }

    /// Bytes of the request that have come: its head, and what was wanted of its body. Of HTTP/2 they are counted before their
    /// compression and without their frames.
    pub(crate) fn received(&self) -> u64 {
        match &*self.channel {
            Channel::Http1(http) => used(http).saturating_sub(self.bytes_before.0),
            Channel::Http2(stream) => self.head.list_bytes as u64 + stream.received(),
            Channel::Inner(_) | Channel::Over => 0,
        }
    }

    /// How names of files are compared.
    pub(crate) fn case(&self) -> Case {
        Case { lower: self.conf.server.force_lowercase_filenames == Some(true) }
    }

    /// So many more bytes of the answer have left.
    pub(crate) fn count_sent(&mut self, bytes: u64) {
        self.sent += bytes;
        if let Some(slot) = &self.slot {
            slot.sent(self.sent);
        }
    }

    /// Whether the request wishes its stream to become a WebSocket (RFC 8441). It is told here as HTTP/1 has it, by GET and `Upgrade`.
    pub(crate) fn is_on_stream(&self) -> bool {
        self.facts.upgrade == Upgrade::WebSocket && self.head.version == Version::Http2
    }

    pub(crate) fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// The authority in lower case; empty if the request named none.
    pub(crate) fn host(&self) -> Cow<'_, str> {
        let authority = self.head.authority().unwrap_or_default();
        match authority.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(authority.to_ascii_lowercase()),
            false => Cow::Borrowed(authority),
        }
    }

    /// The path that is matched and opened.
    pub(crate) fn path(&self) -> &str {
        &self.target.path
    }

    /// What the client speaks, as logs and programs call it.
    pub(crate) fn protocol(&self) -> &'static str {
        match self.head.version {
            Version::Http2 if self.peer.http3 => "HTTP/3.0",
            Version::Http2 => "HTTP/2.0",
            one => one.as_str(),
        }
    }

    /// Brings the target into its one form, the first time.
    pub(super) fn normalise(&mut self) -> Flow {
        if self.normalised {
            return ControlFlow::Continue(());
        }
        self.normalised = true;
        // Before anything of ours is set: a client that names it in `Connection` would have it taken off again.
        hop::strip_named(&mut self.head.fields);
        self.target_original = self.head.path().to_owned();
        if self.head.method() == "CONNECT" {
            return ControlFlow::Continue(());
        }
        match target::normalize(self.head.path(), self.site.target) {
            Ok(target) => self.target = target,
            Err(_) => return ControlFlow::Break(Response::status(400).closing()),
        }
        ControlFlow::Continue(())
    }

    /// It has been led to where it is answered.
    pub(crate) fn arrived(&mut self, by: &Rc<Way>) {
        (self.normalised, self.arrived) = (true, true);
        self.way = Some(Rc::clone(by));
    }

    /// Whether it was, the first time.
    pub(super) fn take_arrived(&mut self) -> bool {
        std::mem::take(&mut self.arrived)
    }

    /// Remembers the way that it has come, where that is wanted.
    pub(super) fn learn(&mut self) {
        self.learning = match std::mem::take(&mut self.learning) {
            Learning::Possible if Way::may_be_of(self) => Learning::Possible,
            Learning::Wanted if Way::may_be_of(self) => Learning::Learned(Way::of(self)),
            learned @ Learning::Learned(_) => learned,
            _ => Learning::Nothing,
        };
    }

    /// Finds what is configured for the request as it is known by now.
    pub(crate) fn resolve(&mut self) -> Flow {
        if self.turned && !self.site.program.judges_again() {
            return ControlFlow::Continue(());
        }
        let resolved = self.with_facts(|_, facts| self.worker.resolve(&self.site, facts));
        match resolved {
            Ok(conf) => {
                self.conf = Conf(conf);
                ControlFlow::Continue(())
            }
            // The pattern is ours, the text that it takes too long on is the client's.
            Err(error) => {
                tracing::warn!(%error, path = self.path(), "a condition cannot be judged");
                ControlFlow::Break(Response::status(500))
            }
        }
    }

    /// Calls with what the request is known by.
    pub(crate) fn with_facts<T>(
        &self,
        call: impl FnOnce(&Program, &selvedge_site::RequestFacts<'_>) -> T,
    ) -> T {
        let host = self.host();
        let headers = FieldsAsHeaders(&self.head.fields);
        // To lighttpd a wish for a WebSocket on a stream is a CONNECT; a route of our own form need not know of two ways.
        let as_it_came = self.is_on_stream() && self.site.program.judges_again();
        let method = if as_it_came { "CONNECT" } else { self.head.method() };
        let facts = selvedge_site::RequestFacts {
            socket: Some(&self.peer.socket),
            remote: Some(self.remote),
            scheme: Some(self.scheme()),
            host: Some(&host),
            method: Some(self.ticket.as_ref().map_or(method, |ticket| &ticket.method)),
            path: Some(self.ticket.as_ref().map_or_else(|| self.path(), |ticket| &ticket.path)),
            query: Some(self.target.query()),
            headers: Some(&headers),
        };
        call(&self.site.program, &facts)
    }

    /// Puts another target in the place of this one; conditions are judged again.
    pub(crate) fn turn_to(&mut self, target: &str) {
        self.way = None;
        match target::normalize(target, self.site.target) {
            Ok(target) => self.target = target,
            Err(_) => self.target = Target { path: "/".to_owned(), text: "/".to_owned(), query_at: None },
        }
        self.physical = Physical::default();
        self.turned = true;
    }

    /// A script of the same server answers another request instead: what came as body is not its.
    pub(crate) fn turn_after_script(&mut self) {
        self.gathered = Some(body::Gathered::Memory(Vec::new()));
        self.set_method("GET");
    }

    pub(super) fn begin_error_handler(&mut self, target: &str, status: u16, of: Handled) {
        self.in_error_handler = true;
        if of == Handled::Any {
            self.set_method("GET");
            // What came as body is not the handler's.
            self.gathered = Some(body::Gathered::Memory(Vec::new()));
        }
        self.environment.push(("REDIRECT_STATUS".to_owned(), status.to_string()));
        self.turn_to(target);
    }

    fn set_method(&mut self, method: &str) {
        if self.method_original.is_none() {
            self.method_original = Some(self.head.method().to_owned());
        }
        // What the client does not want to see it does not get.
        if self.head.method() != "HEAD" {
            self.head.set_method(method);
        }
    }

    /// Who asks, in one text by which callers can be told apart, whoever vouches for them.
    pub(crate) fn caller(&self) -> Option<String> {
        let known = self.identity.as_ref().map(Identity::name);
        known.or_else(|| self.user.as_ref().map(|user| user.name.clone()))
    }

    /// Whether the answer may be meant for one caller: somebody was recognised, or somebody else vouched for the request.
    pub(crate) fn is_somebodys(&self) -> bool {
        self.identity.is_some()
            || self.user.is_some()
            || self.authorized
            || self.conf.edge.forward_auth.is_some()
    }

    /// A field of the request as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.fields.named(name).and_then(|value| std::str::from_utf8(value).ok())
    }
}

/// Bytes that have come on a connection and are used.
pub(crate) fn used(http: &Http1) -> u64 {
    http.io.bytes_read.saturating_sub(http.io.unread().len() as u64)
}

/// A request's fields as conditions look at them.
pub(crate) struct FieldsAsHeaders<'a>(pub(crate) &'a Fields);

impl Headers for FieldsAsHeaders<'_> {
    fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        let name = name.to_ascii_lowercase();
        let mut values = self.0.iter().filter(|(found, _)| *found == name).map(|(_, value)| value);
        let first = String::from_utf8_lossy(values.next()?);
        // Cookies are a list of their own kind (RFC 9113 §8.2.3).
        let between = if name == "cookie" { "; " } else { ", " };
        Some(values.fold(first, |joined, value| {
            Cow::Owned(format!("{joined}{between}{}", String::from_utf8_lossy(value)))
        }))
    }
}
