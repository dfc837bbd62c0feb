//! The official test suite of JSONata, through our bounds.
//!
//! `cargo xtask test --only setup` fetches it into `target/jsonata-suite`. What goes another way with us stands in
//! `differences.txt`, each with its reason; a case that stands there and passes fails the test as well. What we refuse
//! on purpose has to pass in the library alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use jsonata_core::value::JValue;
use serde_json::{Map, Value};

use super::super::{Bounds, Context, Evaluator, Expression, ExpressionError, Names, parser, value};

/// Cases that go another way, and why.
const DIFFERENCES: &str = include_str!("differences.txt");
/// The suite has at least so many: one that was fetched by halves is none.
const CASES_MIN: usize = 1600;
/// The suite goes to the language's own bound, ten million items; what we allow is less.
const SEQUENCE: usize = 10_000_000;
/// A debug build on a busy machine; the cases that are about time have their own.
const TIME_MS: u64 = 20_000;

#[test]
#[expect(clippy::disallowed_methods, reason = "the suite is files")]
fn the_official_suite_passes_but_for_what_is_explained() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/jsonata-suite");
    assert!(root.is_dir(), "{} is not there: `cargo xtask test --only setup` fetches it", root.display());
    let sorted = |folder: PathBuf| -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let parse = |path: &Path| -> Value {
        serde_json::from_slice(&fs::read(path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let name = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    let datasets: BTreeMap<String, Value> =
        sorted(root.join("datasets")).iter().map(|path| (name(path), parse(path))).collect();
    let explained: BTreeSet<&str> = DIFFERENCES
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    let (mut count, mut unexplained, mut differing) = (0, Vec::new(), BTreeSet::new());
    let mut refused = BTreeSet::new();
    // `$toMillis` fills what a picture leaves out from the machine's clock, and a case compares that with `$now`.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now_ms = i64::try_from(now.as_millis()).unwrap();
    for group in sorted(root.join("groups")) {
        for path in
            sorted(group.clone()).iter().filter(|path| path.extension().is_some_and(|end| end == "json"))
        {
            // A few cases have a place JSON for Rust does not: half of a surrogate pair.
            let text = fs::read_to_string(path).unwrap();
            let cases = match serde_json::from_str(&text) {
                Ok(Value::Array(cases)) => cases,
                Ok(case) => vec![case],
                Err(error) => vec![Value::from(error.to_string())],
            };
            let several = cases.len() > 1;
            for (index, mut case) in cases.into_iter().enumerate() {
                let mut id = format!("{}/{}", name(&group), name(path));
                if several {
                    id.push_str(&format!(":{index}"));
                }
                if let Some(file) = case["expr-file"].as_str() {
                    case["expr"] = fs::read_to_string(group.join(file)).unwrap().into();
                }
                count += 1;
                if let Err(why) = check(&case, &datasets, now_ms) {
                    let why = match why {
                        Why::Refused => alone(&case, &datasets).err(),
                        Why::Other(why) => Some(why),
                    };
                    let Some(why) = why else {
                        refused.insert(id);
                        continue;
                    };
                    if !explained.contains(id.as_str()) {
                        unexplained.push(format!("{id}: {why}"));
                    }
                    differing.insert(id);
                }
            }
        }
    }
    assert!(refused.iter().all(|id: &String| id.starts_with("function-eval/")), "{refused:?}");
    assert!(count >= CASES_MIN, "{count} cases");
    assert!(unexplained.is_empty(), "{} of {count}:\n{}", unexplained.len(), unexplained.join("\n"));
    let passing: Vec<&&str> = explained.iter().filter(|id| !differing.contains(**id)).collect();
    assert!(passing.is_empty(), "these are explained, and pass: {passing:?}");
}

enum Why {
    /// The States Language does not offer it.
    Refused,
    Other(String),
}

struct Given<'a> {
    text: &'a str,
    input: Option<Value>,
    names: &'a Map<String, Value>,
    bounds: Bounds,
}

static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

fn given<'a>(case: &'a Value, datasets: &BTreeMap<String, Value>) -> Result<Given<'a>, String> {
    let text = case["expr"].as_str().ok_or_else(|| format!("no case: {case}"))?;
    let input = match (case.get("data"), case["dataset"].as_str()) {
        (Some(data), _) => Some(data.clone()),
        (None, Some(name)) => Some(datasets.get(name).ok_or("no such data set")?.clone()),
        (None, None) => None,
    };
    let names = case["bindings"].as_object().unwrap_or(&NONE);
    let mut bounds = Bounds { time_ms: TIME_MS, sequence: SEQUENCE, ..Bounds::default() };
    if case["code"] == "U1001" {
        bounds.time_ms = case["timelimit"].as_u64().unwrap_or(TIME_MS);
    }
    if let Some(depth) = case["depth"].as_u64() {
        bounds.depth = usize::try_from(depth).unwrap();
    }
    Ok(Given { text, input, names, bounds })
}

fn check(case: &Value, datasets: &BTreeMap<String, Value>, now_ms: i64) -> Result<(), Why> {
    let Given { text, input, names, bounds } = given(case, datasets).map_err(Why::Other)?;
    let names = Names { states: &[], variables: names };
    let found = Expression::parse(text)
        .and_then(|expression| expression.evaluate_over(input.as_ref(), &names, now_ms, &mut || 7, bounds));
    match found {
        Err(ExpressionError::Syntax(said)) if said.contains("is not offered") => Err(Why::Refused),
        Err(error) => judge(case, Err(error.to_string())).map_err(Why::Other),
        Ok(found) => judge(case, Ok(found)).map_err(Why::Other),
    }
}

/// The library, without anything of ours.
fn alone(case: &Value, datasets: &BTreeMap<String, Value>) -> Result<(), String> {
    let Given { text, input, names, .. } = given(case, datasets)?;
    let input = input.map_or(JValue::Undefined, JValue::from);
    let mut context = Context::new();
    for (name, value) in names {
        context.bind(name.clone(), JValue::from(value.clone()));
    }
    let found = parser::parse(text).map_err(|error| error.to_string()).and_then(|tree| {
        let found = Evaluator::with_context(context).evaluate(&tree, &input);
        let found = found.map_err(|error| error.to_string())?;
        value::json(&found).map_err(|error| error.to_string())
    });
    judge(case, found)
}

fn judge(case: &Value, found: Result<Option<Value>, String>) -> Result<(), String> {
    let code = case["code"].as_str().or_else(|| case["error"]["code"].as_str());
    match (found, code) {
        // The suite's code for every bound; the library has one for depth and one for time.
        (Err(said), Some("U1001")) if said.contains("D1011") || said.contains("D1012") => Ok(()),
        (Err(said), Some(code)) if said.contains(code) => Ok(()),
        (Err(error), Some(code)) => Err(format!("{code} was expected, and not: {error}")),
        (Ok(found), Some(code)) => Err(format!("{code} was expected, and not {found:?}")),
        (Err(error), None) => Err(error),
        (Ok(found), None) => {
            let expected = case.get("result").filter(|_| case["undefinedResult"] != true);
            let is_same = match (&found, expected) {
                (None, None) => true,
                (Some(found), Some(expected)) => same(found, expected, case["unordered"] == true),
                _ => false,
            };
            if is_same { Ok(()) } else { Err(format!("{expected:?} was expected, and not {found:?}")) }
        }
    }
}

/// Numbers are the same by their value.
fn same(found: &Value, expected: &Value, is_unordered: bool) -> bool {
    match (found, expected) {
        (Value::Number(found), Value::Number(expected)) => found.as_f64() == expected.as_f64(),
        (Value::Array(found), Value::Array(expected)) if is_unordered => {
            found.len() == expected.len()
                && expected.iter().all(|item| found.iter().any(|other| same(other, item, false)))
        }
        (Value::Array(found), Value::Array(expected)) => {
            found.len() == expected.len()
                && found.iter().zip(expected).all(|(found, expected)| same(found, expected, false))
        }
        (Value::Object(found), Value::Object(expected)) => {
            found.len() == expected.len()
                && expected
                    .iter()
                    .all(|(name, value)| found.get(name).is_some_and(|found| same(found, value, false)))
        }
        (found, expected) => found == expected,
    }
}
