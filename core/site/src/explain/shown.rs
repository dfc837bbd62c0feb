//! An explanation for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use super::{Explained, Told, Tried, Turn};
use crate::condition::Truth;
use crate::place::{Place, Sources};
use crate::value::Value;

impl Explained {
    /// For people: what was asked and what came of it, with the place of each.
    pub fn text(&self) -> String {
        let mut out = String::new();
        match &self.listener {
            Some((token, tls)) => {
                let tls = if *tls { " with TLS" } else { "" };
                let _ = writeln!(out, "listener {token}{tls}");
            }
            None => {
                let port = self.port;
                let _ = writeln!(out, "no listener has port {port}: conditions on sockets do not hold");
            }
        }
        for turn in &self.turns {
            turn.text(&self.sources, &mut out);
        }
        out
    }

    /// The same for programs.
    pub fn json(&self) -> Json {
        let listener = self.listener.as_ref();
        json!({
            "port": self.port,
            "listener": listener.map(|(token, tls)| json!({ "address": token, "tls": tls })),
            "turns": self.turns.iter().map(|turn| turn.json(&self.sources)).collect::<Vec<_>>(),
            "answer": self.turns.last().map(|turn| &turn.answer),
        })
    }
}

impl Turn {
    fn text(&self, sources: &Sources, out: &mut String) {
        if !self.conditions.is_empty() {
            out.push_str("\nconditions:\n");
            let rows = self
                .conditions
                .iter()
                .map(|one| [word(one.truth).to_owned(), one.text.clone(), sources.shown_line(one.place)]);
            table(rows.collect(), out);
        }
        if !self.routes.is_empty() {
            out.push_str("\nroutes, of which the first that fits decides:\n");
            let rows = self.routes.iter().flat_map(|tried| tried.rows(sources));
            table(rows.collect(), out);
            match (self.unasked, self.routes.last().is_some_and(|tried| tried.misfits.is_empty())) {
                (_, false) => out.push_str("  none fits\n"),
                (0, true) => {}
                (more, true) => drop(writeln!(out, "  {more} behind it: nobody asks them")),
            }
        }
        if !self.values.is_empty() {
            out.push_str("\nvalues:\n");
            let say = if self.conditions.is_empty() && !self.routes.is_empty() { toml } else { short };
            table(self.values.iter().flat_map(|told| told.rows(sources, say)).collect(), out);
        }
        let _ = writeln!(out, "\nanswer: {}", self.answer);
        if let Some((pattern, target)) = &self.rewritten {
            let _ = writeln!(out, "\n\"{pattern}\" makes it {target}");
        }
    }

    fn json(&self, sources: &Sources) -> Json {
        let at = |place: Place| json!(sources.shown(place));
        let conditions = self
            .conditions
            .iter()
            .map(|one| json!({ "condition": one.text, "holds": word(one.truth), "place": at(one.place) }));
        let routes = self.routes.iter().map(|tried| {
            let misfits = tried.misfits.iter().map(|misfit| {
                json!({
                    "key": misfit.key, "wanted": plain(&misfit.wanted), "found": misfit.found,
                    "place": at(misfit.place),
                })
            });
            json!({
                "site": tried.site, "route": tried.name, "place": at(tried.place),
                "fits": tried.misfits.is_empty(), "because": misfits.collect::<Vec<_>>(),
            })
        });
        let values = self.values.iter().map(|told| {
            let before = told.instead_of.iter();
            let before = before.map(|(value, place)| json!({ "value": plain(value), "place": at(*place) }));
            json!({
                "key": told.key, "value": plain(&told.value), "place": at(told.place),
                "insteadOf": before.collect::<Vec<_>>(),
            })
        });
        json!({
            "target": self.target,
            "conditions": conditions.collect::<Vec<_>>(),
            "routes": routes.collect::<Vec<_>>(),
            "routesNotAsked": self.unasked,
            "values": values.collect::<Vec<_>>(),
            "answer": self.answer,
            "rewritten": self.rewritten.as_ref().map(|(by, to)| json!({ "by": by, "to": to })),
        })
    }
}

impl Tried {
    /// A line for the route, and one for each further key that it does not fit by.
    fn rows(&self, sources: &Sources) -> Vec<[String; 3]> {
        let name = format!("{} of {}", self.name, self.site);
        if self.misfits.is_empty() {
            return vec![[name, "fits".to_owned(), sources.shown_line(self.place)]];
        }
        let rows = self.misfits.iter().enumerate().map(|(number, misfit)| {
            let found = if misfit.found.is_empty() { "nothing" } else { &misfit.found };
            let why = format!("{} = {}: it is {found}", misfit.key, toml(&misfit.wanted));
            [if number == 0 { name.clone() } else { String::new() }, why, sources.shown_line(misfit.place)]
        });
        rows.collect()
    }
}

impl Told {
    fn rows(&self, sources: &Sources, say: fn(&Value) -> String) -> Vec<[String; 3]> {
        let mut rows =
            vec![[self.key.clone(), format!("= {}", say(&self.value)), sources.shown_line(self.place)]];
        rows.extend(self.instead_of.iter().map(|(value, place)| {
            [String::new(), format!("in place of {}", say(value)), sources.shown_line(*place)]
        }));
        rows
    }
}

/// The widest that a column is made for what stands behind it: a longer cell pushes its line alone.
const COLUMN_WIDTH_MAX: usize = 72;

/// Rows in columns, two spaces apart.
fn table(rows: Vec<[String; 3]>, out: &mut String) {
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.filter(|width| *width <= COLUMN_WIDTH_MAX).max().unwrap_or(0)
    };
    let (first, second) = (width(0), width(1));
    for [one, two, three] in &rows {
        let _ = writeln!(out, "  {one:first$}  {two:second$}  {three}");
    }
}

fn word(truth: Truth) -> &'static str {
    match truth {
        Truth::True => "true",
        Truth::False => "false",
        Truth::Skipped => "not asked",
        Truth::Unknown => "unknown",
    }
}

/// A value as JSON has it; a list with keys becomes an object.
fn plain(value: &Value) -> Json {
    match value {
        Value::Text(text) => json!(**text),
        Value::Integer(number) => json!(number),
        Value::List(list) if !list.is_empty() && list.iter().all(|(key, _)| key.is_some()) => {
            let entries =
                list.iter().map(|(key, value)| (key.map_or("", |key| key).to_owned(), plain(value)));
            Json::Object(entries.collect())
        }
        Value::List(list) => Json::Array(list.iter().map(|(_, value)| plain(value)).collect()),
    }
}

/// A value as our own form has it.
fn toml(value: &Value) -> String {
    match value {
        Value::List(list) if !list.is_empty() && list.iter().all(|(key, _)| key.is_some()) => {
            let entry = |(key, value): (Option<&std::sync::Arc<str>>, &Value)| {
                format!("{} = {}", key.map_or("", |key| key), toml(value))
            };
            format!("{{ {} }}", list.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        Value::List(list) => {
            format!("[{}]", list.iter().map(|(_, value)| toml(value)).collect::<Vec<_>>().join(", "))
        }
        value => short(value),
    }
}

/// A value on one line, as `lighttpd.conf` has it.
fn short(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("\"{text}\""),
        Value::Integer(number) => number.to_string(),
        Value::List(list) => {
            let entries = list.iter().map(|(key, value)| match key {
                Some(key) => format!("\"{key}\" => {}", short(value)),
                None => short(value),
            });
            format!("( {} )", entries.collect::<Vec<_>>().join(", "))
        }
    }
}
