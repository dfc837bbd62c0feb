//! A block as a site with its routes.

use std::fmt::Write as _;

use super::answer::{answer_of, auth_of};
use super::expression::{asks_query, literal};
use super::https::ToHttps;
use super::matched::Match;
use super::order::{is_guarded, refuses};
use super::reason::{in_route, is_as_ever, is_global, reason};
use super::text::{plain, quoted};
use super::{Document, Out, Part, Value, Values, inherited, lines, mesh, module, scripts, values};

impl Out {
    /// A block as a site with its routes.
    pub(super) fn block(&mut self, document: &Document, number: usize, part: Part) {
        let of_listener =
            document.blocks[number].condition.as_ref().is_some_and(|it| &*it.object == "SERVER");
        let own: Values<'_> = values(document, number)
            .filter(|(key, _)| !(of_listener && (key.starts_with("ssl.") || mesh::in_tables(key))))
            .collect();
        if own.is_empty() {
            return;
        }
        let rule = Match::of(document, number);
        let inherited = inherited(document, number);
        self.lines.clear();
        let mut redirects_some = false;
        let mut at = Some(number);
        while let Some(block) = at {
            for (key, line) in lines(document, block) {
                self.lines.entry(key).or_insert(line);
            }
            if let Some(condition) = &document.blocks[block].condition {
                let here: Values<'_> = values(document, block).collect();
                redirects_some |= &*condition.object != "SERVER" && mesh::redirects_some(&here);
            }
            at = document.blocks[block].parent;
        }
        let title = document.blocks[number].condition().map_or_else(
            || if number == 0 { "what holds without a condition".to_owned() } else { "else".to_owned() },
            str::to_owned,
        );
        let _ = writeln!(self.text, "\n# {}", title.replace('\n', " "));
        for comment in &rule.comments {
            let place = document.sources.shown_line(document.blocks[number].place);
            self.line(&format!("# no equal here: {comment}  ({place}; {})", reason("$")));
        }
        let mut dress = mesh::dress_of(&inherited);
        if redirects_some {
            dress.missing.push(("mesh.redirect-https", "a listener is sent to HTTPS as a whole: redirect"));
        }
        for (key, why) in &dress.missing {
            self.no_equal("", key, inherited.get(key).copied(), why);
        }
        self.dress = dress.lines;
        let begun = self.text.len();
        self.line("[[site]]");
        if let Some(host) = &rule.host {
            self.line(&format!("host = {}", quoted(host)));
        }
        if let Some(expression) = &rule.host_regex {
            self.line(&format!("host_regex = {}", quoted(expression)));
        }
        if let Some(address) = &rule.listen {
            self.line(&format!("listen = {}", quoted(address)));
        }
        match part {
            Part::Redirects => self.redirects(&rule, &own, &inherited),
            Part::Guards => {
                if own.contains_key("auth.require") {
                    self.unread(&rule, &inherited);
                    self.signed_in(&rule, &inherited);
                }
                if refuses(&own) {
                    self.route(&rule, &own, &inherited);
                } else if is_guarded(document, number) {
                    self.answers(&rule, &own, &inherited);
                }
            }
            Part::Answers => {
                // What is left of the global ones has been told.
                let left = if number == 0 { Values::new() } else { own };
                self.answers(&rule, &left, &inherited);
            }
        }
        if !rule.comments.is_empty() || !dress.missing.is_empty() {
            // A route without one of its conditions or guards would answer what it should not.
            let commented: String = self.text[begun..].lines().map(|line| format!("#{line}\n")).collect();
            self.text.replace_range(begun.., &commented);
        }
    }

    /// What the listeners do for a block that sends everything to HTTPS.
    pub(super) fn sent_to_https(&mut self, document: &Document, to_https: &ToHttps) {
        let block = &document.blocks[to_https.block];
        let place = document.sources.shown_line(block.place);
        let _ = writeln!(
            self.text,
            "\n# {}  ({place})\n# is redirect = \"https\" of the listeners: before anything else, access lists too, to which HTTPS is held",
            block.condition().unwrap_or_default().replace('\n', " ")
        );
    }

    /// Everything that a block answers.
    fn answers(&mut self, rule: &Match, own: &Values<'_>, values: &Values<'_>) {
        self.unread(rule, values);
        self.aliases(rule, values);
        self.prefixes(rule, values);
        self.expiring(rule, values);
        self.route(rule, own, values);
    }

    /// Redirects are routes of their own, before all others.
    fn redirects(&mut self, rule: &Match, own: &Values<'_>, values: &Values<'_>) {
        let Some(list) = own.get("url.redirect").and_then(|value| value.as_list()) else { return };
        let code = values
            .get("url.redirect-code")
            .map_or_else(|| self.redirect_code.to_string(), |code| plain(code));
        for (pattern, target) in list.iter() {
            let (Some(pattern), Some(to)) = (pattern, target.as_text()) else { continue };
            let said = match (rule.redirecting(pattern, to), rule.target(to)) {
                _ if asks_query(pattern) => Err("a route looks at the path, and not at the query"),
                (Ok(expression), Ok(target)) => Ok((expression, target)),
                (Err(why), _) | (_, Err(why)) => Err(why),
            };
            match said {
                Ok((expression, target)) => {
                    self.line("  [[site.route]]");
                    self.conditions(rule, &["path", "path_regex"]);
                    self.line(&format!("  path_regex = {}", quoted(&expression)));
                    self.line(&format!("  redirect = {}\n  status = {code}", quoted(&target)));
                }
                Err(why) => {
                    let pair = [(Some(pattern.clone()), target.clone())].into_iter().collect();
                    self.no_equal("  ", "url.redirect", Some(&Value::List(pair)), why);
                }
            }
        }
    }

    /// So are aliases, before the rest of their block.
    fn aliases(&mut self, rule: &Match, values: &Values<'_>) {
        let Some(value) = values.get("alias.url") else { return };
        let Some(list) = value.as_list() else { return };
        for (prefix, folder) in list.iter() {
            let (Some(prefix), Some(folder)) = (prefix, folder.as_text()) else { continue };
            match rule.has_below(prefix) {
                Some(true) => {}
                Some(false) => continue,
                // The folder stands for a prefix, and the block has a part of what is below it.
                None => {
                    self.no_equal(
                        "  ",
                        "alias.url",
                        Some(value),
                        "an alias has all that is below its prefix",
                    );
                    continue;
                }
            }
            self.unread_below(prefix, rule, values);
            self.line("  [[site.route]]");
            self.conditions(rule, &["path", "path_regex"]);
            self.line(&format!("  path = {}\n  alias = {}", quoted(&format!("{prefix}*")), quoted(folder)));
            self.dress(values);
            self.file_lines(values);
            self.common_lines(rule, values, None);
        }
    }

    /// Prefixes behind a sign-in: with one that the form knows as well, or else refused until somebody says who may.
    fn signed_in(&mut self, rule: &Match, values: &Values<'_>) {
        let Some(list) = values.get("auth.require").and_then(|value| value.as_list()) else { return };
        for (prefix, requirement) in list.iter() {
            let Some(prefix) = prefix else { continue };
            self.line("  [[site.route]]");
            if prefix.is_empty() {
                self.conditions(rule, &[]);
            } else if rule.has_path {
                self.conditions(rule, &["path", "path_regex"]);
                let expression = rule.and_found(&format!("^{}", literal(prefix)));
                self.line(&format!("  path_regex = {}", quoted(&expression)));
            } else {
                self.conditions(rule, &["path", "path_regex"]);
                self.line(&format!("  path = {}", quoted(&format!("{prefix}*"))));
            }
            match auth_of(values, requirement) {
                Some(auth) => {
                    let answer = answer_of(values);
                    self.line(&format!("  {answer}\n  auth = {auth}"));
                    self.dress(values);
                    if answer.starts_with("files") {
                        self.file_lines(values);
                    }
                    self.common_lines(rule, values, None);
                }
                None => {
                    self.no_equal("  ", "auth.require", Some(requirement), reason("auth.require"));
                    self.line("  # refused until you say by auth who may\n  status = 403\n  respond = \"\"");
                }
            }
        }
    }

    pub(super) fn conditions(&mut self, rule: &Match, but: &[&str]) {
        for line in &rule.lines {
            let key = line.split(' ').next().unwrap_or("");
            if !but.contains(&key) {
                self.line(&format!("  {line}"));
            }
        }
    }

    /// Prefixes with a time of their own for caches: routes like that of the block.
    fn expiring(&mut self, rule: &Match, values: &Values<'_>) {
        let Some(list) = values.get("expire.url").and_then(|value| value.as_list()) else { return };
        if refuses(values) {
            return;
        }
        for (prefix, time) in list.iter() {
            let Some(prefix) = prefix.filter(|prefix| !prefix.is_empty()) else { continue };
            match super::answer::expire_of(time) {
                Some(cache) => {
                    self.line("  [[site.route]]");
                    self.conditions(rule, &["path", "path_regex"]);
                    let expression = rule.and_found(&format!("^{}", literal(prefix)));
                    self.line(&format!("  path_regex = {}", quoted(&expression)));
                    self.answer(rule, values, Some(&cache));
                }
                None => {
                    let pair = [(Some(prefix.clone()), time.clone())].into_iter().collect();
                    self.no_equal("  ", "expire.url", Some(&Value::List(pair)), reason("expire.url"));
                }
            }
        }
    }

    fn route(&mut self, rule: &Match, own: &Values<'_>, values: &Values<'_>) {
        self.line("  [[site.route]]");
        self.conditions(rule, &[]);
        self.answer(rule, values, None);
        for (key, value) in own {
            let is_told = in_route(key) || scripts::PROGRAMS.contains(key) || key.starts_with("var.");
            if !is_told && module::owner(key).is_some() && !is_global(key) && !is_as_ever(key, value) {
                self.no_equal("  ", key, Some(value), reason(key));
            }
        }
    }

    /// What a block answers, with everything that goes with it.
    fn answer(&mut self, rule: &Match, values: &Values<'_>, cache: Option<&str>) {
        let answer = answer_of(values);
        self.line(&format!("  {answer}"));
        if refuses(values) {
            return;
        }
        self.dress(values);
        if answer.starts_with("files") {
            self.file_lines(values);
        }
        if answer.starts_with("proxy") {
            self.proxy_lines(values);
        }
        self.common_lines(rule, values, cache);
    }
}
