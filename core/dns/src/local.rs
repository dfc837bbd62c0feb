//! What the server knows itself: private namespaces, and the names of virtual services.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, PTR, SOA, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use selvedge_registry::records::{ANSWERS_MAX, Data, Found, Lookup, lookup, names_of};
use selvedge_registry::{RecordType as Kind, Snapshot};

use crate::answer::Answer;
use crate::question::Question;
use crate::reverse;

/// Aliases that are followed for one question.
pub const ALIASES_MAX: usize = 8;

/// Seconds for which the address of a virtual service's name holds.
const NAME_TTL: u32 = 30;

/// What is known of a question.
#[derive(Clone, Debug, PartialEq)]
pub enum Local {
    /// All of it.
    Known(Answer),
    /// Aliases that lead to a name of somebody else's.
    Leads { so_far: Vec<Record>, to: Name },
    /// Nothing: it is somebody else's.
    Elsewhere,
}

/// Names of virtual services, each of which has an address that interception takes: the sidecar knows by the name and the port
/// who is meant, so what the address is does not matter, as long as it is nobody's and not this machine's.
#[derive(Clone, Debug)]
pub struct Names {
    /// How many meshes have the name.
    names: BTreeMap<String, usize>,
    /// Which names have an address.
    addresses: BTreeSet<(IpAddr, String)>,
    block: (Ipv4Addr, u8),
    block_v6: Option<(Ipv6Addr, u8)>,
}

impl Names {
    /// Without names. Addresses come from that block; `bits` from 8 to 30.
    pub fn new(network: Ipv4Addr, bits: u8) -> Self {
        let block = (network, bits.clamp(8, 30));
        Self { names: BTreeMap::new(), addresses: BTreeSet::new(), block, block_v6: None }
    }

    /// Names have an IPv6 address besides, from that block; `bits` from 8 to 112.
    #[must_use]
    pub fn with_v6(mut self, block: Option<(Ipv6Addr, u8)>) -> Self {
        self.block_v6 = block.map(|(network, bits)| (network, bits.clamp(8, 112)));
        self
    }

    pub fn add(&mut self, name: &str) {
        let name = name.to_ascii_lowercase();
        let count = self.names.entry(name.clone()).or_default();
        *count += 1;
        if *count == 1 {
            let addresses: Vec<IpAddr> = self.addresses_of(&name).collect();
            self.addresses.extend(addresses.into_iter().map(|address| (address, name.clone())));
        }
    }

    pub fn remove(&mut self, name: &str) {
        let name = name.to_ascii_lowercase();
        if let Some(count) = self.names.get_mut(&name) {
            *count -= 1;
            if *count == 0 {
                let addresses: Vec<IpAddr> = self.addresses_of(&name).collect();
                self.names.remove(&name);
                for address in addresses {
                    self.addresses.remove(&(address, name.clone()));
                }
            }
        }
    }

    pub fn clear(&mut self) {
        self.names.clear();
        self.addresses.clear();
    }

    /// The address of a name, the same each time; `None` for a name that no virtual service has.
    pub fn address(&self, name: &str) -> Option<Ipv4Addr> {
        if !self.names.contains_key(name) {
            return None;
        }
        // FNV-1a, over the hosts of the block without its first and last address.
        let digest = name
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let (network, bits) = self.block;
        let hosts = (1_u32 << (32 - bits)) - 2;
        let network = network.to_bits() & (u32::MAX << (32 - bits));
        Some(Ipv4Addr::from_bits(network + 1 + digest % hosts))
    }

    /// Its IPv6 address, where there is a block for them.
    pub fn address_v6(&self, name: &str) -> Option<Ipv6Addr> {
        let (network, bits) = self.block_v6?;
        if !self.names.contains_key(name) {
            return None;
        }
        // FNV-1a of 128 bits.
        let digest = name.bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |hash, byte| {
            (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
        });
        let hosts = (1_u128 << (128 - bits)) - 2;
        let network = network.to_bits() & (u128::MAX << (128 - bits));
        Some(Ipv6Addr::from_bits(network + 1 + digest % hosts))
    }

    fn addresses_of(&self, name: &str) -> impl Iterator<Item = IpAddr> {
        let v4 = self.address(name).map(IpAddr::V4);
        v4.into_iter().chain(self.address_v6(name).map(IpAddr::V6))
    }

    /// The names that have an address, in order.
    pub fn names_of(&self, address: IpAddr) -> impl Iterator<Item = &str> {
        self.addresses
            .range((address, String::new())..)
            .take_while(move |(at, _)| *at == address)
            .map(|(_, name)| name.as_str())
    }
}

/// Answers from what is known. `draw`: chance.
pub fn answer(question: &Question, snapshot: &Snapshot, names: &Names, draw: u64) -> Local {
    if question.kind == RecordType::ANY {
        let is_ours = !matches!(lookup(snapshot, &question.text, None, 0), Lookup::Elsewhere)
            || names.address(&question.text).is_some();
        return if is_ours { Local::Known(Answer::to_any(question)) } else { Local::Elsewhere };
    }
    if question.kind == RecordType::PTR
        && let Some(address) = reverse::address(&question.text)
    {
        return pointers(&question.name, address, snapshot, names);
    }
    let (mut name, mut text) = (question.name.clone(), question.text.clone());
    let mut so_far = Vec::new();
    let mut seen = Vec::new();
    loop {
        let step = step(&name, &text, question.kind, snapshot, names, draw);
        let (mut answers, authorities, code) = match step {
            Step::Elsewhere if so_far.is_empty() => return Local::Elsewhere,
            Step::Elsewhere => return Local::Leads { so_far, to: name },
            Step::Alias(record, target) => {
                so_far.push(*record);
                seen.push(text);
                text = target.clone();
                let is_circle = seen.contains(&text) || seen.len() > ALIASES_MAX;
                let Some(next) = parse(&target).filter(|_| !is_circle) else {
                    return Local::Known(Answer::of_code(ResponseCode::ServFail));
                };
                name = next;
                continue;
            }
            Step::Said(answers, authorities, code) => (answers, authorities, code),
        };
        so_far.append(&mut answers);
        let answer = Answer { code, authoritative: true, answers: so_far, authorities };
        return Local::Known(answer);
    }
}

/// What an address is called here; of addresses that are called nothing here others know.
fn pointers(name: &Name, address: IpAddr, snapshot: &Snapshot, names: &Names) -> Local {
    let registered = names_of(snapshot, address);
    let virtual_services = names.names_of(address).map(|name| (name.to_owned(), NAME_TTL));
    let found = registered.into_iter().chain(virtual_services).take(ANSWERS_MAX);
    let answers: Vec<Record> = found
        .filter_map(|(target, ttl)| {
            Some(Record::from_rdata(name.clone(), ttl, RData::PTR(PTR(parse(&target)?))))
        })
        .collect();
    if answers.is_empty() {
        return Local::Elsewhere;
    }
    Local::Known(Answer { authoritative: true, answers, ..Answer::of_code(ResponseCode::NoError) })
}

enum Step {
    Elsewhere,
    /// It is another name, in lower case.
    Alias(Box<Record>, String),
    Said(Vec<Record>, Vec<Record>, ResponseCode),
}

fn step(name: &Name, text: &str, kind: RecordType, snapshot: &Snapshot, names: &Names, draw: u64) -> Step {
    let wanted = match kind {
        RecordType::A => Some(Kind::A),
        RecordType::AAAA => Some(Kind::Aaaa),
        RecordType::CNAME => Some(Kind::Cname),
        RecordType::SRV => Some(Kind::Srv),
        _ => None,
    };
    let named = names.address(text).map(|address| (address, names.address_v6(text)));
    let Lookup::Ours { zone, negative_ttl, found } = lookup(snapshot, text, wanted, draw) else {
        return named.map_or(Step::Elsewhere, |addresses| virtual_service(name, addresses, kind));
    };
    let apex = || parse(&zone).unwrap_or_else(Name::root);
    let soa = || Record::from_rdata(apex(), negative_ttl, RData::SOA(soa(&apex(), negative_ttl)));
    match found {
        // Nobody is registered under it, but a mesh knows whom it means.
        Found::Nothing | Found::NoData if named.is_some() => {
            named.map_or(Step::Elsewhere, |addresses| virtual_service(name, addresses, kind))
        }
        Found::NoData if text == zone && kind == RecordType::SOA => {
            Step::Said(vec![soa()], Vec::new(), ResponseCode::NoError)
        }
        Found::NoData => Step::Said(Vec::new(), vec![soa()], ResponseCode::NoError),
        Found::Nothing => Step::Said(Vec::new(), vec![soa()], ResponseCode::NXDomain),
        Found::Records(records) => {
            let alias = records.first().and_then(|record| match &record.data {
                Data::Cname(target) if kind != RecordType::CNAME => Some((record.ttl, target.clone())),
                _ => None,
            });
            if let Some((ttl, target)) = alias {
                let data = RData::CNAME(CNAME(parse(&target).unwrap_or_else(Name::root)));
                return Step::Alias(Box::new(Record::from_rdata(name.clone(), ttl, data)), target);
            }
            let made = records
                .into_iter()
                .filter_map(|record| Some(Record::from_rdata(name.clone(), record.ttl, data(record.data)?)));
            Step::Said(made.collect(), Vec::new(), ResponseCode::NoError)
        }
    }
}

fn virtual_service(name: &Name, (v4, v6): (Ipv4Addr, Option<Ipv6Addr>), kind: RecordType) -> Step {
    let data = match kind {
        RecordType::A => Some(RData::A(A(v4))),
        RecordType::AAAA => v6.map(|v6| RData::AAAA(AAAA(v6))),
        _ => None,
    };
    let answers = data.map(|data| Record::from_rdata(name.clone(), NAME_TTL, data));
    Step::Said(answers.into_iter().collect(), Vec::new(), ResponseCode::NoError)
}

fn data(data: Data) -> Option<RData> {
    Some(match data {
        Data::A(ip) => RData::A(A(ip)),
        Data::Aaaa(ip) => RData::AAAA(AAAA(ip)),
        Data::Cname(target) => RData::CNAME(CNAME(parse(&target)?)),
        Data::Srv { port, target } => RData::SRV(SRV::new(1, 1, port, parse(&target)?)),
    })
}

fn soa(zone: &Name, negative_ttl: u32) -> SOA {
    const REFRESH: i32 = 7_200;
    const RETRY: i32 = 900;
    const EXPIRE: i32 = 1_209_600;
    let below = |label: &str| {
        Name::from_str(label).and_then(|name| name.append_domain(zone)).unwrap_or_else(|_| zone.clone())
    };
    SOA::new(below("ns"), below("hostmaster"), 1, REFRESH, RETRY, EXPIRE, negative_ttl)
}

/// A name from lower-case text without a final dot.
fn parse(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(text).ok()?;
    name.set_fqdn(true);
    Some(name)
}
