//! Tokens, and the keys of whoever issued them.

use std::sync::LazyLock;
use std::time::Duration;

use selvedge_jwt::{KEYS_MAX, KeySet, TOKEN_BYTES_MAX, Token};

/// Keys of every kind, none of which has signed what comes.
static KEYS: LazyLock<KeySet> = LazyLock::new(|| {
    KeySet::parse(
        r#"{"keys": [
            {"kty": "oct", "k": "c29tZSBzZWNyZXQgb2YgMzIgYnl0ZXMgb3IgbW9yZSE"},
            {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
            {"kty": "EC", "crv": "P-256",
             "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
             "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}
        ]}"#,
    )
    .expect("a set of keys")
});

/// A token, or a set of keys: whatever comes is refused or understood, and nothing that was not signed is believed.
pub(super) fn token(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(keys) = KeySet::parse(text) {
        let shown = format!("{keys:?}");
        assert!(shown.len() < KEYS_MAX * 1024, "a set is bounded");
    }
    let Ok(token) = Token::parse(text) else { return };
    assert!(text.len() <= TOKEN_BYTES_MAX);
    assert_eq!(Token::parse(text).as_ref(), Ok(&token), "read twice, read alike");
    let (now, skew) = (1_800_000_000, Duration::from_secs(60));
    if token.check_times(now, skew).is_ok() {
        assert!(token.expires_at.is_none_or(|at| at.saturating_add(60) >= now), "an old token");
        assert!(token.not_before.is_none_or(|at| at <= now + 60), "a token of the future");
    }
    assert!(text.starts_with(text.split('.').next().unwrap_or_default()));
    assert!(!token.payload().contains('.'));
    let _ = token.claim("a.b.c");
    // The corpus has tokens that these very keys would have signed, each with one bit changed.
    assert!(KEYS.verify(&token).is_err(), "nobody signed this");
}
