//! The functions that the States Language adds, those that must not read clock or chance by themselves, and the checks.

use std::cell::Cell;
use std::rc::Rc;

use jsonata_core::evaluator::{Evaluator, EvaluatorError};
use jsonata_core::value::JValue;

use super::guard::{BOUNDED, EDGE, JOIN, MEASURED, PICTURED, PLACE, SHORT, SOURCE, Uses};
use super::{BYTES_MAX, SEQUENCE_MAX, value};
use crate::entropy::{split_mix, unit, uuid};
use crate::intrinsic::digest;

/// The longest text in which `$replace` searches, in bytes: that of a whole payload.
const SOURCE_BYTES_MAX: usize = 256 * 1024;
/// The longest text that it searches for or puts in. The product of both bounds what it makes before anybody can look.
const SHORT_BYTES_MAX: usize = 1024;

/// The ends of a range that the library can subtract.
const EDGE_MAX: f64 = 1e18;

/// The names of all of them.
const NAMES: &[&str] = &[
    "millis",
    "now",
    "uuid",
    "random",
    "partition",
    "range",
    "hash",
    "parse",
    "pad",
    JOIN,
    BOUNDED,
    MEASURED,
    SOURCE,
    SHORT,
    PLACE,
    PICTURED,
    EDGE,
];

type Outcome = Result<JValue, EvaluatorError>;
type Host = Box<dyn Fn(&[JValue]) -> Outcome>;

/// Registers what the expression may call; most call none of these.
pub(super) fn register(evaluator: &mut Evaluator, uses: &Uses, now_ms: i64, seed: u64) {
    if uses.calls_nothing_of(NAMES) {
        return;
    }
    let chance = Rc::new(Cell::new(seed));
    let draw = move || {
        chance.set(chance.get().wrapping_add(0x9E37_79B9_7F4A_7C15));
        split_mix(chance.get())
    };
    let number = draw.clone();
    let host = |evaluator: &mut Evaluator, name: &str, function: Host| {
        debug_assert!(NAMES.contains(&name), "{name} is registered where it is called");
        let registered =
            evaluator.register_fn_override(name, move |arguments: &[JValue]| function(arguments));
        debug_assert!(registered.is_ok(), "{name} is part of the compiled fast path");
    };
    host(evaluator, "millis", Box::new(move |_| Ok(JValue::from_i64(now_ms))));
    host(evaluator, "now", Box::new(move |_| Ok(JValue::string(instant(now_ms)))));
    host(evaluator, "uuid", Box::new(move |_| Ok(JValue::string(uuid(&mut draw.clone())))));
    host(evaluator, "random", Box::new(move |arguments| random(arguments, &number)));
    host(evaluator, "partition", Box::new(partition));
    host(evaluator, "range", Box::new(range));
    host(evaluator, "hash", Box::new(hash));
    host(evaluator, "parse", Box::new(parse));
    host(evaluator, "pad", Box::new(pad));
    host(evaluator, JOIN, Box::new(join));
    host(evaluator, BOUNDED, Box::new(|arguments| passes(arguments, BYTES_MAX)));
    host(evaluator, MEASURED, Box::new(|arguments| passes(arguments, BYTES_MAX)));
    host(evaluator, SOURCE, Box::new(|arguments| passes(arguments, SOURCE_BYTES_MAX)));
    host(evaluator, SHORT, Box::new(|arguments| passes(arguments, SHORT_BYTES_MAX)));
    host(evaluator, PICTURED, Box::new(pictured));
    host(evaluator, PLACE, Box::new(|arguments| Ok(within(argument(arguments, 0), BYTES_MAX as f64))));
    host(evaluator, EDGE, Box::new(|arguments| Ok(within(argument(arguments, 0), EDGE_MAX))));
}

fn failed(message: impl Into<String>) -> EvaluatorError {
    EvaluatorError::EvaluationError(message.into())
}

fn argument(arguments: &[JValue], index: usize) -> JValue {
    arguments.get(index).cloned().unwrap_or(JValue::Undefined)
}

fn passes(arguments: &[JValue], most: usize) -> Outcome {
    let value = argument(arguments, 0);
    match value::size(&value, most) {
        Some(_) => Ok(value),
        None => Err(failed(format!("a value has more than {most} bytes, or too many levels"))),
    }
}

/// What is beyond is as good as the last one that is not: no text is that long, and no range.
fn within(value: JValue, most: f64) -> JValue {
    match value {
        JValue::Number(number) => JValue::from_f64(number.clamp(-most, most)),
        other => other,
    }
}

/// A number and the picture that it is written by: one for Roman numerals has a letter for each thousand.
fn pictured(arguments: &[JValue]) -> Outcome {
    let (value, picture) = (argument(arguments, 0), argument(arguments, 1));
    let is_roman = picture.as_str().is_some_and(|picture| picture.contains(['I', 'i']));
    match value.as_f64() {
        Some(number) if is_roman && number.abs() / 1000.0 > BYTES_MAX as f64 => {
            Err(failed(format!("D3130: $formatInteger makes more than {BYTES_MAX} bytes")))
        }
        _ => Ok(value),
    }
}

/// RFC 3339, with milliseconds.
pub(super) fn instant(ms: i64) -> String {
    let (days, ms_of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    // Days from 1970-01-01 to a date of the proleptic Gregorian calendar, counted from March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (seconds, milliseconds) = (ms_of_day / 1000, ms_of_day % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z")
}

fn random(arguments: &[JValue], draw: &dyn Fn() -> u64) -> Outcome {
    let bits = match argument(arguments, 0) {
        JValue::Undefined => draw(),
        JValue::Number(seed) => split_mix(seed.to_bits()),
        _ => return Err(failed("T0410: the seed of $random must be a number")),
    };
    Ok(JValue::from_f64(unit(bits)))
}

fn partition(arguments: &[JValue]) -> Outcome {
    let items = match argument(arguments, 0) {
        JValue::Undefined => return Ok(JValue::Undefined),
        JValue::Array(items) => items,
        _ => return Err(failed("T0410: the first argument of $partition must be an array")),
    };
    let size =
        arguments.get(1).and_then(JValue::as_f64).filter(|size| *size >= 1.0 && *size <= SEQUENCE_MAX as f64);
    let size =
        size.ok_or_else(|| failed("T0410: the second argument of $partition must be a positive number"))?;
    let chunks = items.chunks(size as usize).map(|chunk| JValue::array(chunk.to_vec()));
    Ok(JValue::array(chunks.collect()))
}

fn range(arguments: &[JValue]) -> Outcome {
    let number = |index: usize| {
        let found = arguments.get(index).and_then(JValue::as_f64).filter(|number| number.is_finite());
        found.ok_or_else(|| failed("T0410: the arguments of $range must be numbers"))
    };
    let (first, last, step) = (number(0)?, number(1)?, number(2)?);
    if step == 0.0 {
        return Err(failed("D3000: the step of $range must not be 0"));
    }
    let count = ((last - first) / step).floor() + 1.0;
    if count > SEQUENCE_MAX as f64 {
        return Err(failed(format!("D2015: $range makes more than {SEQUENCE_MAX} items")));
    }
    let count = if count > 0.0 { count as usize } else { 0 };
    Ok(JValue::array((0..count).map(|index| JValue::from_f64(first + index as f64 * step)).collect()))
}

fn hash(arguments: &[JValue]) -> Outcome {
    let data = argument(arguments, 0);
    let text = match &data {
        JValue::Undefined => return Ok(JValue::Undefined),
        JValue::String(text) => text.to_string(),
        other => {
            value::json(other).map_err(|error| failed(error.to_string()))?.unwrap_or_default().to_string()
        }
    };
    let algorithm = argument(arguments, 1);
    let algorithm =
        algorithm.as_str().ok_or_else(|| failed("T0410: the second argument of $hash must be a text"))?;
    digest(text.as_bytes(), algorithm).map(JValue::string).map_err(failed)
}

fn parse(arguments: &[JValue]) -> Outcome {
    match argument(arguments, 0) {
        JValue::Undefined => Ok(JValue::Undefined),
        JValue::String(text) => match serde_json::from_str::<serde_json::Value>(&text) {
            Ok(value) => Ok(JValue::from(value)),
            Err(error) => Err(failed(format!("D3120: the text is no JSON: {error}"))),
        },
        _ => Err(failed("T0410: the argument of $parse must be a text")),
    }
}

/// `$pad(text, width, [character])`: a negative width pads on the left.
fn pad(arguments: &[JValue]) -> Outcome {
    let text = match argument(arguments, 0) {
        JValue::Undefined => return Ok(JValue::Undefined),
        JValue::String(text) => text,
        _ => return Err(failed("T0410: the first argument of $pad must be a text")),
    };
    let width = arguments.get(1).and_then(JValue::as_f64);
    let width = width.ok_or_else(|| failed("T0410: the second argument of $pad must be a number"))?;
    let filling = argument(arguments, 2);
    let filling = filling.as_str().filter(|filling| !filling.is_empty()).unwrap_or(" ");
    let missing = width.abs() - text.chars().count() as f64;
    if missing < 1.0 {
        return Ok(JValue::String(text));
    }
    if missing > BYTES_MAX as f64 / 4.0 {
        return Err(failed(format!("D3010: $pad makes more than {BYTES_MAX} bytes")));
    }
    let padding: String = filling.chars().cycle().take(missing as usize).collect();
    Ok(JValue::string(if width < 0.0 { format!("{padding}{text}") } else { format!("{text}{padding}") }))
}

fn join(arguments: &[JValue]) -> Outcome {
    if arguments.is_empty() {
        return Err(failed("T0410: $join needs an array of texts"));
    }
    let separator = match argument(arguments, 1) {
        JValue::Undefined => JValue::string(""),
        separator @ JValue::String(_) => separator,
        _ => return Err(failed("T0410: the second argument of $join must be a text")),
    };
    let separator = separator.as_str().unwrap_or_default();
    let items = match argument(arguments, 0) {
        JValue::Undefined => return Ok(JValue::Undefined),
        text @ JValue::String(_) => return Ok(text),
        JValue::Array(items) => items,
        _ => return Err(failed("T0412: the first argument of $join must be an array of texts")),
    };
    let mut joined = String::new();
    for (index, item) in items.iter().enumerate() {
        let text = item.as_str();
        let text =
            text.ok_or_else(|| failed("T0412: the first argument of $join must be an array of texts"))?;
        if index > 0 {
            joined.push_str(separator);
        }
        joined.push_str(text);
        if joined.len() > BYTES_MAX {
            return Err(failed(format!("D3010: $join makes more than {BYTES_MAX} bytes")));
        }
    }
    Ok(JValue::string(joined))
}
