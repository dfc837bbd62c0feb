//! `lighttpd.conf`: its grammar and what it means.
//!
//! [`parse`] reads a file and everything that it includes into a [`Document`]: blocks with their conditions, and the
//! values of their directives, evaluated, because variables are looked up while reading. [`Document::normal_form`] is what
//! `lighttpd -p` prints. [`compile`] makes a [`crate::Program`] of it.

mod block;
mod command;
mod compile;
mod condition;
mod convert;
mod files;
pub mod glob;
mod module;
mod normal_form;
mod parse;
mod token;

pub use block::{Block, Document};
pub use compile::{Compiled, Level, compile};
pub use convert::to_edge_toml;
pub use files::{Alone, FileError, Files};
pub use parse::{FILE_BYTES_MAX, FILES_MAX, INCLUDE_DEPTH_MAX, NESTING_MAX, Options, parse};
