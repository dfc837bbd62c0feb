//! Tags, in a document beside the resource's own: they change without the mesh changing.

use bytes::Bytes;
use selvedge_aws::operations::appmesh::{BAD_REQUEST, NOT_FOUND, TAGS_PAGE_MAX, TOO_MANY_TAGS};
use selvedge_aws::{Call, page};
use selvedge_model::{Arn, Key, Shaped, TAGS_PER_RESOURCE_MAX, Tag, Value, json};
use selvedge_store::{Error as StoreError, Read, Transaction};
use serde_json::Map;

use super::collection::{Scope, not_found};
use super::document;
use super::failure::Failure;

/// What keys of tags must not begin with, in any case.
const RESERVED_PREFIX: &str = "aws:";

/// The tags of a create or a TagResource call.
pub(super) fn from_call(call: &Call) -> Result<Vec<Tag>, Failure> {
    let tags = call.input.get("tags").and_then(Vec::<Tag>::decode).unwrap_or_default();
    for (index, tag) in tags.iter().enumerate() {
        if tag
            .key
            .get(..RESERVED_PREFIX.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(RESERVED_PREFIX))
        {
            let message = format!("tags[{index}].key: keys that begin with '{RESERVED_PREFIX}' are reserved");
            return Err(BAD_REQUEST.because(message).into());
        }
        if tags[..index].iter().any(|other| other.key == tag.key) {
            return Err(BAD_REQUEST
                .because(format!("tags[{index}].key: '{}' is given twice", tag.key))
                .into());
        }
    }
    Ok(tags)
}

/// Adds tags, over those with the same key.
pub(super) fn tag_resource(scope: &Scope<'_>, tx: &mut dyn Transaction) -> Result<Value, Failure> {
    let key = resource_key(scope, tx)?;
    let mut tags = read(tx, &key)?;
    for tag in from_call(scope.call)? {
        match tags.iter_mut().find(|existing| existing.key == tag.key) {
            Some(existing) => existing.value = tag.value,
            None => tags.push(tag),
        }
    }
    if tags.len() > TAGS_PER_RESOURCE_MAX {
        let message =
            format!("a resource may have at most {TAGS_PER_RESOURCE_MAX} tags; none of these were applied");
        return Err(TOO_MANY_TAGS.because(message).into());
    }
    write(tx, &key, &tags)?;
    Ok(Value::Object(Map::new()))
}

/// Removes the tags of those keys; a key that is not there is no error.
pub(super) fn untag_resource(scope: &Scope<'_>, tx: &mut dyn Transaction) -> Result<Value, Failure> {
    let key = resource_key(scope, tx)?;
    let gone = scope.call.input.get("tagKeys").and_then(Vec::<String>::decode).unwrap_or_default();
    let mut tags = read(tx, &key)?;
    tags.retain(|tag| !gone.contains(&tag.key));
    write(tx, &key, &tags)?;
    Ok(Value::Object(Map::new()))
}

/// One page of a resource's tags, in the order in which they were added.
pub(super) fn list_tags(scope: &Scope<'_>, view: &dyn Read) -> Result<Value, Failure> {
    let key = resource_key(scope, view)?;
    let list = document::tags_key(&key);
    let operation = scope.call.operation.name;
    let limit = scope.call.input.get("limit").and_then(Value::as_u64);
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(TAGS_PAGE_MAX);
    let start: usize = match scope.call.text("nextToken") {
        None => 0,
        Some(token) => {
            let position =
                page::decode(operation, &list, token).ok().and_then(|position| position.parse().ok());
            position.ok_or_else(|| BAD_REQUEST.because(page::InvalidToken.to_string()))?
        }
    };
    let tags = read(view, &key)?;
    let end = start.saturating_add(limit).min(tags.len());
    let shown = tags.get(start..end).unwrap_or_default();
    let mut output = Map::new();
    output.insert("tags".into(), to_value(shown));
    if end < tags.len() {
        output.insert("nextToken".into(), page::encode(operation, &list, &end.to_string()).into());
    }
    Ok(Value::Object(output))
}

/// Writes the tags of a resource; none at all removes the document.
pub(super) fn write(tx: &mut dyn Transaction, key: &Key, tags: &[Tag]) -> Result<(), StoreError> {
    let at = document::tags_key(key);
    if tags.is_empty() {
        tx.delete(&at).map(drop)
    } else {
        tx.put(&at, Bytes::from(to_value(tags).to_string()))
    }
}

fn read(view: &dyn Read, key: &Key) -> Result<Vec<Tag>, Failure> {
    let Some(document) = view.get(&document::tags_key(key))? else { return Ok(Vec::new()) };
    let tags = json::parse(&document.value).ok().and_then(|value| Vec::<Tag>::decode(&value));
    tags.ok_or_else(|| StoreError::Corrupt("stored tags are not readable".into()).into())
}

fn to_value(tags: &[Tag]) -> Value {
    tags.iter().map(|tag| serde_json::json!({ "key": tag.key, "value": tag.value })).collect()
}

/// The resource that the call's ARN names, which must exist. Its region is not compared: one store serves them all.
fn resource_key(scope: &Scope<'_>, view: &dyn Read) -> Result<Key, Failure> {
    let text = scope.call.text("resourceArn").unwrap_or_default();
    let arn: Arn = text.parse().map_err(|error| BAD_REQUEST.because(format!("resourceArn: {error}")))?;
    if arn.account != scope.settings.account || arn.partition != scope.settings.partition {
        return Err(NOT_FOUND.because(format!("Resource with ARN {text} is not present")).into());
    }
    if view.get(&document::key_of(&arn.key))?.is_none() {
        return Err(not_found(&arn.key, &scope.settings.account).into());
    }
    Ok(arn.key)
}
