//! Wait: exactly one of its four fields.

use serde_json::Value;

use crate::parse_timestamp;
use crate::payload::inside;
use crate::syntax::Until;
use crate::syntax::field::Fields;

const SECONDS_MAX: u64 = 99_999_999;

pub(super) fn read(fields: &mut Fields<'_, '_, '_>) -> Option<Until> {
    let names = ["Seconds", "SecondsPath", "Timestamp", "TimestampPath"];
    if names.iter().filter(|name| fields.has(name)).count() != 1 {
        let pointer = fields.pointer.clone();
        fields
            .findings
            .schema(&pointer, "exactly one of Seconds, SecondsPath, Timestamp and TimestampPath is required");
        for name in names {
            fields.take(name);
        }
        return None;
    }
    if fields.has("Seconds") || fields.has("SecondsPath") {
        return fields.number_or_path("Seconds", "SecondsPath", 0..=SECONDS_MAX).map(Until::Seconds);
    }
    if fields.has("TimestampPath") {
        if fields.is_json_ata() {
            fields.refuse(&["TimestampPath"], "JSONata");
            return None;
        }
        return fields.locator("TimestampPath").map(Until::TimestampPath);
    }
    let text = fields.take("Timestamp").and_then(Value::as_str).unwrap_or_default();
    if fields.is_json_ata()
        && let Some(expression) = inside(text)
    {
        return fields.expression("Timestamp", expression).map(Until::TimestampExpression);
    }
    if parse_timestamp(text).is_none() {
        fields.fault("Timestamp", "a timestamp like 2016-03-14T01:59:00Z is expected");
        return None;
    }
    Some(Until::Timestamp(text.into()))
}
