//! What an operator may set.

use selvedge_asl::Options;

use crate::tasks::Calls;

/// Settings of the workflow role.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The account in ARNs: twelve digits.
    pub account: String,
    /// The region in ARNs when a call names none.
    pub region: String,
    /// Bounds of executions.
    pub execution: Options,
    /// What tasks may call, and as whom.
    pub calls: Calls,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            account: "123456789012".into(),
            region: "us-east-1".into(),
            execution: Options::default(),
            calls: Calls::default(),
        }
    }
}
