//! The codec on every request of `framing/requests.txt`, however its bytes are cut.

#[path = "framing/cases.rs"]
mod cases;

use cases::Outcome;
use selvedge_http::chunked::Decoder;
use selvedge_http::framing::Framing;
use selvedge_http::head::RequestHead;
use selvedge_http::parse::{self, RequestError};
use selvedge_http::refusal::{self, Admission, Refusal};
use selvedge_http::scan::Scanner;

/// What comes of a request whose bytes arrive `piece` at a time.
fn outcome(bytes: &[u8], piece: usize) -> Outcome {
    match read(bytes, piece) {
        Ok(true) => Outcome::Pass,
        Ok(false) => Outcome::Waits,
        Err(refusal) => Outcome::Refused(refusal.status),
    }
}

fn read(bytes: &[u8], piece: usize) -> Result<bool, Refusal> {
    let (mut scanner, mut head) = (Scanner::default(), RequestHead::default());
    let mut arrived = 0;
    let (len, facts) = loop {
        if arrived == bytes.len() {
            return Ok(false);
        }
        arrived = (arrived + piece).min(bytes.len());
        let parsed = parse::request(&mut scanner, &bytes[..arrived], &mut head, parse::Dialect::ENVOY);
        if let Some(parsed) = parsed.map_err(|error| error.refusal())? {
            break parsed;
        }
    };
    refusal::admit(&mut head, Admission::default())?;
    let mut at = len;
    match facts.framing {
        Framing::None | Framing::UntilClose => Ok(true),
        Framing::Length(length) => Ok((bytes.len() - at) as u64 >= length),
        Framing::Chunked => {
            let mut decoder = Decoder::default();
            arrived = arrived.max(at);
            loop {
                let step =
                    decoder.step(&bytes[at..arrived]).map_err(|error| RequestError::from(error).refusal())?;
                at += step.skip + step.content;
                decoder.take(step.content);
                match step {
                    step if step.end => return Ok(true),
                    step if step.content > 0 => {}
                    _ if arrived == bytes.len() => return Ok(false),
                    _ => arrived = (arrived + piece).min(bytes.len()),
                }
            }
        }
    }
}

#[test]
fn each_request_has_one_reading() {
    let cases = cases::all();
    let mut wrong = Vec::new();
    for case in &cases {
        let pieces =
            if case.bytes.len() > 2000 { [case.bytes.len(), 1000, 333] } else { [case.bytes.len(), 1, 7] };
        for piece in pieces {
            let found = outcome(&case.bytes, piece);
            if found != case.ours {
                let shown: String = case.bytes.escape_ascii().to_string().chars().take(120).collect();
                wrong.push(format!(
                    "line {} by {piece}: {found:?} and not {:?}: {shown}",
                    case.line, case.ours
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
