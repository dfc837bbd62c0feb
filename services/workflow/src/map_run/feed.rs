//! What children get: items, selected from and batched.

use std::collections::VecDeque;
use std::sync::Arc;

use selvedge_asl::{At, Failure, ItemSource, MapRunRequest, PAYLOAD_DEPTH_MAX, Selection};
use selvedge_query::nests_within;
use serde_json::{Map, Value};

use crate::dataset::{self, Dataset};
use crate::objects::Objects;

/// Children that are made at a time.
const CHILDREN_AT_A_TIME: usize = 100;
/// The most bytes of their inputs, unless one alone has more.
const BYTES_AT_A_TIME: usize = 1 << 20;
/// How many levels a batch has around an item.
const BATCH_LEVELS: usize = 2;

/// A child that is to be started.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) index: u64,
    /// How many items it is given.
    pub(super) items: u64,
    pub(super) input: String,
}

/// The items of a run on their way to its children. The same data set makes the same children, every time.
pub(super) struct Feed {
    source: ItemSource,
    dataset: Option<Box<dyn Dataset>>,
    selection: Option<Box<Selection>>,
    batcher: Option<Batcher>,
    /// An item that did not fit into the batch before.
    carried: Option<Value>,
    pending: VecDeque<Child>,
    items: u64,
    children: u64,
    is_exhausted: bool,
    /// There may be children already.
    pub(super) is_resumed: bool,
}

struct Batcher {
    items_max: u64,
    bytes_max: usize,
    input: Option<Value>,
}

impl Feed {
    pub(super) fn new(request: &MapRunRequest, is_resumed: bool) -> Self {
        let batcher = request.batcher.as_ref().map(|batcher| Batcher {
            items_max: batcher["MaxItemsPerBatch"].as_u64().unwrap_or(u64::MAX),
            bytes_max: batcher["MaxInputBytesPerBatch"]
                .as_u64()
                .map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
            input: batcher.get("BatchInput").cloned(),
        });
        Self {
            source: request.source.clone(),
            dataset: None,
            selection: request.selection.clone(),
            batcher,
            carried: None,
            pending: VecDeque::new(),
            items: 0,
            children: 0,
            is_exhausted: false,
            is_resumed,
        }
    }

    /// Everything has been read, and handed out.
    pub(super) fn is_exhausted(&self) -> bool {
        self.is_exhausted && self.carried.is_none() && self.pending.is_empty()
    }

    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// How many items have been read.
    pub(super) fn items(&self) -> u64 {
        self.items
    }

    /// How many children have been made of them.
    pub(super) fn children(&self) -> u64 {
        self.children
    }

    /// The children that are to be started next; they stay here until they are taken.
    pub(super) fn pending(&self) -> impl Iterator<Item = &Child> {
        self.pending.iter()
    }

    /// The next child is seen to.
    pub(super) fn take(&mut self) -> Option<Child> {
        self.pending.pop_front()
    }

    /// Makes up to `most` children, and no more than are handled at a time.
    pub(super) fn fill(
        &mut self,
        most: usize,
        bytes_max: usize,
        objects: &Arc<dyn Objects>,
        at: &mut At<'_>,
    ) -> Result<(), Failure> {
        let mut bytes: usize = self.pending.iter().map(|child| child.input.len()).sum();
        while self.pending.len() < most.min(CHILDREN_AT_A_TIME) && bytes < BYTES_AT_A_TIME {
            let Some(child) = self.child(bytes_max, objects, at)? else { break };
            bytes += child.input.len();
            self.pending.push_back(child);
        }
        Ok(())
    }

    fn child(
        &mut self,
        bytes_max: usize,
        objects: &Arc<dyn Objects>,
        at: &mut At<'_>,
    ) -> Result<Option<Child>, Failure> {
        let (input, items) = if self.batcher.is_some() {
            let Some(batch) = self.batch(bytes_max, objects, at)? else { return Ok(None) };
            batch
        } else {
            let Some(item) = self.item(objects, at)? else { return Ok(None) };
            check_depth(&item, PAYLOAD_DEPTH_MAX)?;
            (item.to_string(), 1)
        };
        if input.len() > bytes_max {
            let cause = format!(
                "The input of a child of the map run has {} bytes, and at most {bytes_max} are allowed.",
                input.len()
            );
            return Err(Failure::new("States.DataLimitExceeded", cause));
        }
        let index = self.children;
        self.children += 1;
        Ok(Some(Child { index, items, input }))
    }

    /// `{"BatchInput": …, "Items": […]}`, and how many.
    fn batch(
        &mut self,
        bytes_max: usize,
        objects: &Arc<dyn Objects>,
        at: &mut At<'_>,
    ) -> Result<Option<(String, u64)>, Failure> {
        let Some(batcher) = &self.batcher else { return Ok(None) };
        let (items_max, most) = (batcher.items_max, batcher.bytes_max.min(bytes_max));
        let mut batch = Map::new();
        if let Some(input) = &batcher.input {
            batch.insert("BatchInput".into(), input.clone());
        }
        let mut bytes = Value::Object(batch.clone()).to_string().len() + "\"Items\":[],".len();
        let mut items: Vec<Value> = Vec::new();
        while (items.len() as u64) < items_max {
            let item = match self.carried.take() {
                Some(item) => item,
                None => match self.item(objects, at)? {
                    Some(item) => item,
                    None => break,
                },
            };
            check_depth(&item, PAYLOAD_DEPTH_MAX - BATCH_LEVELS)?;
            let length = item.to_string().len() + 1;
            if bytes + length > most && !items.is_empty() {
                self.carried = Some(item);
                break;
            }
            bytes += length;
            items.push(item);
        }
        if items.is_empty() {
            return Ok(None);
        }
        let count = items.len() as u64;
        batch.insert("Items".into(), Value::Array(items));
        Ok(Some((Value::Object(batch).to_string(), count)))
    }

    /// The next item, selected from.
    fn item(&mut self, objects: &Arc<dyn Objects>, at: &mut At<'_>) -> Result<Option<Value>, Failure> {
        let unread = |error: dataset::DatasetError| {
            Failure::new("States.ItemReaderFailed", format!("The items cannot be read: {error}."))
        };
        if self.is_exhausted {
            return Ok(None);
        }
        let dataset = match &mut self.dataset {
            Some(dataset) => dataset,
            empty => empty.insert(dataset::open(&self.source, objects).map_err(unread)?),
        };
        let Some(item) = dataset.next().map_err(unread)? else {
            self.is_exhausted = true;
            return Ok(None);
        };
        let index = self.items;
        self.items += 1;
        match &mut self.selection {
            Some(selection) => selection.fill(index, item.key.as_deref(), &item.value, at).map(Some),
            None => Ok(Some(item.value)),
        }
    }
}

/// An execution does not begin with what nests deeper.
fn check_depth(item: &Value, most: usize) -> Result<(), Failure> {
    if nests_within(item, most) {
        return Ok(());
    }
    let cause =
        format!("The input of a child of the map run nests more than {PAYLOAD_DEPTH_MAX} levels deep.");
    Err(Failure::new("States.DataLimitExceeded", cause))
}
