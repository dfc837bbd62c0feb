//! The kernel's part of interception: the rules that lead an application's connections to its sidecar.
//!
//! [`Settings`] say what is redirected; [`nft`] and [`iptables`] turn them into text, without touching anything;
//! [`Backend`] hands the text to the program that installs it whole or not at all.

mod backend;
pub mod iptables;
pub mod nft;
mod program;
mod settings;

pub use backend::{Backend, Choice, Error};
pub use program::Failure;
pub use settings::{Network, NetworkInvalid, Settings, Switch};
