//! Services: the names in a namespace, and how their instances are shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// `srv-` and sixteen letters and digits.
    pub id: String,
    pub namespace_id: String,
    pub name: String,
    pub kind: ServiceKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsConfig>,
    pub health_check: HealthCheck,
    /// Milliseconds since the epoch.
    pub created_at: u64,
    pub creator_request_id: String,
    /// The region of its ARN.
    pub region: String,
    /// What people keep with it; not for discovery.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// How a service's instances can be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceKind {
    #[serde(rename = "HTTP")]
    Http,
    #[serde(rename = "DNS_HTTP")]
    DnsHttp,
}

/// Whose word decides whether an instance is healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthCheck {
    /// Nobody's: every instance is used.
    #[serde(rename = "NONE")]
    None,
    /// Whoever calls `UpdateInstanceCustomHealthStatus`.
    #[serde(rename = "CUSTOM")]
    Custom,
}

/// The records that a service's instances make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsConfig {
    pub routing_policy: RoutingPolicy,
    /// Each type at most once, with its time to live in seconds.
    pub records: Vec<(RecordType, u32)>,
}

/// Which instances an answer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RoutingPolicy {
    /// Up to eight, chosen anew for each query.
    #[serde(rename = "MULTIVALUE")]
    Multivalue,
    /// One, chosen anew for each query.
    #[serde(rename = "WEIGHTED")]
    Weighted,
}

/// A type of record that an instance can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RecordType {
    #[serde(rename = "A")]
    A,
    #[serde(rename = "AAAA")]
    Aaaa,
    #[serde(rename = "CNAME")]
    Cname,
    #[serde(rename = "SRV")]
    Srv,
}

/// Why records do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsConfigError {
    #[error("DnsRecords: at least one record is needed")]
    Empty,
    #[error("DnsRecords: each type may be given once")]
    Twice,
    #[error("DnsRecords: {0} stands alone; A and AAAA may be given together")]
    Combination(RecordType),
    #[error("RoutingPolicy: CNAME needs WEIGHTED")]
    CnameMultivalue,
}

impl DnsConfig {
    /// Checks that the records go together. (Cloud Map, `DnsConfig`: A, AAAA, both, SRV, or CNAME with `WEIGHTED`.)
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn check(&self) -> Result<(), DnsConfigError> {
        let types: Vec<RecordType> = self.records.iter().map(|(kind, _)| *kind).collect();
        if types.is_empty() {
            return Err(DnsConfigError::Empty);
        }
        if (1..types.len()).any(|index| types[..index].contains(&types[index])) {
            return Err(DnsConfigError::Twice);
        }
        let alone = types.iter().find(|kind| matches!(kind, RecordType::Cname | RecordType::Srv));
        if let Some(kind) = alone.filter(|_| types.len() > 1) {
            return Err(DnsConfigError::Combination(*kind));
        }
        if types == [RecordType::Cname] && self.routing_policy == RoutingPolicy::Multivalue {
            return Err(DnsConfigError::CnameMultivalue);
        }
        Ok(())
    }

    /// The time to live of a type's records; `None` where the service makes none.
    pub fn ttl(&self, kind: RecordType) -> Option<u32> {
        self.records.iter().find(|(one, _)| *one == kind).map(|(_, ttl)| *ttl)
    }
}

impl ServiceKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::DnsHttp => "DNS_HTTP",
        }
    }
}

impl RoutingPolicy {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Multivalue => "MULTIVALUE",
            Self::Weighted => "WEIGHTED",
        }
    }
}

impl RecordType {
    pub const ALL: [Self; 4] = [Self::A, Self::Aaaa, Self::Cname, Self::Srv];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Cname => "CNAME",
            Self::Srv => "SRV",
        }
    }
}

impl std::fmt::Display for RecordType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::RecordType::{A, Aaaa, Cname, Srv};
    use super::*;

    #[test]
    fn records_go_together_as_cloud_map_says() {
        use RoutingPolicy::{Multivalue, Weighted};
        for (policy, types, outcome) in [
            (Multivalue, &[A][..], Ok(())),
            (Weighted, &[A, Aaaa], Ok(())),
            (Multivalue, &[Srv], Ok(())),
            (Weighted, &[Cname], Ok(())),
            (Multivalue, &[Cname], Err(DnsConfigError::CnameMultivalue)),
            (Weighted, &[Cname, A], Err(DnsConfigError::Combination(Cname))),
            (Multivalue, &[A, Srv], Err(DnsConfigError::Combination(Srv))),
            (Multivalue, &[A, A], Err(DnsConfigError::Twice)),
            (Multivalue, &[], Err(DnsConfigError::Empty)),
        ] {
            let records = types.iter().map(|kind| (*kind, 60)).collect();
            assert_eq!(DnsConfig { routing_policy: policy, records }.check(), outcome, "{types:?}");
        }
    }
}
