//! Bearer tokens (RFC 6750) that are JSON Web Tokens (RFC 7519), after the profile of RFC 9068 and the advice of RFC 8725.

use std::time::Duration;

use selvedge_jwt::{Algorithm, KeySet, Token};

use crate::Identity;
use crate::identity::Means;

/// Audiences that a rule may name.
pub const AUDIENCES_MAX: usize = 32;
/// How far clocks may be apart.
pub const SKEW: Duration = Duration::from_secs(60);

/// Which tokens are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept {
    pub issuer: String,
    /// One of these has to be among the token's; never empty.
    pub audiences: Vec<String>,
}

/// Why a token says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Token(#[from] selvedge_jwt::Refusal),
    /// A shared secret signs it: whoever can check such a token can make one.
    #[error("the token is signed with a shared secret")]
    Symmetric,
    #[error("the token is another issuer's")]
    Issuer,
    #[error("the token is for somebody else")]
    Audience,
    #[error("the token says neither whose it is nor until when")]
    Incomplete,
    #[error("the token was made in the future")]
    FromTheFuture,
}

/// The token of an `Authorization` header, if it is a bearer's.
pub fn token_of(authorization: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(authorization).ok()?;
    let (scheme, token) = text.split_once(' ')?;
    let token = token.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && !token.contains(' ')).then_some(token)
}

impl Accept {
    /// Who the bearer of a token is, at `now` in seconds since 1970.
    ///
    /// # Errors
    /// When the token is not one of those that are taken.
    pub fn check(&self, token: &str, keys: &KeySet, now: u64) -> Result<Identity, Refusal> {
        let token = signed(token, keys)?;
        if token.issuer != self.issuer {
            return Err(Refusal::Issuer);
        }
        if !token.audiences.iter().any(|audience| self.audiences.contains(audience)) {
            return Err(Refusal::Audience);
        }
        check_times(&token, now)?;
        identity(token, Means::Bearer)
    }
}

/// A token whose signature holds, by an algorithm whose checking key cannot sign.
pub(crate) fn signed(text: &str, keys: &KeySet) -> Result<Token, Refusal> {
    let token = Token::parse(text)?;
    if matches!(token.algorithm, Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512) {
        return Err(Refusal::Symmetric);
    }
    keys.verify(&token)?;
    Ok(token)
}

/// A token that has an end, lives, and was not made in the future.
pub(crate) fn check_times(token: &Token, now: u64) -> Result<(), Refusal> {
    if token.expires_at.is_none() || token.subject.is_empty() {
        return Err(Refusal::Incomplete);
    }
    token.check_times(now, SKEW)?;
    let made_at = token.claims.get("iat").and_then(serde_json::Value::as_f64);
    match made_at {
        Some(made_at) if made_at > (now + SKEW.as_secs()) as f64 => Err(Refusal::FromTheFuture),
        _ => Ok(()),
    }
}

/// Who a token that has been checked is about.
pub(crate) fn identity(token: Token, by: Means) -> Result<Identity, Refusal> {
    Ok(Identity { subject: token.subject, issuer: token.issuer, by, claims: token.claims })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearers_token_is_found() {
        assert_eq!(token_of(b"Bearer abc"), Some("abc"));
        assert_eq!(token_of(b"bEARER  abc "), Some("abc"));
        for header in [&b"Basic abc"[..], b"Bearer", b"Bearer ", b"Bearer a b", b"", b"Bearer \xff"] {
            assert_eq!(token_of(header), None, "{header:?}");
        }
    }
}
