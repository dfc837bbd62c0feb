//! What a resource may be called.

use crate::shape::Shape;

/// The name of a mesh, node, router, route, gateway or gateway route: 1 to 255 characters.
///
/// The guide speaks of letters, digits, hyphen and underscore, but the model carries no pattern and clients check none.
pub const RESOURCE_NAME: Shape = Shape::string_of("ResourceName", 1, 255);

/// The name of a virtual service, usually a host name; the model sets no bound.
pub const SERVICE_NAME: Shape = Shape::string("ServiceName");

/// A twelve-digit account number.
pub const ACCOUNT_ID: Shape = Shape::string_of("AccountId", 12, 12);
