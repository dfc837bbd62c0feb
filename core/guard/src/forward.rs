//! Forward-auth: another service is asked whether a request may go on.
//!
//! It gets the request's head, without body, and says yes with any 2xx. What it answers otherwise goes to the caller as it is:
//! a redirect to its page of sign-in, a 401, a 403. An answer of any other kind, or none, is a refusal of ours: nobody is let
//! in because the service that decides is away.

use crate::Identity;
use crate::call::{Answer, Call};
use crate::identity::{Means, is_alike};

/// Headers that the service's word may bring.
pub const HEADERS_MAX: usize = 32;

/// Whom to ask, and what to take from the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the question goes.
    pub url: String,
    /// Headers (lower case) of the request that go along; `cookie` and `authorization` unless told otherwise.
    pub send: Vec<String>,
    /// Headers (lower case) of the answer that are set on the request; taken off before, whoever sent them.
    pub take: Vec<String>,
    /// The header of the answer that names the caller; its value is the identity's subject.
    pub subject: Option<String>,
}

/// The head that is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub method: &'a str,
    pub scheme: &'a str,
    pub host: &'a str,
    /// Path and query in the form in which rules were applied and services see them: a decision about another spelling would
    /// be one about another request.
    pub target: &'a str,
    /// The client's address.
    pub address: &'a str,
}

/// What becomes of the request.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It goes on, with these headers set, and the identity that was told.
    Allow { set: Vec<(String, Vec<u8>)>, identity: Option<Identity> },
    /// The caller gets this answer.
    Answer(Answer),
    /// The service is away or speaks nonsense: 503.
    Fail,
}

/// What of the service's answer a caller may see.
const PASSED_ON: &[&str] =
    &["location", "www-authenticate", "content-type", "set-cookie", "cache-control", "retry-after"];

impl Settings {
    /// The question; `header` finds a header of the request, all of its lines as one.
    pub fn call(&self, asked: &Asked<'_>, header: impl Fn(&str) -> Option<Vec<u8>>) -> Call {
        let mut call = Call { method: "GET", url: self.url.clone(), headers: Vec::new(), body: Vec::new() };
        for (name, value) in [
            ("x-forwarded-method", asked.method),
            ("x-forwarded-proto", asked.scheme),
            ("x-forwarded-host", asked.host),
            ("x-forwarded-uri", asked.target),
            ("x-forwarded-for", asked.address),
        ] {
            call.headers.push((name.to_owned(), value.to_owned()));
        }
        for name in &self.send {
            if let Some(value) = header(name).and_then(|value| String::from_utf8(value).ok()) {
                call.headers.push((name.clone(), value));
            }
        }
        call
    }

    /// Whether a header of the request is one that only the service may set, in any spelling that a program takes for it.
    pub fn is_taken(&self, name: &str) -> bool {
        self.take.iter().chain(&self.subject).any(|own| is_alike(name, own))
    }

    /// What the answer means; `None` when there is none.
    pub fn judge(&self, answer: Option<Answer>) -> Verdict {
        let Some(answer) = answer else { return Verdict::Fail };
        match answer.status {
            200..=299 => {
                let subject = self.subject.as_ref().and_then(|name| answer.header(name));
                let subject =
                    subject.and_then(|value| std::str::from_utf8(value).ok()).filter(|s| !s.is_empty());
                let identity = subject.map(|subject| Identity {
                    subject: subject.to_owned(),
                    issuer: self.url.clone(),
                    by: Means::Forwarded,
                    claims: serde_json::Map::new(),
                });
                if self.subject.is_some() && identity.is_none() {
                    return Verdict::Fail;
                }
                let taken = answer.headers.iter().filter(|(name, _)| self.take.contains(name));
                Verdict::Allow { set: taken.take(HEADERS_MAX).cloned().collect(), identity }
            }
            301 | 302 | 303 | 307 | 308 | 401 | 403 | 429 => {
                let mut answer = answer;
                answer.headers.retain(|(name, _)| PASSED_ON.contains(&name.as_str()));
                Verdict::Answer(answer)
            }
            _ => Verdict::Fail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            url: "http://127.0.0.1:9/check".into(),
            send: vec!["cookie".into(), "authorization".into()],
            take: vec!["x-user".into(), "x-role".into()],
            subject: Some("x-user".into()),
        }
    }

    fn answer(status: u16, headers: &[(&str, &str)]) -> Answer {
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect();
        Answer { status, headers, body: Vec::new() }
    }

    #[test]
    fn the_question_is_the_head_and_no_more() {
        let asked = Asked {
            method: "POST",
            scheme: "https",
            host: "a.example",
            target: "/x?y",
            address: "192.0.2.1",
        };
        let call = settings().call(&asked, |name| (name == "cookie").then(|| b"s=1".to_vec()));
        assert!(call.body.is_empty() && call.method == "GET");
        assert!(call.headers.contains(&("cookie".into(), "s=1".into())));
        assert!(call.headers.contains(&("x-forwarded-uri".into(), "/x?y".into())));
        assert!(!call.headers.iter().any(|(name, _)| name == "authorization"));
    }

    #[test]
    fn yes_brings_only_what_was_asked_for() {
        let said = answer(
            200,
            &[("x-user", "ann"), ("x-role", "admin"), ("x-other", "no"), ("content-length", "0")],
        );
        let Verdict::Allow { set, identity } = settings().judge(Some(said)) else { panic!("it said yes") };
        assert_eq!(set, [("x-user".to_owned(), b"ann".to_vec()), ("x-role".to_owned(), b"admin".to_vec())]);
        assert_eq!(identity.expect("somebody").subject, "ann");
    }

    #[test]
    fn away_or_nonsense_lets_nobody_in() {
        assert_eq!(settings().judge(None), Verdict::Fail);
        for status in [100, 300, 304, 404, 500, 502, 503] {
            assert_eq!(settings().judge(Some(answer(status, &[]))), Verdict::Fail, "{status}");
        }
        assert_eq!(settings().judge(Some(answer(200, &[]))), Verdict::Fail, "yes, and to whom?");
    }

    #[test]
    fn no_is_passed_on_without_what_is_between_us() {
        let said =
            answer(302, &[("location", "https://id.example/"), ("x-user", "ann"), ("connection", "x")]);
        let Verdict::Answer(passed) = settings().judge(Some(said)) else { panic!("it said no") };
        assert_eq!(passed.headers, [("location".to_owned(), b"https://id.example/".to_vec())]);
    }

    #[test]
    fn an_alias_of_a_header_that_the_service_sets_is_taken_off() {
        for name in ["x-user", "X-User", "x_user", "X_ROLE", "x.user", "X~Role"] {
            assert!(settings().is_taken(name), "{name}");
        }
        assert!(!settings().is_taken("x-users"));
    }
}
