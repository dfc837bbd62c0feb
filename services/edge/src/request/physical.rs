//! From the path of a request to a file: root, alias, what follows the file.

use std::ops::ControlFlow;

use selvedge_http::known::HeaderId;
use selvedge_http::target;

use super::exchange::{Exchange, Physical};
use super::response::Response;
use super::{Flow, reshape};
use crate::answer::{root, root::Found};

/// Finds what the path leads to.
pub(super) fn find(x: &mut Exchange<'_>) -> Flow {
    if x.head.method() == "OPTIONS" && x.path() == "*" {
        return ControlFlow::Break(crate::answer::options());
    }
    compose(x)?;
    check(x)
}

/// Joins root and path.
fn compose(x: &mut Exchange<'_>) -> Flow {
    let relative = x.case().of_file(x.path());
    let found = crate::answer::host_root::find(x, &relative)?;
    let root = found.root;
    let relative = found.relative.unwrap_or(relative);
    let mut physical =
        Physical { path: join(&root, &relative), base: root.clone(), root, ..Physical::default() };
    if let Some((prefix, folder)) = alias(x, &relative) {
        let rest = &relative[prefix.len()..];
        // `/a` for `/b/` must not lead from `/a../x` to `/b/../x`.
        if !prefix.ends_with('/') && folder.ends_with('/') && rest.starts_with("..") {
            return ControlFlow::Break(Response::status(403));
        }
        physical.path = format!("{folder}{rest}");
        physical.base = folder.clone();
        physical.root = folder;
    }
    x.physical = physical;
    let is_file = std::fs::metadata(&x.physical.path).is_ok_and(|facts| facts.is_file());
    if is_file { ControlFlow::Continue(()) } else { reshape::rewrite_if_not_file(x) }
}

fn alias(x: &Exchange<'_>, relative: &str) -> Option<(String, String)> {
    let (named, case) = (x.conf.alias.url.iter(), x.case());
    let mut fitting = named.filter(|(prefix, _)| case.begins(relative, prefix));
    fitting.next().map(|(prefix, folder)| (prefix.to_string(), folder.to_string()))
}

/// A root and a path with one slash between them.
pub(crate) fn join(root: &str, path: &str) -> String {
    format!("{}/{}", root.trim_end_matches('/'), path.trim_start_matches('/'))
}

/// Looks whether there is something, and where the path goes on behind a file.
fn check(x: &mut Exchange<'_>) -> Flow {
    let follow = x.conf.server.follow_symlink;
    match root::look(&x.physical.root, &x.physical.path, follow) {
        Found::Here(facts) => x.physical.facts = Some(facts),
        Found::Behind(facts, len) => {
            let info = x.physical.path.split_off(len);
            // Of the path as it was asked for: it may have been put in lower case.
            let from = x.target.path.len().saturating_sub(info.len());
            let kept = x.target.path.get(from..).filter(|tail| tail.eq_ignore_ascii_case(&info));
            x.physical.info = kept.map_or(info, str::to_owned);
            x.target.path.truncate(from);
            x.physical.facts = Some(facts);
        }
        Found::Missing => return ControlFlow::Break(Response::status(404)),
        Found::Forbidden => return ControlFlow::Break(Response::status(403)),
        Found::Failed(error) => {
            tracing::warn!(%error, path = x.physical.path, "a path cannot be looked at");
            return ControlFlow::Break(Response::status(500));
        }
    }
    let is_folder = x.physical.facts.as_ref().is_some_and(std::fs::Metadata::is_dir);
    if is_folder && !x.path().ends_with('/') {
        return ControlFlow::Break(to_folder(x));
    }
    ControlFlow::Continue(())
}

/// A directory is asked for with a slash at its end.
pub(crate) fn to_folder(x: &Exchange<'_>) -> Response {
    let mut location = String::new();
    if x.conf.global.feature_flags.bool("server.absolute-dir-redirect", false) {
        location = format!("{}://{}", x.scheme(), x.head.authority().unwrap_or_default());
    }
    location.push_str(&target::encode_path(x.path()));
    location.push('/');
    if !x.target.query().is_empty() {
        location.push('?');
        location.push_str(x.target.query());
    }
    let mut response = Response::status(301);
    response.head.fields.append_id(HeaderId::Location, location.as_bytes());
    response
}
