//! What of a block has routes of its own before the block's: paths that nobody is to read, prefixes with a backend.

use super::answer::{answer_of, servers_of};
use super::matched::{Match, literal};
use super::text::quoted;
use super::{Out, Values};

/// Programs by the ends of their paths. A route for files would send their source.
const PROGRAMS: [&str; 3] = ["cgi.assign", "fastcgi.server", "scgi.server"];

/// The ends of paths whose files nobody is to read, though they are there.
pub(super) fn hidden(values: &Values<'_>) -> Vec<String> {
    let list = |key: &str| values.get(key).and_then(|value| value.as_list());
    let programs = PROGRAMS.iter().filter_map(|key| list(key)).flat_map(|list| list.iter());
    let programs = programs.filter_map(|(key, _)| key).filter(|key| !key.starts_with('/'));
    let listed = ["static-file.exclude-extensions", "ssi.extension", "url.access-deny"];
    let listed = listed.iter().filter_map(|key| list(key)).flat_map(|list| list.iter());
    let listed = listed.filter_map(|(_, value)| value.as_text());
    programs.chain(listed).map(|end| end.to_string()).collect()
}

/// Whether a directive is told of where its routes are.
pub(super) fn is_told(key: &str) -> bool {
    PROGRAMS.contains(&key)
}

impl Out {
    /// Paths that access lists refuse, and programs: refused until somebody says what answers.
    pub(super) fn unread(&mut self, rule: &Match, values: &Values<'_>) {
        let list = |key: &str| values.get(key).and_then(|value| value.as_list());
        let joined = |ends: &[String]| format!("(?:{})", ends.join("|"));
        let texts = |key: &str| -> Vec<String> {
            let values = list(key).into_iter().flat_map(|list| list.iter());
            values.filter_map(|(_, value)| value.as_text().map(|text| literal(text))).collect()
        };
        let denied: Vec<String> =
            texts("url.access-deny").into_iter().filter(|end| !end.is_empty()).collect();
        if !denied.is_empty() {
            let expression = rule.and_found(&format!("{}$", joined(&denied)));
            self.refused(rule, values, "url.access-deny", &expression, None);
        }
        let allowed = texts("url.access-allow");
        if !allowed.is_empty() {
            let expression = rule.and_not_found(&format!("{}$", joined(&allowed)));
            self.refused(rule, values, "url.access-allow", &expression, None);
        }
        if !answer_of(values).starts_with("files") {
            return;
        }
        for key in PROGRAMS {
            let entries = list(key).into_iter().flat_map(|list| list.iter());
            let keys = entries.filter_map(|(key, _)| key);
            let ends: Vec<String> = keys
                .filter(|end| key == "cgi.assign" || !end.is_empty() && !end.starts_with('/'))
                .map(|end| literal(end))
                .collect();
            if !ends.is_empty() {
                let expression = rule.and_found(&format!("{}(?:/|$)", joined(&ends)));
                self.refused(
                    rule,
                    values,
                    key,
                    &expression,
                    Some("a route has a program for all of its paths"),
                );
            }
        }
        let excluded = texts("static-file.exclude-extensions");
        if !excluded.is_empty() {
            let expression = rule.and_found(&format!("{}(?:/|$)", joined(&excluded)));
            self.refused(rule, values, "static-file.exclude-extensions", &expression, None);
        }
        let pages = texts("ssi.extension");
        if !pages.is_empty() {
            let expression = rule.and_found(&format!("{}(?:/|$)", joined(&pages)));
            self.refused(
                rule,
                values,
                "ssi.extension",
                &expression,
                Some("pages with includes are not worked out"),
            );
        }
    }

    /// The same below an alias, which answers whatever else the block is about.
    pub(super) fn unread_below(&mut self, prefix: &str, rule: &Match, values: &Values<'_>) {
        let ends: Vec<String> = hidden(values).iter().map(|end| literal(end)).collect();
        if !ends.is_empty() {
            let expression = format!(r"^{}[\s\S]*(?:{})(?:/|$)", literal(prefix), ends.join("|"));
            self.refused(rule, values, "alias.url", &expression, None);
        }
    }

    fn refused(
        &mut self,
        rule: &Match,
        values: &Values<'_>,
        key: &str,
        expression: &str,
        missing: Option<&str>,
    ) {
        self.line("  [[site.route]]");
        self.conditions(rule, &["path", "path_regex"]);
        match missing {
            Some(why) => self.no_equal("  ", key, values.get(key).copied(), why),
            None => self.line(&format!("  # {key}")),
        }
        self.line(&format!("  path_regex = {}\n  status = 403\n  respond = \"\"", quoted(expression)));
    }

    /// Backends that answer below a prefix.
    pub(super) fn prefixes(&mut self, rule: &Match, values: &Values<'_>) {
        for (key, name) in [("proxy.server", "proxy"), ("fastcgi.server", "fastcgi"), ("scgi.server", "")] {
            let Some(list) = values.get(key).and_then(|value| value.as_list()) else { continue };
            for (prefix, hosts) in list.iter() {
                let Some(prefix) = prefix.filter(|prefix| prefix.starts_with('/')) else { continue };
                self.line("  [[site.route]]");
                self.conditions(rule, &["path", "path_regex"]);
                let expression = rule.and_found(&format!("^{}", literal(prefix)));
                self.line(&format!("  path_regex = {}", quoted(&expression)));
                match servers_of(hosts).filter(|_| !name.is_empty()) {
                    Some(servers) => {
                        self.line(&format!("  {name} = {servers}"));
                        self.dress();
                    }
                    None => {
                        self.no_equal(
                            "  ",
                            key,
                            Some(hosts),
                            "a route names servers by their addresses, of HTTP or FastCGI",
                        );
                        self.line("  status = 503\n  respond = \"\"");
                    }
                }
            }
        }
    }
}
