//! Who answers a request: a page of ours, a program behind us, a file, a directory.

pub(crate) mod backend;
pub(crate) mod cgi;
pub(crate) mod directory;
pub(crate) mod environment;
pub(crate) mod fastcgi;
pub(crate) mod file;
pub(crate) mod gateway;
mod handshake;
pub(crate) mod host_root;
pub(crate) mod hosts;
pub(crate) mod mesh;
pub(crate) mod programs;
pub(crate) mod proxy;
pub(crate) mod root;
pub(crate) mod scgi;
pub(crate) mod sendfile;
pub(crate) mod ssi;
pub(crate) mod status;
pub(crate) mod tunnel;
pub(crate) mod workflow;
pub(crate) mod wstunnel;

use std::ops::ControlFlow;

use crate::admit;
use crate::request::{Exchange, Flow, Response};

/// What is answered by the path alone.
pub(crate) async fn by_path(x: &mut Exchange<'_>) -> Flow {
    if x.path() == "*" {
        return ControlFlow::Continue(());
    }
    if x.is_on_stream() {
        return on_stream(x).await;
    }
    workflow::status(x).await?;
    if let Some(fixed) = &x.conf.edge.respond {
        let mut response = Response::with(fixed.status, "text/plain; charset=utf-8", fixed.body.to_string());
        for (name, value) in fixed.headers.iter() {
            response.head.fields.set(&name.to_ascii_lowercase(), value.as_bytes());
        }
        return ControlFlow::Break(response);
    }
    status::page(x).await?;
    workflow::run(x).await?;
    if x.conf.edge.cache {
        // Boxed: the way through it is long, and few go it.
        Box::pin(crate::cache::answer(x)).await?;
    }
    mesh::service(x).await?;
    gateway::by_path(x).await
}

/// Who may grant the tunnel that is wished for on a stream. Nobody else is asked: any other answer would be made for nobody.
async fn on_stream(x: &mut Exchange<'_>) -> Flow {
    if let Some(fixed) = &x.conf.edge.respond {
        let status = Some(fixed.status).filter(|status| *status >= 300);
        return ControlFlow::Break(Response::status(status.unwrap_or(405)));
    }
    handshake::make_key(x);
    mesh::service(x).await?;
    gateway::by_path(x).await
}

/// What is answered by the file that the path leads to.
pub(crate) async fn by_file(x: &mut Exchange<'_>) -> Flow {
    if x.is_on_stream() {
        return ControlFlow::Break(Response::status(405));
    }
    directory::index(x)?;
    admit::by_ending(x)?;
    cgi::run(x).await?;
    gateway::by_file(x).await?;
    ssi::page(x).await?;
    directory::list(x)?;
    file::send(x)
}

/// The answer to OPTIONS of whatever has no answer of its own.
pub(crate) fn options() -> Response {
    Response::status(200).field("allow", "OPTIONS, GET, HEAD, POST")
}
