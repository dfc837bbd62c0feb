//! One connection: resolved, checked, connected, checked once more, and with TLS where that is asked for.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::{Error, Place, Trust};
use crate::guard::Judge;

/// Headers of an answer.
const HEADERS_MAX: usize = 100;
/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 8;

pub(crate) type Sender = SendRequest<Full<Bytes>>;

pub(crate) async fn open(
    place: &Place,
    judge: &dyn Judge,
    tls: Option<Arc<ClientConfig>>,
) -> Result<Sender, Error> {
    let stream = connect(place, judge).await?;
    // Small requests must not wait for the acknowledgement of earlier ones; without the option they are only slower.
    let _ = stream.set_nodelay(true);
    match tls {
        None => spawn(place, Builder::new().max_headers(HEADERS_MAX).handshake(TokioIo::new(stream)).await),
        Some(config) => {
            let name = ServerName::try_from(place.host.clone())
                .map_err(|_| Error::Url(format!("{} can be no certificate's name", place.host)))?;
            let stream = TlsConnector::from(config)
                .connect(name, stream)
                .await
                .map_err(|source| Error::Tls { host: place.host.clone(), source })?;
            spawn(place, Builder::new().max_headers(HEADERS_MAX).handshake(TokioIo::new(stream)).await)
        }
    }
}

/// The connection's own work ends when the sender is dropped or the peer closes; what it fails with, the sender reports too.
fn spawn<T>(
    place: &Place,
    made: Result<(Sender, hyper::client::conn::http1::Connection<T, Full<Bytes>>), hyper::Error>,
) -> Result<Sender, Error>
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (sender, connection) = made.map_err(|source| Error::Exchange { host: place.host.clone(), source })?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn connect(place: &Place, judge: &dyn Judge) -> Result<TcpStream, Error> {
    let refused = |address: SocketAddr, why| Error::Refused { host: place.host.clone(), address, why };
    let resolved = tokio::net::lookup_host((place.host.as_str(), place.port)).await;
    let resolved = resolved.map_err(|source| Error::Resolve { host: place.host.clone(), source })?;
    let mut failure = None;
    for address in resolved.take(ADDRESSES_MAX) {
        if place.trust == Trust::Guarded
            && let Err(why) = judge.judge(&place.host, address)
        {
            failure = Some(refused(address, why));
            continue;
        }
        match TcpStream::connect(address).await {
            Err(source) => failure = Some(Error::Connect { host: place.host.clone(), address, source }),
            Ok(stream) => {
                // The address that counts is the one at the other end.
                let peer = stream.peer_addr().map_err(|source| Error::Connect {
                    host: place.host.clone(),
                    address,
                    source,
                })?;
                if place.trust == Trust::Guarded {
                    judge.judge(&place.host, peer).map_err(|why| refused(peer, why))?;
                }
                return Ok(stream);
            }
        }
    }
    Err(failure.unwrap_or_else(|| Error::Resolve {
        host: place.host.clone(),
        source: std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address"),
    }))
}
