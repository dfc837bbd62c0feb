//! Hashed passwords as htpasswd files hold them.

use base64::Engine as _;
use md5::{Digest as _, Md5};
use sha1::Sha1;

/// The longest password that is hashed: some hashes take time by its length.
pub(crate) const PASSWORD_BYTES_MAX: usize = 1024;
/// The most rounds that a hash may ask for: a file of users must not stall the server.
const ROUNDS_MAX: u64 = 5_000_000;
/// The most work of a bcrypt hash.
const BCRYPT_COST_MAX: u32 = 15;

/// Whether a password has this hash.
pub(super) fn matches(stored: &str, password: &str) -> bool {
    if password.len() > PASSWORD_BYTES_MAX {
        return false;
    }
    let same = |made: &str| {
        aws_lc_rs::constant_time::verify_slices_are_equal(made.as_bytes(), stored.as_bytes()).is_ok()
    };
    if stored.starts_with("{SHA}") {
        let digest = base64::engine::general_purpose::STANDARD.encode(Sha1::digest(password));
        return same(&format!("{{SHA}}{digest}"));
    }
    if let Some(salt) = stored.strip_prefix("$apr1$").and_then(|rest| rest.split('$').next()) {
        return same(&apr1(password, salt));
    }
    if is_too_dear(stored) {
        tracing::warn!("a hash of a password asks for too much work");
        return false;
    }
    pwhash::unix::verify(password, stored)
}

fn is_too_dear(stored: &str) -> bool {
    if stored.starts_with("$2") {
        let cost = stored.split('$').nth(2).and_then(|cost| cost.parse::<u32>().ok());
        return cost.is_none_or(|cost| cost > BCRYPT_COST_MAX);
    }
    let rounds = stored.split('$').nth(2).and_then(|part| part.strip_prefix("rounds="));
    rounds.is_some_and(|rounds| rounds.parse::<u64>().map_or(true, |rounds| rounds > ROUNDS_MAX))
}

/// Apache's variant of MD5-crypt.
fn apr1(password: &str, salt: &str) -> String {
    const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let salt = salt.get(..salt.len().min(8)).unwrap_or_default();
    let (word, salt_bytes) = (password.as_bytes(), salt.as_bytes());
    let digest_of = |parts: &[&[u8]]| {
        let mut digest = Md5::new();
        parts.iter().for_each(|part| digest.update(part));
        digest.finalize()
    };
    let inner = digest_of(&[word, salt_bytes, word]);
    let mut outer: Vec<u8> = [word, &b"$apr1$"[..], salt_bytes].concat();
    for start in (0..word.len()).step_by(16) {
        outer.extend_from_slice(&inner[..(word.len() - start).min(16)]);
    }
    let mut bits = word.len();
    while bits > 0 {
        outer.push(if bits & 1 == 1 { 0 } else { word[0] });
        bits >>= 1;
    }
    let mut digest = digest_of(&[&outer]);
    for round in 0..1000 {
        let before = digest;
        let (first, last): (&[u8], &[u8]) = if round % 2 == 1 { (word, &before) } else { (&before, word) };
        let salted = if round % 3 != 0 { salt_bytes } else { &[] };
        let worded = if round % 7 != 0 { word } else { &[] };
        digest = digest_of(&[first, salted, worded, last]);
    }
    let mut out = format!("$apr1${salt}$");
    let mut push = |value: u32, count: u32| {
        for place in 0..count {
            out.push(char::from(ALPHABET[(value >> (6 * place)) as usize & 63]));
        }
    };
    let at = |index: usize| u32::from(digest[index]);
    for (a, b, c) in [(0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5)] {
        push(at(a) << 16 | at(b) << 8 | at(c), 4);
    }
    push(at(11), 2);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_hash() {
        for (stored, password) in [
            ("12tMnfw882VDQ", "des"),
            ("$1$md5$kIa7Juuiv8zja0ILQPR36/", "md5"),
            ("{SHA}2PRZAyDhNDqRW2OUFwZQqPNdaSY=", "sha"),
            ("$apr1$w2kLqmDN$uMe8ZCfMRT81wf43Y1hny0", "apr-md5"),
            ("$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC", "myPassword"),
            ("$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5", "Hello world!"),
            (
                "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
                "Hello world!",
            ),
        ] {
            assert!(matches(stored, password), "{stored}");
            assert!(!matches(stored, &format!("{password}x")) || stored.starts_with("12"), "{stored}");
            assert!(!matches(stored, ""), "{stored}");
        }
        assert!(!matches("", "") && !matches("plain", "plain") && !matches("$9$x", "x"));
        assert!(!matches("$6$rounds=999999999$salt$x", "x") && !matches("$2y$31$abc", "x"));
    }
}
