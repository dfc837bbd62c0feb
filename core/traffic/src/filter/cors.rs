//! Cross-origin requests of browsers.

use serde::Serialize;

use crate::Fraction;
use crate::matching::TextMatch;

/// What a route, virtual host or table allows (Envoy's `CorsPolicy`); the filter itself says nothing. Texts that are
/// empty are not sent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CorsPolicy {
    /// Any is enough; none allows nobody. An exact `*` allows everybody.
    pub origins: Vec<TextMatch>,
    pub methods: String,
    pub headers: String,
    pub expose_headers: String,
    /// Seconds, as text.
    pub max_age: String,
    pub credentials: bool,
    pub private_network: bool,
    /// Preflights of origins that are not allowed go on to the upstream.
    pub forward_unmatched_preflights: bool,
    pub enabled: Fraction,
    /// Counted, without effect, where `enabled` lets a request pass.
    pub shadow: Fraction,
}

impl CorsPolicy {
    /// Whether `origin` is allowed.
    pub fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|one| one.takes("*") || one.takes(origin))
    }
}
