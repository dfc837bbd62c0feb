//! Certificates in files: whether they have ended, and whether they name the hosts for which they are shown.

use std::collections::BTreeMap;

use selvedge_identity::{Certificate, pem};
use selvedge_site::mention::Mention;
use selvedge_site::{Diagnostic, Program, RequestFacts};

use super::super::names;

/// A certificate that ends within so many days is told.
const DAYS_LEFT_MIN: u64 = 14;

pub(super) fn findings(program: &Program, mentions: &[Mention], now: i64) -> Vec<Diagnostic> {
    // What is asked for of each file, in the order of names.
    let mut shown: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for listener in program.listeners.iter().filter(|listener| listener.ssl.engine) {
        let names = program.server_names(listener);
        for name in std::iter::once(None).chain(names.iter().map(|name| Some(&**name))) {
            let facts = RequestFacts {
                socket: Some(&listener.token),
                scheme: Some("https"),
                host: Some(name.unwrap_or("")),
                ..RequestFacts::default()
            };
            let Ok(resolved) = program.resolve(&facts) else { continue };
            let directives = &resolved.directives;
            if directives.mesh.certificate.is_some()
                || directives.mesh.acme.is_some() && directives.ssl.pemfile.is_none()
            {
                continue;
            }
            if let Some(path) = &directives.ssl.pemfile {
                let asked = shown.entry(path.to_string()).or_default();
                asked.extend(name.map(str::to_owned).filter(|name| !asked.contains(name)));
            }
        }
    }
    shown.iter().flat_map(|(path, asked)| of_file(path, asked, mentions, now)).collect()
}

fn of_file(path: &str, asked: &[String], mentions: &[Mention], now: i64) -> Vec<Diagnostic> {
    let place = mentions.iter().find(|one| *one.name == *path).map(|one| one.place);
    let told = |message: String, hint: &str| Diagnostic::warns(message).at(place).hinted(hint);
    // What cannot be read or used is told by whoever loads it.
    let Ok(bytes) = std::fs::read(path) else { return Vec::new() };
    let Some(leaf) = pem::certificates(&bytes).ok().and_then(|chain| chain.into_iter().next()) else {
        return Vec::new();
    };
    let Ok(certificate) = Certificate::read(&leaf) else { return Vec::new() };
    let mut found = Vec::new();
    let renew = "renew it, or have it renewed by itself: mesh.acme, or acme in [tls.…]";
    if certificate.not_after < now {
        found.push(told(
            format!("the certificate in {path} ended on {}", names::date(certificate.not_after)),
            renew,
        ));
    } else if certificate.not_before > now {
        let begins = names::date(certificate.not_before);
        found.push(told(
            format!("the certificate in {path} does not hold before {begins}"),
            "look whether this machine's clock is right",
        ));
    } else if certificate.days_left(now) < DAYS_LEFT_MIN
        && certificate.not_after - certificate.not_before > 30 * 86_400
    {
        let ends = names::date(certificate.not_after);
        found.push(told(format!("the certificate in {path} ends on {ends}"), renew));
    }
    let missing: Vec<&str> =
        asked.iter().map(String::as_str).filter(|name| !names::covers(&certificate, name)).collect();
    if !missing.is_empty() {
        found.push(told(
            format!(
                "the certificate in {path} does not name {}, whose clients are shown it",
                missing.join(", ")
            ),
            "have it issued for these names as well, or give them a certificate of their own",
        ));
    }
    found
}
