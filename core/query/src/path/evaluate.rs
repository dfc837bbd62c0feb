//! Selecting: a definite path walks, any other searches.

use std::fmt::Write;

use serde_json::{Map, Number, Value};

use super::{FOUND_BYTES_MAX, Function, PathError, Step, VISITS_MAX};
use crate::budget::bytes_within;

/// How many values a search has looked at.
#[derive(Default)]
pub(super) struct Visits(usize);

pub(super) fn select(steps: &[Step], start: &Value, visits: &mut Visits) -> Result<Value, PathError> {
    if steps.iter().all(Step::is_definite) {
        return walk(steps, start);
    }
    let found = Search { visits }.run(steps, start)?;
    // `$..book[0]` is one value to the service, although it could have been several.
    if let [.., Step::Indices(indices)] = steps
        && indices.len() == 1
        && found.len() == 1
    {
        return Ok(found.into_iter().next().expect("one value was found").clone());
    }
    // A value may be found many times, and with what it stands in.
    let mut left = FOUND_BYTES_MAX;
    for value in &found {
        left -= bytes_within(value, left).ok_or(PathError::TooMuch)?;
    }
    if let Some(Step::Names(names)) = steps.last()
        && names.len() > 1
        && steps[..steps.len() - 1].iter().all(Step::is_definite)
    {
        return pick(&steps[..steps.len() - 1], start, names);
    }
    Ok(Value::Array(found.into_iter().cloned().collect()))
}

/// `['a','b']` of one object is an object with these members.
fn pick(steps: &[Step], start: &Value, names: &[Box<str>]) -> Result<Value, PathError> {
    let target = walk(steps, start)?;
    let Value::Object(members) = &target else {
        return Err(PathError::NotObject {
            name: names[0].clone(),
            path: written(steps),
            found: kind(&target),
        });
    };
    let mut picked = Map::new();
    for name in names {
        if let Some(value) = members.get(&**name) {
            picked.insert(name.to_string(), value.clone());
        }
    }
    Ok(Value::Object(picked))
}

fn walk(steps: &[Step], start: &Value) -> Result<Value, PathError> {
    let mut value = start;
    for (depth, step) in steps.iter().enumerate() {
        let next = match step {
            Step::Names(names) => named(steps, depth, value, &names[0])?,
            Step::Indices(indices) => indexed(steps, depth, value, indices[0])?,
            Step::FromEnd(distance) => indexed(steps, depth, value, -distance)?,
            Step::Function(function) => return apply(*function, value, &steps[..depth]),
            Step::Slice(..) | Step::All | Step::Descend | Step::Filter(_) => {
                unreachable!("only definite paths walk")
            }
        };
        value = next;
    }
    Ok(value.clone())
}

fn named<'a>(steps: &[Step], depth: usize, value: &'a Value, name: &str) -> Result<&'a Value, PathError> {
    let Value::Object(members) = value else {
        return Err(PathError::NotObject {
            name: name.into(),
            path: written(&steps[..depth]),
            found: kind(value),
        });
    };
    members.get(name).ok_or_else(|| {
        let here = written(&steps[..=depth]);
        match depth + 1 == steps.len() {
            true => PathError::NoResults(here),
            false => PathError::MissingProperty(here),
        }
    })
}

fn indexed<'a>(steps: &[Step], depth: usize, value: &'a Value, index: i64) -> Result<&'a Value, PathError> {
    let Value::Array(items) = value else {
        return Err(PathError::NotArray { path: written(&steps[..depth]), found: kind(value) });
    };
    at(items, index).ok_or_else(|| PathError::NoResults(written(&steps[..=depth])))
}

/// The item at `index`, counted from the end when negative.
fn at(items: &[Value], index: i64) -> Option<&Value> {
    let index = if index < 0 { index + i64::try_from(items.len()).ok()? } else { index };
    items.get(usize::try_from(index).ok()?)
}

fn apply(function: Function, value: &Value, steps: &[Step]) -> Result<Value, PathError> {
    let refused = || PathError::NoFunction { function: function.name(), path: written(steps) };
    let numbers = || -> Result<Vec<f64>, PathError> {
        let items = value.as_array().ok_or_else(refused)?;
        let numbers: Vec<f64> = items.iter().filter_map(Value::as_f64).collect();
        if numbers.is_empty() { Err(refused()) } else { Ok(numbers) }
    };
    let result = match function {
        Function::Length => {
            let length = match value {
                Value::Array(items) => items.len(),
                Value::Object(members) => members.len(),
                Value::String(text) => text.chars().count(),
                _ => return Err(refused()),
            };
            return Ok(Value::from(length));
        }
        Function::Keys => {
            let members = value.as_object().ok_or_else(refused)?;
            return Ok(members.keys().map(|key| Value::from(key.as_str())).collect());
        }
        Function::Min => numbers()?.into_iter().fold(f64::INFINITY, f64::min),
        Function::Max => numbers()?.into_iter().fold(f64::NEG_INFINITY, f64::max),
        Function::Sum => numbers()?.into_iter().sum(),
        Function::Average => {
            let numbers = numbers()?;
            numbers.iter().sum::<f64>() / numbers.len() as f64
        }
    };
    Number::from_f64(result).map(Value::Number).ok_or_else(refused)
}

impl Function {
    pub(super) fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "length" | "size" => Self::Length,
            "min" => Self::Min,
            "max" => Self::Max,
            "sum" => Self::Sum,
            "avg" => Self::Average,
            "keys" => Self::Keys,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Length => "length()",
            Self::Min => "min()",
            Self::Max => "max()",
            Self::Sum => "sum()",
            Self::Average => "avg()",
            Self::Keys => "keys()",
        }
    }
}

/// A search over all places that an indefinite path may mean.
struct Search<'v> {
    visits: &'v mut Visits,
}

impl Search<'_> {
    fn run<'a>(&mut self, steps: &[Step], start: &'a Value) -> Result<Vec<&'a Value>, PathError> {
        let mut places = vec![start];
        let mut descends = false;
        for step in steps {
            if matches!(step, Step::Descend) {
                descends = true;
                continue;
            }
            let mut found = Vec::new();
            for place in places {
                if descends {
                    self.descend(step, place, start, &mut found)?;
                } else {
                    self.step(step, place, start, &mut found)?;
                }
            }
            places = found;
            descends = false;
        }
        Ok(places)
    }

    fn descend<'a>(
        &mut self,
        step: &Step,
        place: &'a Value,
        start: &'a Value,
        found: &mut Vec<&'a Value>,
    ) -> Result<(), PathError> {
        // A stack of its own: a value may be nested deeper than ours allows.
        let mut pending = vec![place];
        while let Some(value) = pending.pop() {
            self.step(step, value, start, found)?;
            let children = pending.len();
            match value {
                Value::Array(items) => pending.extend(items),
                Value::Object(members) => pending.extend(members.values()),
                _ => {}
            }
            pending[children..].reverse();
        }
        Ok(())
    }

    fn step<'a>(
        &mut self,
        step: &Step,
        value: &'a Value,
        start: &'a Value,
        found: &mut Vec<&'a Value>,
    ) -> Result<(), PathError> {
        self.visits.add(1)?;
        match (step, value) {
            (Step::Names(names), Value::Object(members)) => {
                self.visits.add(names.len())?;
                found.extend(names.iter().filter_map(|name| members.get(&**name)));
            }
            (Step::Indices(indices), Value::Array(items)) => {
                self.visits.add(indices.len())?;
                found.extend(indices.iter().filter_map(|index| at(items, *index)));
            }
            (Step::FromEnd(distance), Value::Array(items)) => found.extend(at(items, -distance)),
            (Step::Slice(from, to), Value::Array(items)) => {
                let slice = &items[bounds(*from, *to, items.len())];
                self.visits.add(slice.len())?;
                found.extend(slice);
            }
            (Step::All, Value::Array(items)) => {
                self.visits.add(items.len())?;
                found.extend(items);
            }
            (Step::All, Value::Object(members)) => {
                self.visits.add(members.len())?;
                found.extend(members.values());
            }
            (Step::Filter(filter), Value::Array(items)) => {
                for item in items {
                    self.visits.add(1)?;
                    if filter.accepts(item, start, self.visits)? {
                        found.push(item);
                    }
                }
            }
            (Step::Filter(filter), Value::Object(_)) if filter.accepts(value, start, self.visits)? => {
                found.push(value);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Visits {
    pub(super) fn add(&mut self, count: usize) -> Result<(), PathError> {
        self.0 = self.0.saturating_add(count);
        if self.0 > VISITS_MAX { Err(PathError::TooMuch) } else { Ok(()) }
    }
}

fn bounds(from: Option<i64>, to: Option<i64>, length: usize) -> std::ops::Range<usize> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let clamp = |index: i64| (if index < 0 { index + length } else { index }).clamp(0, length) as usize;
    let (from, to) = (clamp(from.unwrap_or(0)), clamp(to.unwrap_or(length)));
    from..to.max(from)
}

/// The steps in the form that error texts have: `$['a'][0]`.
pub(super) fn written(steps: &[Step]) -> String {
    let mut text = String::from("$");
    for step in steps {
        let _ = match step {
            Step::Names(names) => {
                let names: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
                write!(text, "[{}]", names.join(","))
            }
            Step::Indices(indices) => {
                let indices: Vec<String> = indices.iter().map(i64::to_string).collect();
                write!(text, "[{}]", indices.join(","))
            }
            Step::Slice(from, to) => {
                let end = |bound: &Option<i64>| bound.map(|bound| bound.to_string()).unwrap_or_default();
                write!(text, "[{}:{}]", end(from), end(to))
            }
            Step::All => write!(text, "[*]"),
            Step::Descend => write!(text, ".."),
            Step::Filter(_) => write!(text, "[?]"),
            Step::FromEnd(distance) => write!(text, "[(@.length-{distance})]"),
            Step::Function(function) => write!(text, ".{}", function.name()),
        };
    }
    text
}

/// What a value is, for error texts.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
