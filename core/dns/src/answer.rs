//! Answers, and how much of one fits.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::RData;
use hickory_proto::rr::rdata::HINFO;

pub use hickory_proto::op::ResponseCode;
pub use hickory_proto::rr::Record;

use crate::question::Question;

/// Bytes of an answer by UDP: what passes every network whole. (DNS flag day 2020.)
pub const UDP_BYTES_MAX: usize = 1232;
/// Bytes of an answer by TCP: what its length field can say.
pub const TCP_BYTES_MAX: usize = 65_535;

/// What is said to a question.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub code: ResponseCode,
    /// It comes from whoever owns the name.
    pub authoritative: bool,
    pub answers: Vec<Record>,
    /// The zone's SOA, when there is nothing.
    pub authorities: Vec<Record>,
}

impl Answer {
    pub fn of_code(code: ResponseCode) -> Self {
        Self { code, authoritative: false, answers: Vec::new(), authorities: Vec::new() }
    }

    /// What is said to a question for everything: nothing of use, in few bytes. (RFC 8482.)
    pub fn to_any(question: &Question) -> Self {
        const TTL: u32 = 3600;
        let data = RData::HINFO(HINFO::new("RFC8482".to_owned(), String::new()));
        let answers = vec![Record::from_rdata(question.name.clone(), TTL, data)];
        Self { answers, ..Self::of_code(ResponseCode::NoError) }
    }
}

/// Writes an answer. One that does not fit says so and holds nothing: the asker comes again by TCP.
pub fn encode(question: &Question, answer: &Answer, bytes_max: usize) -> Vec<u8> {
    let mut message = Message::new(question.id, MessageType::Response, OpCode::Query);
    message.metadata.recursion_desired = question.recursion_desired;
    message.metadata.recursion_available = true;
    message.metadata.authoritative = answer.authoritative;
    message.metadata.response_code = answer.code;
    let mut query = Query::query(question.name.clone(), question.kind);
    query.set_query_class(question.class);
    message.add_query(query);
    if question.payload.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_BYTES_MAX as u16);
        edns.set_rcode_high(answer.code.high());
        message.set_edns(edns);
    }
    let empty = message.clone();
    message.add_answers(answer.answers.iter().cloned());
    message.add_authorities(answer.authorities.iter().cloned());
    match message.to_vec() {
        Ok(packet) if packet.len() <= bytes_max => packet,
        _ => truncated(empty),
    }
}

fn truncated(mut message: Message) -> Vec<u8> {
    message.metadata.truncation = true;
    message.to_vec().unwrap_or_default()
}

/// The answer to somebody who asks too much by UDP: come again by TCP, where an address cannot be made up.
pub fn come_by_tcp(question: &Question) -> Vec<u8> {
    let answer = Answer::of_code(ResponseCode::NoError);
    let mut packet = encode(question, &answer, UDP_BYTES_MAX);
    if let Some(flags) = packet.get_mut(2) {
        *flags |= 0x02;
    }
    packet
}
