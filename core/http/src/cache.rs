//! What a shared cache may keep, for how long, and what it may answer with (RFC 9111, RFC 5861).
//!
//! - [`control`]: `Cache-Control`, read so that what is odd counts as the stricter reading.
//! - [`stored`]: whether an answer may be kept, and how it ages.
//! - [`key`]: which requests one answer is for: scheme, authority, path and query, and the fields that `Vary` names.
//! - [`table`]: the answers that are kept, within bounds, and who is fetching what.
//!
//! Choices where the RFC leaves some: nothing is kept without the origin's explicit word (no heuristics); nothing that sets a
//! cookie is kept; a client's own `no-cache` is not a reason to ask the origin, since anybody could send it; fields that
//! could mean two things are taken for the one that keeps less. Times are seconds since 1970.

pub mod control;
pub mod key;
pub mod stored;
pub mod table;

pub use control::Control;
pub use key::{Key, Variant};
pub use stored::{NotStored, Standing, Stored, Times};
pub use table::{Found, Table, Ticket};
