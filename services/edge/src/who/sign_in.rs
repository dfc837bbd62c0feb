//! People who sign in by OpenID Connect: what their browsers send, and what they are sent.

use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::PoisonError;

use selvedge_guard::sign_in::{Browser, CallbackRefusal, Entropy, Session, Standing, TokensRefusal};
use selvedge_guard::{Identity, bearer, cookie};

use super::guards::{RENEWED_MAX, SignInWith};
use super::{now, page};
use crate::request::{Exchange, Flow, Response};

/// What we say when a provider cannot be asked.
const AWAY: &str = "whoever signs people in cannot be asked at the moment; try again soon";

/// Answers callbacks and people who leave.
pub(super) async fn own_paths(x: &mut Exchange<'_>) -> Flow {
    let site = Rc::clone(&x.site);
    let Some(with) = site.guards.of_path(x.path()) else { return ControlFlow::Continue(()) };
    // Boxed, so that requests which ask for neither do not carry the room of it.
    let response = match x.path() == with.settings.callback_path {
        true => Box::pin(callback(x, &with)).await,
        false => Box::pin(logout(x, &with)).await,
    };
    ControlFlow::Break(response.field("cache-control", "no-store"))
}

/// Who has signed in; whoever has not is sent to do so.
pub(super) async fn identify(x: &mut Exchange<'_>, name: &str) -> ControlFlow<Response, Identity> {
    let Some(with) = x.site.guards.oidc(name) else {
        tracing::error!(name, "mesh.sign-in names a provider that mesh.oidc does not have");
        return ControlFlow::Break(page(503, "nobody can sign in here"));
    };
    let now = now(x);
    let standing = with_browser(x, |browser| with.settings.standing(&with.ring, browser, now));
    match standing {
        Standing::Fresh(session) => ControlFlow::Continue(session.identity),
        Standing::Stale(session) => match renew(&with, &session, now).await {
            Renewed::Session(session) => {
                keep(x, &with, &session)?;
                ControlFlow::Continue(session.identity)
            }
            Renewed::Refused => ControlFlow::Break(begin(x, &with).await),
            Renewed::Away => ControlFlow::Break(page(503, AWAY).field("retry-after", "5")),
        },
        Standing::None => ControlFlow::Break(begin(x, &with).await),
    }
}

/// Sends somebody to the provider, if a person is looking.
async fn begin(x: &mut Exchange<'_>, with: &SignInWith) -> Response {
    x.worker.shared.stats.unauthorized.add(1);
    let said = |name: &str| x.header(name).unwrap_or_default();
    let navigates = matches!(x.head.method(), "GET" | "HEAD")
        && matches!(said("sec-fetch-mode"), "" | "navigate")
        && matches!(said("sec-fetch-dest"), "" | "document" | "empty")
        && said("x-requested-with").is_empty();
    if !navigates {
        return page(401, "sign in first");
    }
    let Some(known) = with.known().await else { return page(503, AWAY).field("retry-after", "5") };
    let mut drawn = [0; 76];
    if aws_lc_rs::rand::fill(&mut drawn).is_err() {
        return Response::status(500);
    }
    let entropy = Entropy {
        state: part(&drawn, 0),
        nonce: part(&drawn, 16),
        verifier: part(&drawn, 32),
        salt: part(&drawn, 64),
    };
    let begun = with.settings.begin(&known.provider, &with.ring, &origin(x), &x.target.text, entropy, now(x));
    let room = with_browser(x, |browser| with.settings.make_room(&with.ring, browser, now(x)));
    x.set_cookies.extend(room);
    Response::redirect(302, &begun.location)
        .field("set-cookie", &begun.set_cookie)
        .field("cache-control", "no-store")
}

/// The provider sends somebody back.
async fn callback(x: &mut Exchange<'_>, with: &SignInWith) -> Response {
    let Some(known) = with.known().await else { return page(503, AWAY).field("retry-after", "5") };
    let now = now(x);
    let query = x.target.query().to_owned();
    let looked = with_browser(x, |browser| {
        let mut used = with.used.lock().unwrap_or_else(PoisonError::into_inner);
        with.settings.callback(&known.provider, &with.ring, &mut used, &query, browser, now)
    });
    let callback = match looked {
        Ok(callback) => callback,
        Err(refusal) => {
            tracing::warn!(%refusal, client = %x.remote, "a sign-in is not completed");
            let status = if matches!(refusal, CallbackRefusal::Provider(_)) { 403 } else { 400 };
            return page(status, &format!("the sign-in was not completed: {refusal}"));
        }
    };
    let answer = match with.fetcher.fetch(&callback.call).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::warn!(%error, "a provider does not hand out tokens");
            return page(503, AWAY).field("retry-after", "5");
        }
    };
    let complete = |known: &super::guards::Known| {
        with.settings.complete(&known.provider, &known.keys, &callback.pending, &answer, now)
    };
    let mut completed = complete(&known);
    if is_unknown_key(&completed)
        && let Some(known) = with.known_anew().await
    {
        completed = complete(&known);
    }
    match completed {
        Ok(session) => {
            tracing::info!(subject = %session.identity.subject, provider = with.settings.name, "somebody signed in");
            if let ControlFlow::Break(response) = keep(x, with, &session) {
                return response;
            }
            let pending = with.settings.pending_cookie(&callback.pending.state);
            x.set_cookies.push(cookie::drop_short(&pending, x.https));
            Response::redirect(303, callback.pending.return_to.as_str())
        }
        Err(refusal) => {
            tracing::warn!(%refusal, client = %x.remote, "a sign-in is not believed");
            page(403, &format!("the sign-in was not completed: {refusal}"))
        }
    }
}

async fn logout(x: &mut Exchange<'_>, with: &SignInWith) -> Response {
    if !matches!(x.head.method(), "GET" | "POST") {
        return Response::status(405).field("allow", "GET, POST");
    }
    let known = with.known().await;
    let now = now(x);
    let standing = with_browser(x, |browser| with.settings.standing(&with.ring, browser, now));
    let session = match &standing {
        Standing::Fresh(session) | Standing::Stale(session) => Some(&**session),
        Standing::None => None,
    };
    let provider = known.as_ref().map(|known| &known.provider);
    let site = x.head.fields.named("sec-fetch-site");
    let Some(left) = with.settings.logout(provider, session, &origin(x), site) else {
        return page(403, "another site cannot sign you out");
    };
    x.set_cookies.extend(left.set_cookies);
    Response::redirect(303, &left.location)
}

enum Renewed {
    Session(Box<Session>),
    /// The provider does not vouch for it any longer.
    Refused,
    Away,
}

/// Asks the provider for a session anew, once for all requests that bring the same old one: most providers take a refresh
/// token once.
async fn renew(with: &SignInWith, old: &Session, now: u64) -> Renewed {
    let token = old.refresh_token.clone().unwrap_or_default();
    let mut renewed = with.renewed.lock().await;
    let known = renewed.iter().find(|(of, session)| *of == token && session.fresh_until > now);
    if let Some((_, session)) = known {
        return Renewed::Session(Box::new(session.clone()));
    }
    let Some(known) = with.known().await else { return Renewed::Away };
    let Some(call) = with.settings.refresh(&known.provider, old) else { return Renewed::Refused };
    let answer = match with.fetcher.fetch(&call).await {
        Ok(answer) if answer.status < 500 => answer,
        Ok(answer) => {
            tracing::warn!(status = answer.status, "a provider does not renew sessions");
            return Renewed::Away;
        }
        Err(error) => {
            tracing::warn!(%error, "a provider does not renew sessions");
            return Renewed::Away;
        }
    };
    let mut session = with.settings.refreshed(&known.provider, &known.keys, old, &answer, now);
    if is_unknown_key(&session)
        && let Some(known) = with.known_anew().await
    {
        session = with.settings.refreshed(&known.provider, &known.keys, old, &answer, now);
    }
    match session {
        Ok(session) => {
            if renewed.len() >= RENEWED_MAX {
                renewed.pop_front();
            }
            renewed.push_back((token, session.clone()));
            Renewed::Session(Box::new(session))
        }
        Err(refusal) => {
            tracing::info!(%refusal, subject = %old.identity.subject, "a session is not renewed");
            Renewed::Refused
        }
    }
}

fn is_unknown_key(outcome: &Result<Session, TokensRefusal>) -> bool {
    let unknown = bearer::Refusal::Token(selvedge_jwt::Refusal::NoKeyMatches);
    matches!(outcome, Err(TokensRefusal::IdToken(refusal)) if *refusal == unknown)
}

/// Has the browser keep a session.
fn keep(x: &mut Exchange<'_>, with: &SignInWith, session: &Session) -> ControlFlow<Response> {
    let mut salt = [0; 12];
    if aws_lc_rs::rand::fill(&mut salt).is_err() {
        return ControlFlow::Break(Response::status(500));
    }
    match with.settings.keep(&with.ring, session, x.https, salt, now(x)) {
        Some(lines) => {
            x.set_cookies.extend(lines);
            ControlFlow::Continue(())
        }
        None => ControlFlow::Break(page(403, "what is known of you is too long to be kept")),
    }
}

fn origin(x: &Exchange<'_>) -> String {
    format!("{}://{}", x.scheme(), x.host())
}

fn with_browser<T>(x: &Exchange<'_>, look: impl FnOnce(Browser<'_>) -> T) -> T {
    let cookies: Vec<&[u8]> = x.head.fields.all_named("cookie").collect();
    look(Browser { cookies: &cookies, secure: x.https })
}

fn part<const N: usize>(drawn: &[u8; 76], from: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&drawn[from..from + N]);
    out
}
