//! One call and its answer, on an edge's own behalf.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use selvedge_guard::call::{Answer, Call};
use selvedge_guard::reach::{Reach, Target};

use crate::client::{Client, Error, Outgoing, Trust};
use crate::roots::{Roots, RootsInvalid};

/// The longest time that a call takes, unless told otherwise.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest body of an answer.
pub const FETCH_BYTES_MAX: usize = 1024 * 1024;

/// Makes calls that are few and far between: each has a connection of its own.
#[derive(Clone)]
pub struct Fetcher {
    reach: Reach,
    client: Arc<Client>,
    timeout: Duration,
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher")
            .field("reach", &self.reach)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Fetcher {
    /// Calls what is within reach, and believes the authorities of `roots`.
    ///
    /// # Errors
    /// When the authorities cannot be read.
    pub fn new(reach: Reach, roots: &Roots) -> Result<Self, RootsInvalid> {
        let client = Arc::new(Client::with(Box::new(reach.clone()), roots)?);
        Ok(Self { reach, client, timeout: FETCH_TIMEOUT })
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
        let answer = self.client.send(self.outgoing(call)?).await?;
        let headers = answer.headers.iter();
        let headers = headers.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
        Ok(Answer { status: answer.status.as_u16(), headers: headers.collect(), body: answer.body.to_vec() })
    }

    fn outgoing(&self, call: &Call) -> Result<Outgoing, Error> {
        let invalid = |what: &str| Error::Url(format!("{what} cannot be written as HTTP"));
        let mut headers = HeaderMap::with_capacity(call.headers.len() + 1);
        let agent = concat!("selvedge/", env!("CARGO_PKG_VERSION"));
        headers.insert(http::header::USER_AGENT, HeaderValue::from_static(agent));
        for (name, value) in &call.headers {
            let parsed = (HeaderName::try_from(name), HeaderValue::try_from(value));
            let (Ok(name), Ok(value)) = parsed else { return Err(invalid(name)) };
            headers.append(name, value);
        }
        Ok(Outgoing {
            method: Method::try_from(call.method).map_err(|_| invalid("the method"))?,
            url: Uri::try_from(&call.url).map_err(|_| invalid("the URL"))?,
            headers,
            body: Bytes::copy_from_slice(&call.body),
            patience: self.timeout,
            answer_bytes_max: FETCH_BYTES_MAX,
            trust: Trust::Guarded,
            keeps: false,
        })
    }
}
