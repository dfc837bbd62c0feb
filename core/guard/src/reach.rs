//! What an edge may connect to when it calls somebody whom a configuration or, worse, an answer named.
//!
//! A name is resolved and the *addresses* are judged, those that are connected to and not those of another look-up, so that a
//! name whose addresses change between two look-ups gains nothing. Redirects are never followed.

use std::net::{IpAddr, Ipv6Addr};

use crate::address::{self, Why};

/// Where calls may go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Hosts that an operator wrote into the configuration: their addresses may be of this machine.
    named: Vec<String>,
    /// Whether answers need no TLS, being signed themselves.
    plain: bool,
}

/// A URL taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub tls: bool,
    /// Lower case; an IPv6 address without brackets.
    pub host: String,
    pub port: u16,
    /// Host and port as they stand in the URL.
    pub authority: String,
    /// Path and query, never empty.
    pub path: String,
}

/// Why a call is not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{0:?} is no URL of http or https with a host")]
    Url(String),
    #[error("{0:?} is not https")]
    Plain(String),
}

impl Reach {
    /// With the hosts of URLs that an operator wrote. Only a host that is plainly of this machine, `localhost` or one of its
    /// addresses, opens this machine; any other name that leads here is refused all the same.
    pub fn of_operator<'a>(urls: impl IntoIterator<Item = &'a str>) -> Self {
        let host = |url: &str| Target::parse(url).ok().map(|target| target.host);
        let is_here = |host: &String| {
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        };
        Self { named: urls.into_iter().filter_map(host).filter(is_here).collect(), plain: false }
    }

    /// Anybody outside of this machine, with TLS or without: for answers that prove themselves by a signature.
    pub fn of_signed_answers() -> Self {
        Self { named: Vec::new(), plain: true }
    }

    /// Whether `target` may be called at all: with TLS, or on this machine because an operator said so.
    ///
    /// # Errors
    /// When it is neither.
    pub fn check(&self, target: &Target) -> Result<(), Refusal> {
        if target.tls || self.plain || self.named.contains(&target.host) {
            Ok(())
        } else {
            Err(Refusal::Plain(format!("http://{}", target.authority)))
        }
    }

    /// Whether an address that `host` leads to may be connected to.
    ///
    /// # Errors
    /// When it is of this machine or its neighbourhood, unless an operator named that very host.
    pub fn check_address(&self, host: &str, address: IpAddr) -> Result<(), Why> {
        let here = address.to_canonical().is_loopback() && self.named.iter().any(|named| named == host);
        match address::judge(address) {
            Err(why) if !here => Err(why),
            _ => Ok(()),
        }
    }
}

impl Target {
    /// Takes a URL apart: scheme, host, port, path and query. Neither user nor fragment may be in it.
    ///
    /// # Errors
    /// When it is none of http or https.
    pub fn parse(url: &str) -> Result<Self, Refusal> {
        Self::parts(url).ok_or_else(|| Refusal::Url(url.chars().take(256).collect()))
    }

    fn parts(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        if url.bytes().any(|byte| byte <= b' ' || byte >= 0x7f || b"\\<>\"#`{}|^".contains(&byte)) {
            return None;
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']')?;
                host.parse::<Ipv6Addr>().ok()?;
                let port = if after.is_empty() { None } else { Some(after.strip_prefix(':')?) };
                (host, port)
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let port = match port {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
            Some(_) => return None,
            None if tls => 443,
            None => 80,
        };
        let is_host =
            !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b));
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        is_host.then(|| Self {
            tls,
            host: host.to_ascii_lowercase(),
            port,
            authority: authority.to_owned(),
            path,
        })
    }

    /// Scheme, host and port, to compare.
    pub fn origin(&self) -> (bool, &str, u16) {
        (self.tls, &self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(reach: &Reach, host: &str, address: &str) -> bool {
        reach.check_address(host, address.parse().expect("an address")).is_ok()
    }

    #[test]
    fn a_name_that_leads_inside_is_not_followed() {
        let reach = Reach::of_operator(["https://issuer.example"]);
        for address in ["127.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "fd00:ec2::254"] {
            assert!(!may(&reach, "issuer.example", address), "{address}");
        }
        for address in ["192.0.2.7", "10.1.2.3", "2001:db8::1", "fd12::1"] {
            assert!(may(&reach, "issuer.example", address), "{address}");
        }
    }

    #[test]
    fn only_a_host_that_is_plainly_here_opens_this_machine() {
        let reach = Reach::of_operator([
            "http://localhost:3000/x",
            "http://127.0.0.1:9",
            "https://rebinding.example",
        ]);
        assert!(may(&reach, "localhost", "127.0.0.1") && may(&reach, "127.0.0.1", "127.0.0.1"));
        assert!(!may(&reach, "rebinding.example", "127.0.0.1"));
        assert!(!may(&reach, "localhost", "169.254.169.254"), "this machine and not its neighbourhood");
        let check = |url: &str| reach.check(&Target::parse(url).expect("a URL"));
        assert_eq!(check("http://localhost:9999/keys"), Ok(()));
        assert_eq!(check("https://other.example/keys"), Ok(()));
        assert!(check("http://other.example/keys").is_err());
        let signed = Reach::of_signed_answers();
        assert_eq!(signed.check(&Target::parse("http://ocsp.example/").expect("a URL")), Ok(()));
        assert!(!may(&signed, "localhost", "127.0.0.1"), "this machine is not asked on a certificate's word");
    }

    #[test]
    fn urls_are_taken_apart_in_one_way() {
        let parsed = Target::parse("https://Issuer.example/a?b=c").expect("a URL");
        assert_eq!(parsed.origin(), (true, "issuer.example", 443));
        assert_eq!((parsed.path.as_str(), parsed.authority.as_str()), ("/a?b=c", "Issuer.example"));
        let parsed = Target::parse("http://[::1]:8080").expect("a URL");
        assert_eq!((parsed.origin(), parsed.path.as_str()), ((false, "::1", 8080), "/"));
        assert_eq!(Target::parse("https://a?x").expect("a URL").path, "/?x");
        for url in [
            "",
            "https://",
            "file:///etc/passwd",
            "gopher://a/",
            "https://user@host/",
            "https://a\\@b/",
            "https://a/\r\nx: y",
            "https://a:/",
            "https://a:99999/",
            "https://a:+1/",
            "https://a#b",
            "https://[::1",
            "https://[a]/",
            "https://é/",
        ] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }
}
