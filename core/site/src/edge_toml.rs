//! Our own form, `edge.toml`: the first route that fits a request decides, unknown keys are errors, every duration and
//! size has a unit.
//!
//! One description of the form, [`shapes`], is what files are checked against and what the JSON Schema is made of.

mod compile;
mod node;
mod shape;
mod shapes;
mod syntax;
mod unit;

pub use compile::compile;
pub use shapes::schema;
pub use unit::{bytes, duration_ms};

use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::place::Sources;
use node::Node;

/// The largest file.
pub const TOML_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The routes of one file.
pub const ROUTES_MAX: usize = 4096;

/// A file that was read, and is of the form.
#[derive(Clone, Debug)]
pub struct Document {
    root: Node,
    /// The file.
    pub sources: Sources,
}

/// Reads a file and holds it to the form.
///
/// # Errors
/// Everything that is wrong, each with its place.
pub fn parse(name: &str, text: &str) -> Result<Document, (Vec<Diagnostic>, Sources)> {
    let mut sources = Sources::default();
    let file = sources.add(name, Arc::from(text));
    if text.len() > TOML_BYTES_MAX {
        let found = Diagnostic::error(None, format!("{name} is larger than {TOML_BYTES_MAX} bytes"));
        return Err((vec![found], sources));
    }
    let root = match Node::parse(text, file) {
        Ok(root) => root,
        Err(found) => return Err((vec![found], sources)),
    };
    let mut found = Vec::new();
    shape::check(&root, &shapes::ROOT, "", &mut found);
    found.sort_by_key(|one: &Diagnostic| one.place);
    if found.is_empty() { Ok(Document { root, sources }) } else { Err((found, sources)) }
}
