//! Rewrites and redirects.

use std::ops::ControlFlow;

use selvedge_site::Parts;
use selvedge_site::directive::Rules;

use super::exchange::Exchange;
use super::response::Response;
use super::{Flow, TURNS_MAX};

/// What a path and its query may become: rules that repeat what they match would grow it without end.
pub(crate) const REWRITTEN_BYTES_MAX: usize = 64 * 1024;

/// Rewrites the target; conditions are judged again on the new one.
pub(super) fn rewrite(x: &mut Exchange<'_>) -> Flow {
    for _ in 0..TURNS_MAX {
        if x.rewritten || x.conf.url.rewrite.is_empty() {
            return ControlFlow::Continue(());
        }
        let rules = x.conf.url.rewrite.clone();
        let Some((target, again)) = applied(x, &rules)? else { return ControlFlow::Continue(()) };
        x.rewritten = !again;
        if !target.starts_with('/') || target.len() > REWRITTEN_BYTES_MAX {
            return ControlFlow::Break(Response::status(500));
        }
        x.turn_to(&target);
        x.resolve()?;
    }
    tracing::warn!(target = x.target_original, "a rewrite never ends");
    ControlFlow::Break(Response::status(500))
}

/// The same for paths that are no files; the way to the answer begins again.
pub(crate) fn rewrite_if_not_file(x: &mut Exchange<'_>) -> Flow {
    if x.rewritten_for_file || x.conf.url.rewrite_if_not_file.is_empty() {
        return ControlFlow::Continue(());
    }
    let rules = x.conf.url.rewrite_if_not_file.clone();
    match applied(x, &rules)? {
        None => ControlFlow::Continue(()),
        Some((target, _)) if target.len() > REWRITTEN_BYTES_MAX => ControlFlow::Break(Response::status(500)),
        Some((target, again)) => {
            x.rewritten_for_file = !again;
            x.rewritten = !again;
            ControlFlow::Break(Response::turn(target))
        }
    }
}

/// Sends the client to the same with TLS.
pub(super) fn to_https(x: &mut Exchange<'_>) -> Flow {
    if !x.conf.edge.redirect_https || x.https {
        return ControlFlow::Continue(());
    }
    let host = selvedge_http::authority::without_port(x.head.authority().unwrap_or_default());
    let location = format!("https://{host}{}", x.target.text);
    ControlFlow::Break(Response::redirect(x.conf.edge.redirect_https_status, &location))
}

/// Sends the client elsewhere.
pub(super) fn redirect(x: &mut Exchange<'_>) -> Flow {
    if x.conf.url.redirect.is_empty() {
        return ControlFlow::Continue(());
    }
    let rules = x.conf.url.redirect.clone();
    let Some((location, _)) = applied(x, &rules)? else { return ControlFlow::Continue(()) };
    let status = match x.conf.url.redirect_code {
        0 => 301,
        code => code,
    };
    ControlFlow::Break(Response::redirect(status, &location))
}

/// The first rule that fits: its result, and whether rules are to be tried again on it.
fn applied(x: &Exchange<'_>, rules: &Rules) -> ControlFlow<Response, Option<(String, bool)>> {
    let url = &x.target.text;
    let fail = |error: &dyn std::fmt::Display| {
        tracing::warn!(%error, target = url, "a rule cannot be applied");
        ControlFlow::Break(Response::status(500))
    };
    let (number, rule, groups) = match rules.find(url) {
        Ok(Some(found)) => found,
        Ok(None) => return ControlFlow::Continue(None),
        Err(error) => return fail(&error),
    };
    if rule.template.is_blank() {
        return ControlFlow::Continue(None);
    }
    let expanded = x.with_facts(|program, facts| {
        let condition = rules.condition.filter(|_| rule.template.asks_condition());
        let condition = condition.and_then(|id| program.condition(id));
        let condition = match condition.map(|condition| condition.groups(facts)) {
            Some(Ok(groups)) => groups,
            Some(Err(error)) => return Err(error.to_string()),
            None => None,
        };
        let (path, query) = match url.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (url.as_str(), None),
        };
        let parts = Parts {
            rule: Some((url, &groups)),
            condition: condition.as_ref().map(|(text, groups)| (&**text, groups)),
            scheme: x.scheme(),
            authority: x.head.authority().unwrap_or_default(),
            port: x.peer.local.port(),
            path,
            query,
        };
        rule.template.expand(&parts).map_err(|error| error.to_string())
    });
    match expanded {
        Ok(text) => ControlFlow::Continue(Some((text, rules.repeats(number)))),
        Err(error) => fail(&error),
    }
}
