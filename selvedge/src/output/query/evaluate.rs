//! JMESPath over the value model, whose objects keep their members' order.
//!
//! The grammar and the functions are the `jmespath` crate's; only the walk is ours, because the crate's own sorts every object
//! and orders numbers alone, while the AWS command line keeps objects as answered and orders texts too.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use jmespath::ast::{Ast, Comparator};
use jmespath::{Context, JmespathError, Rcvar, Variable};
use serde_json::{Map, Value};

use super::order::Orders;

/// Applies `ast` to `data`. `orders` restores the order of objects that a function returns.
pub(super) fn evaluate(
    data: &Value,
    ast: &Ast,
    orders: &Orders,
    context: &mut Context<'_>,
) -> Result<Value, JmespathError> {
    let mut walk = |data: &Value, ast: &Ast| evaluate(data, ast, orders, context);
    Ok(match ast {
        Ast::Identity { .. } => data.clone(),
        Ast::Literal { value, .. } => from_variable(value, orders),
        Ast::Field { name, .. } => data.get(name).cloned().unwrap_or_default(),
        Ast::Index { idx, .. } => at(data, *idx).cloned().unwrap_or_default(),
        Ast::Slice { start, stop, step, .. } => slice(data, *start, *stop, *step),
        Ast::Subexpr { lhs, rhs, .. } => {
            let left = walk(data, lhs)?;
            walk(&left, rhs)?
        }
        Ast::Projection { lhs, rhs, .. } => match walk(data, lhs)? {
            Value::Array(elements) => {
                let projected =
                    elements.iter().map(|element| walk(element, rhs)).collect::<Result<Vec<_>, _>>()?;
                projected.into_iter().filter(|value| !value.is_null()).collect()
            }
            _ => Value::Null,
        },
        Ast::ObjectValues { node, .. } => values(&walk(data, node)?),
        Ast::Flatten { node, .. } => flatten(walk(data, node)?),
        Ast::MultiList { .. } | Ast::MultiHash { .. } if data.is_null() => Value::Null,
        Ast::MultiList { elements, .. } => {
            elements.iter().map(|ast| walk(data, ast)).collect::<Result<Vec<_>, _>>()?.into()
        }
        Ast::MultiHash { elements, .. } => {
            let mut object = Map::new();
            for pair in elements {
                object.insert(pair.key.clone(), walk(data, &pair.value)?);
            }
            Value::Object(object)
        }
        Ast::Or { lhs, rhs, .. } => match walk(data, lhs)? {
            left if is_truthy(&left) => left,
            _ => walk(data, rhs)?,
        },
        Ast::And { lhs, rhs, .. } => match walk(data, lhs)? {
            left if is_truthy(&left) => walk(data, rhs)?,
            left => left,
        },
        Ast::Not { node, .. } => Value::Bool(!is_truthy(&walk(data, node)?)),
        Ast::Condition { predicate, then, .. } => match is_truthy(&walk(data, predicate)?) {
            true => walk(data, then)?,
            false => Value::Null,
        },
        Ast::Comparison { comparator, lhs, rhs, .. } => {
            let (left, right) = (walk(data, lhs)?, walk(data, rhs)?);
            compare(comparator, &left, &right).map_or(Value::Null, Value::Bool)
        }
        // Only functions take them, and those are called below.
        Ast::Expref { .. } => Value::Null,
        Ast::Function { name, args, offset } => return call(data, name, args, *offset, orders, context),
    })
}

fn call(
    data: &Value,
    name: &str,
    args: &[Ast],
    offset: usize,
    orders: &Orders,
    context: &mut Context<'_>,
) -> Result<Value, JmespathError> {
    if ["keys", "values", "merge"].contains(&name) {
        let values = args.iter().map(|argument| evaluate(data, argument, orders, context));
        let objects = values.collect::<Result<Vec<_>, _>>()?;
        if let Some(found) = of_objects(name, &objects) {
            return Ok(found);
        }
    }
    let mut arguments = Vec::new();
    for argument in args {
        arguments.push(Rcvar::new(match argument {
            Ast::Expref { ast, .. } => Variable::Expref(Ast::clone(ast)),
            other => to_variable(&evaluate(data, other, orders, context)?),
        }));
    }
    context.offset = offset;
    match context.runtime.get_function(name) {
        Some(function) => {
            let found = function.evaluate(&arguments, context).map(|found| from_variable(&found, orders))?;
            let is_whole = match name {
                "ceil" | "floor" => true,
                "sum" | "abs" => arguments.iter().all(|argument| has_only_whole_numbers(argument)),
                _ => false,
            };
            Ok(if is_whole { whole(found) } else { found })
        }
        // The crate's own walk words the error.
        None => jmespath::interpret(
            &Rcvar::new(Variable::Null),
            &Ast::Function { name: name.to_owned(), args: Vec::new(), offset },
            context,
        )
        .map(|found| from_variable(&found, orders)),
    }
}

/// The functions whose answers have the order of their arguments; `None` when they are not given what they want.
fn of_objects(name: &str, arguments: &[Value]) -> Option<Value> {
    let objects: Vec<&Map<String, Value>> = arguments.iter().map(Value::as_object).collect::<Option<_>>()?;
    Some(match (name, &objects[..]) {
        ("keys", [object]) => object.keys().cloned().collect(),
        ("values", [object]) => object.values().cloned().collect(),
        ("merge", [_, ..]) => {
            let members = objects.into_iter().flatten();
            Value::Object(members.map(|(name, value)| (name.clone(), value.clone())).collect())
        }
        _ => return None,
    })
}

fn has_only_whole_numbers(variable: &Variable) -> bool {
    match variable {
        Variable::Number(number) => number.is_i64() || number.is_u64(),
        Variable::Array(elements) => elements.iter().all(|element| has_only_whole_numbers(element)),
        _ => true,
    }
}

/// A whole number without the fraction that the crate's arithmetic leaves on it: `13.0` as `13`.
fn whole(value: Value) -> Value {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    match value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() <= EXACT_MAX) {
        Some(number) => Value::from(number as i64),
        None => value,
    }
}

fn at(data: &Value, index: i32) -> Option<&Value> {
    let elements = data.as_array()?;
    let index = match usize::try_from(index) {
        Ok(index) => index,
        Err(_) => elements.len().checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?,
    };
    elements.get(index)
}

/// `[start:stop:step]`, with Python's meaning of what is left out and of negative numbers.
fn slice(data: &Value, start: Option<i32>, stop: Option<i32>, step: i32) -> Value {
    let Some(elements) = data.as_array() else { return Value::Null };
    let length = i64::try_from(elements.len()).unwrap_or(i64::MAX);
    let step = i64::from(step);
    let (lowest, highest) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let bound = |given: Option<i32>, default: i64| match given.map(i64::from) {
        None => default,
        Some(given) if given < 0 => (given + length).max(lowest),
        Some(given) => given.min(highest),
    };
    let (mut at, end) = if step > 0 {
        (bound(start, lowest), bound(stop, highest))
    } else {
        (bound(start, highest), bound(stop, lowest))
    };
    let mut found = Vec::new();
    while step != 0 && if step > 0 { at < end } else { at > end } {
        found.extend(usize::try_from(at).ok().and_then(|at| elements.get(at)).cloned());
        at += step;
    }
    found.into()
}

fn values(data: &Value) -> Value {
    data.as_object().map_or(Value::Null, |members| members.values().cloned().collect())
}

fn flatten(data: Value) -> Value {
    let Value::Array(elements) = data else { return Value::Null };
    let flat = elements.into_iter().flat_map(|element| match element {
        Value::Array(inner) => inner,
        other => vec![other],
    });
    flat.collect()
}

fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(_) => true,
        Value::String(text) => !text.is_empty(),
        Value::Array(elements) => !elements.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

fn compare(comparator: &Comparator, left: &Value, right: &Value) -> Option<bool> {
    let ordering = match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64()?.partial_cmp(&right.as_f64()?),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        _ => None,
    };
    Some(match comparator {
        Comparator::Equal => is_equal(left, right),
        Comparator::NotEqual => !is_equal(left, right),
        Comparator::LessThan => ordering? == Ordering::Less,
        Comparator::LessThanEqual => ordering? != Ordering::Greater,
        Comparator::GreaterThan => ordering? == Ordering::Greater,
        Comparator::GreaterThanEqual => ordering? != Ordering::Less,
    })
}

/// Numbers by value, however they are written; objects whatever their order.
fn is_equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| is_equal(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(name, left)| right.get(name).is_some_and(|right| is_equal(left, right)))
        }
        _ => left == right,
    }
}

fn to_variable(value: &Value) -> Variable {
    match value {
        Value::Null => Variable::Null,
        Value::Bool(value) => Variable::Bool(*value),
        Value::Number(number) => Variable::Number(number.clone()),
        Value::String(text) => Variable::String(text.clone()),
        Value::Array(elements) => {
            Variable::Array(elements.iter().map(|value| Rcvar::new(to_variable(value))).collect())
        }
        Value::Object(object) => {
            let members = object.iter().map(|(key, value)| (key.clone(), Rcvar::new(to_variable(value))));
            Variable::Object(members.collect())
        }
    }
}

fn from_variable(variable: &Variable, orders: &Orders) -> Value {
    match variable {
        Variable::Null | Variable::Expref(_) => Value::Null,
        Variable::Bool(value) => Value::Bool(*value),
        Variable::Number(number) => Value::Number(number.clone()),
        Variable::String(text) => Value::String(text.clone()),
        Variable::Array(elements) => elements.iter().map(|value| from_variable(value, orders)).collect(),
        Variable::Object(object) => {
            number_in_disguise(object).unwrap_or_else(|| Value::Object(members(object, orders)))
        }
    }
}

/// A number of a literal, as the crate's reader sees one that keeps its digits: an object of one private member.
fn number_in_disguise(object: &BTreeMap<String, Rcvar>) -> Option<Value> {
    const MEMBER: &str = "$serde_json::private::Number";
    let digits = object.get(MEMBER).filter(|_| object.len() == 1)?;
    digits.as_string()?.parse().ok().map(Value::Number)
}

fn members(object: &BTreeMap<String, Rcvar>, orders: &Orders) -> Map<String, Value> {
    let names = orders.restore(object.keys().cloned().collect());
    names
        .into_iter()
        .filter_map(|name| Some((name.clone(), from_variable(object.get(&name)?, orders))))
        .collect()
}
