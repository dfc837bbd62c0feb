//! How much may be registered.

/// Namespaces of an account.
pub const NAMESPACES_MAX: usize = 1_000;
/// Services of a namespace.
pub const SERVICES_MAX: usize = 10_000;
/// Instances of a service.
pub const INSTANCES_MAX: usize = 20_000;
/// Attributes of a service. (Cloud Map's quota.)
pub const SERVICE_ATTRIBUTES_MAX: usize = 30;
