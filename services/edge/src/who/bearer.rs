//! Bearers of tokens.

use std::ops::ControlFlow;

use selvedge_guard::Identity;
use selvedge_guard::bearer::{self, Refusal};

use super::{now, page};
use crate::request::{Exchange, Response};

/// Who bears the token of a request.
pub(super) async fn identify(x: &mut Exchange<'_>, name: &str) -> ControlFlow<Response, Identity> {
    let Some(bearers) = x.site.guards.jwt(name) else {
        tracing::error!(name, "mesh.sign-in names an issuer that mesh.jwt does not have");
        return ControlFlow::Break(page(503, "nobody can be recognised here"));
    };
    let token = x.head.fields.named("authorization").and_then(bearer::token_of).map(str::to_owned);
    let Some(token) = token else { return ControlFlow::Break(challenge(x, "")) };
    let Some(keys) = bearers.keys(false).await else {
        return ControlFlow::Break(page(503, "the keys of those who vouch for callers cannot be had"));
    };
    let mut checked = bearers.accept.check(&token, &keys, now(x));
    if matches!(checked, Err(Refusal::Token(selvedge_jwt::Refusal::NoKeyMatches)))
        && let Some(keys) = bearers.keys(true).await
    {
        checked = bearers.accept.check(&token, &keys, now(x));
    }
    match checked {
        Ok(identity) => ControlFlow::Continue(identity),
        Err(refusal) => {
            tracing::info!(%refusal, client = %x.remote, "a token is not believed");
            ControlFlow::Break(challenge(x, ", error=\"invalid_token\""))
        }
    }
}

fn challenge(x: &Exchange<'_>, error: &str) -> Response {
    x.worker.shared.stats.unauthorized.add(1);
    Response::status(401).field("www-authenticate", &format!("Bearer realm=\"selvedge\"{error}"))
}
