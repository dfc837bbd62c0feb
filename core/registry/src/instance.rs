//! Instances: whom a service's name stands for.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::attribute::{CNAME, IPV4, IPV6, PORT};
use crate::service::HealthCheck;

/// An instance of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    pub attributes: BTreeMap<String, String>,
    pub creator_request_id: String,
    /// The operation that registered it, and later the one that takes it away.
    pub operation: String,
    /// What was last said of it, by whoever checks it or holds its lease; healthy at first.
    #[serde(default, skip_serializing_if = "is_healthy")]
    pub unhealthy: bool,
    /// It is being taken away: nobody finds it any more, proxies finish what they have with it. Milliseconds since the
    /// epoch at which it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained_at: Option<u64>,
    /// Who holds it, where it was registered with a lease: higher for each new holder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
}

/// Whether an instance can be used, as far as anybody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Healthy,
    Unhealthy,
    /// The service has no health check.
    Unknown,
}

impl Instance {
    pub fn health(&self, check: HealthCheck) -> Health {
        match check {
            _ if self.unhealthy => Health::Unhealthy,
            HealthCheck::None => Health::Unknown,
            HealthCheck::Custom => Health::Healthy,
        }
    }

    pub fn is_draining(&self) -> bool {
        self.drained_at.is_some()
    }

    pub fn ipv4(&self) -> Option<Ipv4Addr> {
        self.attributes.get(IPV4)?.parse().ok()
    }

    pub fn ipv6(&self) -> Option<Ipv6Addr> {
        self.attributes.get(IPV6)?.parse().ok()
    }

    pub fn port(&self) -> Option<u16> {
        self.attributes.get(PORT)?.parse().ok()
    }

    pub fn cname(&self) -> Option<&str> {
        self.attributes.get(CNAME).map(String::as_str)
    }

    /// Every address that it names.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.ipv4().map(IpAddr::from).into_iter().chain(self.ipv6().map(IpAddr::from))
    }

    /// Whether it carries all of these attributes.
    pub fn has_all<'a>(&self, wanted: impl IntoIterator<Item = (&'a String, &'a String)>) -> bool {
        wanted.into_iter().all(|(key, value)| self.attributes.get(key) == Some(value))
    }
}

impl Health {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "HEALTHY",
            Self::Unhealthy => "UNHEALTHY",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// Whether requests should go there.
    pub const fn is_usable(self) -> bool {
        !matches!(self, Self::Unhealthy)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_healthy(unhealthy: &bool) -> bool {
    !unhealthy
}
