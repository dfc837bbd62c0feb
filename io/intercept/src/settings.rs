//! What is redirected, in the terms of App Mesh's proxy route manager.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use thiserror::Error;

/// The chain of connections that come in.
pub(crate) const INGRESS_CHAIN: &str = "APPMESH_INGRESS";
/// The chain of connections that go out.
pub(crate) const EGRESS_CHAIN: &str = "APPMESH_EGRESS";
/// The chain of questions to name servers.
pub(crate) const DNS_CHAIN: &str = "APPMESH_DNS";
/// All chains of ours.
pub(crate) const CHAINS: [&str; 3] = [INGRESS_CHAIN, EGRESS_CHAIN, DNS_CHAIN];
/// Never redirected on the way out: whoever administers the host comes and goes by it.
pub(crate) const SSH_PORT: u16 = 22;

/// Whether connections are led through the chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    On,
    /// The chains stand empty, and nothing leads to them.
    Off,
}

/// Everything that decides about the rules; the defaults are those of App Mesh's scripts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub switch: Switch,
    /// The sidecar's own connections are left alone by its user …
    pub ignore_uid: Option<u32>,
    /// … or group.
    pub ignore_gid: Option<u32>,
    /// Of this user alone the outgoing connections are led away; `None` is of everybody.
    pub only_uid: Option<u32>,
    /// Where the application listens; connections to other ports pass by the sidecar.
    pub app_ports: Vec<u16>,
    pub ingress_port: u16,
    pub egress_port: u16,
    /// Destinations that are left alone.
    pub egress_ignored_ips: Vec<Network>,
    /// Destination ports that are left alone, besides [`SSH_PORT`].
    pub egress_ignored_ports: Vec<u16>,
    pub ipv6: bool,
    /// Where a name server of the mesh listens, on loopback; `None` leaves DNS alone.
    pub dns_port: Option<u16>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            switch: Switch::On,
            ignore_uid: Some(1337),
            ignore_gid: None,
            only_uid: None,
            app_ports: Vec::new(),
            ingress_port: 15000,
            egress_port: 15001,
            egress_ignored_ips: vec![
                Network::host(Ipv4Addr::new(169, 254, 169, 254).into()),
                Network::host(Ipv4Addr::new(169, 254, 170, 2).into()),
            ],
            egress_ignored_ports: Vec::new(),
            ipv6: false,
            dns_port: None,
        }
    }
}

impl Settings {
    /// What these settings would do that cannot be meant: the sidecar's connections would come back to it for ever, or
    /// two of its ports are one.
    pub fn contradiction(&self) -> Option<String> {
        if self.ignore_uid.is_none() && self.ignore_gid.is_none() {
            return Some(
                "neither a user nor a group is ignored: the sidecar's own connections would be led back to it for ever"
                    .to_owned(),
            );
        }
        if self.only_uid.is_some() && self.only_uid == self.ignore_uid {
            return Some(
                "the user whose connections are led away is the one whose are left alone".to_owned(),
            );
        }
        let ports = [Some(self.ingress_port), Some(self.egress_port), self.dns_port];
        let mut seen = Vec::new();
        for port in ports.into_iter().flatten() {
            if port == 0 || seen.contains(&port) {
                return Some(format!("port {port} cannot be where two things listen, or nothing"));
            }
            seen.push(port);
        }
        let own = self.app_ports.iter().find(|port| seen.contains(port));
        own.map(|port| format!("port {port} is the sidecar's own and cannot be the application's"))
    }

    /// The ports that no outgoing connection is redirected for, each once.
    pub(crate) fn ignored_ports(&self) -> Vec<u16> {
        sorted(self.egress_ignored_ports.iter().copied().chain([SSH_PORT]))
    }

    pub(crate) fn sorted_app_ports(&self) -> Vec<u16> {
        sorted(self.app_ports.iter().copied())
    }
}

fn sorted(ports: impl Iterator<Item = u16>) -> Vec<u16> {
    let mut ports: Vec<u16> = ports.collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// An address or a range of addresses: `10.0.0.7`, `10.0.0.0/8`, `fd00:ec2::254`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A text that names no addresses.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0:?} is neither an IP address nor a range such as 10.0.0.0/8")]
pub struct NetworkInvalid(String);

impl Network {
    /// One address.
    pub fn host(address: IpAddr) -> Self {
        Self { address, prefix: bits(address) }
    }

    pub fn is_ipv4(&self) -> bool {
        self.address.is_ipv4()
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl FromStr for Network {
    type Err = NetworkInvalid;

    fn from_str(text: &str) -> Result<Self, NetworkInvalid> {
        let invalid = || NetworkInvalid(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let prefix = match prefix {
            None => bits(address),
            Some(digits) => {
                digits.parse().ok().filter(|prefix| *prefix <= bits(address)).ok_or_else(invalid)?
            }
        };
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix == bits(self.address) {
            return write!(f, "{}", self.address);
        }
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_addresses_with_or_without_a_prefix() {
        for (text, written) in [
            ("10.0.0.7", Some("10.0.0.7")),
            ("10.0.0.7/32", Some("10.0.0.7")),
            ("10.0.0.0/8", Some("10.0.0.0/8")),
            ("fd00:ec2::254", Some("fd00:ec2::254")),
            ("fd00::/8", Some("fd00::/8")),
            ("10.0.0.0/33", None),
            ("10.0.0.0/", None),
            ("metadata", None),
            ("10.0.0.1; flush ruleset", None),
        ] {
            let read = text.parse::<Network>().ok().map(|network| network.to_string());
            assert_eq!(read.as_deref(), written, "{text}");
        }
    }

    #[test]
    fn what_would_go_round_for_ever_is_a_contradiction() {
        let default = Settings::default();
        assert_eq!(default.contradiction(), None);
        let rows = [
            (Settings { ignore_uid: None, ..default.clone() }, "neither a user nor a group"),
            (Settings { only_uid: Some(1337), ..default.clone() }, "left alone"),
            (Settings { egress_port: 15000, ..default.clone() }, "15000"),
            (Settings { dns_port: Some(15001), ..default.clone() }, "15001"),
            (Settings { ingress_port: 0, ..default.clone() }, "port 0"),
            (Settings { app_ports: vec![80, 15000], ..default }, "15000"),
        ];
        for (settings, expected) in rows {
            let told = settings.contradiction().expect("a contradiction");
            assert!(told.contains(expected), "{told}");
        }
    }
}
