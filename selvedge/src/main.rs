//! The composition root.
mod appmesh;
mod output;
fn main() {}
