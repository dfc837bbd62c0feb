//! Data sets: the items of a map run, one at a time, however many there are.
//!
//! A reader (`s3:getObject`, `s3:listObjectsV2`) names objects; each is read as a stream, so that a million items take the
//! memory of one.

mod csv;
mod json;
mod lines;
mod listing;
mod manifest;
mod parquet;

use std::io::Read;
use std::sync::Arc;

use selvedge_asl::ItemSource;
use serde_json::Value;

use crate::objects::{ObjectError, Objects};

/// The most bytes of one item, before it is selected from.
pub const ITEM_BYTES_MAX: usize = 8 << 20;
/// The most objects of one manifest.
pub const MANIFEST_FILES_MAX: usize = 100_000;

/// An item, with its key where the data set is an object's members.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    pub(crate) key: Option<Box<str>>,
    pub(crate) value: Value,
}

impl Item {
    fn plain(value: Value) -> Self {
        Self { key: None, value }
    }
}

/// Why a data set could not be read: its text is what `States.ItemReaderFailed` says.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatasetError {
    #[error("{0}")]
    Object(#[from] ObjectError),
    /// The reader's configuration is not one.
    #[error("{0}")]
    Configuration(String),
    /// What was read is not what the configuration says it is.
    #[error("{0}")]
    Content(String),
    #[error("reading stopped: {0}")]
    Read(#[from] std::io::Error),
}

/// Items, in order.
pub(crate) trait Dataset: Send {
    /// The next item; none at the end.
    fn next(&mut self) -> Result<Option<Item>, DatasetError>;
}

/// How an object is read.
#[derive(Clone, Debug)]
enum Format {
    Json { pointer: Option<String> },
    JsonLines,
    Csv(csv::Shape),
    Parquet,
}

/// The items of a map run.
pub(crate) fn open(
    source: &ItemSource,
    objects: &Arc<dyn Objects>,
) -> Result<Box<dyn Dataset>, DatasetError> {
    let (resource, arguments, config) = match source {
        ItemSource::Items(items) => return Ok(Box::new(Own(items.clone().into_iter()))),
        ItemSource::Reader { resource, arguments, config } => (resource, arguments, config),
    };
    let text = |name: &str| arguments[name].as_str().filter(|text| !text.is_empty());
    let missing = |name: &str| DatasetError::Configuration(format!("the item reader needs {name}"));
    let bucket = text("Bucket").ok_or_else(|| missing("Bucket"))?.to_owned();
    let service = resource.rsplit(":::").next().unwrap_or_default();
    let items: Box<dyn Dataset> = match service {
        "s3:getObject" => {
            let key = text("Key").ok_or_else(|| missing("Key"))?;
            if config["InputType"] == "MANIFEST" || !config["ManifestType"].is_null() {
                manifest::open(objects, &bucket, key, text("VersionId"), config)?
            } else {
                let format = Format::read(config)?;
                format.open(&**objects, &bucket, key, text("VersionId"))?
            }
        }
        "s3:listObjectsV2" => {
            let listing = listing::Listing::new(objects, bucket, text("Prefix").unwrap_or_default());
            match config["Transformation"].as_str() {
                None | Some("NONE") => Box::new(listing),
                Some("LOAD_AND_FLATTEN") => {
                    Box::new(Chain::new(objects, Format::read(config)?, Box::new(listing.names())))
                }
                Some(other) => {
                    let message = format!("Transformation is NONE or LOAD_AND_FLATTEN, and not '{other}'");
                    return Err(DatasetError::Configuration(message));
                }
            }
        }
        other => {
            let message = format!("an item reader is s3:getObject or s3:listObjectsV2, and not '{other}'");
            return Err(DatasetError::Configuration(message));
        }
    };
    Ok(match config["MaxItems"].as_u64() {
        Some(most) => Box::new(Most { items, left: most }),
        None => items,
    })
}

impl Format {
    fn read(config: &Value) -> Result<Self, DatasetError> {
        match config["InputType"].as_str() {
            Some("JSON") => Ok(Self::Json { pointer: config["ItemsPointer"].as_str().map(str::to_owned) }),
            Some("JSONL") => Ok(Self::JsonLines),
            Some("CSV") => Ok(Self::Csv(csv::Shape::read(config)?)),
            Some("PARQUET") => Ok(Self::Parquet),
            other => {
                let other = other.unwrap_or("nothing");
                let message = format!("InputType is CSV, JSON, JSONL, PARQUET or MANIFEST, and not {other}");
                Err(DatasetError::Configuration(message))
            }
        }
    }

    fn open(
        &self,
        objects: &dyn Objects,
        bucket: &str,
        key: &str,
        version: Option<&str>,
    ) -> Result<Box<dyn Dataset>, DatasetError> {
        let bytes = plain(objects.open(bucket, key, version)?, key);
        Ok(match self {
            Self::Json { pointer } => Box::new(json::Elements::open(bytes, pointer.as_deref())?),
            Self::JsonLines => Box::new(lines::Lines::new(bytes)),
            Self::Csv(shape) => Box::new(csv::Rows::open(bytes, shape)?),
            Self::Parquet => Box::new(parquet::Rows::open(bytes)?),
        })
    }
}

/// An object's content, unpacked where its name says that it is packed.
fn plain(bytes: Box<dyn Read + Send>, key: &str) -> Box<dyn Read + Send> {
    if key.ends_with(".gz") { Box::new(flate2::read::MultiGzDecoder::new(bytes)) } else { bytes }
}

/// The state's own items.
struct Own(std::vec::IntoIter<(Option<Box<str>>, Value)>);

impl Dataset for Own {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        Ok(self.0.next().map(|(key, value)| Item { key, value }))
    }
}

/// The first of them.
struct Most {
    items: Box<dyn Dataset>,
    left: u64,
}

impl Dataset for Most {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        self.items.next()
    }
}

/// Names of objects, one at a time.
type Names = Box<dyn FnMut() -> Result<Option<(String, String)>, DatasetError> + Send>;

/// The items of several objects, one after the other.
struct Chain {
    objects: Arc<dyn Objects>,
    format: Format,
    names: Names,
    current: Option<Box<dyn Dataset>>,
}

impl Chain {
    fn new(objects: &Arc<dyn Objects>, format: Format, names: Names) -> Self {
        Self { objects: Arc::clone(objects), format, names, current: None }
    }
}

impl Dataset for Chain {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        loop {
            if let Some(current) = &mut self.current {
                if let Some(item) = current.next()? {
                    return Ok(Some(item));
                }
                self.current = None;
            }
            let Some((bucket, key)) = (self.names)()? else { return Ok(None) };
            self.current = Some(self.format.open(&*self.objects, &bucket, &key, None)?);
        }
    }
}

#[cfg(test)]
mod tests;
