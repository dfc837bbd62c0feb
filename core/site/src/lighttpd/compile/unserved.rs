//! Directives that do nothing: those that nobody knows, those whose module is not loaded, and those of lighttpd's that are not
//! served here, each told with what to do instead.

use super::Compiler;
use crate::diagnostic::{Diagnostic, did_you_mean};
use crate::directive;
use crate::lighttpd::module::{self, Known, Owner};

/// Directives whose rules are read together.
const REWRITES: &[&str] = &[
    "url.rewrite-once",
    "url.rewrite-final",
    "url.rewrite",
    "url.rewrite-repeat",
    "url.rewrite-if-not-file",
    "url.rewrite-repeat-if-not-file",
];

/// Directives of modules that are served, and of the server itself, that are not: and what to do instead.
const UNSERVED: &[(&str, &str)] = &[
    ("server.absolute-dir-redirect", FLAG),
    ("server.h2c", FLAG),
    ("server.h2proto", FLAG),
    ("server.ip-transparent", "let the system lead connections here, by a rule that redirects them"),
    ("ssl.ech-opts", "names in client hellos stay readable: the TLS here has no encrypted hello for servers"),
    (
        "ssl.ech-public-name",
        "names in client hellos stay readable: the TLS here has no encrypted hello for servers",
    ),
];

const FLAG: &str = "it is a switch: server.feature-flags = ( \"…\" => \"enable\" )";

/// Families of directives whose module is not served; the module's own word says what to do instead.
const FAMILIES: &[(&str, &str)] = &[
    ("ajp13.", "mod_ajp13"),
    ("auth.backend.dbi", "mod_authn_dbi"),
    ("auth.backend.gssapi.", "mod_authn_gssapi"),
    ("auth.backend.ldap.", "mod_authn_ldap"),
    ("auth.backend.mysql.", "mod_authn_mysql"),
    ("auth.backend.pam.", "mod_authn_pam"),
    ("auth.backend.sasl.", "mod_authn_sasl"),
    ("cml.", "mod_cml"),
    ("evasive.", "mod_evasive"),
    ("flv-streaming.", "mod_flv_streaming"),
    ("geoip.", "mod_geoip"),
    ("magnet.", "mod_magnet"),
    ("maxminddb.", "mod_maxminddb"),
    ("mysql-vhost.", "mod_mysql_vhost"),
    ("rrdtool.", "mod_rrdtool"),
    ("secdownload.", "mod_secdownload"),
    ("sockproxy.", "mod_sockproxy"),
    ("trigger-before-download.", "mod_trigger_b4_dl"),
    ("upload-progress.", "mod_uploadprogress"),
    ("usertrack.", "mod_usertrack"),
    ("vhostdb.", "mod_vhostdb"),
    ("webdav.", "mod_webdav"),
];

/// What to do instead of a directive of lighttpd's that is not served.
fn instead(key: &str) -> Option<&'static str> {
    if let Some((_, instead)) = UNSERVED.iter().find(|(known, _)| *known == key) {
        return Some(instead);
    }
    let (_, module) = FAMILIES.iter().find(|(family, _)| key.starts_with(family))?;
    match module::known(module)? {
        Known::Refused(instead) => Some(instead),
        Known::Supported => None,
    }
}

/// Every directive that is served.
fn served() -> impl Iterator<Item = &'static str> {
    directive::entries().map(|entry| entry.key).chain(REWRITES.iter().copied())
}

impl Compiler<'_> {
    /// Tells of directives that do nothing.
    pub(super) fn unserved(&mut self) {
        for block in &self.document.blocks {
            for (key, _, place) in block.values() {
                if key.starts_with("var.") {
                    continue;
                }
                let owner = module::owner(key);
                let read = directive::entry(key).is_some() || REWRITES.contains(&&**key);
                // How a list looks may be said where no directory is listed.
                let is_looks = key.starts_with("dir-listing.") && **key != *"dir-listing.activate";
                if read && (is_looks || owner.is_some_and(|owner| self.loaded(owner))) {
                    continue;
                }
                if let Some(instead) = instead(key) {
                    let found =
                        Diagnostic::warning(place, format!("WARNING: {key} is not supported (ignored)"));
                    self.found.push(found.with_hint(instead));
                    continue;
                }
                let found =
                    Diagnostic::warning(place, format!("WARNING: unknown config-key: {key} (ignored)"));
                let hint = match owner {
                    Some(Owner::AnyOf([module, ..])) if read => {
                        Some(format!("{module} is not in server.modules"))
                    }
                    _ => did_you_mean(key, served()).map(|guess| format!("did you mean {guess}?")),
                };
                self.found.push(match hint {
                    Some(hint) => found.with_hint(hint),
                    None => found,
                });
            }
        }
    }
}
