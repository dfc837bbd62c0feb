//! A connection to an address that was judged, with TLS or without.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use selvedge_guard::reach::{Reach, Target};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

use crate::Error;

/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 4;

/// Bytes both ways.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects to the first address that may be and can be.
pub(crate) async fn open(
    reach: &Reach,
    target: &Target,
    tls: &Arc<ClientConfig>,
) -> Result<Box<dyn Stream>, Error> {
    let socket = connect(reach, target).await?;
    let _ = socket.set_nodelay(true);
    if !target.tls {
        return Ok(Box::new(socket));
    }
    let name = ServerName::try_from(target.host.clone()).map_err(|_| Error::Name(target.host.clone()))?;
    let handshake = TlsConnector::from(Arc::clone(tls)).connect(name, socket);
    let stream = handshake.await.map_err(|source| Error::Tls { host: target.host.clone(), source })?;
    Ok(Box::new(stream))
}

async fn connect(reach: &Reach, target: &Target) -> Result<TcpStream, Error> {
    let unresolved = |source| Error::Resolve { host: target.host.clone(), source };
    let found: Vec<SocketAddr> = lookup_host((target.host.as_str(), target.port))
        .await
        .map_err(unresolved)?
        .take(ADDRESSES_MAX)
        .collect();
    let mut last = Error::NoAddress(target.host.clone());
    for address in found {
        if let Err(refusal) = reach.check_address(&target.host, address.ip()) {
            last = Error::Refused(refusal);
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(socket) => return Ok(socket),
            Err(source) => last = Error::Connect { address, source },
        }
    }
    Err(last)
}
