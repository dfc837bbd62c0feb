//! Connecting to an upstream host.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

/// A connection that did not come about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    #[error("the host did not take the connection")]
    Refused(#[source] io::Error),
    /// No descriptor, port or memory on this side.
    #[error("no connection could be started")]
    Local(#[source] io::Error),
}

impl ConnectError {
    /// The words of `%UPSTREAM_TRANSPORT_FAILURE_REASON%` and of the response details.
    pub fn transport_failure(&self) -> String {
        match self {
            Self::Timeout(_) => "connection timeout".to_owned(),
            Self::Refused(error) | Self::Local(error) => {
                let text = error.to_string();
                let reason = text.split(" (os error").next().unwrap_or_default();
                format!("delayed connect error: {reason}")
            }
        }
    }
}

/// Opens a connection with `TCP_NODELAY`.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(address: SocketAddr, timeout: Duration) -> Result<TcpStream, ConnectError> {
    let stream = tokio::time::timeout(timeout, TcpStream::connect(address))
        .await
        .map_err(|_| ConnectError::Timeout(timeout))?
        .map_err(|error| match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EADDRNOTAVAIL) => {
                ConnectError::Local(error)
            }
            _ => ConnectError::Refused(error),
        })?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}
