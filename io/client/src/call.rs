//! Calling an operation.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response};
use selvedge_aws::{Operation, Service};
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use crate::connection::{CONNECT_TIMEOUT, Connection, READ_TIMEOUT, Timeouts};
use crate::endpoint::Endpoint;
use crate::error::{Error, ServiceError};
use crate::request;

/// A client of one endpoint. Calls on one client wait for one another.
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    timeouts: Timeouts,
    region: Option<String>,
    /// Held across an exchange: HTTP/1.1 answers one request at a time.
    connection: Mutex<Connection>,
}

impl Client {
    /// A client that connects on its first call.
    pub fn new(endpoint: Endpoint) -> Self {
        let timeouts = Timeouts { connect: CONNECT_TIMEOUT, read: READ_TIMEOUT };
        Self { endpoint, timeouts, region: None, connection: Mutex::default() }
    }

    /// The same client with other limits to its patience.
    #[must_use]
    pub fn with_timeouts(mut self, connect: Duration, read: Duration) -> Self {
        self.timeouts = Timeouts { connect, read };
        self
    }

    /// The same client, naming a region with each call: the one that ARNs of what it creates carry.
    #[must_use]
    pub fn with_region(mut self, region: Option<String>) -> Self {
        self.region = region;
        self
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Calls an operation and answers its output, wrapped as SDKs wrap it: `{"mesh": {…}}`.
    ///
    /// # Errors
    /// [`Error::Service`] when the server refused; another variant when no answer could be had.
    pub async fn call(&self, operation: &Operation, input: &Map<String, Value>) -> Result<Value, Error> {
        let request = request::encode(&self.endpoint, operation, input, self.region.as_deref())?;
        let response = self.exchange(request).await?;
        let body = self.read(response, operation.name)?;
        Ok(match (operation.payload, body) {
            (Some(member), body) => Value::Object(Map::from_iter([(member.to_owned(), body)])),
            (None, Value::Null) => Value::Object(Map::new()),
            (None, body) => body,
        })
    }

    /// Calls an operation of a service that speaks awsJson.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn call_json(
        &self,
        service: &Service,
        operation: &Operation,
        input: &Value,
    ) -> Result<Value, Error> {
        let request = request::aws_json(&self.endpoint, service, operation, input);
        let response = self.exchange(request).await?;
        self.read(response, operation.name)
    }

    /// Asks for a document of our own, outside the AWS services: `/selvedge/v1/…`.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn get(&self, path_and_query: &str) -> Result<Value, Error> {
        let request = request::plain(&self.endpoint, Method::GET, path_and_query, Bytes::new());
        let response = self.exchange(request).await?;
        self.read(response, path_and_query)
    }

    /// Sends a document of our own and answers what comes back.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn post(&self, path_and_query: &str, document: &Value) -> Result<Value, Error> {
        let request =
            request::plain(&self.endpoint, Method::POST, path_and_query, document.to_string().into());
        let response = self.exchange(request).await?;
        self.read(response, path_and_query)
    }

    /// Puts a document of our own.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn put(&self, path_and_query: &str, document: &Value) -> Result<Value, Error> {
        let request =
            request::plain(&self.endpoint, Method::PUT, path_and_query, document.to_string().into());
        let response = self.exchange(request).await?;
        self.read(response, path_and_query)
    }

    /// Deletes a document of our own; it as it was.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn delete(&self, path_and_query: &str) -> Result<Value, Error> {
        let request = request::plain(&self.endpoint, Method::DELETE, path_and_query, Bytes::new());
        let response = self.exchange(request).await?;
        self.read(response, path_and_query)
    }

    /// Deletes what a document of our own names.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn delete_named(&self, path_and_query: &str, document: &Value) -> Result<Value, Error> {
        let request =
            request::plain(&self.endpoint, Method::DELETE, path_and_query, document.to_string().into());
        let response = self.exchange(request).await?;
        self.read(response, path_and_query)
    }

    /// Asks for a text, such as a proxy's admin endpoint answers with, and gives it back with the status, whatever that is.
    ///
    /// # Errors
    /// When no answer could be had.
    pub async fn text(&self, method: Method, path_and_query: &str) -> Result<(u16, String), Error> {
        let request = request::plain(&self.endpoint, method, path_and_query, Bytes::new());
        let response = self.exchange(request).await?;
        Ok((response.status().as_u16(), String::from_utf8_lossy(response.body()).into_owned()))
    }

    async fn exchange(
        &self,
        request: http::Request<http_body_util::Full<Bytes>>,
    ) -> Result<Response<Bytes>, Error> {
        let (method, target) = (request.method().clone(), request.uri().clone());
        tracing::debug!(%method, %target, endpoint = %self.endpoint, "calling");
        let answer = self.connection.lock().await.exchange(&self.endpoint, request, self.timeouts).await;
        if let Ok(response) = &answer {
            let body = String::from_utf8_lossy(response.body());
            tracing::debug!(status = response.status().as_u16(), %body, "answered");
        }
        answer
    }

    fn read(&self, response: Response<Bytes>, operation: &str) -> Result<Value, Error> {
        let status = response.status().as_u16();
        let body = if response.body().is_empty() {
            Ok(Value::Null)
        } else {
            serde_json::from_slice(response.body())
        };
        if !response.status().is_success() {
            return Err(service_error(&response, body.unwrap_or(Value::Null), operation).into());
        }
        body.map_err(|source| Error::NotJson { endpoint: self.endpoint.clone(), status, source })
    }
}

/// Reads the exception from the header or the body, as AWS's SDKs do: what precedes a `:` or follows a `#` is its name.
fn service_error(response: &Response<Bytes>, body: Value, operation: &str) -> ServiceError {
    let status = response.status().as_u16();
    let header = response.headers().get("x-amzn-errortype").and_then(|value| value.to_str().ok());
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let code = header.or_else(|| text("__type")).or_else(|| text("code")).unwrap_or_default();
    let code = code.split(':').next().unwrap_or_default();
    let code = code.rsplit('#').next().unwrap_or_default();
    let message = text("message").or_else(|| text("Message")).map_or_else(
        || String::from_utf8_lossy(response.body()).chars().take(MESSAGE_CHARS_MAX).collect(),
        str::to_owned,
    );
    ServiceError {
        code: if code.is_empty() { status.to_string() } else { code.to_owned() },
        message,
        operation: operation.to_owned(),
        status,
    }
}

/// As much of a body as is shown when it is no AWS-shaped error.
const MESSAGE_CHARS_MAX: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_is_named_by_the_header_or_the_body() {
        for (header, body, code, message) in [
            (Some("NotFoundException"), r#"{"message":"gone"}"#, "NotFoundException", "gone"),
            (Some("NotFoundException:http://x"), r#"{"Message":"gone"}"#, "NotFoundException", "gone"),
            (None, r#"{"__type":"a.b#ConflictException","message":""}"#, "ConflictException", ""),
            (None, "no JSON", "418", "no JSON"),
        ] {
            let mut response = Response::builder().status(418);
            if let Some(header) = header {
                response = response.header("x-amzn-ErrorType", header);
            }
            let response = response.body(Bytes::from(body)).expect("a response");
            let parsed = serde_json::from_str(body).unwrap_or(Value::Null);
            let error = service_error(&response, parsed, "DescribeMesh");
            assert_eq!((error.code.as_str(), error.message.as_str()), (code, message));
        }
    }
}
