//! `Retry`, `Catch` and `Assign`.

use selvedge_query::Path;
use serde_json::Value;

use crate::diagnostic::{Code, Severity};
use crate::syntax::field::Fields;
use crate::{Catcher, Jitter, Payload, Retrier};

/// A year and a day, in seconds.
const DELAY_SECONDS_MAX: u64 = 31_622_399;
const INTERVAL_SECONDS_MAX: u64 = 99_999_999;
const ATTEMPTS_MAX: u64 = 99_999_999;
/// The longest name of a variable.
const VARIABLE_CHARACTERS_MAX: usize = 80;

pub(super) fn retriers(fields: &mut Fields<'_, '_, '_>) -> Vec<Retrier> {
    let mut found = Vec::new();
    let entries = entries(fields, "Retry");
    let count = entries.len();
    for (index, entry) in entries.iter().enumerate() {
        let Some(mut inner) = within(fields, entry, "Retry", index) else { continue };
        let error_equals = names(&mut inner, index + 1 == count);
        inner.text("Comment");
        let interval_seconds = inner.number("IntervalSeconds", 1..=INTERVAL_SECONDS_MAX).unwrap_or(1);
        let max_attempts = inner.number("MaxAttempts", 0..=ATTEMPTS_MAX).unwrap_or(3);
        let max_delay_seconds = inner.number("MaxDelaySeconds", 1..=DELAY_SECONDS_MAX);
        if max_delay_seconds.is_some_and(|most| most <= interval_seconds) {
            inner.fault("MaxDelaySeconds", "the longest delay must be greater than IntervalSeconds");
        }
        let backoff_rate = match inner.take("BackoffRate") {
            None => 2.0,
            Some(rate) => rate.as_f64().filter(|rate| *rate >= 1.0).unwrap_or_else(|| {
                inner.fault("BackoffRate", "a number of at least 1.0 is expected");
                1.0
            }),
        };
        let jitter = match inner.text("JitterStrategy") {
            None | Some("NONE") => Jitter::None,
            Some("FULL") => Jitter::Full,
            Some(_) => {
                inner.fault("JitterStrategy", "NONE or FULL is expected");
                Jitter::None
            }
        };
        inner.finish();
        found.push(Retrier {
            error_equals,
            interval_seconds,
            max_attempts,
            backoff_rate,
            max_delay_seconds,
            jitter,
        });
    }
    found
}

pub(super) fn catchers(fields: &mut Fields<'_, '_, '_>) -> Vec<Catcher> {
    let mut found = Vec::new();
    let (mut variables, mut uses_context) = (Vec::new(), false);
    let entries = entries(fields, "Catch");
    let count = entries.len();
    for (index, entry) in entries.iter().enumerate() {
        let Some(mut inner) = within(fields, entry, "Catch", index) else { continue };
        let error_equals = names(&mut inner, index + 1 == count);
        inner.text("Comment");
        let next = inner.need_text("Next").map(Box::<str>::from);
        let mut result_path = Some(Path::parse("$").expect("it is a path"));
        let mut output = None;
        if inner.is_json_ata() {
            inner.refuse(&["ResultPath"], "JSONata");
            output = inner.payload("Output");
        } else {
            inner.refuse(&["Output"], "JSONPath");
            if let Some(path) = inner.path("ResultPath", true) {
                result_path = path;
            }
        }
        let assign = assign(&mut inner);
        let (read, context) = inner.finish();
        variables.extend(read);
        uses_context |= context;
        let Some(next) = next else { continue };
        found.push(Catcher { error_equals, next, result_path, output, assign, written: (*entry).clone() });
    }
    fields.variables.extend(variables);
    fields.uses_context |= uses_context;
    found
}

fn entries<'v>(fields: &mut Fields<'v, '_, '_>, name: &'static str) -> Vec<&'v Value> {
    match fields.take(name) {
        None => Vec::new(),
        Some(Value::Array(entries)) => entries.iter().collect(),
        Some(_) => {
            fields.fault(name, "an array is expected");
            Vec::new()
        }
    }
}

fn within<'v, 'f, 't>(
    fields: &'f mut Fields<'_, '_, 't>,
    entry: &'v Value,
    name: &str,
    index: usize,
) -> Option<Fields<'v, 'f, 't>> {
    let pointer = format!("{}/{name}/{index}", fields.pointer);
    Fields::new(entry, pointer, fields.findings, fields.language)
}

/// `ErrorEquals`: `States.ALL` stands alone, in the last entry.
fn names(fields: &mut Fields<'_, '_, '_>, is_last: bool) -> Vec<Box<str>> {
    let Some(value) = fields.need("ErrorEquals") else { return Vec::new() };
    let names: Option<Vec<Box<str>>> =
        value.as_array().and_then(|names| names.iter().map(|name| name.as_str().map(Box::from)).collect());
    let Some(names) = names.filter(|names| !names.is_empty()) else {
        fields.fault("ErrorEquals", "an array with at least one name is expected");
        return Vec::new();
    };
    if names.iter().any(|name| &**name == "States.ALL") && (names.len() > 1 || !is_last) {
        fields.fault("ErrorEquals", "States.ALL must stand alone, in the last entry");
    }
    names
}

/// `Assign`: an object whose members are variables.
pub(super) fn assign(fields: &mut Fields<'_, '_, '_>) -> Option<Payload> {
    let value = fields.take("Assign")?;
    let Some(members) = value.as_object() else {
        fields.fault("Assign", "an object is expected");
        return None;
    };
    for name in members.keys() {
        let bare = if fields.is_json_ata() { name } else { name.strip_suffix(".$").unwrap_or(name) };
        let is_name = bare.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_')
            && bare.chars().all(|c| c.is_alphanumeric() || c == '_');
        let at = format!("{}/{}", fields.at("Assign"), crate::json::escape(name));
        if let Some(scope) = fields.findings.scope {
            fields.findings.assigned.push((scope, bare.into(), at.clone()));
        }
        if !is_name || bare == "states" || bare.chars().count() > VARIABLE_CHARACTERS_MAX {
            let message = format!(
                "'{bare}' is no name of a variable: letters, digits and '_', at most {VARIABLE_CHARACTERS_MAX}, and not 'states'"
            );
            fields.findings.add(Severity::Error, Code::Schema, &at, message);
        }
    }
    fields.payload_of("Assign", value)
}
