//! What of a block has routes of its own before the block's: paths that nobody is to read, prefixes with a backend.

use super::answer::{answer_of, servers_of};
use super::expression::literal;
use super::matched::Match;
use super::text::quoted;
use super::{Out, Values, scripts};

/// The ends of paths whose files nobody is to read, though they are there: those of programs that the form has no equal of, and of pages
/// that are worked out.
pub(super) fn hidden(values: &Values<'_>) -> Vec<String> {
    let pages = values.get("ssi.extension").and_then(|value| value.as_list());
    let pages = pages.into_iter().flat_map(|list| list.iter()).filter_map(|(_, value)| value.as_text());
    scripts::of(values).left.into_iter().map(|(_, end)| end).chain(pages.map(|end| end.to_string())).collect()
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
        let allowed = texts("url.access-allow");
        if !allowed.is_empty() {
            let expression = rule.and_not_found(&format!("{}$", joined(&allowed)));
            self.refused(rule, values, "url.access-allow", &expression, None);
        }
        if !answer_of(values).starts_with("files") {
            return;
        }
        for (key, end) in scripts::of(values).left {
            let expression = rule.and_found(&format!("{}(?:/|$)", literal(&end)));
            self.refused(rule, values, key, &expression, Some("scripts has no such program"));
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
                        self.dress(values);
                        if name == "proxy" {
                            self.proxy_lines(values);
                        }
                        self.common_lines(rule, values, None);
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
