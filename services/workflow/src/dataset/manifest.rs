//! Manifests: objects that list the objects of a data set.
//!
//! S3's inventory is a `manifest.json` with the columns and keys of packed files; Athena's `UNLOAD` leaves a list of
//! `s3://bucket/key` lines.

use std::io::{BufRead as _, BufReader, Read as _};
use std::sync::Arc;

use serde_json::Value;

use super::{Chain, Dataset, DatasetError, Format, ITEM_BYTES_MAX, MANIFEST_FILES_MAX, csv, plain};
use crate::objects::Objects;

pub(super) fn open(
    objects: &Arc<dyn Objects>,
    bucket: &str,
    key: &str,
    version: Option<&str>,
    config: &Value,
) -> Result<Box<dyn Dataset>, DatasetError> {
    let bytes = plain(objects.open(bucket, key, version)?, key);
    let (format, names) = match config["ManifestType"].as_str() {
        None | Some("S3_INVENTORY") => inventory(bytes, bucket)?,
        Some("ATHENA_DATA") => (Format::read(config)?, lines(bytes)?),
        Some(other) => {
            let message = format!("ManifestType is S3_INVENTORY or ATHENA_DATA, and not '{other}'");
            return Err(DatasetError::Configuration(message));
        }
    };
    let mut names = names.into_iter();
    Ok(Box::new(Chain::new(objects, format, Box::new(move || Ok(names.next())))))
}

type Named = Vec<(String, String)>;

fn inventory(bytes: Box<dyn std::io::Read + Send>, bucket: &str) -> Result<(Format, Named), DatasetError> {
    let mut text = Vec::new();
    bytes.take(ITEM_BYTES_MAX as u64 + 1).read_to_end(&mut text)?;
    if text.len() > ITEM_BYTES_MAX {
        return Err(DatasetError::Content(format!("the manifest has more than {ITEM_BYTES_MAX} bytes")));
    }
    let manifest: Value = serde_json::from_slice(&text)
        .map_err(|error| DatasetError::Content(format!("the manifest is no JSON: {error}")))?;
    let format = match manifest["fileFormat"].as_str() {
        Some("CSV") => {
            let columns = manifest["fileSchema"].as_str().unwrap_or_default();
            let headers = columns.split(',').map(|name| name.trim().to_owned()).collect();
            Format::Csv(csv::Shape { headers: Some(headers), delimiter: b',' })
        }
        Some("Parquet") => Format::Parquet,
        other => {
            let other = other.unwrap_or("nothing");
            let message = format!("the manifest's fileFormat is CSV or Parquet, and not {other}");
            return Err(DatasetError::Content(message));
        }
    };
    // `arn:aws:s3:::bucket`, or beside the manifest.
    let destination = manifest["destinationBucket"].as_str().and_then(|arn| arn.rsplit(':').next());
    let bucket = destination.filter(|name| !name.is_empty()).unwrap_or(bucket);
    let files = manifest["files"].as_array().map(Vec::as_slice).unwrap_or_default();
    if files.len() > MANIFEST_FILES_MAX {
        return Err(too_many());
    }
    let keys = files.iter().filter_map(|file| file["key"].as_str());
    Ok((format, keys.map(|key| (bucket.to_owned(), key.to_owned())).collect()))
}

fn lines(bytes: Box<dyn std::io::Read + Send>) -> Result<Named, DatasetError> {
    let mut names = Vec::new();
    for line in BufReader::new(bytes.take(ITEM_BYTES_MAX as u64)).lines() {
        let line = line?;
        let line = line.trim().trim_matches('"');
        if line.is_empty() {
            continue;
        }
        let name = line.strip_prefix("s3://").and_then(|rest| rest.split_once('/'));
        let Some((bucket, key)) = name else {
            let line: String = line.chars().take(200).collect();
            return Err(DatasetError::Content(format!("the manifest's line '{line}' is no s3://BUCKET/KEY")));
        };
        names.push((bucket.to_owned(), key.to_owned()));
        if names.len() > MANIFEST_FILES_MAX {
            return Err(too_many());
        }
    }
    Ok(names)
}

fn too_many() -> DatasetError {
    DatasetError::Content(format!("the manifest lists more than {MANIFEST_FILES_MAX} objects"))
}
