//! Who asks, beyond passwords: people who signed in, bearers of tokens, holders of certificates, and whomever another
//! service vouches for. Every decision is `core/guard`'s; here it meets a request.

mod bearer;
mod forward;
mod guards;
mod kept;
mod sign_in;

use std::ops::ControlFlow;
use std::time::UNIX_EPOCH;

pub(crate) use guards::{GuardInvalid, Guards};
use selvedge_guard::Identity;
use selvedge_guard::identity::{Means, PREFIX, begins_alike};
use selvedge_site::directive::SignIn;

use crate::request::{Exchange, Flow, Response, User};

/// Takes off what only we may say, whoever sent it, before anything looks at it.
pub(crate) fn strip(x: &mut Exchange<'_>) {
    let edge = &x.conf.edge;
    let (headers, asks) = (&edge.identity_headers, edge.forward_auth.as_deref());
    // What we set ourselves in an earlier turn of the same request stays.
    let first = !std::mem::replace(&mut x.stripped, true);
    x.head.fields.retain(|_, name, _| {
        let name = String::from_utf8_lossy(name);
        let of_prefix = begins_alike(&name, PREFIX);
        let of_names = !of_prefix && headers.is_ours(&name);
        let taken = asks.is_some_and(|asks| asks.is_taken(&name));
        !(first && of_prefix || of_names || taken)
    });
}

/// Recognises the caller where that is configured, lets in whom the rules let in, and tells services who it is.
pub(crate) async fn identify(x: &mut Exchange<'_>) -> Flow {
    sign_in::own_paths(x).await?;
    let edge = &x.conf.edge;
    let asks_nobody = edge.sign_in.is_none() && edge.forward_auth.is_none() && edge.claims.is_empty();
    if asks_nobody || x.in_error_handler {
        return ControlFlow::Continue(());
    }
    let conf = x.conf.clone();
    let edge = &conf.edge;
    if edge.sign_in.is_some() || edge.forward_auth.is_some() {
        crate::identify::once(x)?;
    }
    // Boxed: whoever need not say who it is does not carry the room of the asking.
    let mut identity = match &edge.sign_in {
        None => None,
        Some(SignIn::Oidc(name)) => Some(Box::pin(sign_in::identify(x, name)).await?),
        Some(SignIn::Jwt(name)) => Some(Box::pin(bearer::identify(x, name)).await?),
        Some(SignIn::Certificate) => Some(certificate(x)?),
    };
    if let Some(asks) = &edge.forward_auth {
        let told = Box::pin(forward::ask(x, asks, identity.as_ref())).await?;
        identity = identity.or(told);
    }
    let Some(identity) = identity else {
        return match edge.claims.is_empty() {
            true => ControlFlow::Continue(()),
            // Rules about somebody, and nobody who could fulfil them.
            false => ControlFlow::Break(Response::status(403)),
        };
    };
    if let Err(refusal) = edge.claims.check(&identity) {
        tracing::info!(subject = %identity.subject, %refusal, path = x.path(), "somebody is known and not let in");
        x.worker.shared.stats.unauthorized.add(1);
        return ControlFlow::Break(Response::status(403));
    }
    for (name, value) in edge.identity_headers.of(&identity) {
        x.head.fields.set(&name, value.as_bytes());
    }
    x.user = Some(User { name: identity.subject.clone(), method: identity.by.as_str() });
    x.identity = Some(identity);
    ControlFlow::Continue(())
}

/// The holder of the certificate that the client showed.
fn certificate(x: &Exchange<'_>) -> ControlFlow<Response, Identity> {
    let facts = x.peer.tls.as_ref().filter(|facts| facts.verified);
    let Some(shown) = facts.and_then(|facts| facts.peer.as_ref()) else {
        return ControlFlow::Break(Response::status(403));
    };
    let name = shown.names.uris.first().or_else(|| shown.names.dns.first()).cloned();
    let subject = name.unwrap_or_else(|| shown.subject.clone());
    if subject.is_empty() {
        return ControlFlow::Break(Response::status(403));
    }
    let mut claims = serde_json::Map::new();
    claims.insert("subject_dn".to_owned(), shown.subject.clone().into());
    claims.insert("dns".to_owned(), shown.names.dns.clone().into());
    claims.insert("uri".to_owned(), shown.names.uris.clone().into());
    let identity = Identity { subject, issuer: shown.issuer.clone(), by: Means::Certificate, claims };
    ControlFlow::Continue(identity)
}

/// Seconds since 1970, at the beginning of the request.
fn now(x: &Exchange<'_>) -> u64 {
    x.begun_at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A page that says in a few words what is wrong.
fn page(status: u16, words: &str) -> Response {
    Response::with(status, "text/plain; charset=utf-8", format!("{words}\n"))
        .field("cache-control", "no-store")
}
