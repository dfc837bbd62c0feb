//! Programs behind us, by suffix or prefix of the path: FastCGI, SCGI, HTTP, tunnels.

use std::future::poll_fn;
use std::io;
use std::ops::ControlFlow;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use selvedge_http::fastcgi::Role;
use selvedge_site::directive::{Backend, BackendId, Balance, Host, HostMode, Named, Text};
use selvedge_wire::stream::{self, Address, Stream};

use super::backend::{self, Held, Powers};
use super::hosts::{self, Asked};
use super::proxy::Opened;
use super::{environment, fastcgi, programs, proxy, scgi, wstunnel};
use crate::request::body::upload::{self, Broken};
use crate::request::body::{self, Gathered};
use crate::request::{Exchange, Flow, Response};

/// How a program is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    FastCgi,
    Scgi { uwsgi: bool },
    Http,
    Tunnel,
}

impl Protocol {
    /// Whether such a backend may be asked for the tunnel that the request wishes for.
    fn takes_tunnels(self, x: &Exchange<'_>) -> bool {
        match self {
            Self::Tunnel => true,
            Self::Http => proxy::wants_upgrade(x),
            Self::FastCgi | Self::Scgi { .. } => false,
        }
    }
}

/// The backends of one protocol.
struct Kind<'a> {
    protocol: Protocol,
    backend: &'a Backend,
    balance: Balance,
    map_extensions: &'a Named<Text>,
}

/// Connecting may take so long where nothing is configured.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);

fn kinds(conf: &selvedge_site::Directives) -> [Kind<'_>; 4] {
    [
        Kind {
            protocol: Protocol::Tunnel,
            backend: &conf.wstunnel.server,
            balance: conf.wstunnel.balance,
            map_extensions: &conf.wstunnel.map_extensions,
        },
        Kind {
            protocol: Protocol::Http,
            backend: &conf.proxy.server,
            balance: conf.proxy.balance,
            map_extensions: &conf.proxy.map_extensions,
        },
        Kind {
            protocol: Protocol::FastCgi,
            backend: &conf.fastcgi.server,
            balance: conf.fastcgi.balance,
            map_extensions: &conf.fastcgi.map_extensions,
        },
        Kind {
            protocol: Protocol::Scgi { uwsgi: conf.scgi.protocol_uwsgi },
            backend: &conf.scgi.server,
            balance: conf.scgi.balance,
            map_extensions: &conf.scgi.map_extensions,
        },
    ]
}

/// Whether the path alone decides, or the file has been found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Path,
    File,
}

/// Backends that do not ask whether there is a file.
pub(crate) async fn by_path(x: &mut Exchange<'_>) -> Flow {
    answer(x, By::Path).await
}

/// Those that do.
pub(crate) async fn by_file(x: &mut Exchange<'_>) -> Flow {
    answer(x, By::File).await
}

async fn answer(x: &mut Exchange<'_>, by: By) -> Flow {
    let conf = x.conf.clone();
    for kind in kinds(&conf) {
        if kind.backend.extensions.is_empty() {
            continue;
        }
        if !x.authorized
            && kind.protocol == Protocol::FastCgi
            && let Some((_, hosts)) = matching(x, &kind, by, HostMode::Authorizer)
        {
            Box::pin(authorize(x, &kind, hosts)).await?;
        }
        let Some((key, hosts)) = matching(x, &kind, by, HostMode::Responder) else { continue };
        if x.is_on_stream() && !kind.protocol.takes_tunnels(x) {
            return ControlFlow::Break(Response::status(405));
        }
        if by == By::Path {
            split_path(x, key, hosts);
        }
        return ControlFlow::Break(respond(x, &kind, hosts).await);
    }
    ControlFlow::Continue(())
}

/// The first extension that fits and has a backend of this mode whose turn it is.
fn matching<'a>(x: &Exchange<'_>, kind: &Kind<'a>, by: By, mode: HostMode) -> Option<(&'a Text, &'a [Host])> {
    let name = match by {
        By::Path => x.path(),
        By::File => &x.physical.path,
    };
    let mapped = kind.map_extensions.iter().find(|(suffix, _)| name.ends_with(&**suffix));
    let fits = |key: &str| match mapped {
        Some((_, target)) => key == &**target,
        None if key.starts_with('/') => x.path().starts_with(key),
        None => name.ends_with(key),
    };
    let extension = kind
        .backend
        .extensions
        .iter()
        .find(|extension| fits(&extension.key) && extension.hosts.iter().any(|host| host.mode == mode))?;
    let host = extension.hosts.iter().find(|host| host.mode == mode)?;
    let checks_file = host.check_local && matches!(kind.protocol, Protocol::FastCgi | Protocol::Scgi { .. });
    (checks_file == (by == By::File)).then_some((&extension.key, &*extension.hosts))
}

/// Where no file tells script and path apart, the prefix does.
fn split_path(x: &mut Exchange<'_>, key: &str, hosts: &[Host]) {
    let path = &mut x.target.path;
    if !key.starts_with('/') || path.len() <= key.len() && key != "/" {
        return;
    }
    let root_fix = key == "/" && hosts.iter().any(|host| host.fix_root_scriptname);
    let at = match root_fix {
        true => Some(0),
        false => path[key.len().min(path.len())..].find('/').map(|at| key.len() + at),
    };
    if let Some(at) = at {
        x.physical.info = path.split_off(at);
    }
}

fn asked<'a>(x: &'a Exchange<'_>) -> Asked<'a> {
    Asked { path: x.path(), authority: x.head.authority_bytes().unwrap_or_default(), remote: x.remote }
}

/// Asks an authorizer whether the request may go on. What it says in `Variable-*` is told to programs.
async fn authorize(x: &mut Exchange<'_>, kind: &Kind<'_>, hosts: &[Host]) -> Flow {
    let site = Rc::clone(&x.site);
    let Some(host) = site.hosts.choose(hosts, HostMode::Authorizer, kind.balance, &asked(x), &[]) else {
        return ControlFlow::Break(Response::status(503));
    };
    let options = environment::Options { authorizer: true, ..options(host) };
    let variables = environment::of(x, options);
    let held = Held { _lease: site.hosts.lease(host), ..Held::default() };
    let sent = async {
        let stream = open(x, host).await?.0;
        let nothing = Gathered::Memory(Vec::new());
        fastcgi::send(
            &x.worker.buffers,
            stream,
            Role::Authorizer,
            &variables,
            nothing,
            host.read_timeout,
            held,
        )
        .await
    };
    let mut reader = match sent.await {
        Ok(reader) => reader,
        Err(error) => {
            tracing::warn!(%error, host = programs::label(host), "an authorizer cannot be asked");
            site.hosts.fail(host);
            return ControlFlow::Break(Response::status(503));
        }
    };
    let mut head = selvedge_http::head::ResponseHead::default();
    let Ok(facts) = backend::read_head(&mut reader, x.channel, &mut head).await else {
        return ControlFlow::Break(Response::status(502));
    };
    if head.status != 200 {
        return ControlFlow::Break(backend::finish(x, head, reader, facts.length).await);
    }
    for (name, value) in head.fields.iter() {
        if let Some(variable) = name.strip_prefix("variable-") {
            let variable = selvedge_http::cgi::variable(variable);
            let value = String::from_utf8_lossy(value).into_owned();
            x.environment.push((variable, value));
        }
    }
    x.authorized = true;
    ControlFlow::Continue(())
}

fn options(host: &Host) -> environment::Options<'_> {
    environment::Options {
        authorizer: false,
        docroot: host.docroot.as_deref(),
        broken_script_filename: host.broken_scriptfilename,
        strip_request_uri: host.strip_request_uri.as_deref(),
    }
}

/// Opens a connection to a backend.
async fn open(x: &Exchange<'_>, host: &Host) -> io::Result<(Stream, Address)> {
    let number = programs::process_of(host, x.site.hosts.running(host), x.worker.next_turn());
    let address = match x.worker.known_address(host.id, number) {
        Some(address) => address,
        None => {
            let address = hosts::address(host, number).await?;
            x.worker.remember_address(host.id, number, address.clone());
            address
        }
    };
    let timeout = match host.connect_timeout {
        0 => CONNECT_TIMEOUT,
        seconds => Duration::from_secs(u64::from(seconds)),
    };
    Ok((stream::connect(&address, timeout).await?, address))
}

async fn respond(x: &mut Exchange<'_>, kind: &Kind<'_>, hosts: &[Host]) -> Response {
    let site = Rc::clone(&x.site);
    let streamed = is_streamed(x, kind.protocol);
    if kind.protocol != Protocol::Tunnel
        && !streamed
        && !proxy::wants_upgrade(x)
        && let Err(response) = body::gather(x).await
    {
        return response;
    }
    // Nobody is connected to for a handshake that is none.
    let mut handshake = None;
    if kind.protocol == Protocol::Tunnel {
        match wstunnel::opened(x) {
            ControlFlow::Continue(opened) => handshake = Some(opened),
            ControlFlow::Break(refused) => return refused,
        }
    }
    let mut tried: Vec<BackendId> = Vec::new();
    loop {
        let chosen = site.hosts.choose(hosts, HostMode::Responder, kind.balance, &asked(x), &tried);
        let Some(host) = chosen else {
            // A program of our own that is being started again is not gone: it is waited for where it listens.
            return Response::status(503);
        };
        let opened = match unless_taken_back(x, pooled_or_open(x, kind, host, streamed)).await {
            Ok(opened) => opened,
            // It is not the backend's fault, and nobody hears what is answered.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => return Response::status(502),
            Err(error) => {
                tracing::warn!(%error, host = programs::label(host), "a backend cannot be reached");
                site.hosts.fail(host);
                tried.push(host.id);
                if tried.len() < hosts.len() {
                    continue;
                }
                let timed_out = error.kind() == io::ErrorKind::TimedOut;
                return Response::status(if timed_out { 504 } else { 503 });
            }
        };
        let held = Held { _lease: site.hosts.lease(host), ..Held::default() };
        return match kind.protocol {
            Protocol::Http => proxy::respond(x, host, opened, held, None).await,
            Protocol::Tunnel => {
                wstunnel::tunnel(x, handshake.take().unwrap_or_default(), opened.stream, held)
            }
            Protocol::FastCgi | Protocol::Scgi { .. } => {
                gateway(x, kind.protocol, host, opened.stream, held).await
            }
        };
    }
}

/// Whether the body goes on as it comes.
fn is_streamed(x: &Exchange<'_>, protocol: Protocol) -> bool {
    let length_needed = match protocol {
        Protocol::Tunnel => return false,
        Protocol::Http => x.conf.proxy.header.force_http10,
        Protocol::FastCgi | Protocol::Scgi { .. } => true,
    };
    x.conf.server.stream_request_body & 1 != 0 && upload::is_due(x, length_needed)
}

/// What is opened for a client, as long as it wants something.
async fn unless_taken_back(
    x: &Exchange<'_>,
    opening: impl Future<Output = io::Result<Opened>>,
) -> io::Result<Opened> {
    let mut opening = pin!(opening);
    poll_fn(|cx| match opening.as_mut().poll(cx) {
        Poll::Pending if backend::is_taken_back(x.channel, cx) => {
            Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
        }
        polled => polled,
    })
    .await
}

async fn pooled_or_open(
    x: &Exchange<'_>,
    kind: &Kind<'_>,
    host: &Host,
    streamed: bool,
) -> io::Result<Opened> {
    // What has been passed on cannot be passed on again: it does not go where a connection may be dead.
    if kind.protocol == Protocol::Http
        && !streamed
        && let Some(address) = x.worker.known_address(host.id, 0)
        && let Some(stream) = x.worker.pooled(&address)
    {
        return Ok(Opened { stream, address, pooled: true });
    }
    let (stream, address) = open(x, host).await?;
    Ok(Opened { stream, address, pooled: false })
}

async fn gateway(
    x: &mut Exchange<'_>,
    protocol: Protocol,
    host: &Host,
    stream: Stream,
    held: Held,
) -> Response {
    let variables = environment::of(x, options(host));
    let gathered = x.gathered.take();
    let patience = host.read_timeout;
    let sent = match (protocol, gathered) {
        (Protocol::Scgi { uwsgi }, None) if x.facts.framing.has_body() => {
            scgi::stream(x, stream, uwsgi, &variables, patience, held).await
        }
        (_, None) if x.facts.framing.has_body() => {
            fastcgi::stream(x, stream, &variables, patience, held).await
        }
        (Protocol::Scgi { uwsgi }, input) => {
            let input = input.unwrap_or(Gathered::Memory(Vec::new()));
            scgi::send(&x.worker.buffers, stream, uwsgi, &variables, input, patience, held)
                .await
                .map_err(Broken::Backend)
        }
        (_, input) => {
            let input = input.unwrap_or(Gathered::Memory(Vec::new()));
            let sent =
                fastcgi::send(&x.worker.buffers, stream, Role::Responder, &variables, input, patience, held);
            sent.await.map_err(Broken::Backend)
        }
    };
    let reader = match sent {
        Ok(reader) => reader,
        Err(Broken::Client(response)) => return response,
        Err(Broken::Backend(error)) => {
            tracing::warn!(%error, host = programs::label(host), "a backend did not take a request");
            return Response::status(502);
        }
    };
    let powers = Powers {
        x_sendfile: host.x_sendfile.then_some(&*host.x_sendfile_docroot),
        local_redir: false,
        silent: 502,
    };
    backend::gateway_response(x, reader, powers).await
}
