//! Basic (RFC 7617).

use base64::Engine as _;
use selvedge_site::directive::AuthRequirement;

use super::{Checked, files};
use crate::request::{Exchange, Response};

pub(super) async fn check(x: &mut Exchange<'_>, requirement: &AuthRequirement) -> Checked {
    let refuse = || Checked::Refused(challenge(requirement));
    let malformed = || Checked::Refused(Response::status(400));
    let Some(value) = x.head.fields.named("authorization") else { return refuse() };
    let Some((scheme, token)) = std::str::from_utf8(value).ok().and_then(|value| value.split_once(' '))
    else {
        return malformed();
    };
    if !scheme.eq_ignore_ascii_case("basic") {
        return refuse();
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(token.trim());
    let Some(pair) = decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok()) else { return malformed() };
    let Some((name, password)) = pair.split_once(':') else { return malformed() };
    let (name, password) = (name.to_owned(), password.to_owned());
    let store = files::Store::of(&x.conf.auth);
    let realm = requirement.realm.to_string();
    let asked = name.clone();
    let Ok(_place) = x.worker.checking.acquire().await else {
        return Checked::Refused(Response::status(500));
    };
    // Hashes that are slow on purpose would hold up everybody else.
    match tokio::task::spawn_blocking(move || store.is_right(&asked, &password, &realm)).await {
        Ok(true) => Checked::User(name),
        Ok(false) => {
            x.worker.shared.stats.unauthorized.add(1);
            tracing::info!(user = name, client = %x.remote, path = x.path(), "a password does not match");
            // Whoever guesses makes a new connection for each guess.
            Checked::Refused(challenge(requirement).closing())
        }
        Err(_) => Checked::Refused(Response::status(500)),
    }
}

pub(super) fn challenge(requirement: &AuthRequirement) -> Response {
    let realm = requirement.realm.replace('\\', "\\\\").replace('"', "\\\"");
    Response::status(401).field("www-authenticate", &format!("Basic realm=\"{realm}\", charset=\"UTF-8\""))
}
