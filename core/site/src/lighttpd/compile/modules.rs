//! Which modules are loaded: those that are listed, and those that older configurations count on.

use super::super::block::Block;
use super::super::module::{self, Known, Owner};
use super::Compiler;
use crate::diagnostic::{Diagnostic, did_you_mean};
use crate::directive;
use crate::value::Value;

impl Compiler<'_> {
    fn uses(&self, keys: &[&str]) -> bool {
        let counts = |value: &Value| match value {
            Value::List(list) => !list.is_empty(),
            value => directive::truth(value).unwrap_or(false),
        };
        keys.iter().any(|key| self.document.occurrences(key).any(|(value, ..)| counts(value)))
    }

    /// Finds out which modules are loaded.
    pub(super) fn modules(&mut self) {
        if let Some(list) = self.document.global("server.modules").and_then(Value::as_list) {
            for (_, value) in list.iter() {
                if let Some(name) = value.as_text()
                    && !self.modules.contains(name)
                {
                    self.modules.push(name.clone());
                }
            }
        }
        let compatible =
            self.document.global("server.compat-module-load").and_then(directive::truth).unwrap_or(true);
        if compatible {
            self.load_what_older_configurations_count_on();
        }
        self.replace_compress();
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.modules.iter().any(|module| **module == *name)
    }

    fn load_what_older_configurations_count_on(&mut self) {
        let needed =
            |compiler: &mut Self, name: &str, used: bool, front: bool| match (used, compiler.has(name)) {
                (true, false) if front => compiler.modules.insert(0, name.into()),
                (true, false) => compiler.modules.push(name.into()),
                (false, true) => compiler.modules.retain(|module| **module != *name),
                _ => {}
            };
        let index = self.uses(&["index-file.names", "server.indexfiles"]);
        needed(self, "mod_indexfile", index, true);
        let listing = self.uses(&["dir-listing.activate", "server.dir-listing"]);
        needed(self, "mod_dirlisting", listing, false);
        needed(self, "mod_staticfile", true, false);
        let place = self
            .document
            .blocks
            .iter()
            .flat_map(Block::values)
            .find_map(|(key, _, place)| key.starts_with("ssl.").then_some(place));
        let has_tls = ["mod_openssl", "mod_gnutls", "mod_mbedtls", "mod_nss", "mod_wolfssl"]
            .iter()
            .any(|name| self.has(name));
        if let (Some(place), false) = (place, has_tls) {
            self.modules.push("mod_openssl".into());
            self.warn(place, "Warning: please add \"mod_openssl\" to server.modules list in lighttpd.conf.");
        }
        if self.has("mod_auth") && !self.has("mod_authn_file") {
            let backend = self.document.occurrences("auth.backend").find_map(|(value, place, _)| {
                let name = value.as_text()?;
                ["plain", "htpasswd", "htdigest"].contains(&&**name).then_some(place)
            });
            if let Some(place) = backend {
                self.modules.push("mod_authn_file".into());
                self.warn(
                    place,
                    "Warning: please add \"mod_authn_file\" to server.modules list in lighttpd.conf.",
                );
            }
        }
        if !self.has("mod_auth") && self.modules.iter().any(|module| module.starts_with("mod_authn_")) {
            self.modules.insert(0, "mod_auth".into());
        }
    }

    /// mod_compress is mod_deflate by an older name.
    fn replace_compress(&mut self) {
        if !self.has("mod_compress") {
            return;
        }
        let place = self
            .document
            .blocks
            .iter()
            .flat_map(Block::values)
            .find_map(|(key, _, place)| key.starts_with("compress.").then_some(place));
        if let Some(place) = place {
            self.warn(
                place,
                "Warning: \"mod_compress\" is DEPRECATED and has been replaced with \"mod_deflate\".",
            );
        }
        let keep = place.is_some() && !self.has("mod_deflate");
        self.modules.retain(|module| keep || **module != *"mod_compress");
        for module in self.modules.iter_mut().filter(|module| ***module == *"mod_compress") {
            *module = "mod_deflate".into();
        }
    }

    /// Refuses modules that there are not, or not here.
    pub(super) fn check_modules(&mut self) {
        let place = self.document.occurrences("server.modules").next().map(|(_, place, _)| place);
        for name in &self.modules {
            let found = match module::known(name) {
                Some(Known::Supported) => continue,
                Some(Known::Refused(instead)) => {
                    Diagnostic::error(place, format!("{name} is not supported")).with_hint(instead)
                }
                None => {
                    let found = Diagnostic::error(place, format!("{name} plugin not found"));
                    match did_you_mean(name, module::names()) {
                        Some(guess) => found.with_hint(format!("did you mean {guess}?")),
                        None => found,
                    }
                }
            };
            self.found.push(found);
        }
    }

    pub(super) fn loaded(&self, owner: Owner) -> bool {
        match owner {
            Owner::AnyOf(modules) => modules.iter().any(|module| self.has(module)),
            Owner::Server | Owner::Network | Owner::Mesh => true,
        }
    }
}
