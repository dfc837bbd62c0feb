//! Who asks: the address that trusted hops vouch for, and the user who shows a password.

mod basic;
mod digest;
mod files;
mod forwarded;
mod password;

use std::ops::ControlFlow;

pub(crate) use digest::now_ms;
pub(crate) use forwarded::forwarded;
use selvedge_site::directive::{AuthMethod, AuthRequirement, Require};

use crate::request::{Exchange, Flow, Response};

/// What a check of credentials says.
enum Checked {
    User(String),
    Refused(Response),
}

/// Asks for credentials where they are required, and judges them.
pub(crate) async fn authenticate(x: &mut Exchange<'_>) -> Flow {
    let conf = x.conf.clone();
    if conf.auth.require.is_empty() || x.in_error_handler {
        return ControlFlow::Continue(());
    }
    let case = x.case();
    let Some((_, requirement)) = conf.auth.require.iter().find(|(prefix, _)| case.begins(x.path(), prefix))
    else {
        return ControlFlow::Continue(());
    };
    once(x)?;
    let method = match requirement.method {
        AuthMethod::Extern => {
            let known = x.user.as_ref().map(|user| user.name.clone());
            return match known {
                Some(name) if may(x, requirement, &name) => ControlFlow::Continue(()),
                _ => ControlFlow::Break(Response::status(401)),
            };
        }
        AuthMethod::Basic => "Basic",
        AuthMethod::Digest => "Digest",
    };
    let checked = match requirement.method {
        AuthMethod::Digest => digest::check(x, requirement),
        _ => basic::check(x, requirement).await,
    };
    match checked {
        Checked::Refused(response) => ControlFlow::Break(response),
        Checked::User(name) if !may(x, requirement, &name) => {
            ControlFlow::Break(challenge(x, requirement, false))
        }
        Checked::User(name) => {
            x.user = Some(crate::request::User { name, method });
            ControlFlow::Continue(())
        }
    }
}

/// Credentials come once: of two, we would judge one and whoever is behind could believe the other.
pub(crate) fn once(x: &Exchange<'_>) -> Flow {
    match x.head.fields.all_named("authorization").nth(1) {
        Some(_) => ControlFlow::Break(Response::status(400).closing()),
        None => ControlFlow::Continue(()),
    }
}

fn challenge(x: &Exchange<'_>, requirement: &AuthRequirement, stale: bool) -> Response {
    match requirement.method {
        AuthMethod::Digest => digest::challenge(x, requirement, stale),
        _ => basic::challenge(requirement),
    }
}

/// Whether a user is one of those who may.
fn may(x: &Exchange<'_>, requirement: &AuthRequirement, name: &str) -> bool {
    match &requirement.require {
        Require::ValidUser => true,
        Require::AnyOf { users, groups } => {
            users.iter().any(|user| **user == *name)
                || !groups.is_empty()
                    && x.conf
                        .auth
                        .backend_plain_groupfile
                        .as_deref()
                        .is_some_and(|file| files::is_in_group(file, name, groups))
        }
    }
}
