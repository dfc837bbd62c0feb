//! Which addresses may be called.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use selvedge_guard::address::{self, Why};
use selvedge_guard::reach::Reach;

/// Ports that steer something: ours, Envoy's and the proxies' own, and those of daemons that obey whoever reaches them.
pub const CONTROL_PORTS: &[u16] = &[7070, 9901, 15000, 15001, 2375, 2376, 2379, 2380, 6443, 10250, 10255];

/// What may be called.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    allowed: Vec<Allowed>,
    control_ports: Vec<u16>,
}

/// Addresses that an operator allows: `10.0.0.0/8`, `127.0.0.1:9000`, `[::1]:9000`, `fd00::/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    network: IpAddr,
    bits: u8,
    port: Option<u16>,
}

/// Who decides about an address that a name leads to.
pub(crate) trait Judge: Send + Sync {
    /// Whether `host`, which leads to `address`, may be connected to there.
    fn judge(&self, host: &str, address: SocketAddr) -> Result<(), Why>;
}

/// The text names no addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' names no addresses: write ADDRESS, ADDRESS/BITS, either with :PORT, such as 127.0.0.1:9000 or [::1]:9000"
)]
pub struct NotAllowed(String);

impl Guard {
    /// The usual rules, with what an operator allows beside them and the ports that this process itself listens on.
    pub fn new(allowed: Vec<Allowed>, own_ports: &[u16]) -> Self {
        let mut control_ports = CONTROL_PORTS.to_vec();
        control_ports.extend_from_slice(own_ports);
        Self { allowed, control_ports }
    }

    /// Whether an operator allowed that very address.
    pub fn names(&self, address: SocketAddr) -> bool {
        let ip = address::plain(address.ip());
        self.allowed.iter().any(|allowed| allowed.covers(ip, address.port()))
    }

    /// Whether that address may be called.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, address: SocketAddr) -> Result<(), Why> {
        if self.names(address) {
            return Ok(());
        }
        address::judge(address.ip())?;
        if self.control_ports.contains(&address.port()) {
            return Err(Why::ControlPort);
        }
        Ok(())
    }
}

impl Judge for Guard {
    fn judge(&self, _: &str, address: SocketAddr) -> Result<(), Why> {
        self.check(address)
    }
}

impl Judge for Reach {
    fn judge(&self, host: &str, address: SocketAddr) -> Result<(), Why> {
        self.check_address(host, address.ip())
    }
}

impl Allowed {
    fn covers(&self, ip: IpAddr, port: u16) -> bool {
        if self.port.is_some_and(|allowed| allowed != port) {
            return false;
        }
        match (self.network, ip) {
            (IpAddr::V4(network), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                u32::from(network) & mask == u32::from(ip) & mask
            }
            (IpAddr::V6(network), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                u128::from(network) & mask == u128::from(ip) & mask
            }
            _ => false,
        }
    }
}

impl FromStr for Allowed {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Self, NotAllowed> {
        let invalid = || NotAllowed(text.to_owned());
        let (address, port) = if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self { network: ip, bits: if ip.is_ipv4() { 32 } else { 128 }, port: None });
        } else if let Some(rest) = text.strip_prefix('[') {
            let (inside, after) = rest.split_once(']').ok_or_else(invalid)?;
            (inside, after.strip_prefix(':'))
        } else {
            match text.rsplit_once(':') {
                // More colons are an IPv6 network without brackets.
                Some((address, port)) if !address.contains(':') => (address, Some(port)),
                _ => (text, None),
            }
        };
        let port = port.map(str::parse).transpose().map_err(|_| invalid())?;
        let (network, bits) = match address.split_once('/') {
            Some((network, bits)) => (network, Some(bits.parse::<u8>().map_err(|_| invalid())?)),
            None => (address, None),
        };
        let network: IpAddr = network.parse().map_err(|_| invalid())?;
        let bits_max = if network.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(bits_max);
        if bits > bits_max {
            return Err(invalid());
        }
        Ok(Self { network, bits, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(guard: &Guard, address: &str) -> Result<(), Why> {
        guard.check(address.parse().expect(address))
    }

    #[test]
    fn metadata_loopback_links_and_control_ports_are_refused() {
        let guard = Guard::new(Vec::new(), &[8181]);
        for (address, why) in [
            ("127.0.0.1:80", Why::Loopback),
            ("127.9.9.9:80", Why::Loopback),
            ("0.0.0.0:80", Why::Loopback),
            ("0.1.2.3:80", Why::Loopback),
            ("[::1]:80", Why::Loopback),
            ("[::]:80", Why::Loopback),
            ("169.254.169.254:80", Why::LinkLocal),
            ("169.254.170.2:80", Why::LinkLocal),
            ("[fe80::1]:80", Why::LinkLocal),
            ("[fd00:ec2::254]:80", Why::Metadata),
            ("100.100.100.200:80", Why::Metadata),
            ("224.0.0.1:80", Why::NoHost),
            ("255.255.255.255:80", Why::NoHost),
            ("[ff02::1]:80", Why::NoHost),
            ("10.0.0.1:9901", Why::ControlPort),
            ("10.0.0.1:15000", Why::ControlPort),
            ("10.0.0.1:2375", Why::ControlPort),
            ("10.0.0.1:8181", Why::ControlPort),
            // One address inside of another.
            ("[::ffff:127.0.0.1]:80", Why::Loopback),
            ("[::ffff:169.254.169.254]:80", Why::LinkLocal),
            ("[::127.0.0.1]:80", Why::Loopback),
            ("[64:ff9b::a9fe:a9fe]:80", Why::LinkLocal),
            ("[2002:7f00:1::]:80", Why::Loopback),
        ] {
            assert_eq!(check(&guard, address), Err(why), "{address}");
        }
        for address in
            ["10.0.0.1:80", "192.168.1.1:443", "93.184.216.34:443", "[2001:db8::1]:443", "[fd00::1]:80"]
        {
            assert_eq!(check(&guard, address), Ok(()), "{address}");
        }
    }

    #[test]
    fn an_operator_allows_what_he_names_and_nothing_else() {
        let allowed = ["127.0.0.1:9000", "169.254.170.0/24", "[::1]:9000", "10.1.0.0/16:9901"];
        let guard = Guard::new(allowed.iter().map(|text| text.parse().expect(text)).collect(), &[]);
        for address in
            ["127.0.0.1:9000", "169.254.170.2:80", "[::1]:9000", "[::ffff:127.0.0.1]:9000", "10.1.2.3:9901"]
        {
            assert_eq!(check(&guard, address), Ok(()), "{address}");
        }
        for address in ["127.0.0.1:9001", "127.0.0.2:9000", "169.254.169.254:80", "[::1]:80", "10.2.0.1:9901"]
        {
            assert!(check(&guard, address).is_err(), "{address}");
        }
    }

    #[test]
    fn what_names_no_addresses_is_refused() {
        for text in [
            "",
            "localhost",
            "127.0.0.1:",
            "127.0.0.1:99999",
            "10.0.0.0/33",
            "fd00::/129",
            "[::1",
            "1.2.3.4/x",
        ] {
            assert!(text.parse::<Allowed>().is_err(), "{text}");
        }
        assert!("fd00::/8".parse::<Allowed>().is_ok());
        assert!("0.0.0.0/0".parse::<Allowed>().is_ok_and(|all| all.covers([8, 8, 8, 8].into(), 1)));
    }
}
