//! The rules for nftables: one table of its own, replaced and removed in one transaction of the kernel.

use std::fmt::Write as _;

use crate::settings::{DNS_CHAIN, EGRESS_CHAIN, INGRESS_CHAIN, Network, Settings, Switch};

/// The table, of the family `inet`: both versions of IP.
pub const TABLE: &str = "appmesh";

/// The transaction that leaves exactly these rules, whatever stood in the table before.
pub fn install(settings: &Settings) -> String {
    let mut text = remove();
    let _ = writeln!(text, "table inet {TABLE} {{");
    let on = settings.switch == Switch::On;
    let ingress = on && !settings.app_ports.is_empty();
    chain(&mut text, INGRESS_CHAIN, if ingress { ingress_rules(settings) } else { Vec::new() });
    chain(&mut text, EGRESS_CHAIN, if on { egress_rules(settings) } else { Vec::new() });
    let dns = settings.dns_port.filter(|_| on);
    if let Some(port) = dns {
        chain(&mut text, DNS_CHAIN, dns_rules(settings, port));
    }
    if on {
        let family = if settings.ipv6 { "" } else { "meta nfproto ipv4 " };
        if ingress {
            let jump = format!("{family}meta l4proto tcp fib saddr type != local jump {INGRESS_CHAIN}");
            hook(&mut text, "PREROUTING", "prerouting priority dstnat", [Some(jump)]);
        }
        let dns = dns.map(|_| format!("{family}meta l4proto {{ tcp, udp }} th dport 53 jump {DNS_CHAIN}"));
        let egress = format!("{family}meta l4proto tcp fib daddr type != local jump {EGRESS_CHAIN}");
        hook(&mut text, "OUTPUT", "output priority -100", [dns, Some(egress)]);
    }
    text.push_str("}\n");
    text
}

/// The transaction that leaves no table, whether there was one or not.
pub fn remove() -> String {
    format!("add table inet {TABLE}\ndelete table inet {TABLE}\n")
}

fn ingress_rules(settings: &Settings) -> Vec<String> {
    let ports = set(&settings.sorted_app_ports());
    vec![format!("tcp dport {ports} redirect to :{}", settings.ingress_port)]
}

fn egress_rules(settings: &Settings) -> Vec<String> {
    let mut rules = owners(settings);
    rules.push(format!("tcp dport {} return", set(&settings.ignored_ports())));
    let (v4, v6): (Vec<&Network>, Vec<&Network>) =
        settings.egress_ignored_ips.iter().partition(|network| network.is_ipv4());
    // A rule for each, not a set: the ranges that somebody gives may overlap, which a set refuses.
    rules.extend(v4.iter().map(|network| format!("ip daddr {network} return")));
    rules.extend(v6.iter().map(|network| format!("ip6 daddr {network} return")));
    rules.push(format!("meta l4proto tcp redirect to :{}", settings.egress_port));
    rules
}

fn dns_rules(settings: &Settings, port: u16) -> Vec<String> {
    let mut rules = owners(settings);
    rules.push(format!("meta l4proto {{ tcp, udp }} th dport 53 redirect to :{port}"));
    rules
}

/// The sidecar's own connections, and those of users who are not meant.
fn owners(settings: &Settings) -> Vec<String> {
    let only = settings.only_uid.map(|uid| format!("meta skuid != {uid} return"));
    let uid = settings.ignore_uid.map(|uid| format!("meta skuid {uid} return"));
    let gid = settings.ignore_gid.map(|gid| format!("meta skgid {gid} return"));
    uid.into_iter().chain(gid).chain(only).collect()
}

fn set(ports: &[u16]) -> String {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    format!("{{ {} }}", ports.join(", "))
}

fn chain(text: &mut String, name: &str, rules: Vec<String>) {
    let _ = writeln!(text, "\tchain {name} {{");
    for rule in rules {
        let _ = writeln!(text, "\t\t{rule}");
    }
    text.push_str("\t}\n");
}

fn hook<const N: usize>(text: &mut String, name: &str, place: &str, rules: [Option<String>; N]) {
    let first = format!("type nat hook {place}; policy accept;");
    chain(text, name, [first].into_iter().chain(rules.into_iter().flatten()).collect());
}
