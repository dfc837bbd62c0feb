//! What the server knows itself: private namespaces, and the names of virtual services.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::str::FromStr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use selvedge_registry::records::{Data, Found, Lookup, lookup};
use selvedge_registry::{RecordType as Kind, Snapshot};

use crate::answer::Answer;
use crate::question::Question;

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
    network: Ipv4Addr,
    bits: u8,
}

impl Names {
    /// Without names. Addresses come from that block; `bits` from 8 to 30.
    pub fn new(network: Ipv4Addr, bits: u8) -> Self {
        Self { names: BTreeMap::new(), network, bits: bits.clamp(8, 30) }
    }

    pub fn add(&mut self, name: &str) {
        *self.names.entry(name.to_ascii_lowercase()).or_default() += 1;
    }

    pub fn remove(&mut self, name: &str) {
        let name = name.to_ascii_lowercase();
        if let Some(count) = self.names.get_mut(&name) {
            *count -= 1;
            if *count == 0 {
                self.names.remove(&name);
            }
        }
    }

    pub fn clear(&mut self) {
        self.names.clear();
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
        let hosts = (1_u32 << (32 - self.bits)) - 2;
        let network = self.network.to_bits() & (u32::MAX << (32 - self.bits));
        Some(Ipv4Addr::from_bits(network + 1 + digest % hosts))
    }
}

/// Answers from what is known. `draw`: chance.
pub fn answer(question: &Question, snapshot: &Snapshot, names: &Names, draw: u64) -> Local {
    if question.kind == RecordType::ANY {
        let is_ours = !matches!(lookup(snapshot, &question.text, None, 0), Lookup::Elsewhere)
            || names.address(&question.text).is_some();
        return if is_ours { Local::Known(Answer::to_any(question)) } else { Local::Elsewhere };
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
    let named = names.address(text);
    let Lookup::Ours { zone, negative_ttl, found } = lookup(snapshot, text, wanted, draw) else {
        return named.map_or(Step::Elsewhere, |address| virtual_service(name, address, kind));
    };
    let apex = || parse(&zone).unwrap_or_else(Name::root);
    let soa = || Record::from_rdata(apex(), negative_ttl, RData::SOA(soa(&apex(), negative_ttl)));
    match found {
        // Nobody is registered under it, but a mesh knows whom it means.
        Found::Nothing | Found::NoData if named.is_some() => {
            named.map_or(Step::Elsewhere, |address| virtual_service(name, address, kind))
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

fn virtual_service(name: &Name, address: Ipv4Addr, kind: RecordType) -> Step {
    let answers = match kind {
        RecordType::A => vec![Record::from_rdata(name.clone(), NAME_TTL, RData::A(A(address)))],
        _ => Vec::new(),
    };
    Step::Said(answers, Vec::new(), ResponseCode::NoError)
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
