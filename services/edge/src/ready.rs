//! Files that were asked for a moment ago, ready to be sent again: what holds for them, their head, their content.
//!
//! What is kept here is the whole answer to a request that its listener, scheme, host, target and `Accept-Encoding` settle: who
//! asks for the same within [`KEPT_FOR`] is answered without a look at the configuration or the disk. After that the request
//! goes the whole way again – it is resolved, the file is opened beneath its root by the policy on links, looked at, and its
//! content read – so that a change shows within a second, as it does at lighttpd, whose `server.stat-cache-engine` is heeded:
//! `disable` keeps nothing.
//!
//! Why the whole answer, and what it gains: `docs/design/052-files-kept-ready.md`.
//!
//! What depends on more than that is never kept: on who asks, on a rate, on another header, on a program behind us.

mod form;

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use selvedge_acme::Proofs;
use selvedge_http::fields::Fields;
use selvedge_http::framing::Framing;
use selvedge_http::head::{RequestHead, ResponseHead, Version};
use selvedge_http::known::HeaderId;
use selvedge_http::parse::RequestFacts;
use selvedge_http::target::Target;
use selvedge_site::directive::{ExpireBase, HostMode};
use selvedge_site::{Directives, Program};
use tokio::time::Instant;

use crate::request::exchange::Conf;
use crate::request::response::{FileBody, Piece};
use crate::request::{Body, Exchange, Peer, Response};
use crate::site::Site;
use crate::verbatim::Verbatim;
use crate::way::{self, Way};
use form::Form;

/// For so long a file is not looked at again.
pub(crate) const KEPT_FOR: Duration = Duration::from_secs(1);
/// Answers that one worker keeps; it starts anew beyond.
pub(crate) const KEPT_MAX: usize = 512;
/// The longest content that is kept in memory; of a longer file its descriptor is.
pub(crate) const CONTENT_BYTES_MAX: usize = 64 * 1024;
/// Content that one worker keeps in memory; it starts anew beyond.
pub(crate) const CONTENTS_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The longest host, target and `Accept-Encoding` of what is kept.
const KEY_BYTES_MAX: usize = 1024;

/// An answer that is kept.
pub(crate) struct Ready {
    until: Instant,
    /// What holds for the request.
    pub(crate) conf: Conf,
    pub(crate) target: Target,
    /// The file.
    pub(crate) path: String,
    pub(crate) server_name: Option<String>,
    /// All fields but `Date` and `Connection`.
    pub(crate) fields: Fields,
    /// The answer as bytes.
    pub(crate) form: Form,
    pub(crate) content: Content,
    /// Neither a log, a trace nor a rate is about it: to send it is all that there is to do.
    pub(crate) alone: bool,
}

/// The content of a file, or of what was made of it.
pub(crate) enum Content {
    Memory(Bytes),
    File { file: Rc<File>, len: usize },
}

/// What the bytes of a head have led to.
#[derive(Clone)]
pub(crate) enum Led {
    /// An answer that is ready.
    Ready(Rc<Ready>),
    /// The place where it is answered.
    Way(Rc<Way>),
}

impl Led {
    fn until(&self) -> Instant {
        match self {
            Self::Ready(ready) => ready.until,
            Self::Way(way) => way.until,
        }
    }
}

/// One worker's answers.
#[derive(Default)]
pub(crate) struct Shelf {
    /// What they were made by.
    program: Option<Arc<Program>>,
    known: HashMap<Box<[u8]>, Rc<Ready>>,
    verbatim: Verbatim<Led>,
    content_bytes: usize,
    /// Where a key is put together.
    key: Vec<u8>,
}

/// Whether answers under a configuration may be kept at all.
pub(crate) fn may_keep(program: &Program) -> bool {
    program.is_settled_by_target() && program.global().stat_cache_engine.as_deref() != Some("disable")
}

impl Content {
    pub(crate) fn length(&self) -> usize {
        match self {
            Self::Memory(bytes) => bytes.len(),
            Self::File { len, .. } => *len,
        }
    }

    pub(crate) fn framing(&self) -> Framing {
        match self.length() {
            0 => Framing::None,
            length => Framing::Length(length as u64),
        }
    }
}

impl Ready {
    /// Keeps a whole file, dressed for sending, if what was asked for settles the answer; its content is read here if it is
    /// short, and the response carries it then.
    pub(crate) fn new(x: &Exchange<'_>, response: &mut Response) -> Option<Self> {
        let kept = response.is_file
            && response.head.status == 200
            && !response.close
            && !x.in_error_handler
            && !x.path().starts_with(Proofs::HTTP_PATH)
            && is_settled(&x.conf);
        let fields = &response.head.fields;
        if !kept || fields.contains(HeaderId::Date) || fields.contains(HeaderId::Connection) {
            return None;
        }
        let content = match &response.body {
            Body::Bytes(bytes) if bytes.len() <= CONTENT_BYTES_MAX => Content::Memory(bytes.clone()),
            Body::File(body) => content(body)?,
            _ => return None,
        };
        if let Content::Memory(bytes) = &content {
            response.body = Body::Bytes(bytes.clone());
        }
        let mut head = ResponseHead { status: 200, version: Version::Http11, ..ResponseHead::default() };
        head.fields.clone_from(fields);
        head.fields.remove(HeaderId::TransferEncoding);
        let length = itoa::Buffer::new().format(content.length()).to_owned();
        head.fields.set_id(HeaderId::ContentLength, length.as_bytes());
        let own_tag = x.conf.server.tag.as_deref().filter(|tag| !tag.is_empty());
        let tag = own_tag.filter(|_| !head.fields.contains(HeaderId::Server));
        let form = Form::new(&head, tag, &content);
        if let Some(tag) = tag {
            head.fields.append_id(HeaderId::Server, tag.as_bytes());
        }
        let (server, edge) = (&x.conf.server, &x.conf.edge);
        let paced = server.kbytes_per_second.is_some()
            || server.connection_kbytes_per_second > 0
            || edge.bandwidth > 0
            || edge.client_kbytes_per_second > 0;
        Some(Self {
            alone: x.conf.accesslog.filename.is_none() && x.conf.mesh.traces.is_none() && !paced,
            // From when the request began: nothing of the file was looked at before.
            until: x.begun + KEPT_FOR,
            conf: x.conf.clone(),
            target: x.target.clone(),
            path: x.physical.path.clone(),
            server_name: x.server_name.clone(),
            fields: head.fields,
            form,
            content,
        })
    }
}

/// The content of a short file; the descriptor of a long one.
fn content(body: &FileBody) -> Option<Content> {
    let Some(Piece::Range { offset: 0, len }) = body.pieces.front().filter(|_| body.pieces.len() == 1) else {
        return None;
    };
    let len = usize::try_from(*len).ok()?;
    if len > CONTENT_BYTES_MAX {
        return Some(Content::File { file: Rc::clone(&body.file), len });
    }
    let mut bytes = vec![0; len];
    // A file that has become shorter meanwhile is not kept.
    body.file.read_exact_at(&mut bytes, 0).ok()?;
    Some(Content::Memory(bytes.into()))
}

// === impl Shelf ===

impl Shelf {
    /// The answer to a request, if it is kept.
    pub(crate) fn find(
        &mut self,
        site: &Site,
        peer: &Peer,
        head: &RequestHead,
        facts: &RequestFacts,
        now: Instant,
    ) -> Option<Rc<Ready>> {
        if !site.keeps_files
            || self.known.is_empty()
            || !self.is_of(&site.program)
            || !self.write_key(peer, head, facts)
        {
            return None;
        }
        self.known.get(&*self.key).filter(|ready| ready.until > now).map(Rc::clone)
    }

    /// What the head that `bytes` begin with has led to a moment ago, and how long it is; `guess` as in [`Verbatim::find`].
    pub(crate) fn find_verbatim(
        &self,
        site: &Site,
        peer: &Peer,
        bytes: &[u8],
        guess: &mut u16,
        now: Instant,
    ) -> Option<(Led, usize)> {
        if !self.is_of(&site.program) {
            return None;
        }
        let (led, len) = self.verbatim.find(peer, bytes, guess).filter(|(led, _)| led.until() > now)?;
        Some((led.clone(), len))
    }

    /// Remembers that the bytes of a head led to an answer that [`Shelf::find`] has found, and let the connection go on.
    pub(crate) fn keep_verbatim(&mut self, peer: &Peer, head: &[u8], ready: &Rc<Ready>) {
        self.verbatim.keep(peer, head, Led::Ready(Rc::clone(ready)));
    }

    /// Whether the bytes of a head are worth the room of a way: they have come before. What is asked for once is not kept.
    pub(crate) fn has_seen(&mut self, head: &[u8]) -> bool {
        self.verbatim.has_seen(head)
    }

    /// Remembers which way the bytes of a head have gone.
    pub(crate) fn keep_way(&mut self, program: &Arc<Program>, peer: &Peer, head: &[u8], way: Box<Way>) {
        self.belong_to(program);
        self.verbatim.keep(peer, head, Led::Way(Rc::from(way)));
    }

    /// Keeps an answer to the request, if such are kept.
    pub(crate) fn keep(&mut self, x: &Exchange<'_>, response: &mut Response) {
        // What was rewritten, or put in other words, has still been asked for by the words of the head.
        if !self.write_key(x.peer, x.head, &x.facts) {
            return;
        }
        let Some(ready) = Ready::new(x, response) else { return };
        self.belong_to(&x.site.program);
        let bytes = in_memory(&ready);
        if self.known.len() >= KEPT_MAX || self.content_bytes + bytes > CONTENTS_BYTES_MAX {
            self.clear();
        }
        self.content_bytes += bytes;
        if let Some(before) = self.known.insert(self.key.as_slice().into(), Rc::new(ready)) {
            self.content_bytes -= in_memory(&before);
        }
    }

    /// Lets go of what is too old.
    pub(crate) fn tidy(&mut self, now: Instant) {
        let remembers = self.verbatim.retain(|led| led.until() > now);
        let content_bytes = &mut self.content_bytes;
        self.known.retain(|_, ready| {
            let stays = ready.until > now;
            if !stays {
                *content_bytes -= in_memory(ready);
            }
            stays
        });
        if self.known.is_empty() && !remembers {
            // Nothing is held of a configuration that has gone.
            *self = Self::default();
        }
    }

    /// Forgets what was found under another configuration.
    fn belong_to(&mut self, program: &Arc<Program>) {
        if !self.is_of(program) {
            self.clear();
            self.program = Some(Arc::clone(program));
        }
    }

    fn is_of(&self, program: &Arc<Program>) -> bool {
        self.program.as_ref().is_some_and(|own| Arc::ptr_eq(own, program))
    }

    fn clear(&mut self) {
        self.known.clear();
        self.verbatim.clear();
        self.content_bytes = 0;
    }

    /// Puts the key of a request together; `false` if its answer depends on more than the key holds.
    fn write_key(&mut self, peer: &Peer, head: &RequestHead, facts: &RequestFacts) -> bool {
        let version = match head.version {
            Version::Http11 => 1,
            Version::Http2 if peer.http3 => 3,
            Version::Http2 => 2,
            Version::Http10 => return false,
        };
        if head.method() != "GET"
            || facts.framing != Framing::None
            || facts.expects_continue
            || facts.upgrade.is_tunnel()
        {
            return false;
        }
        let mut encodings: &[u8] = b"";
        for (id, name, value) in head.fields.iter_ids() {
            match id {
                HeaderId::Other => match name {
                    b"range"
                    | b"if-range"
                    | b"if-match"
                    | b"if-none-match"
                    | b"if-modified-since"
                    | b"if-unmodified-since" => return false,
                    b"accept-encoding" if encodings.is_empty() => encodings = value,
                    b"accept-encoding" => return false,
                    _ => {}
                },
                HeaderId::Upgrade | HeaderId::ContentType | HeaderId::ContentLength | HeaderId::Expect => {
                    return false;
                }
                _ => {}
            }
        }
        let (authority, path) = (head.authority_bytes().unwrap_or_default(), head.path_bytes());
        if authority.len() + path.len() + encodings.len() > KEY_BYTES_MAX {
            return false;
        }
        self.key.clear();
        self.key.extend_from_slice(&[version, u8::from(peer.tls.is_some())]);
        for part in [peer.socket.as_bytes(), authority, encodings, path] {
            // No part holds a control character: a host and a target with one are no host and no target.
            self.key.extend_from_slice(part);
            self.key.push(b'\n');
        }
        true
    }
}

fn in_memory(ready: &Ready) -> usize {
    match &ready.content {
        Content::Memory(bytes) => bytes.len() + ready.form.joined_bytes(),
        Content::File { .. } => 0,
    }
}

/// Whether nothing that is configured looks at more of a request than its listener, scheme, host, target and
/// `Accept-Encoding`, or changes from one moment to the next.
fn is_settled(of: &Directives) -> bool {
    let (edge, setenv) = (&of.edge, &of.setenv);
    let asks_authorizer = of
        .fastcgi
        .server
        .extensions
        .iter()
        .flat_map(|extension| extension.hosts.iter())
        .any(|host| host.mode == HostMode::Authorizer);
    let mut expiries = of.expire.url.iter().chain(of.expire.mimetypes.iter());
    way::asks_nobody(of)
        && of.server.protocol_http11
        && setenv.add_request_header.is_empty()
        && setenv.set_request_header.is_empty()
        && setenv.add_environment.is_empty()
        && setenv.set_environment.is_empty()
        && !asks_authorizer
        && expiries.all(|(_, expire)| expire.base == ExpireBase::Access)
        && of.mesh.service.is_none()
        && of.mesh.workflow.is_none()
        && !edge.cache
        && !edge.redirect_https
}
