//! Subject alternative names, and the rules by which one will do.

use std::net::IpAddr;

use selvedge_traffic::matching::TextCondition;
use selvedge_traffic::tls::{NameKind, NameMatch};

use crate::certificate::CertificateInvalid;

/// The subject alternative names of one certificate, each sort in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub uris: Vec<String>,
    pub dns: Vec<String>,
    pub emails: Vec<String>,
    pub ips: Vec<IpAddr>,
    /// How many more there are, of sorts that no rule speaks of.
    pub others: usize,
}

impl Names {
    /// Whether a rule takes one of the names.
    pub fn satisfy(&self, rule: &NameMatch) -> bool {
        match rule.kind {
            NameKind::Uri => self.uris.iter().any(|uri| rule.text.takes(uri)),
            NameKind::Email => self.emails.iter().any(|email| rule.text.takes(email)),
            NameKind::Ip => self.ips.iter().any(|ip| rule.text.takes(&ip.to_string())),
            NameKind::Dns => self.dns.iter().any(|dns| match &rule.text.condition {
                TextCondition::Exact(wanted) => dns_matches(wanted, dns),
                _ => rule.text.takes(dns),
            }),
        }
    }

    /// All of them, in a line: DNS names, URIs, e-mail addresses, addresses.
    pub fn line(&self) -> String {
        let ips = self.ips.iter().map(IpAddr::to_string);
        let texts = self.dns.iter().chain(&self.uris).chain(&self.emails).cloned().chain(ips);
        texts.collect::<Vec<_>>().join(", ")
    }
}

/// Whether a certificate's DNS name, which may begin with `*.`, stands for a host name (RFC 6125 §6.4): letters match in
/// either case, the asterisk is exactly one label.
pub fn dns_matches(host: &str, presented: &str) -> bool {
    if host.eq_ignore_ascii_case(presented) {
        return true;
    }
    let Some(parent) = presented.strip_prefix("*.") else { return false };
    let Some((label, rest)) = host.split_once('.') else { return false };
    !label.is_empty() && !parent.is_empty() && rest.eq_ignore_ascii_case(parent)
}

/// A name without anything that a comparison could stumble over.
pub(crate) fn clean(text: &str) -> Result<String, CertificateInvalid> {
    match text.bytes().any(|byte| byte.is_ascii_control()) {
        true => Err(CertificateInvalid::NameWithControl),
        false => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use selvedge_traffic::matching::TextMatch;

    use super::*;

    #[test]
    fn an_asterisk_is_one_label() {
        for (host, presented, expected) in [
            ("a.b.c", "a.b.c", true),
            ("A.b.c", "a.B.c", true),
            ("a.b.c", "*.b.c", true),
            ("b.c", "*.b.c", false),
            ("x.a.b.c", "*.b.c", false),
            ("a.b.c", "*", false),
            ("a.b.c", "a*.b.c", false),
            (".b.c", "*.b.c", false),
            ("a.b.c.", "a.b.c", false),
        ] {
            assert_eq!(dns_matches(host, presented), expected, "{host} {presented}");
        }
    }

    #[test]
    fn a_name_of_another_sort_does_not_do() {
        let names = Names {
            uris: vec!["spiffe://m/a".into()],
            dns: vec!["*.b.c".into(), "10.0.0.1".into()],
            ips: vec![IpAddr::from([10, 0, 0, 2])],
            ..Names::default()
        };
        for (kind, text, expected) in [
            (NameKind::Uri, "spiffe://m/a", true),
            (NameKind::Dns, "spiffe://m/a", false),
            (NameKind::Dns, "a.b.c", true),
            (NameKind::Ip, "10.0.0.2", true),
            (NameKind::Ip, "10.0.0.1", false),
            (NameKind::Email, "a.b.c", false),
        ] {
            let rule = NameMatch { kind, text: TextMatch::exact(text) };
            assert_eq!(names.satisfy(&rule), expected, "{kind:?} {text}");
        }
    }
}
