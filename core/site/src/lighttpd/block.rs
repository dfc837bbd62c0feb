//! What a configuration says: blocks, conditions and values.

use std::sync::Arc;

use indexmap::IndexMap;

use super::condition::ConditionText;
use crate::diagnostic::Diagnostic;
use crate::place::{Place, Sources};
use crate::value::Value;

/// A configuration that was read.
#[derive(Clone, Debug)]
pub struct Document {
    /// All blocks; the first is the global one.
    pub blocks: Vec<Block>,
    /// The files.
    pub sources: Sources,
    /// What was odd, though it could be read.
    pub warnings: Vec<Diagnostic>,
}

/// A block of directives.
#[derive(Clone, Debug)]
pub struct Block {
    /// The blocks around it and its own condition: two blocks with the same are one.
    pub(super) path: String,
    /// Its condition; `None` for the global block.
    pub(super) condition: Option<ConditionText>,
    /// The block that it stands in.
    pub(super) parent: Option<usize>,
    /// The block of which it is the `else`.
    pub(super) previous: Option<usize>,
    /// Its `else`.
    pub(super) next: Option<usize>,
    /// The blocks in it.
    pub(super) children: Vec<usize>,
    /// What it sets, in the order in which `lighttpd -p` prints it.
    pub(super) values: IndexMap<Arc<str>, (Value, Place)>,
    pub(super) place: Place,
}

impl Block {
    pub(super) fn new(
        path: String,
        condition: Option<ConditionText>,
        parent: Option<usize>,
        place: Place,
    ) -> Self {
        Self {
            path,
            condition,
            parent,
            previous: None,
            next: None,
            children: Vec::new(),
            values: IndexMap::new(),
            place,
        }
    }

    /// What the block sets: name, value, place.
    pub fn values(&self) -> impl Iterator<Item = (&Arc<str>, &Value, Place)> {
        self.values.iter().map(|(key, (value, place))| (key, value, *place))
    }

    /// The value of a directive, if the block sets it.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.values.get(key).map(|(value, _)| value)
    }

    /// The condition as `lighttpd -p` prints it; `None` for the global block and a plain `else`.
    pub fn condition(&self) -> Option<&str> {
        self.condition.as_ref().filter(|condition| !condition.otherwise).map(|condition| &*condition.text)
    }
}

impl Document {
    /// The last value of a directive outside of conditions.
    pub fn global(&self, key: &str) -> Option<&Value> {
        self.blocks.first().and_then(|block| block.value(key))
    }

    /// Every place where a directive is set: value, place, number of the block.
    pub(super) fn occurrences<'a>(&'a self, key: &'a str) -> impl Iterator<Item = (&'a Value, Place, usize)> {
        self.blocks.iter().enumerate().filter_map(move |(number, block)| {
            block.values.get(key).map(|(value, place)| (value, *place, number))
        })
    }
}
