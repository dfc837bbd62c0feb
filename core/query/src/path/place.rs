//! Putting a value where a reference path points.

use serde_json::{Map, Value};

use super::evaluate::{kind, written};
use super::{PathError, Step};

pub(super) fn place(steps: &[Step], target: &mut Value, value: Value) -> Result<(), PathError> {
    // Looked at first, so that a refusal leaves everything as it was.
    check(steps, target)?;
    let mut place = target;
    for step in steps {
        place = match (step, place) {
            (Step::Names(names), place) => {
                if place.is_null() {
                    *place = Value::Object(Map::new());
                }
                let Value::Object(members) = place else { unreachable!("checked above") };
                members.entry(names[0].as_ref()).or_insert(Value::Null)
            }
            (Step::Indices(indices), Value::Array(items)) => {
                let index = usize::try_from(indices[0]).expect("a reference path counts from the start");
                &mut items[index]
            }
            _ => unreachable!("checked above"),
        };
    }
    *place = value;
    Ok(())
}

fn check(steps: &[Step], target: &Value) -> Result<(), PathError> {
    let mut place = Some(target);
    for (depth, step) in steps.iter().enumerate() {
        let refused = |found| Err(PathError::CannotPlace { path: written(&steps[..depth]), found });
        place = match (step, place) {
            (Step::Names(names), Some(Value::Object(members))) => members.get(&*names[0]),
            // What a null or a missing member holds will be an object.
            (Step::Names(_), None) => None,
            (Step::Names(_), Some(Value::Null)) if depth > 0 => None,
            (Step::Indices(indices), Some(Value::Array(items))) => {
                let found = usize::try_from(indices[0]).ok().and_then(|index| items.get(index));
                if found.is_none() {
                    return refused("shorter array");
                }
                found
            }
            (_, Some(other)) => return refused(kind(other)),
            (_, None) => return refused("missing value"),
        };
    }
    Ok(())
}
