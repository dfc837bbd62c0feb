//! Tags of groups: schedules have none of their own.

use selvedge_aws::Call;
use selvedge_store::{Transaction, WriteError};
use serde_json::{Value, json};

use super::{DEFAULT_GROUP, Failure, Group, Scope, group_key, invalid, unknown};
use crate::record;

/// Tags that a group may have.
const TAGS_MAX: usize = 50;

/// Key and value.
type Tags = Vec<(String, String)>;

/// `tags` with those of the call, which come last where their key was there.
pub(super) fn put(mut tags: Tags, call: &Call) -> Result<Tags, Failure> {
    let given = call.input.get("Tags").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for (at, tag) in given.iter().enumerate() {
        let (key, value) =
            (tag["Key"].as_str().unwrap_or_default(), tag["Value"].as_str().unwrap_or_default());
        if key.starts_with("aws:") {
            return Err(invalid(format!("Tags[{at}].Key: it cannot begin with aws:")));
        }
        if given[..at].iter().any(|earlier| earlier["Key"] == tag["Key"]) {
            return Err(invalid(format!("Tags[{at}].Key: the tag '{key}' is given twice")));
        }
        tags.retain(|(known, _)| known != key);
        tags.push((key.to_owned(), value.to_owned()));
    }
    if tags.len() > TAGS_MAX {
        return Err(invalid(format!("Tags: a group has at most {TAGS_MAX}")));
    }
    Ok(tags)
}

impl Scope<'_> {
    /// The group that the call's ARN names.
    fn tagged(&self) -> Result<&str, Failure> {
        let arn = self.text("ResourceArn").unwrap_or_default();
        let name = arn.rsplit_once("/").map_or("", |(_, name)| name);
        if name.is_empty() || arn != self.arn("schedule-group", name) {
            return Err(unknown("Schedule group", arn));
        }
        Ok(name)
    }

    pub(super) fn tags(&self) -> Result<Value, Failure> {
        let name = self.tagged()?;
        let tags = match self.engine.store.snapshot()?.get(&group_key(name))? {
            Some(found) => record::decode::<Group>(&found)?.tags,
            None if name == DEFAULT_GROUP => Tags::new(),
            None => return Err(unknown("Schedule group", name)),
        };
        let shown: Vec<Value> =
            tags.into_iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
        Ok(json!({ "Tags": shown }))
    }

    pub(super) fn tag(&self) -> Result<Value, Failure> {
        self.retag(|tags| put(tags, self.call))
    }

    pub(super) fn untag(&self) -> Result<Value, Failure> {
        let keys = self.call.input.get("TagKeys").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        self.retag(|mut tags| {
            tags.retain(|(known, _)| !keys.iter().any(|key| key == known.as_str()));
            Ok(tags)
        })
    }

    fn retag(&self, f: impl Fn(Tags) -> Result<Tags, Failure>) -> Result<Value, Failure> {
        let name = self.tagged()?;
        if name == DEFAULT_GROUP {
            return Err(invalid("ResourceArn: the group default is made by nobody and has no tags"));
        }
        let now_ms = self.engine.now_ms();
        self.engine.store.write(|tx: &mut dyn Transaction| {
            let found = tx.get(&group_key(name))?.ok_or_else(|| unknown("Schedule group", name))?;
            let mut group: Group = record::decode(&found)?;
            group.tags = f(std::mem::take(&mut group.tags))?;
            tx.put(&group_key(name), record::encode(&group))?;
            let details = json!({ "tags": group.tags });
            Ok::<_, WriteError<_>>(self.deed(&group.arn, details).append(tx, now_ms)?)
        })?;
        Ok(json!({}))
    }
}
