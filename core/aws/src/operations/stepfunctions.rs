//! Step Functions' operations, all of its public model 2016-11-23.
//!
//! Clients put `sync-` before the host name of `StartSyncExecution` and `TestState`; both names are answered.

pub use super::generated::stepfunctions::*;
use crate::error::ErrorShape;
use crate::service::Service;

/// Step Functions.
pub static SERVICE: Service = Service {
    name: "states",
    aliases: &["stepfunctions"],
    target_prefix: "AWSStepFunctions",
    version: "2016-11-23",
    is_rest: false,
    operations: OPERATIONS,
    bad_request: VALIDATION_EXCEPTION,
    internal: INTERNAL_FAILURE,
};

/// What every AWS service may answer, in no service's model.
pub const INTERNAL_FAILURE: ErrorShape = ErrorShape { code: "InternalFailure", status: 500 };
/// The same, when trying again will do.
pub const SERVICE_UNAVAILABLE: ErrorShape = ErrorShape { code: "ServiceUnavailable", status: 503 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_thirty_seven_operations() {
        let mut names: Vec<_> = OPERATIONS.iter().map(|operation| operation.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 37);
    }
}
