//! Access rules.

use selvedge_traffic::access::{Permission, Policy, Principal, Rules, RulesAction};
use selvedge_xds_proto::envoy::config::rbac::v3 as proto;
use selvedge_xds_proto::envoy::config::rbac::v3::permission::Rule;
use selvedge_xds_proto::envoy::config::rbac::v3::principal::Identifier;
use selvedge_xds_proto::envoy::r#type::v3::Int32Range;

use super::{matching, text};

pub(super) fn rules(rules: &Rules) -> proto::Rbac {
    let action = match rules.action {
        RulesAction::Allow => proto::rbac::Action::Allow,
        RulesAction::Deny => proto::rbac::Action::Deny,
        RulesAction::Log => proto::rbac::Action::Log,
    };
    proto::Rbac {
        action: action.into(),
        policies: rules.policies.iter().map(|one| (one.name.clone(), policy(one))).collect(),
    }
}

fn policy(policy: &Policy) -> proto::Policy {
    proto::Policy {
        permissions: policy.permissions.iter().map(permission).collect(),
        principals: policy.principals.iter().map(principal).collect(),
        condition: None,
        checked_condition: None,
    }
}

fn permission(one: &Permission) -> proto::Permission {
    let set = |all: &[Permission]| proto::permission::Set { rules: all.iter().map(permission).collect() };
    let rule = match one {
        Permission::Any => Rule::Any(true),
        Permission::All(all) => Rule::AndRules(set(all)),
        Permission::OneOf(all) => Rule::OrRules(set(all)),
        Permission::Not(one) => Rule::NotRule(Box::new(permission(one))),
        Permission::Header(header) => Rule::Header(matching::header(header)),
        Permission::UrlPath(path) => Rule::UrlPath(text::path(path)),
        Permission::DestinationIp(block) => Rule::DestinationIp(text::cidr(block)),
        Permission::DestinationPort(port) => Rule::DestinationPort((*port).into()),
        Permission::DestinationPortRange { start, end } => {
            Rule::DestinationPortRange(Int32Range { start: *start, end: *end })
        }
        Permission::Metadata(metadata) => Rule::Metadata(text::metadata(metadata)),
        Permission::ServerName(name) => Rule::RequestedServerName(text::text(name)),
    };
    proto::Permission { rule: Some(rule) }
}

fn principal(one: &Principal) -> proto::Principal {
    let set = |all: &[Principal]| proto::principal::Set { ids: all.iter().map(principal).collect() };
    let identifier = match one {
        Principal::Any => Identifier::Any(true),
        Principal::All(all) => Identifier::AndIds(set(all)),
        Principal::OneOf(all) => Identifier::OrIds(set(all)),
        Principal::Not(one) => Identifier::NotId(Box::new(principal(one))),
        Principal::Authenticated(name) => Identifier::Authenticated(proto::principal::Authenticated {
            principal_name: name.as_ref().map(text::text),
        }),
        Principal::SourceIp(block) => Identifier::SourceIp(text::cidr(block)),
        Principal::DirectRemoteIp(block) => Identifier::DirectRemoteIp(text::cidr(block)),
        Principal::RemoteIp(block) => Identifier::RemoteIp(text::cidr(block)),
        Principal::Header(header) => Identifier::Header(matching::header(header)),
        Principal::UrlPath(path) => Identifier::UrlPath(text::path(path)),
        Principal::Metadata(metadata) => Identifier::Metadata(text::metadata(metadata)),
    };
    proto::Principal { identifier: Some(identifier) }
}
