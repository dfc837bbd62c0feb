//! The commands beside `appmesh`, one file each.

pub(crate) mod completions;
pub(crate) mod env;
pub(crate) mod help;
pub(crate) mod version;
