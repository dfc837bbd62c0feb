//! The services that answer at the front door.

use crate::error::ErrorShape;
use crate::operations::{Operation, acm, acm_pca, appmesh, scheduler, servicediscovery, stepfunctions};

/// A service: its names and its operations.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// The name on the command line, in endpoint settings and in the credential scope: `appmesh`.
    pub name: &'static str,
    /// Names that a credential scope may use for it besides.
    pub aliases: &'static [&'static str],
    /// The first part of `X-Amz-Target`, of the JSON protocols.
    pub target_prefix: &'static str,
    /// The `Version` parameter of the query protocol, and the path prefix of App Mesh.
    pub version: &'static str,
    /// Whether requests may name operations by method and path alone.
    pub is_rest: bool,
    pub operations: &'static [Operation],
    /// What it answers to a request that is malformed or fails validation.
    pub bad_request: ErrorShape,
    /// What it answers when we are at fault.
    pub internal: ErrorShape,
}

/// Every service.
pub static SERVICES: &[&Service] = &[
    &appmesh::SERVICE,
    &servicediscovery::SERVICE,
    &stepfunctions::SERVICE,
    &scheduler::SERVICE,
    &acm::SERVICE,
    &acm_pca::SERVICE,
];

/// The service of that credential scope.
pub fn by_scope(name: &str) -> Option<&'static Service> {
    SERVICES.iter().copied().find(|service| service.name == name || service.aliases.contains(&name))
}

/// The service of that `X-Amz-Target` prefix.
pub fn by_target(prefix: &str) -> Option<&'static Service> {
    SERVICES.iter().copied().find(|service| service.target_prefix == prefix)
}
