//! S3: objects, and lists of them.

use percent_encoding::{AsciiSet, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::{Fault, Prepared, Received, Unfit, plain};
use crate::sigv4::ENCODED;
use crate::xml::Element;

/// The characters of a key that stand for themselves in a path.
const KEY: &AsciiSet = &ENCODED.remove(b'/');

const OFFERED: &str = "getObject, putObject, deleteObject, headObject, copyObject, listObjectsV2, listBuckets, \
                       createBucket, deleteBucket and headBucket";

/// Members that travel as headers.
const HEADERS: &[(&str, &str)] = &[
    ("CacheControl", "cache-control"),
    ("ContentDisposition", "content-disposition"),
    ("ContentEncoding", "content-encoding"),
    ("ContentLanguage", "content-language"),
    ("ContentType", "content-type"),
    ("CopySource", "x-amz-copy-source"),
    ("ETag", "etag"),
    ("Expiration", "x-amz-expiration"),
    ("IfMatch", "if-match"),
    ("IfNoneMatch", "if-none-match"),
    ("LastModified", "last-modified"),
    ("Range", "range"),
    ("AcceptRanges", "accept-ranges"),
    ("ContentRange", "content-range"),
    ("ACL", "x-amz-acl"),
    ("ServerSideEncryption", "x-amz-server-side-encryption"),
    ("SSEKMSKeyId", "x-amz-server-side-encryption-aws-kms-key-id"),
    ("StorageClass", "x-amz-storage-class"),
    ("Tagging", "x-amz-tagging"),
    ("ExpectedBucketOwner", "x-amz-expected-bucket-owner"),
    ("MetadataDirective", "x-amz-metadata-directive"),
    ("VersionId", "x-amz-version-id"),
];

/// Members that travel in the query string.
const QUERY: &[(&str, &str)] = &[
    ("ContinuationToken", "continuation-token"),
    ("Delimiter", "delimiter"),
    ("MaxKeys", "max-keys"),
    ("Prefix", "prefix"),
    ("StartAfter", "start-after"),
    ("FetchOwner", "fetch-owner"),
    ("PartNumber", "partNumber"),
];

pub(super) fn request(action: &str, parameters: &Value) -> Result<Prepared, Unfit> {
    let (method, has_key) = match action {
        "getObject" => ("GET", true),
        "putObject" | "copyObject" => ("PUT", true),
        "deleteObject" => ("DELETE", true),
        "headObject" => ("HEAD", true),
        "listObjectsV2" | "listBuckets" => ("GET", false),
        "createBucket" => ("PUT", false),
        "deleteBucket" => ("DELETE", false),
        "headBucket" => ("HEAD", false),
        _ => return Err(Unfit::Action { service: "s3", action: action.to_owned(), offered: OFFERED }),
    };
    let text = |name: &str| parameters.get(name).and_then(plain);
    let bucket = match action {
        "listBuckets" => None,
        _ => Some(text("Bucket").ok_or(Unfit::Missing("Bucket"))?),
    };
    let path = if has_key {
        let key = text("Key").filter(|key| !key.is_empty()).ok_or(Unfit::Missing("Key"))?;
        format!("/{}", utf8_percent_encode(&key, KEY))
    } else {
        "/".to_owned()
    };
    let encoded = |text: &str| utf8_percent_encode(text, ENCODED).to_string();
    let mut query = Vec::new();
    if action == "listObjectsV2" {
        query.push("list-type=2".to_owned());
    }
    for (member, name) in QUERY {
        if let Some(value) = text(member) {
            query.push(format!("{name}={}", encoded(&value)));
        }
    }
    if let Some(version) = text("VersionId") {
        query.push(format!("versionId={}", encoded(&version)));
    }
    let mut headers = Vec::new();
    for (member, name) in HEADERS.iter().filter(|(member, _)| *member != "VersionId") {
        if let Some(value) = text(member) {
            let value =
                if *member == "CopySource" { utf8_percent_encode(&value, KEY).to_string() } else { value };
            headers.push(((*name).to_owned(), value));
        }
    }
    for (name, value) in parameters.get("Metadata").and_then(Value::as_object).into_iter().flatten() {
        let value = plain(value).ok_or_else(|| Unfit::NoText(format!("Metadata.{name}")))?;
        headers.push((format!("x-amz-meta-{}", name.to_ascii_lowercase()), value));
    }
    let body = match parameters.get("Body") {
        Some(Value::String(text)) if action == "putObject" => text.clone().into_bytes(),
        Some(value) if action == "putObject" && !value.is_null() => value.to_string().into_bytes(),
        _ => Vec::new(),
    };
    Ok(Prepared { method, path, query: query.join("&"), headers, body, bucket })
}

pub(super) fn output(action: &str, received: &Received<'_>) -> Result<Value, Fault> {
    match action {
        "listObjectsV2" => list(received),
        "listBuckets" => {
            let document = document(received)?;
            let buckets = document.find("Buckets").map(|buckets| buckets.children.as_slice());
            let buckets: Vec<Value> = buckets.unwrap_or_default().iter().map(members).collect();
            Ok(json!({ "Buckets": buckets }))
        }
        "copyObject" => Ok(json!({ "CopyObjectResult": members(&document(received)?) })),
        _ => {
            let mut output = shown_headers(received);
            if action == "getObject" {
                output.insert("Body".into(), received.text()?.into());
            }
            Ok(Value::Object(output))
        }
    }
}

fn shown_headers(received: &Received<'_>) -> Map<String, Value> {
    let mut output = Map::new();
    for (member, name) in HEADERS {
        if let Some(value) = received.header(name) {
            output.insert((*member).to_owned(), value.into());
        }
    }
    if let Some(length) = received.header("content-length").and_then(|text| text.parse::<u64>().ok()) {
        output.insert("ContentLength".into(), length.into());
    }
    let metadata: Map<String, Value> = received
        .headers
        .iter()
        .filter_map(|(name, value)| {
            Some((name.strip_prefix("x-amz-meta-")?.to_owned(), value.as_str().into()))
        })
        .collect();
    if !metadata.is_empty() {
        output.insert("Metadata".into(), Value::Object(metadata));
    }
    output
}

fn document(received: &Received<'_>) -> Result<Element, Fault> {
    Element::parse(received.text()?)
        .map_err(|error| received.unreadable(format!("the answer is not understood: {error}")))
}

fn list(received: &Received<'_>) -> Result<Value, Fault> {
    let document = document(received)?;
    let mut output = Map::new();
    for child in &document.children {
        match child.name.as_str() {
            name @ ("Contents" | "CommonPrefixes") => {
                let items = output.entry(name).or_insert_with(|| json!([]));
                if let Some(items) = items.as_array_mut() {
                    items.push(members(child));
                }
            }
            name => {
                output.insert(name.to_owned(), scalar(name, &child.text));
            }
        }
    }
    Ok(Value::Object(output))
}

fn members(element: &Element) -> Value {
    let member = |child: &Element| {
        let value = if child.children.is_empty() { scalar(&child.name, &child.text) } else { members(child) };
        (child.name.clone(), value)
    };
    Value::Object(element.children.iter().map(member).collect())
}

/// Numbers and flags are such by their names.
fn scalar(name: &str, text: &str) -> Value {
    match name {
        "Size" | "KeyCount" | "MaxKeys" => text.parse::<u64>().map_or_else(|_| text.into(), Value::from),
        "IsTruncated" => (text == "true").into(),
        _ => text.into(),
    }
}
