//! What was asked for and how far it is: Cloud Map's asynchronous operations.

use serde::{Deserialize, Serialize};

/// An operation that changes the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Ordered by time: the milliseconds since the epoch come first.
    pub id: String,
    /// `CREATE_NAMESPACE`, `DEREGISTER_INSTANCE` and so on.
    pub kind: String,
    /// `SUCCESS`, or `PENDING` while an instance is drained.
    pub status: String,
    /// Milliseconds since the epoch.
    pub created_at: u64,
    pub updated_at: u64,
    /// `NAMESPACE`, `SERVICE` and `INSTANCE`, with their identifiers.
    pub targets: Vec<(String, String)>,
}

/// Operations that are remembered; beyond, the oldest are forgotten.
pub const OPERATIONS_MAX: usize = 20_000;
/// How long one is remembered at most.
pub const RETENTION_MILLIS: u64 = 24 * 60 * 60 * 1000;

impl Operation {
    pub const PENDING: &str = "PENDING";
    pub const SUCCESS: &str = "SUCCESS";

    /// The identifier of an operation that begins now: nine digits of base 36, and what makes it unique.
    pub fn id_at(now_millis: u64, unique: &str) -> String {
        let mut digits = [b'0'; 9];
        let mut rest = now_millis;
        for digit in digits.iter_mut().rev() {
            *digit = b"0123456789abcdefghijklmnopqrstuvwxyz"[(rest % 36) as usize];
            rest /= 36;
        }
        format!("{}{unique}", String::from_utf8_lossy(&digits))
    }

    /// What it is about, of that sort.
    pub fn target(&self, sort: &str) -> Option<&str> {
        self.targets.iter().find(|(one, _)| one == sort).map(|(_, id)| id.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_sort_by_time() {
        let times = [0, 35, 36, 1_700_000_000_000, 1_800_000_000_000];
        let ids: Vec<String> = times.iter().map(|at| Operation::id_at(*at, "x")).collect();
        let mut sorted = ids.clone();
        sorted.sort();
        assert_eq!(ids, sorted);
    }
}
