//! `ResultWriter`: the results of a run as objects, with a manifest.

use selvedge_asl::Status;
use selvedge_store::Error as StoreError;
use serde_json::{Map, Value, json};

use crate::objects::{ObjectError, Objects};
use crate::record::{ExecutionRecord, MapRunRecord, status_name};

/// About how many bytes an object of results has; more results make more objects.
const FILE_BYTES: usize = 8 << 20;

/// What became of writing.
pub(super) enum Written {
    /// The state's result.
    Done(Value),
    /// Why not.
    Failed(String),
}

/// What a child's results are made into.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Transformation {
    /// Everything that is known of the child.
    None,
    /// Its output.
    Compact,
    /// The elements of its output, where that is an array.
    Flatten,
}

/// `WriterConfig`
pub(super) struct Shape {
    transformation: Transformation,
    is_lines: bool,
}

impl Shape {
    pub(super) fn read(config: &Value, default: Transformation) -> Self {
        let transformation = match config["Transformation"].as_str() {
            Some("NONE") => Transformation::None,
            Some("COMPACT") => Transformation::Compact,
            Some("FLATTEN") => Transformation::Flatten,
            _ => default,
        };
        Self { transformation, is_lines: config["OutputType"] == "JSONL" }
    }
}

type Each<'a> = dyn FnMut(&mut dyn FnMut(&ExecutionRecord) -> bool) -> Result<(), StoreError> + 'a;

/// Writes the results of the children that `each` goes over.
pub(super) fn write(
    objects: &dyn Objects,
    resource: &str,
    arguments: &Value,
    config: &Value,
    record: &MapRunRecord,
    each: &mut Each<'_>,
) -> Result<Written, StoreError> {
    if !resource.ends_with("s3:putObject") {
        return Ok(Written::Failed(format!("A result writer is s3:putObject, and not '{resource}'.")));
    }
    let Some(bucket) = arguments["Bucket"].as_str().filter(|bucket| !bucket.is_empty()) else {
        return Ok(Written::Failed("The result writer needs Bucket.".to_owned()));
    };
    let prefix = arguments["Prefix"].as_str().unwrap_or_default().trim_matches('/');
    let folder = if prefix.is_empty() { record.id.clone() } else { format!("{prefix}/{}", record.id) };
    let mut files = Files {
        objects,
        bucket,
        folder: &folder,
        shape: Shape::read(config, Transformation::None),
        succeeded: File::new("SUCCEEDED"),
        failed: File::new("FAILED"),
        error: None,
    };
    each(&mut |child| {
        files.add(record, child);
        files.error.is_none()
    })?;
    let manifest_key = format!("{folder}/manifest.json");
    match files.finish(record, &manifest_key) {
        Ok(()) => Ok(Written::Done(json!({
            "MapRunArn": record.arn,
            "ResultWriterDetails": { "Bucket": bucket, "Key": manifest_key },
        }))),
        Err(error) => Ok(Written::Failed(format!("The results cannot be written: {error}."))),
    }
}

/// What one child adds to the results.
pub(super) fn results(
    shape: &Shape,
    record: &MapRunRecord,
    child: &ExecutionRecord,
    take: &mut dyn FnMut(Value),
) {
    let output = || -> Value {
        match &child.output {
            Some(text) => serde_json::from_str(text).unwrap_or_default(),
            None => {
                let mut failure = Map::new();
                failure.insert("Error".into(), child.error.clone().unwrap_or_default().into());
                failure.insert("Cause".into(), child.cause.clone().unwrap_or_default().into());
                Value::Object(failure)
            }
        }
    };
    match shape.transformation {
        Transformation::None => take(shown(record, child)),
        Transformation::Compact => take(output()),
        Transformation::Flatten => match output() {
            Value::Array(items) => items.into_iter().for_each(take),
            other => take(other),
        },
    }
}

fn shown(record: &MapRunRecord, child: &ExecutionRecord) -> Value {
    let time = selvedge_asl::format_timestamp;
    let mut shown = json!({
        "ExecutionArn": child.arn,
        "Input": child.input,
        "InputDetails": { "Included": true },
        "Name": child.name,
        "StateMachineArn": record.machine_arn,
        "Status": status_name(child.status),
        "StartDate": time(child.started_ms),
        "RedriveCount": child.redrive_count,
        "RedriveStatus": if child.status == Status::Succeeded { "NOT_REDRIVABLE" } else { "REDRIVABLE_BY_MAP_RUN" },
    });
    if let Some(ended_ms) = child.ended_ms {
        shown["StopDate"] = time(ended_ms).into();
    }
    if let Some(output) = &child.output {
        shown["Output"] = output.as_str().into();
        shown["OutputDetails"] = json!({ "Included": true });
    }
    for (member, text) in [("Error", &child.error), ("Cause", &child.cause)] {
        if let Some(text) = text {
            shown[member] = text.as_str().into();
        }
    }
    shown
}

struct Files<'a> {
    objects: &'a dyn Objects,
    bucket: &'a str,
    folder: &'a str,
    shape: Shape,
    succeeded: File,
    failed: File,
    error: Option<ObjectError>,
}

/// The objects of one kind; the last is being filled.
struct File {
    kind: &'static str,
    bytes: Vec<u8>,
    written: Vec<Value>,
}

impl File {
    fn new(kind: &'static str) -> Self {
        Self { kind, bytes: Vec::new(), written: Vec::new() }
    }
}

impl Files<'_> {
    fn add(&mut self, record: &MapRunRecord, child: &ExecutionRecord) {
        let is_lines = self.shape.is_lines;
        let file = if child.status == Status::Succeeded { &mut self.succeeded } else { &mut self.failed };
        results(&self.shape, record, child, &mut |value| {
            let before: &[u8] = match (is_lines, file.bytes.is_empty()) {
                (true, _) => b"",
                (false, true) => b"[",
                (false, false) => b",",
            };
            file.bytes.extend_from_slice(before);
            file.bytes.extend_from_slice(value.to_string().as_bytes());
            if is_lines {
                file.bytes.push(b'\n');
            }
        });
        if file.bytes.len() >= FILE_BYTES
            && let Err(error) = put(self.objects, self.bucket, self.folder, is_lines, file)
        {
            self.error = Some(error);
        }
    }

    fn finish(mut self, record: &MapRunRecord, manifest_key: &str) -> Result<(), ObjectError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        for file in [&mut self.succeeded, &mut self.failed] {
            put(self.objects, self.bucket, self.folder, self.shape.is_lines, file)?;
        }
        let manifest = json!({
            "DestinationBucket": self.bucket,
            "MapRunArn": record.arn,
            "ResultFiles": { "FAILED": self.failed.written, "PENDING": [], "SUCCEEDED": self.succeeded.written },
        });
        self.objects.put(self.bucket, manifest_key, manifest.to_string().as_bytes())
    }
}

fn put(
    objects: &dyn Objects,
    bucket: &str,
    folder: &str,
    is_lines: bool,
    file: &mut File,
) -> Result<(), ObjectError> {
    if file.bytes.is_empty() {
        return Ok(());
    }
    if !is_lines {
        file.bytes.push(b']');
    }
    let bytes = std::mem::take(&mut file.bytes);
    let extension = if is_lines { "jsonl" } else { "json" };
    let key = format!("{folder}/{}_{}.{extension}", file.kind, file.written.len());
    objects.put(bucket, &key, &bytes)?;
    file.written.push(json!({ "Key": key, "Size": bytes.len() }));
    Ok(())
}
