//! Certificates from an authority by ACME (RFC 8555): ordered, proven, kept and renewed.
//!
//! Everything that matters stands in a store of [`Documents`] – the account, certificates with their keys, what answers a
//! challenge, who is at work – so that any number of replicas over one store behave as one: one of them orders, under a lease
//! with a number that rises; any of them answers the authority; all of them see the certificate.
//!
//! ```text
//! tend ──▶ is it there and not due? ──▶ wait, now and then asking the authority for its wish (RFC 9773)
//!      ──▶ failed lately?           ──▶ wait, longer each time
//!      ──▶ the lease is another's?  ──▶ wait for their outcome
//!      ──▶ order → prove → finalise ──▶ stored, if the lease is still ours
//! ```

mod challenge;
mod documents;
mod folder;
mod keeper;
mod lease;
mod order;
mod problem;
mod record;
mod settings;
mod transport;
mod turn;

pub use challenge::{Challenge, LOOKUPS_MAX, Proofs, TOKEN_BYTES_MAX, placeholder};
pub use documents::{Asked, Change, Documents, Kept, PREFIX, Seen, Unavailable};
pub use folder::Folder;
pub use keeper::{Error, Keeper, Tended};
pub use lease::LEASE;
pub use record::{Certificate, Trouble};
pub use settings::{External, KeyType, NAMES_MAX, Settings, SettingsInvalid};
