//! The protocol's calls, made by our own client: what it may reach and whom it believes holds for authorities too.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use selvedge_guard::call::{Answer, Call};
use selvedge_outbound::Fetcher;

/// [`Fetcher`] as the protocol's library wants it.
#[derive(Clone)]
pub(crate) struct Transport(pub(crate) Arc<Fetcher>);

impl HttpClient for Transport {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let fetcher = Arc::clone(&self.0);
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
            let answer = fetcher.fetch(&call).await.map_err(|error| Error::Other(Box::new(error)))?;
            Ok(BytesResponse::from(response(answer)?))
        })
    }
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
