//! What the keys `mesh.*` become in the form. Who passes comes first: a route that is written without its guard would serve everybody, so
//! what the form cannot say takes the whole block with it.

use std::fmt::Write as _;

use super::text::{plain, quoted, shown, shown_list};
use super::{Out, Value, Values};
use crate::value::List;

/// What every route of a block is given.
#[derive(Default)]
pub(super) struct Dress {
    pub(super) lines: Vec<String>,
    /// Guards that the form cannot say, each with what it says in their place. Without them nothing of the block may be served.
    pub(super) missing: Vec<(&'static str, &'static str)>,
}

/// Keys that say who passes: blocks with one of them stand before those that only answer.
pub(super) const GUARDS: [&str; 3] = ["mesh.sign-in", "mesh.claims", "mesh.forward-auth"];

/// Keys of a block that its routes are given.
pub(super) fn in_route(key: &str) -> bool {
    GUARDS.contains(&key)
        || matches!(
            key,
            "mesh.identity-headers"
                | "mesh.per-client"
                | "mesh.cache"
                | "mesh.early-hints"
                | "mesh.hsts"
                | "mesh.precompressed"
                | "mesh.security-headers"
                | "server.follow-symlink"
        )
}

/// Keys of the global block that a table of the form has, or a listener.
pub(super) fn in_tables(key: &str) -> bool {
    matches!(
        key,
        "mesh.oidc"
            | "mesh.jwt"
            | "mesh.traces"
            | "mesh.acme"
            | "mesh.certificate"
            | "mesh.client-authority"
            | "mesh.http3"
            | "mesh.redirect-https"
            | "mesh.connections-per-client"
            | "mesh.client-kbytes-per-second"
            | "mesh.body-timeout"
            | "mesh.cache-mbytes"
    )
}

/// What the routes of a block are given, by all the values that hold there.
pub(super) fn dress_of(values: &Values<'_>) -> Dress {
    let mut dress = Dress::default();
    let list = |key: &str| values.get(key).and_then(|value| value.as_list()).filter(|list| !list.is_empty());
    match sign_in_of(values) {
        Ok(Some(auth)) => dress.lines.push(format!("auth = {auth}")),
        Ok(None) => {}
        Err(missing) => dress.missing.push(missing),
    }
    if let Some(settings) = list("mesh.forward-auth") {
        dress.lines.push(format!("forward_auth = {}", inline(settings)));
    }
    if let Some(headers) = list("mesh.identity-headers") {
        dress.lines.push(format!("identity_headers = {}", inline_of_names(headers)));
    }
    match values.get("mesh.per-client") {
        Some(Value::Text(rate)) if !rate.is_empty() => {
            dress.lines.push(format!("per_client = {{ rate = {} }}", quoted(rate)));
        }
        Some(Value::List(rate)) if !rate.is_empty() => {
            dress.lines.push(format!("per_client = {}", inline(rate)));
        }
        _ => {}
    }
    if let Some(hsts) = list("mesh.hsts") {
        let switched = |value: &Value| crate::directive::truth(value).map(|on| on.to_string());
        let entries = hsts.iter().filter_map(|(key, value)| {
            let said = if **key? == *"max-age" { shown(value) } else { switched(value)? };
            Some(format!("{} = {said}", key?.replace('-', "_")))
        });
        dress.lines.push(format!("hsts = {{ {} }}", entries.collect::<Vec<_>>().join(", ")));
    }
    if let Some(links) = values.get("mesh.early-hints").filter(|_| list("mesh.early-hints").is_some()) {
        dress.lines.push(format!("early_hints = {}", shown_list(links)));
    }
    for (from, to) in [
        ("mesh.cache", "remember"),
        ("mesh.precompressed", "precompressed"),
        ("mesh.security-headers", "security_headers"),
        ("server.follow-symlink", "follow_symlinks"),
    ] {
        let on = values.get(from).and_then(|value| crate::directive::truth(value));
        let usual = to == "follow_symlinks";
        dress.lines.extend(on.filter(|on| *on != usual).map(|on| format!("{to} = {on}")));
    }
    dress
}

/// The sign-in with its rules on claims; a guard that has no equal, with the reason.
fn sign_in_of(values: &Values<'_>) -> Result<Option<String>, (&'static str, &'static str)> {
    let claims = values.get("mesh.claims").and_then(|value| value.as_list()).filter(|list| !list.is_empty());
    let said = values.get("mesh.sign-in").and_then(|value| value.as_text()).filter(|said| !said.is_empty());
    let Some(said) = said else {
        return match claims {
            None => Ok(None),
            Some(_) => Err(("mesh.claims", "rules on claims stand in auth, beside who has to be signed in")),
        };
    };
    if values.contains_key("auth.require") {
        return Err(("mesh.sign-in", "a route has one sign-in: auth.require holds as well"));
    }
    let mut auth = match said.split_once(':') {
        Some((way @ ("oidc" | "jwt"), name)) => format!("{{ {way} = {}", quoted(name)),
        _ if **said == *"certificate" => "{ certificate = true".to_owned(),
        _ => return Err(("mesh.sign-in", "auth takes oidc, jwt, certificate, htpasswd, htdigest")),
    };
    if let Some(claims) = claims {
        let _ = write!(auth, ", claims = {}", inline_of_names(claims));
    }
    auth.push_str(" }");
    Ok(Some(auth))
}

/// A list by names as a table in one line, its names as the form has them.
pub(super) fn inline(list: &List) -> String {
    let entries =
        list.iter().filter_map(|(key, value)| Some(format!("{} = {}", key?.replace('-', "_"), shown(value))));
    format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
}

/// The same for a list whose names are somebody else's: headers, claims.
fn inline_of_names(list: &List) -> String {
    let entries = list.iter().filter_map(|(key, value)| Some(format!("{} = {}", quoted(key?), shown(value))));
    format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
}

impl Out {
    /// Providers, issuers and the collector of spans.
    pub(super) fn mesh(&mut self, global: &Values<'_>) {
        let list = |key: &str| global.get(key).and_then(|value| value.as_list());
        for (key, table) in [("mesh.oidc", "oidc"), ("mesh.jwt", "jwt")] {
            for (name, settings) in list(key).into_iter().flat_map(|list| list.iter()) {
                let (Some(name), Some(settings)) = (name, settings.as_list()) else { continue };
                self.settings(&format!("{table}.{}", quoted(name)), settings);
            }
        }
        if let Some(settings) = list("mesh.traces").filter(|list| !list.is_empty()) {
            self.settings("traces", settings);
        }
    }

    fn settings(&mut self, table: &str, settings: &List) {
        let _ = writeln!(self.text, "\n[{table}]");
        for (key, value) in settings.iter() {
            let Some(key) = key else { continue };
            let _ = writeln!(self.text, "{} = {}", key.replace('-', "_"), shown(value));
        }
    }
}

/// Whether a block says of some requests alone that they are sent to HTTPS, which the form says of whole listeners.
pub(super) fn redirects_some(values: &Values<'_>) -> bool {
    values.get("mesh.redirect-https").and_then(|value| crate::directive::truth(value)) == Some(true)
}

/// Bounds of the whole edge that only `mesh.*` has, as keys of `[limits]`.
pub(super) fn limits(global: &Values<'_>) -> [(&'static str, Option<String>); 4] {
    let number = |key: &str| global.get(key).map(|value| plain(value)).filter(|value| value != "0");
    let with = |key: &str, unit: &str| number(key).map(|value| format!("\"{value}{unit}\""));
    [
        ("connections_per_client", number("mesh.connections-per-client")),
        ("bandwidth_per_client", with("mesh.client-kbytes-per-second", "KiB/s")),
        ("body_timeout", with("mesh.body-timeout", "s")),
        ("cache", global.get("mesh.cache-mbytes").map(|value| format!("\"{}MiB\"", plain(value)))),
    ]
}
