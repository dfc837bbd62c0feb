//! Tags of certificates and authorities, which stand in their documents.

use selvedge_aws::error::ErrorShape;
use selvedge_model::{TAGS_PER_RESOURCE_MAX, Value};
use serde_json::json;

use super::Scope;
use super::document::Tags;
use super::failure::Failure;

/// What keys of tags must not begin with, in any case.
const RESERVED_PREFIX: &str = "aws:";

/// The tags of a call.
///
/// # Errors
/// `invalid` for a reserved key, or one that is given twice.
pub(super) fn given(scope: &Scope<'_>, invalid: ErrorShape) -> Result<Tags, Failure> {
    let list = scope.call.input.get("Tags").and_then(Value::as_array).into_iter().flatten();
    let mut tags = Tags::new();
    for (index, tag) in list.enumerate() {
        let text = |member: &str| tag.get(member).and_then(Value::as_str).unwrap_or_default();
        let key = text("Key");
        if key.get(..RESERVED_PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(RESERVED_PREFIX)) {
            let message = format!("Tags[{index}].Key: keys that begin with '{RESERVED_PREFIX}' are reserved");
            return Err(invalid.because(message).into());
        }
        if tags.insert(key.to_owned(), text("Value").to_owned()).is_some() {
            return Err(invalid.because(format!("Tags[{index}].Key: '{key}' is given twice")).into());
        }
    }
    Ok(tags)
}

/// Adds tags, over those with the same key.
///
/// # Errors
/// `too_many`, and nothing was changed.
pub(super) fn add(tags: &mut Tags, added: &Tags, too_many: ErrorShape) -> Result<(), Failure> {
    tags.extend(added.clone());
    if tags.len() > TAGS_PER_RESOURCE_MAX {
        let message =
            format!("a resource may have at most {TAGS_PER_RESOURCE_MAX} tags; nothing was changed");
        return Err(too_many.because(message).into());
    }
    Ok(())
}

/// Removes the tags of a call: those of a key, or, where a value is given, of that value alone.
pub(super) fn remove(tags: &mut Tags, scope: &Scope<'_>) {
    for tag in scope.call.input.get("Tags").and_then(Value::as_array).into_iter().flatten() {
        let key = tag.get("Key").and_then(Value::as_str).unwrap_or_default();
        let value = tag.get("Value").and_then(Value::as_str);
        if tags.get(key).is_some_and(|found| value.is_none_or(|value| value == found)) {
            tags.remove(key);
        }
    }
}

/// As they are shown.
pub(super) fn shown(tags: &Tags) -> Vec<Value> {
    tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect()
}
