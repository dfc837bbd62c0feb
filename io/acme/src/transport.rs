//! The protocol's calls, made by our own client: what it may reach and whom it believes holds for authorities too.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use selvedge_guard::call::{Answer, Call};
use selvedge_outbound::Fetcher;

/// [`Fetcher`] as the protocol's library wants it. It remembers how long the authority's last answer asks to be left alone,
/// which the library does not tell of refusals.
#[derive(Clone)]
pub(crate) struct Transport {
    fetcher: Arc<Fetcher>,
    /// Seconds since 1970: what an authority's dates are counted from.
    now: u64,
    /// Locked for a copy.
    retry_after: Arc<Mutex<Option<Duration>>>,
}

impl Transport {
    /// For work that begins at `now`, in seconds since 1970.
    pub(crate) fn new(fetcher: Arc<Fetcher>, now: u64) -> Self {
        Self { fetcher, now, retry_after: Arc::default() }
    }

    /// How long the last answer asked to be left alone, if it was a refusal that said so.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        *self.retry_after.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpClient for Transport {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let transport = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let method = match head.method {
                Method::GET => "GET",
                Method::HEAD => "HEAD",
                _ => "POST",
            };
            let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
            let headers = head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value)));
            // The client says itself who it is.
            let headers = headers.filter(|(name, _)| name != "user-agent").collect();
            let body = body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
            let call = Call { method, url: head.uri.to_string(), headers, body };
            let answer = transport.fetcher.fetch(&call).await;
            let asked = answer.as_ref().ok().and_then(|answer| asked_for(answer, transport.now));
            *transport.retry_after.lock().unwrap_or_else(PoisonError::into_inner) = asked;
            let answer = answer.map_err(|error| Error::Other(Box::new(error)))?;
            Ok(BytesResponse::from(response(answer)?))
        })
    }
}

/// The `Retry-After` of a refusal (RFC 9110 §10.2.3): seconds, or a date.
fn asked_for(answer: &Answer, now: u64) -> Option<Duration> {
    if answer.status < 400 {
        return None;
    }
    let (_, value) = answer.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("retry-after"))?;
    let text = std::str::from_utf8(value).ok()?.trim();
    let seconds = text
        .parse()
        .ok()
        .or_else(|| selvedge_http::date::parse(text).map(|date| date.saturating_sub(now)))?;
    Some(Duration::from_secs(seconds))
}

fn response(answer: Answer) -> Result<Response<Full<Bytes>>, Error> {
    let mut response = Response::builder().status(answer.status).body(Full::new(Bytes::from(answer.body)))?;
    for (name, value) in answer.headers {
        let pair = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(&value));
        if let (Ok(name), Ok(value)) = pair {
            response.headers_mut().append(name, value);
        }
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_how_long_to_wait() {
        let answer = |status, value: &str| Answer {
            status,
            headers: vec![("Retry-After".into(), value.as_bytes().to_vec())],
            body: Vec::new(),
        };
        let asked =
            |status, value| asked_for(&answer(status, value), 1_000_000_000).map(|wait| wait.as_secs());
        assert_eq!(asked(429, "3600"), Some(3600));
        assert_eq!(asked(503, "Sun, 09 Sep 2001 01:47:40 GMT"), Some(60));
        assert_eq!(asked(503, "Sun, 09 Sep 2001 01:46:00 GMT"), Some(0), "a date that is over");
        assert_eq!(asked(200, "3600"), None, "no refusal");
        for value in ["", "soon", "-1"] {
            assert_eq!(asked(429, value), None, "{value:?}");
        }
    }
}
