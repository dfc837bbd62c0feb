//! The objects of a bucket, as items or as data sets.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::json;

use super::{Dataset, DatasetError, Item};
use crate::objects::{LIST_PAGE_MAX, Listed, Objects};

pub(super) struct Listing {
    objects: Arc<dyn Objects>,
    bucket: String,
    prefix: String,
    page: VecDeque<Listed>,
    after: Option<String>,
    is_last: bool,
}

impl Listing {
    pub(super) fn new(objects: &Arc<dyn Objects>, bucket: String, prefix: &str) -> Self {
        Self {
            objects: Arc::clone(objects),
            bucket,
            prefix: prefix.to_owned(),
            page: VecDeque::new(),
            after: None,
            is_last: false,
        }
    }

    fn object(&mut self) -> Result<Option<Listed>, DatasetError> {
        if self.page.is_empty() && !self.is_last {
            self.page = self.objects.list(&self.bucket, &self.prefix, self.after.as_deref())?.into();
            self.is_last = self.page.len() < LIST_PAGE_MAX;
        }
        let object = self.page.pop_front();
        if let Some(object) = &object {
            self.after = Some(object.key.clone());
        }
        Ok(object)
    }

    /// The names of what is to be read, without the folders that consoles make.
    pub(super) fn names(
        mut self,
    ) -> impl FnMut() -> Result<Option<(String, String)>, DatasetError> + Send + use<> {
        move || {
            while let Some(object) = self.object()? {
                if !object.key.ends_with('/') {
                    return Ok(Some((self.bucket.clone(), object.key)));
                }
            }
            Ok(None)
        }
    }
}

impl Dataset for Listing {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        let object = self.object()?;
        Ok(object.map(|object| {
            Item::plain(json!({
                "Etag": object.etag,
                "Key": object.key,
                "LastModified": object.modified_ms / 1000,
                "Size": object.size,
                "StorageClass": object.storage_class,
            }))
        }))
    }
}
