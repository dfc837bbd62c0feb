//! A revisioned document.

use crate::Revision;
use bytes::Bytes;

/// A value under a key, with the revisions that bracket its life so far.
///
/// `created` survives overwriting and starts afresh after a delete; `modified` is the revision of the last
/// write. Keys order by their UTF-8 bytes. Bounds: [`KEY_BYTES_MAX`](crate::KEY_BYTES_MAX),
/// [`VALUE_BYTES_MAX`](crate::VALUE_BYTES_MAX).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Non-empty, without NUL.
    pub key: String,
    /// Opaque to the store.
    pub value: Bytes,
    /// The revision at which the key came into being.
    pub created: Revision,
    /// The revision of the last write.
    pub modified: Revision,
}
