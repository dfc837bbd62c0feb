//! `selvedge edge check --live`: TLS handshakes with every listener that is served now, one without a name and one for each name that it
//! is configured for, and what was negotiated; and whether the mesh has what the configuration publishes.

mod handshake;
mod shown;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use selvedge_client::Client;
use selvedge_site::{ListenAddress, Listener, Program};

use super::check::CheckArgs;
use super::publish::{self, Place};
use crate::endpoint;
use crate::exit::Failure;
use handshake::{Agreed, handshake};

/// A listener that does not answer in this time does not answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was found at a listener.
#[derive(Debug)]
pub(super) struct Look {
    /// Where it is configured.
    listener: String,
    found: Found,
}

#[derive(Debug)]
enum Found {
    /// It does not answer, and why.
    Nothing(String),
    /// It does, without TLS.
    Plain,
    /// By name; the first is what a client gets that names none.
    Tls(Vec<(Option<String>, Result<Agreed, String>)>),
}

/// Looks at every listener.
pub(super) fn look(program: &Program) -> Vec<Look> {
    let listeners = program.listeners.iter().filter(|listener| !listener.spare);
    listeners.map(|one| Look { listener: one.token.to_string(), found: found(program, one) }).collect()
}

/// Whether all of them serve; `now` is in seconds since 1970.
///
/// # Errors
/// [`Failure::Check`] when one does not serve as it is configured.
pub(super) fn judge(looks: &[Look], now: i64) -> Result<(), Failure> {
    match looks.iter().filter(|look| !look.serves(now)).count() {
        0 => Ok(()),
        1 => Err(Failure::Check("one listener does not serve as it is configured".into())),
        several => Err(Failure::Check(format!("{several} listeners do not serve as they are configured"))),
    }
}

impl Look {
    /// Whether clients can be served: every handshake was made, with a certificate that has not ended.
    fn serves(&self, now: i64) -> bool {
        let is_good = |agreed: &Agreed| {
            agreed.certificate.as_ref().is_some_and(|one| one.not_before <= now && now <= one.not_after)
        };
        match &self.found {
            Found::Nothing(_) => false,
            Found::Plain => true,
            Found::Tls(names) => names.iter().all(|(_, agreed)| agreed.as_ref().is_ok_and(&is_good)),
        }
    }
}

/// How the mesh has what the configuration publishes: a line for each part, and whether it is as it is here.
///
/// # Errors
/// [`Failure::Check`] when the mesh cannot be asked.
pub(super) fn published(program: &Program, args: &CheckArgs) -> Result<Vec<(String, bool)>, Failure> {
    let published = selvedge_site::gateway::published(program);
    let Some(gateway) = published.gateway.as_deref().filter(|name| !name.is_empty()) else {
        return Ok(Vec::new());
    };
    let client = Client::new(endpoint::resolve(args.endpoint_url.as_deref())?);
    let told = crate::cli::block_on(async {
        let told = async {
            let mesh = publish::mesh(&client, args.mesh.as_deref()).await?;
            let place = Place { mesh, gateway: gateway.to_owned() };
            publish::standing(&client, &place, &published).await
        };
        Ok(told.await)
    })?;
    told.map_err(|problem| {
        Failure::Check(format!("the mesh cannot be asked: {:#}", anyhow::Error::new(problem)))
    })
}

fn found(program: &Program, listener: &Listener) -> Found {
    let address = match &listener.address {
        ListenAddress::Inet(address) => reachable(*address),
        ListenAddress::Name { host, port, .. } => {
            match (&**host, *port).to_socket_addrs().map(|mut found| found.next()) {
                Ok(Some(address)) => address,
                Ok(None) => return Found::Nothing(format!("{host} has no address")),
                Err(error) => return Found::Nothing(error.to_string()),
            }
        }
        ListenAddress::Unix(path) => {
            return match UnixStream::connect(&**path) {
                Ok(_) => Found::Plain,
                Err(error) => Found::Nothing(error.to_string()),
            };
        }
    };
    let connected = || TcpStream::connect_timeout(&address, PATIENCE).map_err(|error| error.to_string());
    let first = match connected() {
        Ok(_) if !listener.ssl.engine => return Found::Plain,
        Ok(socket) => socket,
        Err(error) => return Found::Nothing(error),
    };
    let mut names = vec![(None, handshake(first, None, PATIENCE))];
    for name in program.server_names(listener) {
        let agreed = connected().and_then(|socket| handshake(socket, Some(&name), PATIENCE));
        names.push((Some(name.to_string()), agreed));
    }
    Found::Tls(names)
}

/// Where a listener on every address is reached from here.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
