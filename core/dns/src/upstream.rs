//! Asking another server, and believing its answer only when nobody else could have written it.

use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::answer::{Answer, UDP_BYTES_MAX};
use crate::local::ALIASES_MAX;

/// A question to another server.
#[derive(Clone, Debug)]
pub struct Ask {
    id: u16,
    /// With letters in a case that was drawn: whoever answers must repeat it.
    name: Name,
    kind: RecordType,
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Answer(Answer),
    /// It does not fit; it is to be asked for by TCP.
    Truncated,
    /// It is not the answer to this question: somebody may have made it up. The right one may still come.
    Foreign,
    /// The server does not answer such questions.
    Useless,
}

impl Ask {
    /// A question about a name in lower case. `draw`: 64 bits that nobody can foretell; `id` likewise.
    pub fn new(name: &str, kind: RecordType, id: u16, draw: u64) -> Option<Self> {
        let mixed: String = name
            .bytes()
            .enumerate()
            .map(|(index, byte)| match draw >> (index % 64) & 1 {
                1 => byte.to_ascii_uppercase().into(),
                _ => char::from(byte),
            })
            .collect();
        let mut name = Name::from_ascii(&mixed).ok()?;
        name.set_fqdn(true);
        Some(Self { id, name, kind })
    }

    /// The packet.
    pub fn packet(&self) -> Vec<u8> {
        let mut message = Message::query();
        message.metadata.id = self.id;
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(self.name.clone(), self.kind));
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_BYTES_MAX as u16);
        message.set_edns(edns);
        message.to_vec().unwrap_or_default()
    }

    /// Reads what came back. `exact`: the name must be written as it was asked, which by TCP need not be demanded.
    pub fn read(&self, packet: &[u8], exact: bool) -> Reply {
        let Ok(message) = Message::from_vec(packet) else { return Reply::Foreign };
        let is_answer = packet.get(2).is_some_and(|flags| flags & 0x80 != 0);
        let [query] = message.queries.as_slice() else { return Reply::Foreign };
        let is_named = if exact { query.name().eq_case(&self.name) } else { *query.name() == self.name };
        let is_ours =
            is_answer && message.metadata.id == self.id && query.query_type() == self.kind && is_named;
        if !is_ours {
            return Reply::Foreign;
        }
        if message.metadata.truncation {
            return Reply::Truncated;
        }
        match message.metadata.response_code {
            code @ (ResponseCode::NoError | ResponseCode::NXDomain) => {
                let answers = chain(&self.name, self.kind, &message.answers);
                let authorities = message.authorities.into_iter();
                let soa = authorities.filter(|record| matches!(record.data, RData::SOA(_))).take(1);
                let authorities = if answers.last().is_none_or(|last| last.record_type() != self.kind) {
                    soa.collect()
                } else {
                    Vec::new()
                };
                Reply::Answer(Answer { code, authoritative: false, answers, authorities })
            }
            _ => Reply::Useless,
        }
    }
}

/// The records that answer the question: the aliases from its name on, and what they lead to. Whatever else an answer holds is
/// nobody's business.
fn chain(name: &Name, kind: RecordType, records: &[Record]) -> Vec<Record> {
    let mut found = Vec::new();
    let mut at = name.clone();
    for _ in 0..=ALIASES_MAX {
        let here = || records.iter().filter(|record| record.name == at);
        let matching: Vec<Record> = here().filter(|record| record.record_type() == kind).cloned().collect();
        if !matching.is_empty() {
            found.extend(matching);
            return found;
        }
        let alias = here().find_map(|record| match &record.data {
            RData::CNAME(target) => Some((record.clone(), target.0.clone())),
            _ => None,
        });
        let Some((record, target)) = alias else { return found };
        found.push(record);
        at = target;
    }
    // Aliases in circles answer nothing.
    Vec::new()
}

/// Puts the letters of an answer's own name as the asker wrote them.
pub fn restore(answer: &mut Answer, name: &Name) {
    for record in &mut answer.answers {
        if record.name == *name {
            record.name = name.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::rdata::{A, CNAME};
    use std::str::FromStr;

    fn name(text: &str) -> Name {
        Name::from_str(text).expect("a name")
    }

    fn reply(ask: &Ask, edit: impl FnOnce(&mut Message)) -> Vec<u8> {
        let mut message = Message::from_vec(&ask.packet()).expect("our own").into_response();
        edit(&mut message);
        message.to_vec().expect("it can be written")
    }

    fn a(owner: &str) -> Record {
        Record::from_rdata(name(owner), 60, RData::A(A([192, 0, 2, 1].into())))
    }

    fn alias(owner: &str, target: &str) -> Record {
        Record::from_rdata(name(owner), 60, RData::CNAME(CNAME(name(target))))
    }

    #[test]
    fn only_the_answer_to_this_very_question_is_believed() {
        let ask = Ask::new("www.example.com", RecordType::A, 77, 0b1010_1010_1010_1010).expect("a name");
        assert_ne!(ask.name.to_ascii(), "www.example.com.", "the case was drawn");
        assert!(matches!(ask.read(&reply(&ask, |_| {}), true), Reply::Answer(_)));
        type Edit<'a> = &'a dyn Fn(&mut Message);
        let foreign: [(&str, Edit<'_>); 5] = [
            ("another id", &|message| message.metadata.id = 78),
            ("another type", &|message| {
                message.queries[0].set_query_type(RecordType::AAAA);
            }),
            ("another name", &|message| {
                message.queries[0].set_name(name("example.com."));
            }),
            ("another case", &|message| {
                message.queries[0].set_name(name("www.example.com."));
            }),
            ("no question", &|message| message.queries.clear()),
        ];
        for (what, edit) in foreign {
            assert_eq!(ask.read(&reply(&ask, edit), true), Reply::Foreign, "{what}");
        }
        assert_eq!(ask.read(&ask.packet(), true), Reply::Foreign, "the question itself");
        assert_eq!(ask.read(b"nonsense", true), Reply::Foreign);
        let truncated = reply(&ask, |message| message.metadata.truncation = true);
        assert_eq!(ask.read(&truncated, true), Reply::Truncated);
        let failed = reply(&ask, |message| message.metadata.response_code = ResponseCode::ServFail);
        assert_eq!(ask.read(&failed, true), Reply::Useless);
    }

    #[test]
    fn what_was_not_asked_for_is_not_taken() {
        let ask = Ask::new("a.example", RecordType::A, 1, 0).expect("a name");
        let packet = reply(&ask, |message| {
            message.add_answers([
                a("bank.example."),
                alias("a.example.", "b.example."),
                a("b.example."),
                a("c.example."),
            ]);
        });
        let Reply::Answer(answer) = ask.read(&packet, true) else { panic!("an answer") };
        assert_eq!(answer.answers, [alias("a.example.", "b.example."), a("b.example.")]);
        let circle = reply(&ask, |message| {
            message.add_answers([alias("a.example.", "b.example."), alias("b.example.", "a.example.")]);
        });
        let Reply::Answer(answer) = ask.read(&circle, true) else { panic!("an answer") };
        assert_eq!(answer.answers, []);
    }
}
