//! The whole mesh in one process, in virtual time, from one seed.
//!
//! Control planes, proxies and clients run their real decisions; the clock, the network, the store's failures
//! and chance are this crate's. A run is a function of its seed (or of a scenario's script): the same one gives
//! the same trace, so a failure found among a thousand seeds is replayed at will.
//!
//! - [`chance`], [`moment`], [`schedule`]: one source of randomness, one clock, one queue of events.
//! - [`network`]: connections that delay, stall, break and hold messages back; [`storm`]: a store that fails.
//! - [`control`], [`sidecar`]: the real rooms, each in a shell whose sockets, disk and clock are virtual;
//!   [`config`]: what a proxy has in force.
//! - [`client`]: who uses the API; [`intent`]: what they want; [`reference`]: what they may rely on.
//! - [`act`]: what fate does; [`world`]: everything together, and what must hold in it.
//! - [`seed`]: a world drawn from a number; [`scenario`]: one told as a story, under `scenarios/`; [`trace`]: what
//!   happened.
//! - [`workflow`]: workers of the workflow engine over one store, which is another world with the same chance and time.
//!
//! `cargo test -p selvedge-sim` lives through a thousand seeds. `SEED=n cargo test -p selvedge-sim --test seeds` tells
//! the story of one.

pub mod act;
pub mod chance;
pub mod client;
pub mod config;
pub mod control;
pub mod intent;
pub mod moment;
pub mod network;
pub mod reference;
pub mod scenario;
pub mod schedule;
pub mod seed;
pub mod sidecar;
pub mod storm;
pub mod trace;
pub mod workflow;
pub mod world;
