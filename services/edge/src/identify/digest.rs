//! Digest (RFC 7616).

use std::sync::PoisonError;
use std::time::{SystemTime, UNIX_EPOCH};

use md5::{Digest as _, Md5};
use selvedge_guard::nonce::Nonce;
use selvedge_site::directive::{Algorithm, AuthRequirement};
use sha2::{Sha256, Sha512_256};

use super::{Checked, files};
use crate::request::{Exchange, Response};

/// The parameters of an `Authorization` field.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parameters {
    username: Option<String>,
    realm: Option<String>,
    nonce: Option<String>,
    uri: Option<String>,
    algorithm: Option<String>,
    qop: Option<String>,
    cnonce: Option<String>,
    nc: Option<String>,
    response: Option<String>,
    userhash: bool,
}

pub(super) fn check(x: &mut Exchange<'_>, requirement: &AuthRequirement) -> Checked {
    let refuse = |stale: bool| Checked::Refused(challenge(x, requirement, stale));
    let malformed = || Checked::Refused(Response::status(400));
    // A name in Latin-1, as some clients write it, is nobody's, and no fault of the request.
    let Some(value) = x.head.fields.named("authorization").map(String::from_utf8_lossy) else {
        return refuse(false);
    };
    let Some((scheme, rest)) = value.split_once(' ') else { return malformed() };
    if !scheme.eq_ignore_ascii_case("digest") {
        return refuse(false);
    }
    let given = parse(rest);
    let (Some(username), Some(realm), Some(nonce), Some(uri), Some(response)) =
        (&given.username, &given.realm, &given.nonce, &given.uri, &given.response)
    else {
        return malformed();
    };
    if given.qop.is_some() && (given.nc.is_none() || given.cnonce.is_none()) {
        return malformed();
    }
    let Ok(count) = given.nc.as_deref().map(count).transpose() else { return malformed() };
    let name = given.algorithm.as_deref().unwrap_or("MD5").to_ascii_lowercase();
    let session = name.ends_with("-sess");
    if session && given.cnonce.is_none() {
        return malformed();
    }
    let algorithm = match name.trim_end_matches("-sess") {
        "md5" => Algorithm::Md5,
        "sha-256" => Algorithm::Sha256,
        "sha-512-256" => Algorithm::Sha512_256,
        _ => return refuse(false),
    };
    // What was signed must be what is asked for.
    if *uri != x.target_original && *uri != x.target.text {
        return malformed();
    }
    if !requirement.algorithms.contains(&algorithm) || **realm != *requirement.realm || given.userhash {
        return refuse(false);
    }
    let store = files::Store::of(&x.conf.auth);
    // Whoever guesses makes a new connection for each guess.
    let guessed = || Checked::Refused(challenge(x, requirement, false).closing());
    let Some(mut secret) = store.digest_secret(username, realm, |text| hash(algorithm, text)) else {
        return guessed();
    };
    let cnonce = given.cnonce.as_deref().unwrap_or_default();
    if session {
        secret = hash(algorithm, &format!("{secret}:{nonce}:{cnonce}"));
    }
    let method = x.method_original.as_deref().unwrap_or_else(|| x.head.method());
    let request = hash(algorithm, &format!("{method}:{uri}"));
    let expected = match (&given.qop, &given.nc) {
        (Some(qop), Some(nc)) if qop.eq_ignore_ascii_case("auth") => {
            hash(algorithm, &format!("{secret}:{nonce}:{nc}:{cnonce}:{qop}:{request}"))
        }
        // A body that is part of the digest is not offered, nor is anything else.
        (Some(qop), _) if qop.eq_ignore_ascii_case("auth-int") => return malformed(),
        (Some(_), _) => return refuse(false),
        (None, _) => hash(algorithm, &format!("{secret}:{nonce}:{request}")),
    };
    let given_digest = response.to_ascii_lowercase();
    if !is_same(expected.as_bytes(), given_digest.as_bytes()) {
        tracing::info!(user = username, client = %x.remote, path = x.path(), "a digest does not match");
        x.worker.shared.stats.unauthorized.add(1);
        return guessed();
    }
    match first_use(x, requirement, nonce, count.filter(|_| given.qop.is_some())) {
        true => Checked::User(username.clone()),
        false => Checked::Refused(challenge(x, requirement, true)),
    }
}

/// Whether a nonce is ours and has not been used so often. A request that goes through the rules again is the same use.
fn first_use(x: &mut Exchange<'_>, requirement: &AuthRequirement, nonce: &str, count: Option<u32>) -> bool {
    if x.nonce_taken {
        return true;
    }
    let Some(ours) = read(nonce, &key(x, requirement)) else { return false };
    let mut nonces = x.worker.shared.nonces.lock().unwrap_or_else(PoisonError::into_inner);
    x.nonce_taken = nonces.take(ours, count, now_ms(x.begun_at));
    x.nonce_taken
}

pub(super) fn challenge(x: &Exchange<'_>, requirement: &AuthRequirement, stale: bool) -> Response {
    let mut response = Response::status(401);
    let made = Nonce { made_ms: now_ms(x.begun_at), number: x.worker.random() };
    let nonce = shown(made, &key(x, requirement));
    let realm = requirement.realm.replace('\\', "\\\\").replace('"', "\\\"");
    let stale = if stale { ", stale=true" } else { "" };
    for algorithm in &requirement.algorithms {
        let name = match algorithm {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
            Algorithm::Sha512_256 => "SHA-512-256",
        };
        let value = format!(
            "Digest realm=\"{realm}\", charset=\"UTF-8\", algorithm={name}, nonce=\"{nonce}\", qop=\"auth\"{stale}"
        );
        response = response.field("www-authenticate", &value);
    }
    response
}

fn is_same(left: &[u8], right: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(left, right).is_ok()
}

/// Milliseconds since 1970.
pub(crate) fn now_ms(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn key(x: &Exchange<'_>, requirement: &AuthRequirement) -> Vec<u8> {
    match &requirement.nonce_secret {
        Some(secret) => secret.as_bytes().to_vec(),
        None => x.worker.shared.secret.to_vec(),
    }
}

/// A nonce as clients see it: what it is, and a proof that we made it.
fn shown(nonce: Nonce, key: &[u8]) -> String {
    let text = format!("{:x}-{:016x}", nonce.made_ms, nonce.number);
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key);
    let tag = aws_lc_rs::hmac::sign(&key, text.as_bytes());
    format!("{text}:{}", hex(&tag.as_ref()[..16]))
}

/// The nonce that a client shows, if we made it.
fn read(given: &str, key: &[u8]) -> Option<Nonce> {
    let (made, number) = given.split_once(':')?.0.split_once('-')?;
    let made_ms = u64::from_str_radix(made, 16).ok()?;
    let nonce = Nonce { made_ms, number: u64::from_str_radix(number, 16).ok()? };
    is_same(shown(nonce, key).as_bytes(), given.as_bytes()).then_some(nonce)
}

/// `nc`: eight hexadecimal digits.
fn count(text: &str) -> Result<u32, ()> {
    let is_count = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_count { u32::from_str_radix(text, 16).map_err(drop) } else { Err(()) }
}

fn hash(algorithm: Algorithm, text: &str) -> String {
    match algorithm {
        Algorithm::Md5 => hex(&Md5::digest(text)),
        Algorithm::Sha256 => hex(&Sha256::digest(text)),
        Algorithm::Sha512_256 => hex(&Sha512_256::digest(text)),
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads `name=value` pairs, quoted or not; what cannot be read is passed over.
fn parse(text: &str) -> Parameters {
    let mut parameters = Parameters::default();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let Some((name, after)) = rest.split_once('=') else { return parameters };
        let (value, after) = value(after.trim_start_matches([' ', '\t']));
        rest = after;
        let place = match name.trim().to_ascii_lowercase().as_str() {
            "username" => &mut parameters.username,
            "realm" => &mut parameters.realm,
            "nonce" => &mut parameters.nonce,
            "uri" => &mut parameters.uri,
            "algorithm" => &mut parameters.algorithm,
            "qop" => &mut parameters.qop,
            "cnonce" => &mut parameters.cnonce,
            "nc" => &mut parameters.nc,
            "response" => &mut parameters.response,
            "userhash" => {
                parameters.userhash = value.eq_ignore_ascii_case("true");
                continue;
            }
            _ => continue,
        };
        *place = Some(value);
    }
}

/// A value and what follows it.
fn value(text: &str) -> (String, &str) {
    let Some(inside) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let (mut out, mut escaped) = (String::new(), false);
    for (at, char) in inside.char_indices() {
        match char {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return (out, &inside[at + 1..]),
            char => {
                out.push(char);
                escaped = false;
            }
        }
    }
    (out, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_with_and_without_quotes_and_blanks() {
        let text = "username = \"j\\\"a\", realm=\"d a\",\tnonce=\"n\", uri=\"/x,y\", qop=auth, \
                    nc=00000001 , cnonce=\"c\", response=\"r\"  ";
        let some = |text: &str| Some(text.to_owned());
        let expected = Parameters {
            username: some("j\"a"),
            realm: some("d a"),
            nonce: some("n"),
            uri: some("/x,y"),
            qop: some("auth"),
            nc: some("00000001"),
            cnonce: some("c"),
            response: some("r"),
            ..Parameters::default()
        };
        assert_eq!(parse(text), expected);
        assert_eq!(parse("nothing"), Parameters::default());
        assert_eq!(parse("uri=\"open").uri, some("open"));
    }

    /// RFC 7616 §3.9.1.
    #[test]
    fn the_digests_of_the_standard() {
        for (algorithm, expected) in [
            (Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
            (Algorithm::Sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let secret = hash(algorithm, "Mufasa:http-auth@example.org:Circle of Life");
            let request = hash(algorithm, "GET:/dir/index.html");
            let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
            let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
            assert_eq!(
                hash(algorithm, &format!("{secret}:{nonce}:00000001:{cnonce}:auth:{request}")),
                expected
            );
        }
    }

    #[test]
    fn a_nonce_is_ours() {
        let nonce = Nonce { made_ms: 1_800_000_000_123, number: 9 };
        let text = shown(nonce, b"key");
        assert_eq!((read(&text, b"key"), read(&text, b"other")), (Some(nonce), None));
        for other in [text.to_uppercase(), format!("0{text}"), text.replacen('9', "8", 1), String::new()] {
            assert_eq!(read(&other, b"key"), None, "{other}");
        }
        assert_eq!(read("b3b26457000000003a9b34a3cd56d26e48a52a498ac9765d4b", b"key"), None);
    }

    #[test]
    fn counts_are_eight_digits() {
        assert_eq!([count("00000001"), count("ffffFFFF")], [Ok(1), Ok(u32::MAX)]);
        for text in ["", "1", "+0000001", "0000000g", "000000001"] {
            assert_eq!(count(text), Err(()), "{text}");
        }
    }
}
