//! Which virtual host a request belongs to: by its authority, not in the order of the list.

use std::borrow::Cow;
use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::VirtualHost;

/// Domains of a route table, indexed. Exact names come first, then the longest suffix (`*.example.com`), then the
/// longest prefix (`example.*`), then `*`. Names are compared in lower case; a `*` stands for at least one character.
#[derive(Clone, Debug, Default)]
pub struct HostIndex {
    /// With a cheap hash: keys are configured, and what a stranger sends is only looked up.
    exact: HashMap<Box<str>, usize, FixedState>,
    /// Longest first.
    suffixes: Vec<(Box<str>, usize)>,
    /// Longest first.
    prefixes: Vec<(Box<str>, usize)>,
    any: Option<usize>,
    ignore_port: bool,
}

/// Two virtual hosts of a table claim the same domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the domain {domain:?} is claimed by the virtual hosts {first:?} and {second:?}")]
pub struct DomainTaken {
    pub domain: String,
    pub first: String,
    pub second: String,
}

impl HostIndex {
    /// Indexes `hosts`; the index answers with positions in this slice.
    ///
    /// # Errors
    /// When a domain stands twice.
    pub fn new(hosts: &[VirtualHost], ignore_port: bool) -> Result<Self, DomainTaken> {
        let mut index = Self { ignore_port, ..Self::default() };
        for (position, host) in hosts.iter().enumerate() {
            for domain in &host.domains {
                let taken = |first: usize| DomainTaken {
                    domain: domain.clone(),
                    first: hosts[first].name.clone(),
                    second: host.name.clone(),
                };
                index.insert(&domain.to_ascii_lowercase(), position).map_err(taken)?;
            }
        }
        index.suffixes.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        index.prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Ok(index)
    }

    fn insert(&mut self, domain: &str, position: usize) -> Result<(), usize> {
        if domain == "*" {
            return self.any.replace(position).map_or(Ok(()), Err);
        }
        let list = match (domain.strip_prefix('*'), domain.strip_suffix('*')) {
            (Some(suffix), _) => Some((&mut self.suffixes, suffix)),
            (None, Some(prefix)) => Some((&mut self.prefixes, prefix)),
            (None, None) => None,
        };
        match list {
            Some((list, part)) => match list.iter().find(|(known, _)| &**known == part) {
                Some((_, first)) => Err(*first),
                None => {
                    list.push((part.into(), position));
                    Ok(())
                }
            },
            None => self.exact.insert(domain.into(), position).map_or(Ok(()), Err),
        }
    }

    /// The virtual host's position for a request's authority. Allocates only where the authority has capitals.
    pub fn find(&self, authority: &str) -> Option<usize> {
        let name = if self.ignore_port { without_port(authority) } else { authority };
        if self.exact.is_empty() && self.suffixes.is_empty() && self.prefixes.is_empty() {
            return self.any;
        }
        let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        };
        let longer = |part: &str| name.len() > part.len();
        self.exact
            .get(&*name)
            .or_else(|| find_part(&self.suffixes, |suffix| longer(suffix) && name.ends_with(suffix)))
            .or_else(|| find_part(&self.prefixes, |prefix| longer(prefix) && name.starts_with(prefix)))
            .copied()
            .or(self.any)
    }
}

fn find_part(parts: &[(Box<str>, usize)], takes: impl Fn(&str) -> bool) -> Option<&usize> {
    parts.iter().find(|(part, _)| takes(part)).map(|(_, position)| position)
}

/// The authority without `:port`; an IPv6 address in brackets stays whole.
pub fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(domains: &[&str], ignore_port: bool) -> Result<HostIndex, DomainTaken> {
        let host = |domain: &&str| VirtualHost {
            name: (*domain).to_owned(),
            domains: vec![(*domain).to_owned()],
            ..VirtualHost::default()
        };
        HostIndex::new(&domains.iter().map(host).collect::<Vec<_>>(), ignore_port)
    }

    /// Each row was sent to Envoy 1.40.
    #[test]
    fn authorities_find_the_host_that_envoy_finds() {
        let domains = ["ex.com", "*.ex.com", "*-b.ex.com", "ex.*", "port.com:80", "UPPER.com"];
        let index = index(&domains, false).expect("no domain twice");
        for (authority, domain) in [
            ("ex.com", Some("ex.com")),
            ("EX.com", Some("ex.com")),
            (".ex.com", None),
            ("a.ex.com", Some("*.ex.com")),
            ("a-b.ex.com", Some("*-b.ex.com")),
            ("-b.ex.com", Some("*.ex.com")),
            ("ex.net", Some("ex.*")),
            ("ex.", None),
            ("ex.com:80", Some("ex.*")),
            ("a.ex.com:1", None),
            ("port.com", None),
            ("port.com:80", Some("port.com:80")),
            ("upper.com", Some("UPPER.com")),
            ("other", None),
            ("", None),
        ] {
            assert_eq!(index.find(authority).map(|position| domains[position]), domain, "{authority}");
        }
    }

    #[test]
    fn an_ignored_port_does_not_count() {
        let index = index(&["ex.com", "[::1]"], true).expect("no domain twice");
        for (authority, position) in [
            ("ex.com:8080", Some(0)),
            ("ex.com", Some(0)),
            ("ex.com:", None),
            ("ex.com:x", None),
            ("[::1]:80", Some(1)),
            ("[::1]", Some(1)),
        ] {
            assert_eq!(index.find(authority), position, "{authority}");
        }
    }

    #[test]
    fn the_star_takes_what_is_left() {
        let index = index(&["*", "a.b"], false).expect("no domain twice");
        assert_eq!([index.find("a.b"), index.find("c"), index.find("")], [Some(1), Some(0), Some(0)]);
    }

    #[test]
    fn a_domain_twice_is_refused() {
        for domain in ["a.b", "*.b", "a.*", "*"] {
            assert_eq!(index(&[domain, domain], false).expect_err("twice").domain, domain);
        }
        assert!(index(&["a.b", "A.B"], false).is_err(), "capitals do not make another name");
    }
}
