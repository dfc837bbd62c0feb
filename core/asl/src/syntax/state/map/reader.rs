//! `ItemReader`: where the items of a distributed Map state come from.

use serde_json::Value;

use super::{bound, note, within, word};
use crate::Payload;
use crate::payload::inside;
use crate::syntax::field::Fields;

/// The most items of a data set that one run takes.
const ITEMS_MAX: u64 = 100_000_000;
const GET_OBJECT: &str = ":states:::s3:getObject";
const LIST_OBJECTS: &str = ":states:::s3:listObjectsV2";

type Read = (Option<Box<str>>, Option<Payload>, Option<Payload>);

/// Its resource, arguments and configuration.
pub(super) fn read(fields: &mut Fields<'_, '_, '_>) -> Read {
    let Some(mut inner) = within(fields, "ItemReader") else { return (None, None, None) };
    let resource = inner.need_text("Resource");
    let is_listing = resource.is_some_and(|resource| resource.ends_with(LIST_OBJECTS));
    if resource.is_some_and(|resource| !resource.ends_with(GET_OBJECT) && !is_listing) {
        inner.fault(
            "Resource",
            "arn:aws:states:::s3:getObject or arn:aws:states:::s3:listObjectsV2 is expected",
        );
    }
    let arguments = if inner.is_json_ata() { "Arguments" } else { "Parameters" };
    let arguments = inner.payload(arguments);
    let config = inner.payload("ReaderConfig");
    match inner.has("ReaderConfig") {
        true => check(&mut inner, is_listing),
        false if resource.is_some_and(|resource| resource.ends_with(GET_OBJECT)) => {
            let pointer = inner.pointer.clone();
            inner.findings.schema(&pointer, "These fields are required: [ReaderConfig]");
        }
        false => {}
    }
    let seen = inner.finish();
    note(fields, seen);
    (resource.map(Box::from), arguments, config)
}

/// `ReaderConfig`
fn check(reader: &mut Fields<'_, '_, '_>, is_listing: bool) {
    let Some(mut config) = within(reader, "ReaderConfig") else { return };
    let is_loaded = config.has("Transformation");
    word(&mut config, "Transformation", &["NONE", "LOAD_AND_FLATTEN"]);
    word(&mut config, "ManifestType", &["S3_INVENTORY", "ATHENA_DATA"]);
    if !is_listing && !is_loaded && !config.has("ManifestType") {
        config.need("InputType");
    }
    word(&mut config, "InputType", &["CSV", "JSON", "JSONL", "PARQUET", "MANIFEST"]);
    word(&mut config, "CSVHeaderLocation", &["FIRST_ROW", "GIVEN"]);
    word(&mut config, "CSVDelimiter", &["COMMA", "PIPE", "SEMICOLON", "SPACE", "TAB"]);
    headers(&mut config);
    if let Some(pointer) = config.text("ItemsPointer") {
        let is_computed = config.is_json_ata() && inside(pointer).is_some();
        if !(pointer.is_empty() || pointer.starts_with('/') || is_computed) {
            config.fault("ItemsPointer", "a JSON pointer like /data/items is expected");
        }
    }
    bound(&mut config, "MaxItems", "MaxItemsPath", ITEMS_MAX);
    let seen = config.finish();
    note(reader, seen);
}

fn headers(config: &mut Fields<'_, '_, '_>) {
    let is_given = config.take("CSVHeaderLocation").and_then(Value::as_str) == Some("GIVEN");
    let Some(headers) = config.take("CSVHeaders") else {
        if is_given {
            let pointer = config.pointer.clone();
            config.findings.schema(&pointer, "These fields are required: [CSVHeaders]");
        }
        return;
    };
    let is_list =
        headers.as_array().is_some_and(|names| !names.is_empty() && names.iter().all(Value::is_string));
    let is_computed = config.is_json_ata() && headers.as_str().and_then(inside).is_some();
    if !is_list && !is_computed {
        config.fault("CSVHeaders", "an array with at least one name is expected");
    }
}
