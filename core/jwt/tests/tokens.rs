//! Tokens of every algorithm, and what attackers make of them.

use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
    RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use proptest::prelude::*;
use selvedge_jwt::{KeySet, Refusal, TOKEN_BYTES_MAX, Token};
use serde_json::{Value, json};

const CLAIMS: &str =
    r#"{"iss":"me","sub":"ann","aud":["a","b"],"exp":2000,"nbf":1000,"deep":{"er":7},"a.b":1}"#;

fn unsigned(header: &Value, claims: &str) -> String {
    format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims))
}

fn token(header: &Value, claims: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let unsigned = unsigned(header, claims);
    let signature = sign(unsigned.as_bytes());
    format!("{unsigned}.{}", B64.encode(signature))
}

fn keys(keys: &[Value]) -> KeySet {
    KeySet::parse(&json!({ "keys": keys }).to_string()).expect("keys that can be used")
}

fn verify(keys: &KeySet, text: &str) -> Result<(), Refusal> {
    keys.verify(&Token::parse(text)?)
}

struct Rsa(RsaKeyPair);

impl Rsa {
    fn new() -> Self {
        Self(RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"))
    }

    fn jwk(&self) -> Value {
        // RSAPublicKey in DER: a sequence of the modulus (with a zero in front) and 65537.
        let der = self.0.public_key().as_ref();
        json!({"kty": "RSA", "kid": "rsa", "n": B64.encode(&der[9..9 + 256]), "e": "AQAB"})
    }

    fn sign(&self, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0.sign(encoding, &SystemRandom::new(), message, &mut signature).expect("a signature");
        signature
    }
}

fn ec(algorithm: &'static EcdsaSigningAlgorithm, curve: &str) -> (EcdsaKeyPair, Value) {
    let pair = EcdsaKeyPair::generate(algorithm).expect("a key");
    let point = pair.public_key().as_ref()[1..].to_vec();
    let (x, y) = point.split_at(point.len() / 2);
    let jwk = json!({"kty": "EC", "crv": curve, "x": B64.encode(x), "y": B64.encode(y)});
    (pair, jwk)
}

#[test]
fn every_algorithm_is_checked_and_a_changed_token_is_refused() {
    let random = SystemRandom::new();
    let rsa = Rsa::new();
    let mut made: Vec<(String, KeySet)> = Vec::new();
    let encodings: [(&str, &'static dyn RsaEncoding); 6] = [
        ("RS256", &RSA_PKCS1_SHA256),
        ("RS384", &RSA_PKCS1_SHA384),
        ("RS512", &RSA_PKCS1_SHA512),
        ("PS256", &RSA_PSS_SHA256),
        ("PS384", &RSA_PSS_SHA384),
        ("PS512", &RSA_PSS_SHA512),
    ];
    for (alg, encoding) in encodings {
        let text = token(&json!({"alg": alg, "kid": "rsa"}), CLAIMS, |message| rsa.sign(encoding, message));
        made.push((text, keys(&[rsa.jwk()])));
    }
    for (alg, curve, algorithm) in [
        ("ES256", "P-256", &ECDSA_P256_SHA256_FIXED_SIGNING),
        ("ES384", "P-384", &ECDSA_P384_SHA384_FIXED_SIGNING),
        ("ES512", "P-521", &ECDSA_P521_SHA512_FIXED_SIGNING),
    ] {
        let (pair, jwk) = ec(algorithm, curve);
        let sign = |message: &[u8]| pair.sign(&random, message).expect("a signature").as_ref().to_vec();
        made.push((token(&json!({"alg": alg}), CLAIMS, sign), keys(&[jwk])));
    }
    let pair = Ed25519KeyPair::generate().expect("a key");
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": B64.encode(pair.public_key().as_ref())});
    let sign = |message: &[u8]| pair.sign(message).as_ref().to_vec();
    made.push((token(&json!({"alg": "EdDSA"}), CLAIMS, sign), keys(&[jwk])));
    for (alg, digest) in
        [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)]
    {
        let secret = b"a secret of some length";
        let sign = |message: &[u8]| hmac::sign(&hmac::Key::new(digest, secret), message).as_ref().to_vec();
        let jwk = json!({"kty": "oct", "k": B64.encode(secret)});
        made.push((token(&json!({ "alg": alg }), CLAIMS, sign), keys(&[jwk])));
    }
    for (text, keys) in &made {
        assert_eq!(verify(keys, text), Ok(()), "{text}");
        let (unsigned, signature) = text.rsplit_once('.').expect("three parts");
        let (header, _) = unsigned.split_once('.').expect("two parts");
        let forged = format!("{header}.{}.{signature}", B64.encode(CLAIMS.replace("ann", "root")));
        assert_eq!(verify(keys, &forged), Err(Refusal::VerificationFails), "{text}");
        let other = format!("{unsigned}.c2ln");
        assert_eq!(verify(keys, &other), Err(Refusal::VerificationFails), "{text}");
        assert_eq!(verify(keys, &format!("{unsigned}.")), Err(Refusal::BadFormat), "{text}");
    }
    let (first, _) = &made[0];
    assert_eq!(verify(&keys(&[Rsa::new().jwk()]), first), Err(Refusal::VerificationFails), "another's key");
}

#[test]
fn none_is_no_algorithm_in_any_case() {
    for alg in ["none", "None", "NONE", "nOnE", "", "rs256", "HS1"] {
        let text = format!("{}.c2ln", unsigned(&json!({ "alg": alg }), CLAIMS));
        assert_eq!(Token::parse(&text), Err(Refusal::HeaderAlgUnknown), "{alg}");
    }
    let text = format!("{}.c2ln", unsigned(&json!({"typ": "JWT"}), CLAIMS));
    assert_eq!(Token::parse(&text), Err(Refusal::HeaderAlg));
}

/// A public key is no secret: whoever signs with it as if it were must not get in.
#[test]
fn a_public_key_is_not_taken_for_a_secret() {
    let rsa = Rsa::new();
    let jwk = rsa.jwk();
    let public = [
        jwk.to_string(),
        jwk["n"].as_str().expect("text").to_owned(),
        String::from_utf8_lossy(&B64.decode(jwk["n"].as_str().expect("text")).expect("bytes")).into_owned(),
    ];
    for secret in public {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let sign = |message: &[u8]| hmac::sign(&key, message).as_ref().to_vec();
        let text = token(&json!({"alg": "HS256", "kid": "rsa"}), CLAIMS, sign);
        assert_eq!(verify(&keys(std::slice::from_ref(&jwk)), &text), Err(Refusal::VerificationFails));
    }
}

#[test]
fn a_key_is_good_for_what_it_says_and_a_key_id_is_only_compared() {
    let rsa = Rsa::new();
    let sign = |header: Value| token(&header, CLAIMS, |message| rsa.sign(&RSA_PKCS1_SHA256, message));
    let with = |name: &str, value: &str| {
        let mut jwk = rsa.jwk();
        jwk[name] = value.into();
        keys(&[jwk])
    };
    assert_eq!(verify(&with("alg", "RS256"), &sign(json!({"alg": "RS256"}))), Ok(()));
    assert_eq!(verify(&with("alg", "RS512"), &sign(json!({"alg": "RS256"}))), Err(Refusal::NoKeyMatches));
    assert_eq!(
        verify(&with("kid", "x"), &sign(json!({"alg": "RS256"}))),
        Ok(()),
        "a token without one fits any"
    );
    for kid in ["../../../../dev/null", "' or 1=1 --", "x\u{0}", "RSA", "http://evil/keys"] {
        let text = sign(json!({"alg": "RS256", "kid": kid, "jku": "http://evil/", "x5u": "http://evil/"}));
        assert_eq!(verify(&keys(&[rsa.jwk()]), &text), Err(Refusal::NoKeyMatches), "{kid}");
    }
    let text = sign(json!({"alg": "RS256", "kid": 7}));
    assert_eq!(Token::parse(&text), Err(Refusal::HeaderKid));
    // A key that the token brings along is nobody's.
    let own = json!({"alg": "RS256", "jwk": rsa.jwk()});
    assert_eq!(verify(&keys(&[Rsa::new().jwk()]), &sign(own)), Err(Refusal::VerificationFails));
    let critical = sign(json!({"alg": "RS256", "crit": ["exp"], "exp": 1}));
    assert_eq!(Token::parse(&critical), Err(Refusal::HeaderCrit));
    assert_eq!(
        KeySet::parse(&json!({"keys": [{"kty": "RSA", "use": "enc"}]}).to_string()).err(),
        Some(Refusal::NoValidKeys)
    );
}

#[test]
fn a_malformed_token_is_refused_in_envoys_words() {
    let h = B64.encode(r#"{"alg":"RS256"}"#);
    for (text, words) in [
        ("", "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"),
        ("a.b", "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"),
        ("a.b.c.d", "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"),
        ("!!.b.c", "Jwt header is an invalid Base64url encoded"),
        ("YWI.b.c", "Jwt header is an invalid JSON"),
        (&format!("{h}.!!.c"), "Jwt payload is an invalid Base64url encoded"),
        (&format!("{h}.YWI.c"), "Jwt payload is an invalid JSON"),
        (&format!("{h}.{}.!!", B64.encode("{}")), "Jwt signature is an invalid Base64url encoded"),
        (&format!("{h}.{}.c2ln", B64.encode(r#"{"iss":1}"#)), "Jwt payload [iss] field is not a string"),
        (
            &format!("{h}.{}.c2ln", B64.encode(r#"{"exp":"soon"}"#)),
            "Jwt payload [exp] field is not an integer or is out of range",
        ),
        (
            &format!("{h}.{}.c2ln", B64.encode(r#"{"aud":[1]}"#)),
            "Jwt payload [aud] field is not a string or string list",
        ),
    ] {
        assert_eq!(Token::parse(text).expect_err("no token").to_string(), words, "{text}");
    }
    let long = format!("{h}.{}.c2ln", B64.encode(vec![b' '; TOKEN_BYTES_MAX]));
    assert_eq!(Token::parse(&long), Err(Refusal::BadFormat));
    let deep = B64.encode("[".repeat(4000));
    assert_eq!(Token::parse(&format!("{h}.{deep}.c2ln")), Err(Refusal::PayloadJson));
}

#[test]
fn times_are_judged_with_a_skew_at_either_end() {
    let text = format!("{}.c2ln", unsigned(&json!({"alg": "ES256"}), CLAIMS));
    let token = Token::parse(&text).expect("a token");
    let skew = Duration::from_secs(60);
    for (now, expected) in
        [(939, Err(Refusal::NotYetValid)), (940, Ok(())), (2060, Ok(())), (2061, Err(Refusal::Expired))]
    {
        assert_eq!(token.check_times(now, skew), expected, "{now}");
    }
    assert_eq!(token.claim("deep.er"), Some(&json!(7)));
    assert_eq!(token.claim("a.b"), Some(&json!(1)));
    assert_eq!(token.claim("deep.er.still"), None);
}

#[test]
fn a_set_without_a_key_that_can_be_used_is_refused() {
    for (text, refusal) in [
        ("", Refusal::KeysJson),
        ("[]", Refusal::KeysJson),
        ("{}", Refusal::KeysMissing),
        (r#"{"keys":1}"#, Refusal::KeysNotAList),
        (r#"{"keys":[]}"#, Refusal::NoValidKeys),
        (r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}"#, Refusal::NoValidKeys),
        (r#"{"keys":[{"kty":"oct","k":""}]}"#, Refusal::NoValidKeys),
        (r#"{"keys":[{"kty":"oct","k":"YWI","alg":"none"}]}"#, Refusal::NoValidKeys),
    ] {
        assert_eq!(KeySet::parse(text).err(), Some(refusal), "{text}");
    }
}

proptest! {
    #[test]
    fn garbage_never_panics_and_never_verifies(text in "[A-Za-z0-9_.-]{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let keys = keys(&[json!({"kty": "oct", "k": "c2VjcmV0"})]);
        prop_assert!(verify(&keys, &text).is_err());
        let header = B64.encode(r#"{"alg":"HS256"}"#);
        let text = format!("{header}.{}.{}", B64.encode(&bytes), B64.encode(&bytes));
        prop_assert!(verify(&keys, &text).is_err());
        let _ = KeySet::parse(&String::from_utf8_lossy(&bytes));
    }

    /// One changed byte anywhere, and the token is no token of ours.
    #[test]
    fn a_single_changed_byte_is_noticed(at in any::<prop::sample::Index>(), by in 1u8..=63) {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
        let text = token(&json!({"alg": "HS256"}), CLAIMS, |message| hmac::sign(&key, message).as_ref().to_vec());
        let keys = keys(&[json!({"kty": "oct", "k": "c2VjcmV0"})]);
        prop_assert_eq!(verify(&keys, &text), Ok(()));
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        if let Some(position) = ALPHABET.iter().position(|byte| *byte == bytes[at]) {
            bytes[at] = ALPHABET[(position + usize::from(by)) % 64];
            let changed = String::from_utf8(bytes).expect("text");
            prop_assert!(verify(&keys, &changed).is_err());
        }
    }
}
