//! Answers about a certificate, made by OpenSSL (`tests/ocsp/make.sh`): which are shown, and which are not.

use selvedge_identity::Certificate;
use selvedge_identity::ocsp::{ANSWER_BYTES_MAX, Question, Status, StatusInvalid};

const LEAF: &[u8] = include_bytes!("ocsp/leaf.der");
const ISSUER: &[u8] = include_bytes!("ocsp/issuer.der");
const GOOD: &[u8] = include_bytes!("ocsp/good.der");
const DAY: i64 = 86_400;

/// When the answers were made.
fn made() -> i64 {
    include_str!("ocsp/this-update").trim().parse().expect("a number")
}

fn question(chain: &[&[u8]]) -> Option<Question> {
    let chain: Vec<Certificate> =
        chain.iter().map(|der| Certificate::read(der).expect("a certificate")).collect();
    Question::of(&chain)
}

fn read(answer: &[u8], now: i64) -> Result<Status, StatusInvalid> {
    question(&[LEAF, ISSUER]).expect("a question").read(answer, now)
}

#[test]
fn the_question_is_the_one_that_openssl_asks() {
    let question = question(&[LEAF, ISSUER]).expect("a question");
    assert_eq!(question.request, include_bytes!("ocsp/request.der"));
    assert_eq!(question.responder.as_deref(), Some("http://ocsp.example/"));
    assert!(question.is_demanded);
}

#[test]
fn a_chain_without_an_issuer_or_without_a_wish_asks_nobody() {
    assert!(question(&[LEAF]).is_none() && question(&[]).is_none());
    let plain = question(&[include_bytes!("ocsp/responder.der"), ISSUER]).expect("a question");
    assert!(plain.responder.is_none() && !plain.is_demanded);
}

#[test]
fn the_issuers_word_and_that_of_whom_it_appointed_are_believed() {
    for answer in [GOOD, include_bytes!("ocsp/by-issuer.der")] {
        let status = read(answer, made() + 1).expect("in force");
        assert_eq!(status.der, answer);
        assert!((status.since - made()).abs() < 60, "{status:?}");
        assert_eq!(status.until - status.since, 7 * DAY);
        assert_eq!(status.ask_again_at() - status.since, 7 * DAY / 2);
    }
    let endless = read(include_bytes!("ocsp/endless.der"), made() + 1).expect("in force");
    assert_eq!(endless.until - endless.since, DAY, "it names no end");
}

#[test]
fn nobody_elses_word_counts() {
    for answer in [&include_bytes!("ocsp/by-pretender.der")[..], include_bytes!("ocsp/by-other.der")] {
        assert_eq!(read(answer, made()), Err(StatusInvalid::Signature));
    }
    let of_another = question(&[LEAF, include_bytes!("ocsp/other.der")]).expect("a question");
    assert_eq!(of_another.read(GOOD, made()), Err(StatusInvalid::Signature));
    let other_leaf = question(&[include_bytes!("ocsp/responder.der"), ISSUER]).expect("a question");
    assert_eq!(other_leaf.read(GOOD, made()), Err(StatusInvalid::OfAnother));
}

#[test]
fn what_is_taken_back_or_unknown_is_not_shown() {
    assert_eq!(read(include_bytes!("ocsp/revoked.der"), made()), Err(StatusInvalid::Revoked));
    assert_eq!(read(include_bytes!("ocsp/unknown.der"), made()), Err(StatusInvalid::Unknown));
}

#[test]
fn an_answer_has_its_time() {
    // The issuer's own: of an appointed one's certificate too much would be in the future.
    assert_eq!(read(include_bytes!("ocsp/by-issuer.der"), made() - DAY), Err(StatusInvalid::Early));
    assert!(read(GOOD, made() + 7 * DAY - 60).is_ok());
    assert_eq!(read(GOOD, made() + 7 * DAY + 60), Err(StatusInvalid::Late));
}

#[test]
fn no_bytes_but_the_answers_own_are_an_answer() {
    for at in 0..GOOD.len() {
        assert!(read(&GOOD[..at], made() + 1).is_err(), "cut at {at}");
        let mut turned = GOOD.to_vec();
        turned[at] ^= 0x40;
        // Certificates that come with it are not signed by it, and a name or an extension there may be anything.
        if let Ok(status) = read(&turned, made() + 1) {
            assert_eq!((status.until - status.since) / DAY, 7, "turned at {at}");
        }
    }
    assert_eq!(read(&vec![0x30; ANSWER_BYTES_MAX + 1], 0), Err(StatusInvalid::TooLong));
    let try_later = [0x30, 0x03, 0x0a, 0x01, 0x03];
    assert_eq!(read(&try_later, 0), Err(StatusInvalid::Unsaid("try later")));
}
