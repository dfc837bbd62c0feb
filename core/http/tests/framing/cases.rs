//! The rows of `requests.txt`. Other crates' tests take this file in by its path: one list for the codec, for our
//! proxy over real sockets, and for the real Envoy.

/// A request, and what becomes of it.
pub(crate) struct Case {
    /// Line in the file, for messages.
    pub(crate) line: usize,
    pub(crate) bytes: Vec<u8>,
    pub(crate) ours: Outcome,
    pub(crate) envoy: Outcome,
}

/// What a proxy does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is forwarded.
    Pass,
    /// It is answered so, and nothing behind the proxy sees it whole.
    Refused(u16),
    /// More bytes are awaited.
    Waits,
}

/// Every row.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut reason = false;
    for (index, text) in include_str!("requests.txt").lines().enumerate() {
        let line = index + 1;
        reason |= text.starts_with("> ");
        if text.starts_with(['#', '>']) {
            continue;
        }
        let Some((outcomes, bytes)) = text.split_once(" | ") else { continue };
        let (ours, envoy) = match outcomes.split_once(" / ") {
            Some((ours, envoy)) => (outcome(ours), outcome(envoy)),
            None => (outcome(outcomes), outcome(outcomes)),
        };
        assert!(ours == envoy || reason, "line {line}: a difference without a reason");
        reason &= ours != envoy;
        cases.push(Case { line, bytes: unescape(bytes), ours, envoy });
    }
    assert!(cases.iter().filter(|case| case.ours == case.envoy).count() >= 100, "the list has shrunk");
    cases
}

fn outcome(text: &str) -> Outcome {
    match text {
        "pass" => Outcome::Pass,
        "wait" => Outcome::Waits,
        status => Outcome::Refused(status.parse().expect("a status")),
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let mut len = first.len_utf8();
        match first {
            '\\' => {
                len = 2;
                match &rest[1..2] {
                    "r" => bytes.push(b'\r'),
                    "n" => bytes.push(b'\n'),
                    "t" => bytes.push(b'\t'),
                    "0" => bytes.push(0),
                    "\\" => bytes.push(b'\\'),
                    "x" => {
                        bytes.push(u8::from_str_radix(&rest[2..4], 16).expect("two digits"));
                        len = 4;
                    }
                    other => panic!("\\{other}"),
                }
            }
            '{' => {
                let end = rest.find('}').expect("a closing brace");
                let (part, times) = rest[1..end].rsplit_once('*').expect("a star");
                bytes.extend(unescape(part).repeat(times.parse().expect("a number")));
                len = end + 1;
            }
            _ => bytes.extend_from_slice(&rest.as_bytes()[..len]),
        }
        rest = &rest[len..];
    }
    bytes
}
