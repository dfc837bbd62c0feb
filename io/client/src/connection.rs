//! One kept HTTP/1.1 connection to the front door.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::endpoint::Endpoint;
use crate::error::Error;

/// The longest wait for a connection, unless told otherwise.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest wait for a whole answer, unless told otherwise.
pub const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest answer that is read.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A connection that may be open.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    open: Option<SendRequest<Full<Bytes>>>,
}

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    pub(crate) connect: Duration,
    pub(crate) read: Duration,
}

impl Connection {
    /// Sends one request and reads its whole answer.
    ///
    /// A kept connection that the server closed in the meantime is opened again, as long as nothing was sent on it.
    pub(crate) async fn exchange(
        &mut self,
        endpoint: &Endpoint,
        request: Request<Full<Bytes>>,
        timeouts: Timeouts,
    ) -> Result<Response<Bytes>, Error> {
        let mut sender = self.sender(endpoint, timeouts.connect).await?;
        let answer = timeout(timeouts.read, async {
            let response = sender
                .send_request(request)
                .await
                .map_err(|source| Error::Exchange { endpoint: endpoint.clone(), source })?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX)
                .collect()
                .await
                .map_err(|error| body_error(endpoint, error))?;
            Ok(Response::from_parts(head, body.to_bytes()))
        })
        .await
        .map_err(|_| Error::ReadTimeout { endpoint: endpoint.clone(), timeout: timeouts.read })?;
        if answer.is_ok() {
            self.open = Some(sender);
        }
        answer
    }

    async fn sender(
        &mut self,
        endpoint: &Endpoint,
        connect: Duration,
    ) -> Result<SendRequest<Full<Bytes>>, Error> {
        if let Some(mut sender) = self.open.take()
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        let stream = timeout(connect, TcpStream::connect((endpoint.host(), endpoint.port())))
            .await
            .map_err(|_| Error::ConnectTimeout { endpoint: endpoint.clone(), timeout: connect })?
            .map_err(|source| Error::Connect { endpoint: endpoint.clone(), source })?;
        // Small requests must not wait for the acknowledgement of earlier ones; without the option they are only slower.
        let _ = stream.set_nodelay(true);
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|source| Error::Exchange { endpoint: endpoint.clone(), source })?;
        // Ends when the sender is dropped or the peer closes; what it fails with, the sender reports too.
        tokio::spawn(connection);
        Ok(sender)
    }
}

fn body_error(endpoint: &Endpoint, error: Box<dyn std::error::Error + Send + Sync>) -> Error {
    let endpoint = endpoint.clone();
    match error.downcast::<hyper::Error>() {
        Ok(source) => Error::Exchange { endpoint, source: *source },
        Err(other) => {
            debug_assert!(
                other.is::<LengthLimitError>(),
                "a limited body fails by length or by its own error"
            );
            Error::TooLarge { endpoint, bytes_max: ANSWER_BYTES_MAX }
        }
    }
}
