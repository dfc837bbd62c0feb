//! The query languages: a path, a template or an expression, and below its first line the value that it is about.

use std::sync::Once;

use selvedge_query::{Bounds, Budget, Expression, Names, Path, Scope, Template};
use serde_json::{Value, json};

use crate::chance::Chance;

/// How much a field may make.
const FIELD_BYTES: usize = 1 << 20;

/// The first line, and the value after it.
fn parts(bytes: &[u8]) -> Option<(&str, Value)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let value = serde_json::from_str(rest).unwrap_or_else(
        |_| json!({ "a": { "b": [1, "x", null, { "c": true }] }, "list": [3, 1, 2], "s": "ж\\{}", "n": 1.5 }),
    );
    Some((first, value))
}

/// A path finds the same, however often; what was placed at a reference path is found there.
pub(super) fn path(bytes: &[u8]) {
    let Some((text, value)) = parts(bytes) else { return };
    let Ok(path) = Path::parse(text) else { return };
    assert_eq!(path.to_string(), text);
    assert_eq!(Path::parse(&path.to_string()).as_ref(), Ok(&path));
    let scope = Scope { input: &value, context: &value, variables: &() };
    let found = path.evaluate(&scope);
    assert_eq!(found, path.evaluate(&scope));
    if path.is_reference() {
        assert!(path.is_definite() && Path::parse_reference(text).is_ok());
        let mut target = value.clone();
        match path.place(&mut target, json!("placed")) {
            Ok(()) => assert_eq!(path.select(&target), Ok(json!("placed")), "{text} in {target}"),
            Err(_) => assert_eq!(target, value, "what cannot be placed changes nothing"),
        }
    }
}

/// A template with paths and functions: its value is within its bounds, and the same with the same chance.
pub(super) fn template(bytes: &[u8]) {
    let Some((text, value)) = parts(bytes) else { return };
    // A call alone is a template of one field.
    let written = serde_json::from_str(text).unwrap_or_else(|_| json!({ "field.$": text }));
    let Ok(template) = Template::parse(&written) else { return };
    let variables = json!({ "v": [1, 2], "w": "x" }).as_object().cloned().unwrap_or_default();
    let scope = Scope { input: &value, context: &value, variables: &variables };
    let fill = || {
        let filled = template.fill(&scope, &mut Chance::of(bytes), &Budget::start(FIELD_BYTES));
        filled.map_err(|unfilled| unfilled.failure.to_string())
    };
    let filled = fill();
    if let Ok(filled) = &filled {
        let bytes = filled.to_string().len();
        assert!(bytes <= FIELD_BYTES * 4 + text.len() * 2, "{bytes} bytes of {text}");
        assert_eq!(fill().as_ref(), Ok(filled));
    }
}

/// An expression: a value, nothing, or an error, within its bounds.
pub(super) fn expression(bytes: &[u8]) {
    // libFuzzer ends at every panic. What breaks off inside the library is caught, and is an error: a finding is what is not.
    static QUIET: Once = Once::new();
    if std::env::var_os("SELVEDGE_FUZZ_TARGET").is_some() {
        QUIET.call_once(|| std::panic::set_hook(Box::new(|_| ())));
    }
    let Some((text, value)) = parts(bytes) else { return };
    let Ok(expression) = Expression::parse(text) else { return };
    let variables = json!({ "v": [1, 2], "w": "x" }).as_object().cloned().unwrap_or_default();
    let names = Names { states: &[("input", &value), ("context", &value)], variables: &variables };
    let bounds = Bounds { time_ms: 50, ..Bounds::default() };
    let _ = expression.free_names().count();
    if let Ok(Some(found)) = expression.evaluate(&names, 1_700_000_000_000, &mut Chance::of(bytes), bounds) {
        let bytes = found.to_string().len();
        assert!(bytes <= selvedge_query::BYTES_MAX + 1024, "{bytes} bytes of {text}");
    }
}
