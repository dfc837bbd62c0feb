//! Access rules.

use selvedge_traffic::access::{NESTING_MAX, Permission, Policy, Principal, Rules, RulesAction};
use selvedge_xds_proto::envoy::config::rbac::v3 as proto;
use selvedge_xds_proto::envoy::config::rbac::v3::permission::Rule;
use selvedge_xds_proto::envoy::config::rbac::v3::principal::Identifier;

use super::bounds::{known, port};
use super::{Reason, matching, text};

pub(super) fn rules(message: proto::Rbac) -> Result<Rules, Reason> {
    let action = match known("rbac.rules.action", message.action)? {
        proto::rbac::Action::Allow => RulesAction::Allow,
        proto::rbac::Action::Deny => RulesAction::Deny,
        proto::rbac::Action::Log => RulesAction::Log,
    };
    let policies = message.policies.into_iter().map(|(name, message)| policy(name, message));
    Ok(Rules { action, policies: policies.collect::<Result<_, _>>()? })
}

fn policy(name: String, message: proto::Policy) -> Result<Policy, Reason> {
    if message.condition.is_some() || message.checked_condition.is_some() {
        return Err(Reason::Unsupported { field: "rbac.rules.policies.condition", value: name });
    }
    if message.permissions.is_empty() {
        return Err(Reason::Missing("rbac.rules.policies.permissions"));
    }
    if message.principals.is_empty() {
        return Err(Reason::Missing("rbac.rules.policies.principals"));
    }
    let permissions = message.permissions.into_iter().map(|one| permission(one, NESTING_MAX));
    let principals = message.principals.into_iter().map(|one| principal(one, NESTING_MAX));
    Ok(Policy {
        name,
        permissions: permissions.collect::<Result<_, _>>()?,
        principals: principals.collect::<Result<_, _>>()?,
    })
}

fn deeper(field: &'static str, depth: usize) -> Result<usize, Reason> {
    let too_deep = || Reason::Invalid { field, value: "a rule".to_owned(), expected: "nests too deep" };
    depth.checked_sub(1).ok_or_else(too_deep)
}

fn permission(message: proto::Permission, depth: usize) -> Result<Permission, Reason> {
    const FIELD: &str = "rbac.rules.policies.permissions";
    let depth = deeper(FIELD, depth)?;
    let all = |set: proto::permission::Set| {
        if set.rules.is_empty() {
            return Err(Reason::Missing("rbac.rules.policies.permissions.rules"));
        }
        set.rules.into_iter().map(|one| permission(one, depth)).collect::<Result<Vec<_>, _>>()
    };
    Ok(match message.rule.ok_or(Reason::Missing(FIELD))? {
        Rule::AndRules(set) => Permission::All(all(set)?),
        Rule::OrRules(set) => Permission::OneOf(all(set)?),
        Rule::Any(true) => Permission::Any,
        Rule::Any(false) => return Err(Reason::Unsupported { field: FIELD, value: "any: false".to_owned() }),
        Rule::Header(header) => Permission::Header(matching::header(header)?),
        Rule::UrlPath(path) => Permission::UrlPath(text::path("rbac.url_path", path)?),
        Rule::DestinationIp(block) => Permission::DestinationIp(text::cidr("rbac.destination_ip", &block)?),
        Rule::DestinationPort(value) => Permission::DestinationPort(port("rbac.destination_port", value)?),
        Rule::DestinationPortRange(range) => {
            Permission::DestinationPortRange { start: range.start, end: range.end }
        }
        Rule::Metadata(metadata) => Permission::Metadata(text::metadata("rbac.metadata", metadata)?),
        Rule::NotRule(one) => Permission::Not(Box::new(permission(*one, depth)?)),
        Rule::RequestedServerName(name) => {
            Permission::ServerName(text::text("rbac.requested_server_name", name)?)
        }
    })
}

fn principal(message: proto::Principal, depth: usize) -> Result<Principal, Reason> {
    const FIELD: &str = "rbac.rules.policies.principals";
    let depth = deeper(FIELD, depth)?;
    let all = |set: proto::principal::Set| {
        if set.ids.is_empty() {
            return Err(Reason::Missing("rbac.rules.policies.principals.ids"));
        }
        set.ids.into_iter().map(|one| principal(one, depth)).collect::<Result<Vec<_>, _>>()
    };
    Ok(match message.identifier.ok_or(Reason::Missing(FIELD))? {
        Identifier::AndIds(set) => Principal::All(all(set)?),
        Identifier::OrIds(set) => Principal::OneOf(all(set)?),
        Identifier::Any(true) => Principal::Any,
        Identifier::Any(false) => {
            return Err(Reason::Unsupported { field: FIELD, value: "any: false".to_owned() });
        }
        Identifier::Authenticated(peer) => {
            let name = peer.principal_name.map(|name| text::text("rbac.principal_name", name));
            Principal::Authenticated(name.transpose()?)
        }
        Identifier::SourceIp(block) => Principal::SourceIp(text::cidr("rbac.source_ip", &block)?),
        Identifier::DirectRemoteIp(block) => {
            Principal::DirectRemoteIp(text::cidr("rbac.direct_remote_ip", &block)?)
        }
        Identifier::RemoteIp(block) => Principal::RemoteIp(text::cidr("rbac.remote_ip", &block)?),
        Identifier::Header(header) => Principal::Header(matching::header(header)?),
        Identifier::UrlPath(path) => Principal::UrlPath(text::path("rbac.url_path", path)?),
        Identifier::Metadata(metadata) => Principal::Metadata(text::metadata("rbac.metadata", metadata)?),
        Identifier::NotId(one) => Principal::Not(Box::new(principal(*one, depth)?)),
    })
}
