//! Functions over numbers.

use serde_json::Value;

use crate::{Entropy, entropy};

/// An integer; another number is rounded half up, as the service does.
pub(super) fn integer(value: &Value) -> Result<i64, String> {
    let Value::Number(number) = value else {
        const SHOWN_CHARS_MAX: usize = 80;
        let shown: String = value.to_string().chars().take(SHOWN_CHARS_MAX).collect();
        return Err(format!("an argument must be an integer, and it is {shown}"));
    };
    if let Some(integer) = number.as_i64() {
        return Ok(integer);
    }
    let rounded = number.as_f64().map(|number| (number + 0.5).floor());
    // 2^63 as a double is one too many.
    let range = -(2f64.powi(63))..2f64.powi(63);
    match rounded {
        Some(rounded) if range.contains(&rounded) => Ok(rounded as i64),
        _ => Err(format!("{number} is out of the range of integers")),
    }
}

pub(super) fn add(arguments: Vec<Value>, _: &mut dyn Entropy) -> Result<Value, String> {
    let (left, right) = (integer(&arguments[0])?, integer(&arguments[1])?);
    left.checked_add(right).map(Value::from).ok_or_else(|| "the sum is out of the range of integers".into())
}

/// At least the first, less than the second; the third is a seed.
pub(super) fn random(arguments: Vec<Value>, entropy: &mut dyn Entropy) -> Result<Value, String> {
    let (start, end) = (integer(&arguments[0])?, integer(&arguments[1])?);
    if start >= end {
        return Err("the start must be less than the end".into());
    }
    let bits = match arguments.get(2) {
        Some(seed) => entropy::split_mix(integer(seed)? as u64),
        None => entropy.draw(),
    };
    let width = end.abs_diff(start);
    // A multiplication instead of a division: no value is favoured by more than one in 2^64.
    let offset = (u128::from(bits) * u128::from(width)) >> 64;
    Ok(Value::from((i128::from(start) + offset as i128) as i64))
}
