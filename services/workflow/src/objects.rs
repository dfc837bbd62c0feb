//! Objects in buckets, where data sets of map runs come from and their results go.

mod folder;
mod s3;

use std::io::Read;

pub use folder::Folder;
pub use s3::S3;

/// How many objects a page of a listing has at the most.
pub const LIST_PAGE_MAX: usize = 1000;

/// An object of a listing, as S3 tells of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// Its bytes.
    pub size: u64,
    /// A digest of its content or of its version, in quotes.
    pub etag: String,
    /// When it was written, in milliseconds since 1970.
    pub modified_ms: i64,
    /// `STANDARD`
    pub storage_class: String,
}

/// Why an object could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// There is none under this key.
    #[error("there is no object '{key}' in the bucket '{bucket}'")]
    Missing {
        /// Where.
        bucket: String,
        /// Which.
        key: String,
    },
    /// The bucket or key could leave the place where objects are kept.
    #[error("'{0}' is no name of an object here")]
    Name(String),
    /// No place for objects is configured.
    #[error("no objects are to be had here: start with --workflow-objects FOLDER")]
    Nowhere,
    /// Reading or writing failed.
    #[error("the object '{key}' in the bucket '{bucket}' cannot be reached: {cause}")]
    Failed {
        /// Where.
        bucket: String,
        /// Which.
        key: String,
        /// What the system or the server said.
        cause: String,
    },
}

/// A place with objects. Calls may block.
pub trait Objects: Send + Sync {
    /// The bytes of an object, from its beginning.
    ///
    /// # Errors
    /// When it is not there, or cannot be read.
    fn open(
        &self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
    ) -> Result<Box<dyn Read + Send>, ObjectError>;

    /// Up to [`LIST_PAGE_MAX`] objects whose keys begin with `prefix` and come after `after`, in order of their keys.
    ///
    /// # Errors
    /// When the bucket is not there, or cannot be listed.
    fn list(&self, bucket: &str, prefix: &str, after: Option<&str>) -> Result<Vec<Listed>, ObjectError>;

    /// Writes an object, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    fn put(&self, bucket: &str, key: &str, bytes: &[u8]) -> Result<(), ObjectError>;
}

/// No place: every call says how to have one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nowhere;

impl Objects for Nowhere {
    fn open(&self, _: &str, _: &str, _: Option<&str>) -> Result<Box<dyn Read + Send>, ObjectError> {
        Err(ObjectError::Nowhere)
    }

    fn list(&self, _: &str, _: &str, _: Option<&str>) -> Result<Vec<Listed>, ObjectError> {
        Err(ObjectError::Nowhere)
    }

    fn put(&self, _: &str, _: &str, _: &[u8]) -> Result<(), ObjectError> {
        Err(ObjectError::Nowhere)
    }
}
