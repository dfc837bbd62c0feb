//! Digest (RFC 7616).

use std::time::UNIX_EPOCH;

use md5::{Digest as _, Md5};
use selvedge_site::directive::{Algorithm, AuthRequirement};
use sha2::{Sha256, Sha512_256};

use super::{Checked, files};
use crate::request::{Exchange, Response};

/// How long a nonce is good for.
const NONCE_SECONDS_MAX: u64 = 600;

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

pub(super) fn check(x: &Exchange<'_>, requirement: &AuthRequirement) -> Checked {
    let refuse = |stale: bool| Checked::Refused(challenge(x, requirement, stale));
    let malformed = || Checked::Refused(Response::status(400));
    let Some(value) = x.header("authorization") else {
        let present = x.head.fields.named("authorization").is_some();
        return if present { malformed() } else { refuse(false) };
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
    let name = given.algorithm.as_deref().unwrap_or("MD5").to_ascii_lowercase();
    let session = name.ends_with("-sess");
    if session && given.cnonce.is_none() {
        return malformed();
    }
    let algorithm = match name.trim_end_matches("-sess") {
        "md5" => Algorithm::Md5,
        "sha-256" => Algorithm::Sha256,
        "sha-512-256" => Algorithm::Sha512_256,
        _ => return malformed(),
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
        // A body that is part of the digest is not offered.
        (Some(_), _) => return malformed(),
        (None, _) => hash(algorithm, &format!("{secret}:{nonce}:{request}")),
    };
    let given_digest = response.to_ascii_lowercase();
    if !is_same(expected.as_bytes(), given_digest.as_bytes()) {
        tracing::info!(user = username, client = %x.remote, path = x.path(), "a digest does not match");
        x.worker.shared.stats.unauthorized.add(1);
        return guessed();
    }
    match is_fresh(nonce, now(x), &key(x, requirement)) {
        true => Checked::User(username.clone()),
        false => refuse(true),
    }
}

pub(super) fn challenge(x: &Exchange<'_>, requirement: &AuthRequirement, stale: bool) -> Response {
    let mut response = Response::status(401);
    let nonce = nonce(now(x), &key(x, requirement));
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

fn now(x: &Exchange<'_>) -> u64 {
    x.begun_at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn key(x: &Exchange<'_>, requirement: &AuthRequirement) -> Vec<u8> {
    match &requirement.nonce_secret {
        Some(secret) => secret.as_bytes().to_vec(),
        None => x.worker.shared.secret.to_vec(),
    }
}

/// The second in which it was made, and a proof that we made it.
fn nonce(second: u64, key: &[u8]) -> String {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key);
    let tag = aws_lc_rs::hmac::sign(&key, &second.to_be_bytes());
    format!("{second:x}:{}", hex(&tag.as_ref()[..16]))
}

fn is_fresh(given: &str, now: u64, key: &[u8]) -> bool {
    let Some((second, _)) = given.split_once(':') else { return false };
    let Ok(second) = u64::from_str_radix(second, 16) else { return false };
    is_same(nonce(second, key).as_bytes(), given.as_bytes())
        && second <= now
        && now - second <= NONCE_SECONDS_MAX
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
    fn a_nonce_is_ours_and_grows_old() {
        let made = nonce(1000, b"key");
        assert!(is_fresh(&made, 1000, b"key") && is_fresh(&made, 1600, b"key"));
        assert!(!is_fresh(&made, 1601, b"key") && !is_fresh(&made, 999, b"key"));
        assert!(!is_fresh(&made, 1000, b"other"));
        assert!(!is_fresh("b3b26457000000003a9b34a3cd56d26e48a52a498ac9765d4b", 1000, b"key"));
    }
}
