//! Functions over arrays.

use std::collections::HashSet;

use serde_json::Value;

use super::number::integer;
use crate::Entropy;

/// The longest array that `States.ArrayRange` makes.
const RANGE_ITEMS_MAX: i64 = 1000;

fn items(value: Value) -> Result<Vec<Value>, String> {
    match value {
        Value::Array(items) => Ok(items),
        _ => Err("the first argument must be an array".into()),
    }
}

fn two(arguments: Vec<Value>) -> Result<(Vec<Value>, Value), String> {
    let [first, second] = <[Value; 2]>::try_from(arguments).expect("the parser counted the arguments");
    Ok((items(first)?, second))
}

pub(super) fn array(arguments: Vec<Value>, _: &mut dyn Entropy) -> Result<Value, String> {
    Ok(Value::Array(arguments))
}

pub(super) fn partition(arguments: Vec<Value>, _: &mut dyn Entropy) -> Result<Value, String> {
    let (items, size) = two(arguments)?;
    let size = usize::try_from(integer(&size)?).ok().filter(|size| *size > 0);
    let size = size.ok_or("the chunk's size must be a positive integer")?;
    Ok(items.chunks(size).map(|chunk| Value::from(chunk.to_vec())).collect())
}

pub(super) fn contains(arguments: Vec<Value>, _: &mut dyn Entropy) -> Result<Value, String> {
    let (items, wanted) = two(arguments)?;
    Ok(Value::Bool(items.contains(&wanted)))
}

pub(super) fn range(arguments: Vec<Value>, _: &mut dyn Entropy) -> Result<Value, String> {
    let (first, last, step) = (integer(&arguments[0])?, integer(&arguments[1])?, integer(&arguments[2])?);
    if step == 0 {
        return Err("the step must not be 0".into());
    }
    let distance = i128::from(last) - i128::from(first);
    let count = distance / i128::from(step) + 1;
    if distance != 0 && (distance > 0) != (step > 0) {
        return Ok(Value::Array(Vec::new()));
    }
    if count > i128::from(RANGE_ITEMS_MAX) {
        return Err(format!("the range has more than {RANGE_ITEMS_MAX} items"));
    }
    // The whole range may be wider than what one number holds; each number of it is between its ends.
    let (first, step) = (i128::from(first), i128::from(step));
    let numbers = (0..count).filter_map(|index| i64::try_from(first + index * step).ok());
    Ok(numbers.map(Value::from).collect())
}

pub(super) fn item(arguments: Vec<Value>, _: &mut dyn Entropy) -> Result<Value, String> {
    let (mut items, index) = two(arguments)?;
    let index = integer(&index)?;
    match usize::try_from(index) {
        Ok(at) if at < items.len() => Ok(items.swap_remove(at)),
        _ => Err(format!("the index {index} is out of the array's range of {} items", items.len())),
    }
}

pub(super) fn length(mut arguments: Vec<Value>, _: &mut dyn Entropy) -> Result<Value, String> {
    Ok(Value::from(items(arguments.remove(0))?.len()))
}

pub(super) fn unique(mut arguments: Vec<Value>, _: &mut dyn Entropy) -> Result<Value, String> {
    let mut items = items(arguments.remove(0))?;
    let mut seen = HashSet::with_capacity(items.len());
    items.retain(|item| seen.insert(item.to_string()));
    Ok(Value::Array(items))
}
