//! What an instance may say of itself.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::address::{Policy, Refusal};
use crate::service::{RecordType, Service};

pub const IPV4: &str = "AWS_INSTANCE_IPV4";
pub const IPV6: &str = "AWS_INSTANCE_IPV6";
pub const PORT: &str = "AWS_INSTANCE_PORT";
pub const CNAME: &str = "AWS_INSTANCE_CNAME";
/// `HEALTHY` or `UNHEALTHY`: how an instance begins.
pub const INIT_HEALTH: &str = "AWS_INIT_HEALTH_STATUS";

/// Attributes of one instance. (Cloud Map's quota.)
pub const ATTRIBUTES_MAX: usize = 30;
/// Characters of all keys and values of one instance together. (Cloud Map's quota.)
pub const ATTRIBUTE_CHARS_MAX: usize = 5000;

/// Why an instance cannot be registered; each text begins with the attribute that is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttributeError {
    #[error("Attributes: at most {ATTRIBUTES_MAX} may be given")]
    TooMany,
    #[error("Attributes: keys and values may have {ATTRIBUTE_CHARS_MAX} characters together")]
    TooLong,
    #[error("{0}: is needed, because the service makes {1} records")]
    Needed(&'static str, RecordType),
    #[error("{IPV4}: or {IPV6} is needed, because the service makes SRV records")]
    AddressNeeded,
    #[error("{key}: '{value}' is not {expected}")]
    Unreadable { key: &'static str, value: String, expected: &'static str },
    #[error("{0}: names of this kind are reserved, and this one means nothing here")]
    Reserved(String),
    #[error("{key}: {refusal}")]
    Refused { key: &'static str, refusal: Refusal },
}

/// Checks what an instance of that service says of itself.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(
    attributes: &BTreeMap<String, String>,
    service: &Service,
    policy: &Policy,
) -> Result<(), AttributeError> {
    if attributes.len() > ATTRIBUTES_MAX {
        return Err(AttributeError::TooMany);
    }
    let chars = attributes.iter().map(|(key, value)| key.chars().count() + value.chars().count());
    if chars.sum::<usize>() > ATTRIBUTE_CHARS_MAX {
        return Err(AttributeError::TooLong);
    }
    for (key, value) in attributes.iter().filter(|(key, _)| key.starts_with("AWS_")) {
        check_reserved(key, value, policy)?;
    }
    let Some(dns) = &service.dns else { return Ok(()) };
    for (kind, _) in &dns.records {
        let needed: &[&'static str] = match kind {
            RecordType::A => &[IPV4],
            RecordType::Aaaa => &[IPV6],
            RecordType::Cname => &[CNAME],
            RecordType::Srv => &[PORT],
        };
        if let Some(key) = needed.iter().find(|key| !attributes.contains_key(**key)) {
            return Err(AttributeError::Needed(key, *kind));
        }
        let is_addressed = attributes.contains_key(IPV4) || attributes.contains_key(IPV6);
        if *kind == RecordType::Srv && !is_addressed {
            return Err(AttributeError::AddressNeeded);
        }
    }
    Ok(())
}

fn check_reserved(key: &str, value: &str, policy: &Policy) -> Result<(), AttributeError> {
    let unreadable = |key, expected| AttributeError::Unreadable { key, value: value.to_owned(), expected };
    match key {
        IPV4 => {
            let address: Ipv4Addr = value.parse().map_err(|_| unreadable(IPV4, "an IPv4 address"))?;
            let admitted = policy.admit(address.into());
            admitted.map_err(|refusal| AttributeError::Refused { key: IPV4, refusal })
        }
        IPV6 => {
            let address: Ipv6Addr = value.parse().map_err(|_| unreadable(IPV6, "an IPv6 address"))?;
            let admitted = policy.admit(address.into());
            admitted.map_err(|refusal| AttributeError::Refused { key: IPV6, refusal })
        }
        PORT => match value.parse::<u16>() {
            Ok(port) if port > 0 && !value.starts_with('+') => Ok(()),
            _ => Err(unreadable(PORT, "a port from 1 to 65535")),
        },
        CNAME if is_domain(value) => {
            policy.admit_name(value).map_err(|refusal| AttributeError::Refused { key: CNAME, refusal })
        }
        CNAME => Err(unreadable(CNAME, "a domain name")),
        INIT_HEALTH if matches!(value, "HEALTHY" | "UNHEALTHY") => Ok(()),
        INIT_HEALTH => Err(unreadable(INIT_HEALTH, "HEALTHY or UNHEALTHY")),
        _ => Err(AttributeError::Reserved(key.chars().take(64).collect())),
    }
}

/// Whether a text can be a domain name: labels of 1 to 63 visible characters, 253 in all, and no IP address.
pub fn is_domain(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    text.len() <= 253 && text.split('.').all(is_label) && text.parse::<Ipv4Addr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{DnsConfig, HealthCheck, RoutingPolicy, ServiceKind};

    fn service(records: &[RecordType]) -> Service {
        let records: Vec<_> = records.iter().map(|kind| (*kind, 60)).collect();
        Service {
            id: "srv-1".into(),
            namespace_id: "ns-1".into(),
            name: "web".into(),
            kind: ServiceKind::DnsHttp,
            description: None,
            dns: (!records.is_empty())
                .then_some(DnsConfig { routing_policy: RoutingPolicy::Multivalue, records }),
            health_check: HealthCheck::Custom,
            created_at: 0,
            creator_request_id: String::new(),
            region: "r".into(),
            attributes: BTreeMap::new(),
        }
    }

    fn attributes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_the_records_need_must_be_given() {
        use RecordType::{A, Aaaa, Cname, Srv};
        for (records, given, is_fine) in [
            (&[][..], &[][..], true),
            (&[A], &[(IPV4, "10.0.0.1")], true),
            (&[A], &[(IPV6, "2001:db8::1")], false),
            (&[A, Aaaa], &[(IPV4, "10.0.0.1"), (IPV6, "2001:db8::1")], true),
            (&[A, Aaaa], &[(IPV4, "10.0.0.1")], false),
            (&[Srv], &[(IPV4, "10.0.0.1"), (PORT, "80")], true),
            (&[Srv], &[(PORT, "80")], false),
            (&[Srv], &[(IPV4, "10.0.0.1")], false),
            (&[Cname], &[(CNAME, "example.com")], true),
            (&[Cname], &[(CNAME, "10.0.0.1")], false),
            (&[], &[(PORT, "0")], false),
            (&[], &[(PORT, "+1")], false),
            (&[], &[(PORT, "65536")], false),
            (&[], &[(IPV4, "010.0.0.1")], false),
            (&[], &[(INIT_HEALTH, "UNKNOWN")], false),
            (&[], &[("AWS_ALIAS_DNS_NAME", "x")], false),
            (&[], &[("AVAILABILITY_ZONE", "here"), ("k8s.io/pod", "p")], true),
        ] {
            let checked = check(&attributes(given), &service(records), &Policy::default());
            assert_eq!(checked.is_ok(), is_fine, "{records:?} {given:?}: {checked:?}");
        }
    }

    #[test]
    fn there_are_only_so_many_and_so_long() {
        let many: BTreeMap<_, _> = (0..=ATTRIBUTES_MAX).map(|n| (format!("k{n}"), String::new())).collect();
        assert_eq!(check(&many, &service(&[]), &Policy::default()), Err(AttributeError::TooMany));
        let long = (0..5).map(|n| (format!("k{n}"), "x".repeat(1000))).collect();
        assert_eq!(check(&long, &service(&[]), &Policy::default()), Err(AttributeError::TooLong));
    }
}
