//! Calling somebody outside of the mesh: an authority for certificates, a provider of identities, another service's word.
//!
//! Calls are few and far between, so each has a connection of its own. A name is resolved once, each address is judged
//! ([`selvedge_guard::reach`]), and the connection goes to the very address that was judged. Redirects are answers like any
//! other: nobody follows them. An answer has an end in time and in bytes.

mod connection;
mod fetcher;
mod roots;

pub use fetcher::{ANSWER_BYTES_MAX, Error, Fetcher, TIMEOUT};
pub use roots::{Roots, RootsInvalid};
