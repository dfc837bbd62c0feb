//! A client of HTTP/1.1, with and without TLS.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{HOST, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use rustls::ClientConfig;
use selvedge_guard::address::Why;
use selvedge_guard::reach::Refusal;

use crate::connection::{self, Sender};
use crate::guard::{Guard, Judge};
use crate::roots::{Roots, RootsInvalid};

/// The largest answer that is read, unless a caller wants less.
pub const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Connections that are kept for the next call, of one host.
pub const IDLE_PER_HOST_MAX: usize = 16;
/// Hosts of which connections are kept.
const HOSTS_MAX: usize = 256;
/// How long a connection is kept: less than servers commonly wait.
const IDLE_TIME_MAX: Duration = Duration::from_secs(4);

/// Whose choice an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trust {
    /// A stranger may have had a say in it: the guard decides.
    Guarded,
    /// The operator configured it.
    Operator,
}

/// A call.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// `POST`
    pub method: Method,
    /// `https://host[:port]/path?query`
    pub url: Uri,
    /// Without `Host`.
    pub headers: HeaderMap,
    /// All of it.
    pub body: Bytes,
    /// The longest wait for the whole answer.
    pub patience: Duration,
    /// The largest answer.
    pub answer_bytes_max: usize,
    /// Whose choice the URL is.
    pub trust: Trust,
    /// Whether the connection may be one of an earlier call, and is kept for the next. A kept one may have died unseen.
    pub keeps: bool,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// `200`
    pub status: StatusCode,
    /// As they came.
    pub headers: HeaderMap,
    /// All of it.
    pub body: Bytes,
}

/// Why there is no answer. No text holds anything of the request but its host.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing was called.
    #[error("it is no URL that can be called: {0}")]
    Url(String),
    /// Nothing was called.
    #[error("the call is not made: {0}")]
    Target(#[from] Refusal),
    /// Nothing was called.
    #[error("{host} is at {address}, which is not called: {why}")]
    Refused {
        /// As the URL has it.
        host: String,
        /// What it was resolved to.
        address: SocketAddr,
        /// The guard's reason.
        why: Why,
    },
    /// Nothing was called.
    #[error("the name {host} cannot be resolved: {source}")]
    Resolve {
        /// As the URL has it.
        host: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Nothing was called.
    #[error("{host} at {address} cannot be connected to: {source}")]
    Connect {
        /// As the URL has it.
        host: String,
        /// What it was resolved to.
        address: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Nothing was called.
    #[error("no TLS with {host}: {source}")]
    Tls {
        /// As the URL has it.
        host: String,
        /// The reason.
        source: std::io::Error,
    },
    /// Nothing was called.
    #[error("no TLS: {0}")]
    Roots(String),
    /// The call may have arrived.
    #[error("the exchange with {host} failed: {source}")]
    Exchange {
        /// As the URL has it.
        host: String,
        /// The reason.
        source: hyper::Error,
    },
    /// The call may have arrived.
    #[error("{host} did not answer within {} s", .patience.as_secs_f64())]
    Patience {
        /// As the URL has it.
        host: String,
        /// How long was waited.
        patience: Duration,
    },
    /// The call arrived.
    #[error("the answer of {host} is longer than {bytes_max} bytes")]
    TooLarge {
        /// As the URL has it.
        host: String,
        /// The bound.
        bytes_max: usize,
    },
}

/// Where a connection leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) is_tls: bool,
    pub(crate) trust: Trust,
}

/// The client; it keeps connections for the next call.
pub struct Client {
    judge: Box<dyn Judge>,
    tls: OnceLock<Result<Arc<ClientConfig>, RootsInvalid>>,
    idle: Mutex<HashMap<Place, Vec<(Sender, Instant)>>>,
}

impl Client {
    /// A client that asks `guard` about every address that the operator did not configure himself.
    pub fn new(guard: Guard) -> Self {
        Self { judge: Box::new(guard), tls: OnceLock::new(), idle: Mutex::default() }
    }

    /// A client that asks `judge`, and believes `roots`.
    pub(crate) fn with(judge: Box<dyn Judge>, roots: &Roots) -> Result<Self, RootsInvalid> {
        Ok(Self { judge, tls: OnceLock::from(Ok(roots.client()?)), idle: Mutex::default() })
    }

    /// Calls, and reads the whole answer. Redirects are answers like any other.
    ///
    /// # Errors
    /// When there is no whole answer in time.
    pub async fn send(&self, outgoing: Outgoing) -> Result<Answer, Error> {
        let place = Place::of(&outgoing)?;
        let (host, patience) = (place.host.clone(), outgoing.patience);
        match tokio::time::timeout(patience, self.exchange(place, outgoing)).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Patience { host, patience }),
        }
    }

    async fn exchange(&self, place: Place, outgoing: Outgoing) -> Result<Answer, Error> {
        let (bytes_max, keeps) = (outgoing.answer_bytes_max, outgoing.keeps);
        let request = request(outgoing)?;
        let kept = if keeps { self.kept(&place).await } else { None };
        let mut sender = match kept {
            Some(sender) => sender,
            None => {
                let tls = place.is_tls.then(|| self.tls()).transpose()?;
                connection::open(&place, &*self.judge, tls).await?
            }
        };
        let failed = |source| Error::Exchange { host: place.host.clone(), source };
        let response = sender.send_request(request).await.map_err(failed)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, bytes_max).collect().await.map_err(|error| {
            match error.downcast::<hyper::Error>() {
                Ok(source) => failed(*source),
                Err(other) => {
                    debug_assert!(
                        other.is::<LengthLimitError>(),
                        "a limited body fails by length or by its own"
                    );
                    Error::TooLarge { host: place.host.clone(), bytes_max }
                }
            }
        })?;
        let answer = Answer { status: head.status, headers: head.headers, body: body.to_bytes() };
        if keeps {
            self.keep(place, sender);
        }
        Ok(answer)
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, Error> {
        let made = self.tls.get_or_init(|| Roots::System.client());
        made.clone().map_err(|error| Error::Roots(error.to_string()))
    }

    /// A connection of an earlier call that is still open.
    async fn kept(&self, place: &Place) -> Option<Sender> {
        loop {
            let (mut sender, since) = {
                let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
                idle.get_mut(place)?.pop()?
            };
            if since.elapsed() < IDLE_TIME_MAX && sender.ready().await.is_ok() {
                return Some(sender);
            }
        }
    }

    fn keep(&self, place: Place, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() >= HOSTS_MAX && !idle.contains_key(&place) {
            idle.clear();
        }
        let senders = idle.entry(place).or_default();
        if senders.len() < IDLE_PER_HOST_MAX {
            senders.push((sender, Instant::now()));
        }
    }
}

impl Place {
    fn of(outgoing: &Outgoing) -> Result<Self, Error> {
        let url = &outgoing.url;
        let is_tls = match url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(Error::Url("it has to begin with https:// or http://".into())),
        };
        let authority = url.authority().ok_or_else(|| Error::Url("it has no host".into()))?;
        if authority.as_str().contains('@') {
            return Err(Error::Url("it must not hold a user".into()));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(Error::Url("it has no host".into()));
        }
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Ok(Self { host: host.to_ascii_lowercase(), port, is_tls, trust: outgoing.trust })
    }
}

fn request(outgoing: Outgoing) -> Result<Request<Full<Bytes>>, Error> {
    let target = outgoing.url.path_and_query().map_or("/", |target| target.as_str());
    let authority = outgoing.url.authority().map_or("", |authority| authority.as_str());
    let mut request = Request::builder()
        .method(outgoing.method)
        .uri(target)
        .body(Full::new(outgoing.body))
        .map_err(|error| Error::Url(error.to_string()))?;
    *request.headers_mut() = outgoing.headers;
    if !request.headers().contains_key(HOST) {
        let host = HeaderValue::try_from(authority).map_err(|error| Error::Url(error.to_string()))?;
        request.headers_mut().insert(HOST, host);
    }
    Ok(request)
}
