//! Packets: which are questions, and what is said to those that are not.
//!
//! | packet | answer |
//! |---|---|
//! | shorter than a header, or an answer itself | none: an answer to it could go round for ever |
//! | an operation other than QUERY | NOTIMP (RFC 1035 section 4.1.1) |
//! | unreadable: truncated, pointers in circles, not one question, two OPT records | FORMERR |
//! | EDNS of another version than 0 | BADVERS (RFC 6891 section 6.1.3) |
//! | a zone transfer, a class other than IN | REFUSED |
//! | the meta types of old (MAILA, MAILB, TKEY, …) | NOTIMP |

use hickory_proto::op::{Edns, Message, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType};

use crate::answer::UDP_BYTES_MAX;

/// Bytes of a packet's header.
const HEADER_BYTES: usize = 12;

/// A question that can be answered.
#[derive(Clone, Debug)]
pub struct Question {
    pub id: u16,
    /// As it was written, upper and lower case, because the answer repeats it.
    pub name: Name,
    /// In lower case, without a final dot; the root is empty.
    pub text: String,
    pub kind: RecordType,
    /// IN, but for questions that are refused.
    pub class: DNSClass,
    pub recursion_desired: bool,
    /// Bytes of an answer that the asker takes by UDP, if it speaks EDNS.
    pub payload: Option<u16>,
}

/// What a packet is.
#[derive(Clone, Debug)]
pub enum Received {
    Question(Question),
    /// Not to be answered from what is known, with the answer; never longer than the packet, but for 11 bytes of EDNS.
    Refused(Vec<u8>),
    /// Not to be answered at all.
    Nothing,
}

/// Reads a packet.
pub fn receive(packet: &[u8]) -> Received {
    let Some(header) = packet.first_chunk::<HEADER_BYTES>() else { return Received::Nothing };
    let is_answer = header[2] & 0x80 != 0;
    if is_answer {
        return Received::Nothing;
    }
    let op_code = OpCode::from_u8(header[2] >> 3 & 0x0f);
    if op_code != OpCode::Query {
        return Received::Refused(bare(header, ResponseCode::NotImp));
    }
    if header[4..6] != [0, 1] {
        return Received::Refused(bare(header, ResponseCode::FormErr));
    }
    let Ok(message) = Message::from_vec(packet) else {
        return Received::Refused(bare(header, ResponseCode::FormErr));
    };
    let [query] = message.queries.as_slice() else {
        return Received::Refused(bare(header, ResponseCode::FormErr));
    };
    let question = Question {
        id: message.metadata.id,
        text: text(query.name()),
        name: query.name().clone(),
        kind: query.query_type(),
        class: query.query_class(),
        recursion_desired: message.metadata.recursion_desired,
        payload: message.edns.as_ref().map(Edns::max_payload),
    };
    if message.edns.as_ref().is_some_and(|edns| edns.version() != 0) {
        return Received::Refused(question.refusal(ResponseCode::BADVERS));
    }
    let refused = match (question.kind, query.query_class()) {
        (RecordType::AXFR | RecordType::IXFR, _) => ResponseCode::Refused,
        (_, class) if class != DNSClass::IN => ResponseCode::Refused,
        (RecordType::OPT | RecordType::TSIG | RecordType::ZERO, _) => ResponseCode::FormErr,
        // The rest of the meta types: TKEY, MAILB, MAILA. (RFC 6895 section 3.1.)
        (kind, _) if matches!(u16::from(kind), 249 | 253 | 254) => ResponseCode::NotImp,
        _ => return Received::Question(question),
    };
    Received::Refused(question.refusal(refused))
}

/// A name in lower case, without its final dot.
pub fn text(name: &Name) -> String {
    let mut text = name.to_ascii();
    text.make_ascii_lowercase();
    if text.ends_with('.') {
        text.pop();
    }
    text
}

/// A header alone.
fn bare(header: &[u8; HEADER_BYTES], code: ResponseCode) -> Vec<u8> {
    let recursion_desired = header[2] & 0x01;
    let op_code = header[2] & 0x78;
    let mut packet = vec![0; HEADER_BYTES];
    packet[..2].copy_from_slice(&header[..2]);
    packet[2] = 0x80 | op_code | recursion_desired;
    packet[3] = code.low();
    packet
}

impl Question {
    /// Bytes that an answer by UDP may have. (RFC 6891 section 6.2.3; the DNS flag day of 2020 for the bound.)
    pub fn udp_bytes(&self) -> usize {
        const PLAIN: usize = 512;
        self.payload.map_or(PLAIN, |payload| usize::from(payload).clamp(PLAIN, UDP_BYTES_MAX))
    }

    /// An answer without content.
    pub fn refusal(&self, code: ResponseCode) -> Vec<u8> {
        crate::answer::encode(self, &crate::Answer::of_code(code), UDP_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::Query;

    fn packet(edit: impl FnOnce(&mut Message)) -> Vec<u8> {
        let mut message = Message::query();
        message.metadata.id = 7;
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii("WeB.shop.local.").expect("a name"), RecordType::A));
        edit(&mut message);
        message.to_vec().expect("it can be written")
    }

    /// The code of the answer; `None` for a question or for no answer.
    fn refused(packet: &[u8]) -> Option<ResponseCode> {
        let Received::Refused(answer) = receive(packet) else { return None };
        assert!(answer.len() <= packet.len() + 11, "nothing is amplified");
        let message = Message::from_vec(&answer).expect("an answer can be read");
        assert_eq!(message.metadata.id, u16::from_be_bytes([packet[0], packet[1]]));
        Some(message.metadata.response_code)
    }

    #[test]
    fn a_question_is_read_as_it_was_written() {
        let Received::Question(question) = receive(&packet(|_| {})) else { panic!("a question") };
        assert_eq!((question.text.as_str(), question.kind), ("web.shop.local", RecordType::A));
        assert_eq!(question.name.to_ascii(), "WeB.shop.local.");
        assert_eq!(question.udp_bytes(), 512);
        let with = |payload| {
            packet(|message| {
                let mut edns = Edns::new();
                edns.set_max_payload(payload);
                message.set_edns(edns);
            })
        };
        for (payload, bytes) in [(0, 512), (600, 600), (4096, 1232), (65535, 1232)] {
            let Received::Question(question) = receive(&with(payload)) else { panic!("a question") };
            assert_eq!(question.udp_bytes(), bytes, "{payload}");
        }
    }

    #[test]
    fn everything_else_is_answered_by_the_rfcs_or_not_at_all() {
        use ResponseCode::{BADVERS, FormErr, NotImp, Refused};
        let good = packet(|_| {});
        let mut other = good.clone();
        other[2] |= 0x80;
        assert!(matches!(receive(&other), Received::Nothing), "an answer");
        assert!(matches!(receive(&good[..11]), Received::Nothing), "half a header");
        for length in HEADER_BYTES..good.len() {
            assert_eq!(refused(&good[..length]), Some(FormErr), "cut at {length}");
        }
        for op_code in [1, 2, 4, 5, 6, 9, 15] {
            let mut other = good.clone();
            other[2] = op_code << 3;
            assert_eq!(refused(&other), Some(NotImp), "operation {op_code}");
        }
        let kind = |kind: u16| {
            packet(|message| {
                message.queries[0].set_query_type(RecordType::from(kind));
            })
        };
        for (number, code) in
            [(252, Refused), (251, Refused), (253, NotImp), (254, NotImp), (249, NotImp), (41, FormErr)]
        {
            assert_eq!(refused(&kind(number)), Some(code), "type {number}");
        }
        for class in [3, 4, 255, 254, 0x7777] {
            let other = packet(|message| {
                message.queries[0].set_query_class(DNSClass::from(class));
            });
            assert_eq!(refused(&other), Some(Refused), "class {class}");
        }
        let none = packet(|message| message.queries.clear());
        let two = packet(|message| {
            let query = message.queries[0].clone();
            message.add_query(query);
        });
        assert_eq!((refused(&none), refused(&two)), (Some(FormErr), Some(FormErr)));
        let version = packet(|message| {
            let mut edns = Edns::new();
            edns.set_version(1);
            message.set_edns(edns);
        });
        let Received::Refused(answer) = receive(&version) else { panic!("refused") };
        let answer = Message::from_vec(&answer).expect("an answer can be read");
        // The number has two names.
        assert_eq!(u16::from(answer.metadata.response_code), u16::from(BADVERS));
        assert_eq!(answer.version(), 0, "it says which version is spoken");
    }

    #[test]
    fn pointers_in_circles_and_names_too_long_are_unreadable() {
        let header = |rest: &[u8]| [&[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], rest].concat();
        let mut long = Vec::new();
        for _ in 0..5 {
            long.push(63);
            long.extend([b'x'; 63]);
        }
        long.extend([0, 0, 1, 0, 1]);
        for (what, rest) in [
            ("a pointer to itself", &b"\xc0\x0c\x00\x01\x00\x01"[..]),
            ("two pointers to each other", b"\xc0\x0e\xc0\x0c\x00\x01\x00\x01"),
            ("a pointer beyond the end", b"\xc0\xff\x00\x01\x00\x01"),
            ("a label and a pointer before it", b"\x01a\xc0\x0c\x00\x01\x00\x01"),
            ("a reserved label type", b"\x80\x00\x01\x00\x01"),
            ("a label beyond the end", b"\x3fabc\x00\x00\x01\x00\x01"),
            ("more than 255 bytes", &long),
        ] {
            assert_eq!(refused(&header(rest)), Some(ResponseCode::FormErr), "{what}");
        }
    }
}
