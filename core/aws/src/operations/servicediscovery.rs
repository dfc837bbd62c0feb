//! Cloud Map's operations, all of its public model 2017-03-14.
//!
//! Clients put `data-` before the host name of `DiscoverInstances` and `DiscoverInstancesRevision`; both names are answered.

pub use super::generated::servicediscovery::*;
use crate::error::ErrorShape;
use crate::service::Service;

/// Cloud Map.
pub static SERVICE: Service = Service {
    name: "servicediscovery",
    aliases: &[],
    target_prefix: "Route53AutoNaming_v20170314",
    version: "2017-03-14",
    is_rest: false,
    operations: OPERATIONS,
    bad_request: INVALID_INPUT,
    internal: INTERNAL_FAILURE,
};

/// What every AWS service may answer, in no service's model.
pub const INTERNAL_FAILURE: ErrorShape = ErrorShape { code: "InternalFailure", status: 500 };
/// The same, when trying again will do.
pub const SERVICE_UNAVAILABLE: ErrorShape = ErrorShape { code: "ServiceUnavailable", status: 503 };

/// Elements of a page when the caller names no limit, and at most.
pub const LIST_PAGE_MAX: usize = 100;
/// Instances of an answer when the caller names no limit.
pub const DISCOVERED_DEFAULT: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_thirty_operations_with_names_of_their_own() {
        let mut names: Vec<_> = OPERATIONS.iter().map(|operation| operation.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 30);
    }

    #[test]
    fn the_generated_table_has_bounds_patterns_and_tokens() {
        let register = super::super::find_in(&SERVICE, "register-instance").expect("an operation");
        assert_eq!(register.idempotency_token, Some("CreatorRequestId"));
        assert_eq!(INVALID_INPUT.status, 400);
        let mut found = selvedge_model::Violations::default();
        let input = serde_json::json!({"ServiceId": "s", "InstanceId": "é", "Attributes": {"": 7}});
        let strict = selvedge_model::Strictness::Strict;
        register.input.check(&input, strict, &mut selvedge_model::Path::default(), &mut found);
        let text = found.to_string();
        assert!(text.contains("InstanceId") && text.contains("Attributes."), "{text}");
    }
}
