//! What a route says beside its answer.

use super::answer::{expire_of, rewrites_of, takes_upgrades};
use super::matched::Match;
use super::reason::reason;
use super::text::{plain, quoted, shown, shown_list};
use super::{Out, Value, Values, before, scripts};
use crate::directive::truth;
use crate::value::List;

impl Out {
    /// What every route of the block has: who passes, how it is dressed, what is refused.
    pub(super) fn dress(&mut self, values: &Values<'_>) {
        for line in std::mem::take(&mut self.dress) {
            self.line(&format!("  {line}"));
            self.dress.push(line);
        }
        if let Some(ends) = values.get("url.access-deny").filter(|ends| is_filled(ends)) {
            self.line(&format!("  refuse = {}", shown_list(ends)));
        }
    }

    /// What goes with files.
    pub(super) fn file_lines(&mut self, values: &Values<'_>) {
        let hidden = before::hidden(values);
        // The form has an index of its own where none is named.
        let index = ["index-file.names", "server.indexfiles"].iter().find_map(|key| values.get(key));
        match index {
            Some(names) => self.line(&format!("  index = {}", shown_list(&readable(names, &hidden)))),
            None => self.line("  index = []"),
        }
        let listing = ["dir-listing.activate", "server.dir-listing"].iter().find_map(|key| values.get(key));
        if listing.and_then(|on| truth(on)) == Some(true) {
            self.line("  listing = true");
            if let Some(names) = values.get("dir-listing.exclude").filter(|names| is_filled(names)) {
                self.line(&format!("  listing_hides = {}", shown_list(names)));
            }
        }
        if let Some(ends) = values.get("static-file.exclude-extensions").filter(|ends| is_filled(ends)) {
            self.line(&format!("  unsent = {}", shown_list(ends)));
        }
        let programs = scripts::of(values).entries;
        if !programs.is_empty() {
            self.line(&format!("  scripts = {{ {} }}", programs.join(", ")));
            let variables = merged(values, ["setenv.add-environment", "setenv.set-environment"]);
            if !variables.is_empty() {
                self.line(&format!("  environment = {}", shown(&Value::List(variables))));
            }
        }
        if let Some(path) = values.get("server.error-handler-404").and_then(|path| path.as_text())
            && path.starts_with('/')
        {
            self.line(&format!("  not_found = {}", quoted(path)));
        }
    }

    /// What goes with servers behind.
    pub(super) fn proxy_lines(&mut self, values: &Values<'_>) {
        if takes_upgrades(values) {
            self.line("  websocket = true");
        }
        let Some(parts) = values.get("proxy.forwarded").and_then(|parts| parts.as_list()) else { return };
        let on = parts.iter().filter(|(_, on)| truth(on) == Some(true));
        let parts: Vec<String> = on.filter_map(|(part, _)| Some(quoted(part?))).collect();
        if !parts.is_empty() {
            self.line(&format!("  forwarded = [{}]", parts.join(", ")));
        }
    }

    /// What goes with every answer. `cache`: in place of the block's own.
    pub(super) fn common_lines(&mut self, rule: &Match, values: &Values<'_>, cache: Option<&str>) {
        if let Some(rate) = values.get("connection.kbytes-per-second") {
            self.line(&format!("  bandwidth = \"{}KiB/s\"", plain(rate)));
        }
        for (name, keys) in [
            ("request_headers", ["setenv.add-request-header", "setenv.set-request-header"]),
            ("response_headers", ["setenv.add-response-header", "setenv.set-response-header"]),
        ] {
            let headers = merged(values, keys);
            if !headers.is_empty() {
                self.line(&format!("  {name} = {}", shown(&Value::List(headers))));
            }
        }
        self.compress(values);
        let everything = values.get("expire.url").and_then(|value| value.as_list()?.get(""));
        match (cache, everything) {
            (Some(cache), _) => self.line(&format!("  cache = {cache}")),
            (None, Some(time)) => match expire_of(time) {
                Some(cache) => self.line(&format!("  cache = {cache}")),
                None => self.no_equal("  ", "expire.url", Some(time), reason("expire.url")),
            },
            (None, None) => {}
        }
        self.rewrites(rule, values);
    }

    fn compress(&mut self, values: &Values<'_>) {
        let types = ["deflate.mimetypes", "compress.filetype"].iter().find_map(|key| values.get(key));
        let Some(types) = types.filter(|types| is_filled(types)) else { return };
        let named = ["deflate.allowed-encodings", "compress.allowed-encodings"];
        let named = named.iter().find_map(|key| values.get(key)).and_then(|list| list.as_list());
        let mut encodings: Vec<&str> = Vec::new();
        for (_, name) in named.into_iter().flat_map(|list| list.iter()) {
            let name = plain(name);
            let known = ["gzip", "deflate", "br", "zstd"];
            // As the directive is read: a word counts that is part of another, as in x-gzip.
            encodings
                .extend(known.into_iter().filter(|known| name.contains(known) && !name.contains("bzip")));
        }
        if named.is_none_or(|list| list.is_empty()) {
            encodings = vec!["zstd", "br", "gzip"];
        }
        if encodings.is_empty() {
            return;
        }
        let quotations: Vec<String> = encodings.iter().map(|name| quoted(name)).collect();
        self.line(&format!("  compress = [{}]", quotations.join(", ")));
        self.line(&format!("  compress_types = {}", shown_list(types)));
        let folder = ["deflate.cache-dir", "compress.cache-dir"].iter().find_map(|key| values.get(key));
        if let Some(folder) = folder.and_then(|folder| folder.as_text()).filter(|folder| !folder.is_empty()) {
            self.line(&format!("  compress_folder = {}", quoted(folder)));
        }
    }

    fn rewrites(&mut self, rule: &Match, values: &Values<'_>) {
        let mut rewrites = Vec::new();
        for key in ["url.rewrite-once", "url.rewrite", "url.rewrite-final", "url.rewrite-if-not-file"] {
            let Some(value) = values.get(key).filter(|value| is_filled(value)) else { continue };
            // What a rewrite makes of a path, the route for files would send, were it a program or not.
            if !before::hidden(values).is_empty() {
                self.no_equal("  ", key, Some(value), reason("url."));
                continue;
            }
            match rewrites_of(value, key == "url.rewrite-if-not-file", rule, &self.guarded) {
                Ok(some) => rewrites.extend(some),
                Err(why) => self.no_equal("  ", key, Some(value), why),
            }
        }
        match rewrites.as_slice() {
            [] => {}
            [one] => self.line(&format!("  rewrite = {one}")),
            several => self.line(&format!("  rewrite = [{}]", several.join(", "))),
        }
    }
}

/// Two directives as one list; the later one counts.
fn merged<const N: usize>(values: &Values<'_>, keys: [&str; N]) -> List {
    let mut all: Vec<(Option<std::sync::Arc<str>>, Value)> = Vec::new();
    for list in keys.iter().filter_map(|key| values.get(key)?.as_list()) {
        for (name, value) in list.iter() {
            let Some(name) = name else { continue };
            all.retain(|(known, _)| known.as_deref().is_none_or(|known| !known.eq_ignore_ascii_case(name)));
            all.push((Some(name.clone()), Value::Text(plain(value).into())));
        }
    }
    all.into_iter().collect()
}

fn is_filled(value: &Value) -> bool {
    value.as_list().is_some_and(|list| !list.is_empty())
}

/// Names of files that may be read.
fn readable(names: &Value, hidden: &[String]) -> Value {
    let names = names.as_list().into_iter().flat_map(|list| list.iter());
    let is_hidden = |name: &Value| {
        name.as_text().is_some_and(|name| hidden.iter().any(|end| name.ends_with(end.as_str())))
    };
    Value::List(names.filter(|(_, name)| !is_hidden(name)).map(|(_, name)| (None, name.clone())).collect())
}
