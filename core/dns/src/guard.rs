//! DNS rebinding: a stranger's name that points at an address of this machine, of its neighbours or of the mesh, so that whoever
//! calls it – a browser, a sidecar – speaks to what only insiders may speak to.
//!
//! Addresses in guarded blocks are taken out of other servers' answers, in whatever way IPv6 writes them, and so are records that
//! hint at them (SVCB, HTTPS). Names below an exempt domain may point anywhere: a company's own servers do.

use std::net::IpAddr;

use hickory_proto::rr::RData;
use hickory_proto::rr::rdata::svcb::{SVCB, SvcParamValue};
use selvedge_registry::address::{Cidr, unmapped};

use crate::answer::Answer;

/// Which addresses no name of others may have.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    blocks: Vec<Cidr>,
    exempt: Vec<String>,
}

impl Guard {
    /// What is guarded unless somebody says otherwise: addresses that mean something else to each who calls them.
    pub const BLOCKS_DEFAULT: [&str; 8] = [
        "0.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "224.0.0.0/4",
        "::/128",
        "::1/128",
        "fe80::/10",
        "ff00::/8",
    ];

    /// `exempt`: domains, with or without a final dot, that may point anywhere.
    pub fn new(blocks: Vec<Cidr>, exempt: impl IntoIterator<Item = String>) -> Self {
        let exempt = exempt.into_iter().map(|name| name.trim_matches('.').to_ascii_lowercase()).collect();
        Self { blocks, exempt }
    }

    /// Takes guarded addresses out of an answer about `name`, in lower case; how many there were.
    pub fn filter(&self, name: &str, answer: &mut Answer) -> usize {
        if self.is_exempt(name) {
            return 0;
        }
        let before = answer.answers.len();
        answer.answers.retain(|record| !self.points_inside(&record.data));
        before - answer.answers.len()
    }

    fn is_exempt(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.');
        self.exempt.iter().any(|domain| {
            name.strip_suffix(domain.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    }

    fn points_inside(&self, data: &RData) -> bool {
        match data {
            RData::A(address) => self.guards(address.0.into()),
            RData::AAAA(address) => self.guards(address.0.into()),
            RData::SVCB(service) => self.hints_inside(service),
            RData::HTTPS(service) => self.hints_inside(&service.0),
            _ => false,
        }
    }

    fn hints_inside(&self, service: &SVCB) -> bool {
        service.svc_params.iter().any(|(_, value)| match value {
            SvcParamValue::Ipv4Hint(hint) => hint.0.iter().any(|address| self.guards(address.0.into())),
            SvcParamValue::Ipv6Hint(hint) => hint.0.iter().any(|address| self.guards(address.0.into())),
            _ => false,
        })
    }

    fn guards(&self, address: IpAddr) -> bool {
        let plain = unmapped(address);
        self.blocks.iter().any(|block| block.contains(address) || block.contains(plain))
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use hickory_proto::op::ResponseCode;
    use hickory_proto::rr::rdata::svcb::{IpHint, SvcParamKey};
    use hickory_proto::rr::rdata::{A, AAAA, CNAME, HTTPS};
    use hickory_proto::rr::{Name, Record};

    use super::*;

    fn guard(more: &[&str], exempt: &[&str]) -> Guard {
        let blocks = Guard::BLOCKS_DEFAULT.iter().chain(more).map(|text| text.parse().expect("a block"));
        Guard::new(blocks.collect(), exempt.iter().map(|name| (*name).to_owned()))
    }

    fn data(address: &str) -> RData {
        match address.parse().expect("an address") {
            IpAddr::V4(ip) => RData::A(A(ip)),
            IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
        }
    }

    fn answer(all: Vec<RData>) -> Answer {
        let name = Name::from_ascii("a.example.").expect("a name");
        let answers = all.into_iter().map(|data| Record::from_rdata(name.clone(), 60, data)).collect();
        Answer { answers, ..Answer::of_code(ResponseCode::NoError) }
    }

    #[test]
    fn no_strangers_name_points_at_this_machine_or_the_mesh() {
        let guard = guard(&["10.20.0.0/16", "240.240.0.0/16"], &["corp.example.", "Printer.Example"]);
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "169.254.169.254",
            "240.240.3.4",
            "10.20.1.1",
            "::1",
            "::",
            "fe80::1",
            "::ffff:127.0.0.1",
            "::ffff:10.20.1.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
        ] {
            let mut given = answer(vec![data(address), data("192.0.2.1")]);
            assert_eq!(guard.filter("a.example", &mut given), 1, "{address}");
            assert_eq!(given, answer(vec![data("192.0.2.1")]), "{address}");
        }
        for address in ["10.0.0.1", "192.168.1.1", "203.0.113.9", "2001:db8::1", "fd00::1"] {
            assert_eq!(guard.filter("a.example", &mut answer(vec![data(address)])), 0, "{address}");
        }
        for (name, is_exempt) in [
            ("corp.example", true),
            ("a.b.corp.example", true),
            ("printer.example", true),
            ("notcorp.example", false),
            ("corp.example.org", false),
        ] {
            let found = guard.filter(name, &mut answer(vec![data("127.0.0.1")]));
            assert_eq!(found == 0, is_exempt, "{name}");
        }
    }

    #[test]
    fn hints_count_as_addresses_and_aliases_do_not() {
        let hint = SvcParamValue::Ipv4Hint(IpHint(vec![A([127, 0, 0, 1].into())]));
        let target = Name::from_str(".").expect("a name");
        let https = RData::HTTPS(HTTPS(SVCB::new(1, target, vec![(SvcParamKey::Ipv4Hint, hint)])));
        let alias = RData::CNAME(CNAME(Name::from_str("b.example.").expect("a name")));
        let mut given = answer(vec![alias.clone(), https]);
        assert_eq!(guard(&[], &[]).filter("a.example", &mut given), 1);
        assert_eq!(given, answer(vec![alias]));
    }
}
