//! Translations of whole meshes.

mod explanations;
mod golden;
mod guide;
mod mesh;
mod properties;
