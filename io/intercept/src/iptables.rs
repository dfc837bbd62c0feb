//! The rules for iptables and ip6tables: chains in the table `nat`, written by `iptables-restore`, which takes a table
//! whole or not at all.

mod saved;

use std::fmt::Write as _;

pub use saved::Saved;

use crate::settings::{DNS_CHAIN, EGRESS_CHAIN, INGRESS_CHAIN, Settings, Switch};

/// Ports that one rule can list.
const MULTIPORT_MAX: usize = 15;

/// A version of IP, which has a program and rules of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// `iptables` or `ip6tables`.
    pub fn program(self) -> &'static str {
        match self {
            Self::V4 => "iptables",
            Self::V6 => "ip6tables",
        }
    }

    /// Whether these settings want rules for it.
    pub fn is_wanted(self, settings: &Settings) -> bool {
        self == Self::V4 || settings.ipv6
    }
}

/// The text that leads from what was found to exactly these rules.
pub fn install(settings: &Settings, family: Family, found: &Saved) -> String {
    let mut chains = vec![INGRESS_CHAIN, EGRESS_CHAIN];
    let (mut rules, mut jumps) = (Vec::new(), Vec::new());
    if settings.switch == Switch::On {
        if !settings.app_ports.is_empty() {
            for ports in settings.sorted_app_ports().chunks(MULTIPORT_MAX) {
                let (ports, to) = (list(ports), settings.ingress_port);
                rules.push(format!(
                    "-A {INGRESS_CHAIN} -p tcp -m multiport --dports {ports} -j REDIRECT --to-ports {to}"
                ));
            }
            jumps.push(format!("-A PREROUTING -p tcp -m addrtype ! --src-type LOCAL -j {INGRESS_CHAIN}"));
        }
        if let Some(port) = settings.dns_port {
            chains.push(DNS_CHAIN);
            owners(&mut rules, DNS_CHAIN, settings);
            for protocol in ["udp", "tcp"] {
                rules.push(format!(
                    "-A {DNS_CHAIN} -p {protocol} -m {protocol} --dport 53 -j REDIRECT --to-ports {port}"
                ));
                jumps.push(format!("-A OUTPUT -p {protocol} -m {protocol} --dport 53 -j {DNS_CHAIN}"));
            }
        }
        egress(&mut rules, settings, family);
        jumps.push(format!("-A OUTPUT -p tcp -m addrtype ! --dst-type LOCAL -j {EGRESS_CHAIN}"));
    }
    found.replaced_by(&chains, &rules, &jumps)
}

/// The text that takes away what was found.
pub fn remove(found: &Saved) -> String {
    found.replaced_by(&[], &[], &[])
}

fn egress(rules: &mut Vec<String>, settings: &Settings, family: Family) {
    owners(rules, EGRESS_CHAIN, settings);
    for ports in settings.ignored_ports().chunks(MULTIPORT_MAX) {
        rules.push(format!("-A {EGRESS_CHAIN} -p tcp -m multiport --dports {} -j RETURN", list(ports)));
    }
    for network in &settings.egress_ignored_ips {
        if network.is_ipv4() == (family == Family::V4) {
            rules.push(format!("-A {EGRESS_CHAIN} -d {network} -p tcp -j RETURN"));
        }
    }
    rules.push(format!("-A {EGRESS_CHAIN} -p tcp -j REDIRECT --to-ports {}", settings.egress_port));
}

fn owners(rules: &mut Vec<String>, chain: &str, settings: &Settings) {
    if let Some(uid) = settings.ignore_uid {
        rules.push(format!("-A {chain} -m owner --uid-owner {uid} -j RETURN"));
    }
    if let Some(gid) = settings.ignore_gid {
        rules.push(format!("-A {chain} -m owner --gid-owner {gid} -j RETURN"));
    }
    if let Some(uid) = settings.only_uid {
        rules.push(format!("-A {chain} -m owner ! --uid-owner {uid} -j RETURN"));
    }
}

fn list(ports: &[u16]) -> String {
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",")
}

/// A table for `iptables-restore --noflush`.
fn table(lines: impl IntoIterator<Item = String>) -> String {
    let mut text = "*nat\n".to_owned();
    for line in lines {
        let _ = writeln!(text, "{line}");
    }
    text.push_str("COMMIT\n");
    text
}
