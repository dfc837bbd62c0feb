//! What a DNS server says: to which packets it answers at all, what it knows itself, what it remembers of others' answers, and how
//! much it says to whom.
//!
//! No socket and no clock; names and records are hickory's.

pub mod answer;
pub mod cache;
pub mod guard;
pub mod local;
pub mod question;
pub mod rate;
pub mod reverse;
pub mod upstream;

pub use answer::Answer;
pub use cache::Cache;
pub use guard::Guard;
pub use hickory_proto::rr::RecordType;
pub use local::{Local, Names};
pub use question::{Question, Received, receive};
pub use rate::Rate;
