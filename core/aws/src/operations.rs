//! The operations that clients can call, as data.

pub mod acm;
pub mod acm_pca;
pub mod appmesh;
mod generated;
mod patterns;
pub mod scheduler;
pub mod servicediscovery;
pub mod stepfunctions;

use selvedge_model::{Member, Shape};

use crate::error::ErrorShape;
use crate::service::{SERVICES, Service};

/// One operation of a service.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// The name in the API: `CreateMesh`.
    pub name: &'static str,
    /// The name on the command line: `create-mesh`.
    pub command: &'static str,
    /// The HTTP method of the REST protocols.
    pub method: &'static str,
    /// The path of the REST protocols, with `{member}` for what it carries.
    pub path: &'static str,
    /// Members of the input that travel in the query string; what the path does not name either travels in the body.
    pub query: &'static [&'static str],
    /// Every member that a caller gives, wherever it travels.
    pub input: &'static Shape,
    /// What a caller gets.
    pub output: &'static Shape,
    /// The member of the output that is the whole body of a REST answer.
    pub payload: Option<&'static str>,
    /// The input member that a client fills by itself with a fresh identifier.
    pub idempotency_token: Option<&'static str>,
    pub errors: &'static [ErrorShape],
    /// How a list is walked; `None` for everything else.
    pub pagination: Option<Pagination>,
}

/// How a list is walked page by page.
#[derive(Clone, Copy, Debug)]
pub struct Pagination {
    /// The input member that carries the token of the next page.
    pub input_token: &'static str,
    /// The output member that carries it.
    pub output_token: &'static str,
    /// The input member that limits a page.
    pub limit: &'static str,
    /// The output member with the elements.
    pub result: &'static str,
}

/// Where a member of an input travels in the REST protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    Path,
    Query,
    Body,
}

// === impl Operation ===

impl Operation {
    /// Where that member of the input travels.
    pub fn location(&self, member: &str) -> Location {
        let in_path = self.path_members().any(|name| name == member);
        match (in_path, self.query.contains(&member)) {
            (true, _) => Location::Path,
            (_, true) => Location::Query,
            _ => Location::Body,
        }
    }

    /// The members that the path carries, in its order.
    pub fn path_members(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
    }

    /// The members that the body carries.
    pub fn body_members(&self) -> impl Iterator<Item = &'static Member> + '_ {
        self.input.members().iter().filter(|member| self.location(member.name) == Location::Body)
    }
}

/// The App Mesh operation of that name, either `create-mesh` or `CreateMesh`.
pub fn find(name: &str) -> Option<&'static Operation> {
    SERVICES.iter().find_map(|service| find_in(service, name))
}

/// The operation of that name in one service.
pub fn find_in(service: &Service, name: &str) -> Option<&'static Operation> {
    service.operations.iter().find(|operation| operation.command == name || operation.name == name)
}
