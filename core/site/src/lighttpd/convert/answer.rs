//! What answers, and who may ask, in the form's words.

use std::fmt::Write as _;

use super::matched::Match;
use super::order::refuses;
use super::text::{plain, quoted, shown, shown_list};
use super::{Value, Values};
use crate::directive::ExpireBase;

/// What answers.
pub(super) fn answer_of(values: &Values<'_>) -> String {
    let text = |key: &str| values.get(key).and_then(|value| value.as_text()).map(|text| &**text);
    if refuses(values) {
        "status = 403\n  respond = \"\"".to_owned()
    } else if let Some(service) = text("mesh.service") {
        format!("service = {}", quoted(service))
    } else if let Some(workflow) = values.get("mesh.workflow") {
        format!("workflow = {}", workflow_of(workflow))
    } else if let Some(servers) = values.get("proxy.server").and_then(|value| servers_of_all(value)) {
        format!("proxy = {servers} # bypasses the mesh: name a service, and its policies hold")
    } else if let Some(servers) = values.get("fastcgi.server").and_then(|value| servers_of_all(value)) {
        format!("fastcgi = {servers}")
    } else {
        format!("files = {}", quoted(text("server.document-root").unwrap_or("/var/www/html")))
    }
}

/// Whether backends may change the protocol of a connection. The form lets a WebSocket through, and no other.
pub(super) fn takes_upgrades(values: &Values<'_>) -> bool {
    let switch = |key: &str| {
        let header = values.get("proxy.header")?.as_list()?;
        crate::directive::truth(header.get(key)?)
    };
    switch("upgrade") == Some(true) && switch("force-http10") != Some(true)
}

/// Whether `proxy.header` says nothing besides, so that `websocket` is its equal.
pub(super) fn says_upgrade_alone(header: &Value) -> bool {
    let is_upgrade = |key: Option<&str>| key.is_some_and(|key| key.eq_ignore_ascii_case("upgrade"));
    header.as_list().is_some_and(|list| list.iter().all(|(key, _)| is_upgrade(key.map(|key| &**key))))
}

/// A sign-in that the form has as well: with a file of htpasswd's or htdigest's, for everybody in it or for some.
pub(super) fn auth_of(values: &Values<'_>, requirement: &Value) -> Option<String> {
    let text = |key: &str| values.get(key).and_then(|value| value.as_text());
    let of = |key: &str| requirement.as_list()?.get(key)?.as_text();
    let way = match (&**text("auth.backend")?, &**of("method")?) {
        ("htpasswd", "basic") => "htpasswd",
        ("htdigest", "digest") if of("algorithm").is_none_or(|it| it.eq_ignore_ascii_case("md5")) => {
            "htdigest"
        }
        _ => return None,
    };
    // What a nonce is held to, and names that are sent as digests, the form does not have.
    if ["nonce_secret", "nonce-secret", "userhash"].iter().any(|key| of(key).is_some()) {
        return None;
    }
    let file = text(&format!("auth.backend.{way}.userfile"))?;
    let (mut users, mut groups) = (Vec::new(), Vec::new());
    let who = of("require")?;
    if **who != *"valid-user" {
        for one in who.split('|') {
            match one.split_once('=')? {
                ("user", name) => users.push(quoted(name)),
                ("group", name) => groups.push(quoted(name)),
                _ => return None,
            }
        }
    }
    let mut out = format!("{{ {way} = {}", quoted(file));
    if let Some(realm) = of("realm") {
        let _ = write!(out, ", realm = {}", quoted(realm));
    }
    if !users.is_empty() {
        let _ = write!(out, ", users = [{}]", users.join(", "));
    }
    if !groups.is_empty() {
        let file = text("auth.backend.plain.groupfile")?;
        let _ = write!(out, ", groups = [{}], group_file = {}", groups.join(", "), quoted(file));
    }
    out.push_str(" }");
    Some(out)
}

fn workflow_of(value: &Value) -> String {
    if let Some(machine) = value.as_text() {
        return format!("{{ machine = {} }}", quoted(machine));
    }
    let entries = value.as_list().map(|list| list.iter().collect::<Vec<_>>()).unwrap_or_default();
    let entries = entries.into_iter().filter_map(|(key, value)| {
        Some(match &**key? {
            "wait" => format!("wait = \"{}s\"", plain(value)),
            name @ ("resume" | "states") => format!("{name} = {}", crate::directive::truth(value)?),
            "headers" => format!("headers = {}", shown_list(value)),
            "files" => format!("files = {}", quoted(&plain(value))),
            "errors" => format!("errors = {}", shown(value)),
            key => format!("{key} = {}", quoted(&plain(value))),
        })
    });
    format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
}

/// The servers of everything (`""`).
fn servers_of_all(value: &Value) -> Option<String> {
    servers_of(value.as_list()?.get("")?)
}

/// A list of servers as their addresses; `None` if one is to be started here.
pub(super) fn servers_of(hosts: &Value) -> Option<String> {
    let servers: Option<Vec<String>> = hosts
        .as_list()?
        .iter()
        .map(|(_, host)| {
            let host = host.as_list().filter(|host| host.get("bin-path").is_none())?;
            address_of(host).map(|address| quoted(&address))
        })
        .collect();
    Some(format!("[{}]", servers?.join(", ")))
}

/// A time for caches, counted from the request, as a `Cache-Control`.
pub(super) fn expire_of(time: &Value) -> Option<String> {
    let expire = crate::directive::expire::parse(time.as_text()?)?;
    let is_access = expire.base == ExpireBase::Access;
    is_access.then(|| format!("\"max-age={}\"", expire.seconds))
}

/// The rules of a rewrite, one by one.
///
/// # Errors
/// Why they cannot be said.
pub(super) fn rewrites_of(
    value: &Value,
    if_not_file: bool,
    rule: &Match,
    guarded: &[String],
) -> Result<Vec<String>, &'static str> {
    let condition = if if_not_file { ", if_not_file = true" } else { "" };
    let rules = value.as_list().into_iter().flat_map(|list| list.iter());
    rules
        .map(|(pattern, target)| {
            let (Some(pattern), Some(target)) = (pattern, target.as_text()) else {
                return Err("a rewrite is an expression and a text");
            };
            let target = rule.target(target)?;
            // A rewrite changes the path and not the route: it must not lead past who has to be asked.
            let known = &target[..target.find(['$', '%']).unwrap_or(target.len())];
            let own = rule.path_begins.as_deref().unwrap_or_default();
            let leads_past = |prefix: &&String| {
                let is_own = !prefix.is_empty() && own.starts_with(prefix.as_str());
                !is_own && (prefix.starts_with(known) || known.starts_with(prefix.as_str()))
            };
            if guarded.iter().any(|prefix| leads_past(&prefix)) {
                return Err(
                    "a rewrite changes the path and not the route: it may lead past who is asked there",
                );
            }
            Ok(format!("{{ match = {}, to = {}{condition} }}", quoted(pattern), quoted(&target)))
        })
        .collect()
}

/// Where a server is.
pub(super) fn address_of(host: &crate::value::List) -> Option<String> {
    let address = host.get("socket").or_else(|| host.get("host")).map(plain)?;
    Some(match host.get("port").map(plain) {
        Some(port) if !address.starts_with('/') => format!("{address}:{port}"),
        _ => address,
    })
}
