//! Who may do what: role-based access control, decided from a request and its connection alone.

pub mod permission;
pub mod principal;

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

pub use permission::Permission;
pub use principal::Principal;

use crate::matching::RequestView;
use crate::metadata::Metadata;

/// How deep `and`, `or` and `not` may nest; deeper rules are refused where they are read.
pub const NESTING_MAX: usize = 32;

/// A set of policies and what a match with one of them means.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rules {
    pub action: RulesAction,
    /// In the order of their names, which is the order in which they are looked at.
    pub policies: Vec<Policy>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum RulesAction {
    /// Who matches a policy may; without policies nobody may.
    #[default]
    Allow,
    /// Who matches a policy may not.
    Deny,
    /// All may; a match is a reason to log the request.
    Log,
}

/// One of its permissions and one of its principals must match.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Policy {
    pub name: String,
    pub permissions: Vec<Permission>,
    pub principals: Vec<Principal>,
}

/// Everything that is judged.
#[derive(Debug)]
pub struct Subject<'a, R> {
    /// `None` while there is only a connection: conditions on requests then hold of nothing.
    pub request: Option<R>,
    pub metadata: &'a Metadata,
    pub connection: Connection<'a>,
}

/// What is known of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'a> {
    /// Where it leads.
    pub destination: SocketAddr,
    /// The other end of the socket.
    pub direct_remote: IpAddr,
    /// The client, which trusted forwarding headers may tell from the other end of the socket.
    pub remote: IpAddr,
    /// The server name that the client asked for (SNI).
    pub server_name: Option<&'a str>,
    /// Who the peer proved to be; `None` without a client certificate.
    pub peer: Option<&'a PeerIdentity>,
}

/// The names in a verified client certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PeerIdentity {
    pub uri_sans: Vec<String>,
    pub dns_sans: Vec<String>,
    /// The subject as RFC 2253 writes it.
    pub subject: String,
}

/// What the rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement<'a> {
    pub allowed: bool,
    /// The policy that matched.
    pub policy: Option<&'a str>,
}

impl Rules {
    /// Judges a request.
    pub fn judge<R: RequestView>(&self, subject: &Subject<'_, R>) -> Judgement<'_> {
        let policy = self.policies.iter().find(|policy| policy.takes(subject));
        let allowed = match self.action {
            RulesAction::Allow => policy.is_some(),
            RulesAction::Deny => policy.is_none(),
            RulesAction::Log => true,
        };
        Judgement { allowed, policy: policy.map(|policy| policy.name.as_str()) }
    }
}

impl Policy {
    fn takes<R: RequestView>(&self, subject: &Subject<'_, R>) -> bool {
        self.permissions.iter().any(|permission| permission.takes(subject))
            && self.principals.iter().any(|principal| principal.takes(subject))
    }
}
