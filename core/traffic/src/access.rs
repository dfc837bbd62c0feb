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
    /// The other end of the connection, as PROXY protocol may tell it.
    pub source: IpAddr,
    /// The other end of the socket.
    pub direct_remote: IpAddr,
    /// The client, which trusted forwarding headers may tell from the other end of the socket.
    pub remote: IpAddr,
    /// The server name that the client asked for (SNI).
    pub server_name: Option<&'a str>,
    /// Who the peer proved to be; `None` without a client certificate.
    pub peer: Option<PeerIdentity<'a>>,
}

/// The names in a verified client certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerIdentity<'a> {
    pub uri_sans: &'a [String],
    pub dns_sans: &'a [String],
    /// The subject as RFC 2253 writes it.
    pub subject: &'a str,
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::matching::{HeaderCondition, HeaderMatch, PlainRequest, TextMatch};

    fn judge(rules: &Rules, peer: Option<PeerIdentity<'_>>, request: Option<PlainRequest>) -> bool {
        let metadata = Metadata::default();
        let connection = Connection {
            destination: "127.0.0.1:80".parse().unwrap(),
            source: "127.0.0.1".parse().unwrap(),
            direct_remote: "127.0.0.1".parse().unwrap(),
            remote: "127.0.0.1".parse().unwrap(),
            server_name: None,
            peer,
        };
        rules.judge(&Subject { request, metadata: &metadata, connection }).allowed
    }

    fn only(principal: Principal) -> Rules {
        let policy =
            Policy { name: "p".into(), permissions: vec![Permission::Any], principals: vec![principal] };
        Rules { action: RulesAction::Allow, policies: vec![policy] }
    }

    #[test]
    fn a_peer_is_known_by_its_names_and_nobody_without_a_certificate() {
        let (uris, dns) = (["spiffe://mesh/a".to_owned()], ["a.local".to_owned()]);
        let peer = PeerIdentity { uri_sans: &uris, dns_sans: &dns, subject: "CN=a" };
        for (name, known) in [
            ("spiffe://mesh/a", true),
            ("a.local", true),
            ("CN=a", true),
            ("spiffe://mesh/b", false),
            ("", false),
        ] {
            let rules = only(Principal::Authenticated(Some(TextMatch::exact(name))));
            assert_eq!(judge(&rules, Some(peer), None), known, "{name}");
            assert!(!judge(&rules, None, None), "{name}");
        }
        let anybody = only(Principal::Authenticated(None));
        assert!(judge(&anybody, Some(peer), None) && !judge(&anybody, None, None));
        assert!(judge(&only(Principal::Not(Box::new(Principal::Authenticated(None)))), None, None));
    }

    #[test]
    fn nobody_is_let_in_by_no_policy() {
        let rules = |action| Rules { action, policies: Vec::new() };
        assert!(!judge(&rules(RulesAction::Allow), None, None));
        assert!(judge(&rules(RulesAction::Deny), None, None));
        assert!(judge(&rules(RulesAction::Log), None, None));
    }

    fn principal() -> impl Strategy<Value = Principal> {
        let header = ("[ab]", any::<bool>()).prop_map(|(value, invert)| {
            let condition = HeaderCondition::Exact(value);
            Principal::Header(HeaderMatch { name: "x".into(), condition, invert })
        });
        let leaf = prop_oneof![Just(Principal::Any), Just(Principal::Authenticated(None)), header];
        leaf.prop_recursive(4, 16, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..3).prop_map(Principal::All),
                prop::collection::vec(inner.clone(), 1..3).prop_map(Principal::OneOf),
                inner.prop_map(|one| Principal::Not(Box::new(one))),
            ]
        })
    }

    fn request(values: &[String]) -> PlainRequest {
        values
            .iter()
            .fold(PlainRequest::new("GET", "h", "/"), |request, value| request.with_header("x", value))
    }

    proptest! {
        /// Logic holds: a rule and its negation part the world, De Morgan's laws, and a denial is not an allowance.
        #[test]
        fn evaluation_is_logic(one in principal(), two in principal(), values in prop::collection::vec("[abc]", 0..3)) {
            let holds = |principal| judge(&only(principal), None, Some(request(&values)));
            let not = |one: &Principal| Principal::Not(Box::new(one.clone()));
            prop_assert_ne!(holds(one.clone()), holds(not(&one)));
            let both = Principal::All(vec![one.clone(), two.clone()]);
            prop_assert_eq!(holds(not(&both)), holds(Principal::OneOf(vec![not(&one), not(&two)])));
            prop_assert_eq!(holds(both), holds(one.clone()) && holds(two));
            let deny = Rules { action: RulesAction::Deny, ..only(one.clone()) };
            prop_assert_ne!(judge(&deny, None, Some(request(&values))), holds(one));
        }

        /// The order of a repeated header's lines changes nothing.
        #[test]
        fn lines_have_no_order(one in principal(), mut values in prop::collection::vec("[abc]", 0..4)) {
            let before = judge(&only(one.clone()), None, Some(request(&values)));
            values.reverse();
            prop_assert_eq!(judge(&only(one), None, Some(request(&values))), before);
        }
    }
}
