//! Translations of whole meshes.

mod diagnostics;
mod explanations;
mod golden;
mod guide;
mod mesh;
mod properties;
mod zones;
