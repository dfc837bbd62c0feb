//! One call of a service: signed, sent, and read whole.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use selvedge_aws::remote::{Received, Remote};
use selvedge_aws::sigv4::{Scope, Unsigned, sign};
use selvedge_outbound::{ANSWER_BYTES_MAX, Client, Outgoing};
use serde_json::Value;

use super::{Account, Problem};

/// A call before it is signed.
pub(crate) struct Ask<'a> {
    pub(crate) remote: &'a Remote,
    /// `getObject`
    pub(crate) action: &'a str,
    pub(crate) parameters: &'a Value,
    /// What is sent instead of what the parameters make.
    pub(crate) body: Option<Bytes>,
    pub(crate) region: &'a str,
    /// When it is signed, in seconds since 1970.
    pub(crate) seconds: i64,
    pub(crate) patience: Duration,
}

/// What came back, whole.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn received(&self) -> Received<'_> {
        Received { status: self.status, headers: &self.headers, body: &self.body }
    }
}

impl Account {
    /// Signs and sends. An answer that is an error of the service is a reply as well.
    pub(crate) async fn send(&self, client: &Client, ask: Ask<'_>) -> Result<Reply, Problem> {
        let Ask { remote, action, parameters, body, region, seconds, patience } = ask;
        let prepared = remote.request(action, parameters).map_err(Problem::Unfit)?;
        let body = body.unwrap_or_else(|| prepared.body.into());
        let credentials = self.credentials().map_err(Problem::Client)?;
        let place = self.place(remote, region, prepared.bucket.as_deref()).map_err(Problem::Client)?;
        let path = format!("{}{}", place.base, prepared.path);
        let mut headers = vec![("host".to_owned(), place.authority.clone())];
        headers.extend(prepared.headers);
        let unsigned = Unsigned {
            method: prepared.method,
            path: &path,
            query: &prepared.query,
            headers: &headers,
            body: &body,
        };
        let added = sign(&unsigned, &credentials, &Scope { service: remote.signing, region, seconds });
        let mut map = HeaderMap::new();
        for (name, value) in headers.iter().chain(&added) {
            let name = HeaderName::try_from(name).map_err(|error| Problem::Client(error.to_string()))?;
            let mut value = HeaderValue::try_from(value)
                .map_err(|_| Problem::Client(format!("the header {name} cannot hold its value")))?;
            value.set_sensitive(name == "authorization" || name == "x-amz-security-token");
            map.insert(name, value);
        }
        let query = if prepared.query.is_empty() { String::new() } else { format!("?{}", prepared.query) };
        let url = format!("{}://{}{path}{query}", place.scheme, place.authority);
        let outgoing = Outgoing {
            method: Method::from_bytes(prepared.method.as_bytes()).unwrap_or(Method::POST),
            url: url.parse().map_err(|_| Problem::Client("the parameters make no URL".into()))?,
            headers: map,
            body,
            patience,
            answer_bytes_max: ANSWER_BYTES_MAX,
            trust: place.trust,
            keeps: true,
        };
        let answer = client.send(outgoing).await.map_err(|error| Problem::unreached(&error))?;
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = answer.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value)));
        Ok(Reply { status: answer.status.as_u16(), headers: headers.collect(), body: answer.body })
    }
}
