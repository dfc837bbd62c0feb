//! The options of the DNS server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use selvedge_control::dns;
use selvedge_control::dns::Guard;
use selvedge_registry::address::Cidr;
use selvedge_registry::attribute::is_domain;

use crate::exit::Failure;

/// Where a machine's name servers stand.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The port of name servers.
const PORT: u16 = 53;

/// Options of the DNS server, which a control plane has beside itself when it is told where.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DnsArgs {
    /// Answer DNS here, by UDP and TCP: private namespaces, virtual services' names, and what other servers know; may be
    /// given again
    #[arg(long, value_name = "ADDRESS", env = "SELVEDGE_DNS", value_delimiter = ',')]
    dns: Vec<SocketAddr>,
    /// A server that is asked about other names, with a port unless it is 53; may be given again. Those of --dns-resolv-conf
    /// when left out, `none` for nobody
    #[arg(long = "dns-upstream", value_name = "ADDRESS", value_parser = upstream)]
    upstreams: Vec<Upstream>,
    /// Where the name servers stand that are asked when no --dns-upstream is given
    #[arg(long = "dns-resolv-conf", value_name = "FILE", default_value = RESOLV_CONF)]
    resolv_conf: PathBuf,
    /// Who may ask, such as 10.0.0.0/8; may be given again. This machine and private networks when left out
    #[arg(long = "dns-allow", value_name = "BLOCK")]
    clients: Vec<Cidr>,
    /// Where the addresses of virtual services' names come from: a block that nobody has
    #[arg(long = "dns-virtual-block", value_name = "BLOCK", default_value = "240.240.0.0/16", value_parser = block)]
    virtual_block: (Ipv4Addr, u8),
    /// Where they have IPv6 addresses from besides, such as fd00:5e1:7::/64; without, they have IPv4 addresses alone
    #[arg(long = "dns-virtual-block-v6", value_name = "BLOCK", value_parser = block_v6)]
    virtual_block_v6: Option<(Ipv6Addr, u8)>,
    /// Addresses that no name of other servers may have, such as the mesh's own 10.0.0.0/8; may be given again. Loopback,
    /// link-local, multicast and virtual services' addresses are guarded always
    #[arg(long = "dns-guard", value_name = "BLOCK")]
    guarded: Vec<Cidr>,
    /// A domain whose names may have any address; may be given again
    #[arg(long = "dns-guard-exempt", value_name = "DOMAIN", value_parser = domain)]
    guard_exempt: Vec<String>,
}

/// A server, or the absence of all.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Upstream {
    Nobody,
    Server(SocketAddr),
}

impl DnsArgs {
    /// The settings that these options mean; none without an address.
    ///
    /// # Errors
    /// When nobody is named who could be asked, and the file that should name somebody cannot be read.
    pub(crate) fn settings(&self) -> Result<Option<dns::Settings>, Failure> {
        if self.dns.is_empty() {
            return Ok(None);
        }
        let upstreams = if self.upstreams.is_empty() {
            name_servers(&self.resolv_conf)?
        } else {
            let servers = self.upstreams.iter().filter_map(|upstream| match upstream {
                Upstream::Nobody => None,
                Upstream::Server(address) => Some(*address),
            });
            servers.collect()
        };
        let default =
            || dns::Settings::CLIENTS_DEFAULT.iter().map(|text| text.parse().expect("a block")).collect();
        let guarded_always = Guard::BLOCKS_DEFAULT.iter().map(|text| text.parse().expect("a block"));
        Ok(Some(dns::Settings {
            listen: self.dns.clone(),
            upstreams,
            clients: if self.clients.is_empty() { default() } else { self.clients.clone() },
            virtual_block: self.virtual_block,
            virtual_block_v6: self.virtual_block_v6,
            guarded: guarded_always.chain(self.guarded.iter().copied()).collect(),
            guard_exempt: self.guard_exempt.clone(),
            timeout: dns::Settings::TIMEOUT_DEFAULT,
        }))
    }
}

fn name_servers(file: &Path) -> Result<Vec<SocketAddr>, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::Usage(format!(
            "failed to read the name servers in {}: {error}; name them with --dns-upstream",
            file.display()
        ))
    })?;
    Ok(parse(&text))
}

/// The `nameserver` lines of a resolv.conf. (resolv.conf(5).)
fn parse(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let addresses = lines.filter(|rest| rest.starts_with([' ', '\t'])).filter_map(|rest| {
        let word = rest.split_whitespace().next()?;
        // A scope names an interface; the kernel finds the way without for all but link-local servers.
        word.split('%').next()?.parse::<IpAddr>().ok()
    });
    addresses.map(|ip| SocketAddr::new(ip, PORT)).collect()
}

fn upstream(text: &str) -> Result<Upstream, String> {
    if text == "none" {
        return Ok(Upstream::Nobody);
    }
    let address = text.parse().or_else(|_| text.parse().map(|ip: IpAddr| SocketAddr::new(ip, PORT)));
    address.map(Upstream::Server).map_err(|_| "an address with or without a port, or `none`".to_owned())
}

fn block(text: &str) -> Result<(Ipv4Addr, u8), String> {
    let parsed =
        text.split_once('/').and_then(|(network, bits)| Some((network.parse().ok()?, bits.parse().ok()?)));
    parsed
        .filter(|(_, bits)| (8..=30).contains(bits))
        .ok_or_else(|| "a block of /8 to /30, like 240.240.0.0/16".to_owned())
}

fn block_v6(text: &str) -> Result<(Ipv6Addr, u8), String> {
    let parsed =
        text.split_once('/').and_then(|(network, bits)| Some((network.parse().ok()?, bits.parse().ok()?)));
    parsed
        .filter(|(_, bits)| (8..=112).contains(bits))
        .ok_or_else(|| "a block of /8 to /112, like fd00:5e1:7::/64".to_owned())
}

fn domain(text: &str) -> Result<String, String> {
    let name = text.trim_matches('.').to_ascii_lowercase();
    if is_domain(&name) { Ok(name) } else { Err("a domain, like corp.example.com".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_read_as_the_resolver_reads_them() {
        let text = "# nameserver 9.9.9.9\nsearch lan\nnameserver 192.0.2.1\n nameserver\t2001:db8::1 # ours\nnameserver fe80::1%eth0\nnameservers 1.1.1.1\nnameserver host\n";
        let expected: Vec<SocketAddr> = ["192.0.2.1:53", "[2001:db8::1]:53", "[fe80::1]:53"]
            .iter()
            .map(|text| text.parse().expect("an address"))
            .collect();
        assert_eq!(parse(text), expected);
    }

    #[test]
    fn servers_and_blocks_are_read() {
        assert_eq!(upstream("none"), Ok(Upstream::Nobody));
        assert_eq!(upstream("192.0.2.1"), upstream("192.0.2.1:53"));
        assert_eq!(upstream("2001:db8::1"), upstream("[2001:db8::1]:53"));
        assert!(upstream("name").is_err());
        assert_eq!(block_v6("fd00::/64"), Ok((Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0), 64)));
        assert!(block_v6("fd00::/120").is_err() && block_v6("10.0.0.0/8").is_err());
        assert_eq!(domain(".Corp.Example."), Ok("corp.example".to_owned()));
        assert!(domain("").is_err() && domain("a b").is_err());
        assert_eq!(block("10.96.0.0/12"), Ok(([10, 96, 0, 0].into(), 12)));
        for text in ["", "10.0.0.0", "10.0.0.0/7", "10.0.0.0/31", "::/16"] {
            assert!(block(text).is_err(), "{text}");
        }
    }
}
