//! `ResultWriter`: where the results of a distributed Map state go.

use serde_json::Value;

use super::{note, within, word};
use crate::Payload;
use crate::syntax::field::Fields;

const PUT_OBJECT: &str = ":states:::s3:putObject";

type Read = (Option<Box<str>>, Option<Payload>, Option<Value>);

/// Its resource, arguments and configuration.
pub(super) fn read(fields: &mut Fields<'_, '_, '_>) -> Read {
    let Some(mut inner) = within(fields, "ResultWriter") else { return (None, None, None) };
    let resource = inner.text("Resource");
    if resource.is_some_and(|resource| !resource.ends_with(PUT_OBJECT)) {
        inner.fault("Resource", "arn:aws:states:::s3:putObject is expected");
    }
    let name = if inner.is_json_ata() { "Arguments" } else { "Parameters" };
    let arguments = inner.payload(name);
    let (has_resource, has_arguments) = (inner.has("Resource"), inner.has(name));
    if has_resource != has_arguments || !(has_resource || inner.has("WriterConfig")) {
        let pointer = inner.pointer.clone();
        inner.findings.schema(&pointer, format!("WriterConfig, or Resource with {name}, is required"));
    }
    let config = inner.take("WriterConfig").cloned();
    if let Some(mut config) = within(&mut inner, "WriterConfig") {
        word(&mut config, "Transformation", &["NONE", "COMPACT", "FLATTEN"]);
        word(&mut config, "OutputType", &["JSON", "JSONL"]);
        config.finish();
    }
    let seen = inner.finish();
    note(fields, seen);
    (resource.map(Box::from), arguments, config)
}
