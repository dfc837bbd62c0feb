//! Calls out of the house: HTTP and HTTPS to addresses that a stranger may have had a say in.
//!
//! A workflow's author names the URL, and a workflow's input may end up in it; a provider of identities names where its keys are.
//! Whoever can have us call an address of their choice could reach what trusts us: the machine's metadata, its loopback, the
//! ports that steer a mesh. The address that a name was resolved to is judged, and so is the one that was connected to, by
//! [`Guard`] for what tasks call through [`Client`], and by [`selvedge_guard::reach`] for what an edge calls through [`Fetcher`].
//! Redirects are answers like any other: nobody follows them here. An answer has an end in time and in bytes.

mod client;
mod connection;
mod fetcher;
mod guard;
mod roots;
pub mod traces;

pub use client::{ANSWER_BYTES_MAX, Answer, Client, Error, IDLE_PER_HOST_MAX, Outgoing, Trust};
pub use fetcher::{FETCH_BYTES_MAX, FETCH_TIMEOUT, Fetcher};
pub use guard::{Allowed, CONTROL_PORTS, Guard, NotAllowed};
pub use roots::{Roots, RootsInvalid};
