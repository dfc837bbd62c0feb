//! Calls out of the house: HTTP and HTTPS to addresses that a stranger may have had a say in.
//!
//! A workflow's author names the URL, and a workflow's input may end up in it. Whoever can have us call an address of their
//! choice could reach what trusts us: the machine's metadata, its loopback, the ports that steer a mesh. [`Guard`] decides
//! about the address that a name was resolved to, and about the one that was connected to; [`Client`] asks it each time.

mod client;
mod connection;
mod guard;
mod roots;

pub use client::{ANSWER_BYTES_MAX, Answer, Client, Error, IDLE_PER_HOST_MAX, Outgoing, Trust};
pub use guard::{Allowed, CONTROL_PORTS, Guard, NotAllowed, Why};
