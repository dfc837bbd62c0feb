//! Connecting to an upstream host.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};

use crate::congestion;
use crate::io::Io;
use crate::proxy_protocol::{self, Ends, Version};
use crate::tls::{self, ClientTls, Failure};

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
    #[error("no encrypted connection")]
    Tls(#[source] Failure),
    /// The secrets to encrypt by have not come.
    #[error("the secrets have not come")]
    NoSecrets,
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
            Self::Tls(failure) => failure.reason(),
            Self::NoSecrets => "TLS error: Secret is not supplied by SDS".to_owned(),
        }
    }
}

/// Opens a connection, not paced if it stays within the machine.
pub(crate) async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    congestion::settle(&socket, address);
    socket.connect(address).await
}

/// Opens a connection with `TCP_NODELAY`.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(address: SocketAddr, timeout: Duration) -> Result<TcpStream, ConnectError> {
    let stream = tokio::time::timeout(timeout, open(address))
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

/// Says whose connection this is, before anything else is said. Without a client's ends the connection is this proxy's
/// own: version 1 then names both ends of the socket, version 2 says that it speaks for itself, as Envoy does.
///
/// # Errors
/// See [`ConnectError`].
pub async fn introduce(
    io: &mut Io,
    version: Version,
    client: Option<Ends>,
    timeout: Duration,
) -> Result<(), ConnectError> {
    let own = || Some(Ends { source: io.local_addr()?, destination: io.peer_addr()? });
    let ends = if version == Version::V1 { client.or_else(own) } else { client };
    let word = proxy_protocol::encode(version, ends);
    let write = async {
        let mut rest = &word[..];
        while !rest.is_empty() {
            let written = poll_fn(|cx| io.poll_write(cx, &[IoSlice::new(rest)])).await?;
            rest = &rest[written..];
        }
        Ok(())
    };
    match tokio::time::timeout(timeout, write).await {
        Ok(written) => written.map_err(ConnectError::Refused),
        Err(_) => Err(ConnectError::Timeout(timeout)),
    }
}

/// Encrypts a connection that has just been opened.
///
/// # Errors
/// See [`ConnectError`].
pub async fn secure(
    io: &mut Io,
    tls: &ClientTls,
    host: SocketAddr,
    timeout: Duration,
) -> Result<(), ConnectError> {
    let context = tls.current().ok_or(ConnectError::NoSecrets)?;
    // Boxed: a handshake is long and rare, and whoever opens plain connections does not carry its room.
    let handshake = Box::pin(tls::connect(io, &context, host.ip()));
    match tokio::time::timeout(timeout, handshake).await {
        Ok(done) => done.map_err(ConnectError::Tls),
        Err(_) => Err(ConnectError::Timeout(timeout)),
    }
}
