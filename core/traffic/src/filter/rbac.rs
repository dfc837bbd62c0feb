//! Role-based access control of requests.

use serde::Serialize;

use crate::access::Rules;

/// Envoy's `envoy.filters.http.rbac`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Rbac {
    /// `None` lets everything pass.
    pub rules: Option<Rules>,
    /// Between `rbac.` and the names of its statistics.
    pub rules_stat_prefix: String,
    /// Judged and counted, never acted on.
    pub shadow_rules: Option<Rules>,
    pub shadow_rules_stat_prefix: String,
}
