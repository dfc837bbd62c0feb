//! What an installation decides about its API.

use selvedge_model::Strictness;

use super::quota::Quotas;
use crate::registry;

/// The settings of the App Mesh API.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The twelve-digit account that owns everything.
    pub account: String,
    /// The region of resources whose creator's signature names none.
    pub region: String,
    /// The partition of ARNs.
    pub partition: String,
    /// Whether to refuse what App Mesh refused but its own tutorials rely on.
    pub strictness: Strictness,
    pub quotas: Quotas,
    /// What concerns Cloud Map.
    pub registry: registry::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            account: "123456789012".into(),
            region: "us-east-1".into(),
            partition: "aws".into(),
            strictness: Strictness::Lenient,
            quotas: Quotas::default(),
            registry: registry::Settings::default(),
        }
    }
}
