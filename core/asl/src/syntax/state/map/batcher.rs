//! `ItemBatcher`: how many items a child of a distributed Map state gets.

use super::{bound, note, within};
use crate::Payload;
use crate::syntax::field::Fields;

/// The most items of a batch.
const ITEMS_MAX: u64 = 100_000_000;
/// The most bytes of a batch: those of a state's input.
const BYTES_MAX: u64 = 256 * 1024;
/// Either of them says where a batch ends.
const BOUNDS: [&str; 4] =
    ["MaxItemsPerBatch", "MaxItemsPerBatchPath", "MaxInputBytesPerBatch", "MaxInputBytesPerBatchPath"];

pub(super) fn read(fields: &mut Fields<'_, '_, '_>) -> Option<Payload> {
    let batcher = fields.payload("ItemBatcher");
    let mut inner = within(fields, "ItemBatcher")?;
    bound(&mut inner, "MaxItemsPerBatch", "MaxItemsPerBatchPath", ITEMS_MAX);
    bound(&mut inner, "MaxInputBytesPerBatch", "MaxInputBytesPerBatchPath", BYTES_MAX);
    inner.take("BatchInput");
    if !BOUNDS.iter().any(|name| inner.has(name)) {
        let pointer = inner.pointer.clone();
        inner.findings.schema(&pointer, "MaxItemsPerBatch or MaxInputBytesPerBatch is required");
    }
    let seen = inner.finish();
    note(fields, seen);
    batcher
}
