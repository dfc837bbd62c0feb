//! One call and its answer.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use selvedge_guard::call::{Answer, Call};
use selvedge_guard::reach::{Reach, Refusal, Target};
use tokio::time::timeout;

use crate::connection;
use crate::{Roots, RootsInvalid};

/// The longest time that a call takes, unless told otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest body of an answer.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Headers of an answer.
const HEADERS_MAX: usize = 100;

/// Makes calls.
#[derive(Clone, Debug)]
pub struct Fetcher {
    reach: Reach,
    tls: Arc<ClientConfig>,
    timeout: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the call is not made: {0}")]
    Refused(#[from] Refusal),
    #[error("the call cannot be written as HTTP")]
    Call(#[from] http::Error),
    #[error("failed to find the address of {host:?}")]
    Resolve {
        host: String,
        #[source]
        source: io::Error,
    },
    #[error("{0:?} has no address")]
    NoAddress(String),
    #[error("failed to connect to {address}")]
    Connect {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("{0:?} cannot stand in a certificate")]
    Name(String),
    #[error("failed to speak TLS with {host:?}")]
    Tls {
        host: String,
        #[source]
        source: io::Error,
    },
    #[error("{host:?} did not answer as HTTP has it")]
    Exchange {
        host: String,
        #[source]
        source: hyper::Error,
    },
    #[error("the answer of {host:?} is longer than {ANSWER_BYTES_MAX} bytes")]
    TooLong { host: String },
    #[error("{host:?} did not answer within {within:?}")]
    Timeout { host: String, within: Duration },
}

impl Fetcher {
    /// Calls what is within reach, and believes the authorities of `roots`.
    ///
    /// # Errors
    /// When the authorities cannot be read.
    pub fn new(reach: Reach, roots: &Roots) -> Result<Self, RootsInvalid> {
        Ok(Self { reach, tls: roots.client()?, timeout: TIMEOUT })
    }

    /// With another time-out for a whole call.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Makes a call and reads its whole answer, whatever its status.
    ///
    /// # Errors
    /// When the call may not be made, or no whole answer came in time.
    pub async fn fetch(&self, call: &Call) -> Result<Answer, Error> {
        let target = Target::parse(&call.url)?;
        self.reach.check(&target)?;
        let late = |_| Error::Timeout { host: target.host.clone(), within: self.timeout };
        timeout(self.timeout, self.exchange(call, &target)).await.map_err(late)?
    }

    async fn exchange(&self, call: &Call, target: &Target) -> Result<Answer, Error> {
        let stream = connection::open(&self.reach, target, &self.tls).await?;
        let mut request = Request::builder()
            .method(call.method)
            .uri(&target.path)
            .header("host", &target.authority)
            .header("user-agent", concat!("selvedge/", env!("CARGO_PKG_VERSION")));
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(call.body.clone())))?;
        let failed = |source| Error::Exchange { host: target.host.clone(), source };
        let (mut sender, connection) = http1::Builder::new()
            .max_headers(HEADERS_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(failed)?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(failed)?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| {
                match error.downcast::<hyper::Error>() {
                    Ok(source) => failed(*source),
                    Err(other) => {
                        debug_assert!(
                            other.is::<LengthLimitError>(),
                            "by length, or by the body's own error"
                        );
                        Error::TooLong { host: target.host.clone() }
                    }
                }
            })?;
            let headers = head
                .headers
                .iter()
                .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
            let headers = headers.collect();
            Ok(Answer { status: head.status.as_u16(), headers, body: body.to_bytes().to_vec() })
        };
        // The connection lives as long as the exchange, in the same task: nothing is left behind by a time-out.
        let mut exchange = std::pin::pin!(exchange);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            biased;
            answer = &mut exchange => return answer,
            ended = &mut connection => ended.map_err(failed)?,
        }
        // It ended in order: what it read is there for the exchange to take.
        exchange.await
    }
}
