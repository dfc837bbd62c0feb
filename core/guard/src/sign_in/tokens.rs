//! The tokens that a provider hands out (OpenID Connect Core 1.0 §3.1.3, §12).

use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use selvedge_jwt::{Algorithm, KeySet, Token};
use serde_json::{Map, Value};

use super::{Pending, Provider, Session, Settings};
use crate::bearer::{self, check_times};
use crate::call::{Answer, Call};
use crate::identity::Means;

/// The longest answer of a token endpoint that is read.
pub const TOKENS_BYTES_MAX: usize = 64 * 1024;
/// Characters of a subject (OpenID Connect Core 1.0 §2).
const SUBJECT_BYTES_MAX: usize = 255;

/// Why what a provider handed out makes no session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokensRefusal {
    #[error("the provider refused the code: status {status}, {error}")]
    Provider { status: u16, error: String },
    #[error("the provider's answer is no JSON object, or too long")]
    Json,
    #[error("the provider's answer has no ID token")]
    NoIdToken,
    #[error("the ID token cannot be believed: {0}")]
    IdToken(#[from] bearer::Refusal),
    #[error("the ID token is another issuer's")]
    Issuer,
    #[error("the ID token is for another client")]
    Audience,
    #[error("the ID token belongs to another sign-in")]
    Nonce,
    #[error("the access token is not the one that the ID token was made with")]
    AccessToken,
    #[error("the subject is longer than {SUBJECT_BYTES_MAX} bytes")]
    Subject,
    #[error("the provider refreshed the session with another person's token")]
    OtherSubject,
    #[error("what was told of the person is too long to be kept in a browser")]
    TooLong,
}

impl Settings {
    /// Makes a session of the answer to [`super::Callback::call`].
    ///
    /// # Errors
    /// When the provider refused, or anything about the ID token is not as it has to be.
    pub fn complete(
        &self,
        provider: &Provider,
        keys: &KeySet,
        pending: &Pending,
        answer: &Answer,
        now: u64,
    ) -> Result<Session, TokensRefusal> {
        let told = told(answer)?;
        let text = told.get("id_token").and_then(Value::as_str).ok_or(TokensRefusal::NoIdToken)?;
        let token = self.id_token(provider, keys, text, &told, now)?;
        let nonce = token.claims.get("nonce").and_then(Value::as_str).unwrap_or_default();
        if !super::same(nonce, &pending.nonce) {
            return Err(TokensRefusal::Nonce);
        }
        let ends_at = now + self.session.as_secs();
        self.session(token, text, &told, None, now, ends_at)
    }

    /// The call that renews a session; `None` when it came without the means for it.
    pub fn refresh(&self, provider: &Provider, session: &Session) -> Option<Call> {
        let token = session.refresh_token.as_deref()?;
        Some(self.token_call(provider, &[("grant_type", "refresh_token"), ("refresh_token", token)]))
    }

    /// Makes a session anew of the answer to [`Settings::refresh`]: of the same person, ending when the old one would have.
    ///
    /// # Errors
    /// As [`Settings::complete`], and when it is another person's.
    pub fn refreshed(
        &self,
        provider: &Provider,
        keys: &KeySet,
        old: &Session,
        answer: &Answer,
        now: u64,
    ) -> Result<Session, TokensRefusal> {
        let told = told(answer)?;
        let Some(text) = told.get("id_token").and_then(Value::as_str) else {
            // Nothing new of the person (§12.2 lets the ID token out); the provider still vouches for the session.
            let mut session = old.clone();
            session.fresh_until = fresh_until(&told, None, now).min(old.ends_at);
            if let Some(token) = told.get("refresh_token").and_then(Value::as_str) {
                session.refresh_token = Some(token.to_owned());
            }
            return Ok(session);
        };
        let token = self.id_token(provider, keys, text, &told, now)?;
        if token.subject != old.identity.subject {
            return Err(TokensRefusal::OtherSubject);
        }
        self.session(token, text, &told, old.refresh_token.clone(), now, old.ends_at)
    }

    /// §3.1.3.7, in its order.
    fn id_token(
        &self,
        provider: &Provider,
        keys: &KeySet,
        text: &str,
        told: &Map<String, Value>,
        now: u64,
    ) -> Result<Token, TokensRefusal> {
        let token = bearer::signed(text, keys)?;
        if token.issuer != provider.issuer {
            return Err(TokensRefusal::Issuer);
        }
        let for_us = token.audiences.contains(&self.client_id);
        let party = token.claims.get("azp").map(|party| party.as_str().unwrap_or_default());
        let party_is_us = match party {
            Some(party) => party == self.client_id,
            None => token.audiences.len() == 1,
        };
        if !for_us || !party_is_us {
            return Err(TokensRefusal::Audience);
        }
        check_times(&token, now)?;
        if token.subject.len() > SUBJECT_BYTES_MAX {
            return Err(TokensRefusal::Subject);
        }
        if let Some(hash) = token.claims.get("at_hash") {
            let access = told.get("access_token").and_then(Value::as_str).unwrap_or_default();
            if hash.as_str() != Some(&half_hash(token.algorithm, access)) {
                return Err(TokensRefusal::AccessToken);
            }
        }
        Ok(token)
    }

    fn session(
        &self,
        token: Token,
        text: &str,
        told: &Map<String, Value>,
        old_refresh: Option<String>,
        now: u64,
        ends_at: u64,
    ) -> Result<Session, TokensRefusal> {
        let fresh_until = fresh_until(told, token.expires_at, now).min(ends_at);
        let refresh = told.get("refresh_token").and_then(Value::as_str).map(str::to_owned);
        let mut identity = bearer::identity(token, Means::SignIn)?;
        identity.claims.retain(|name, _| self.keeps(name));
        Session::new(identity, refresh.or(old_refresh), text.to_owned(), fresh_until, ends_at)
            .ok_or(TokensRefusal::TooLong)
    }

    /// Whether a claim is kept: what configuration names, or, where it names nothing, whatever is not of the protocol.
    fn keeps(&self, name: &str) -> bool {
        const OF_THE_PROTOCOL: &[&str] = &[
            "iss", "sub", "aud", "exp", "iat", "nbf", "nonce", "azp", "at_hash", "c_hash", "s_hash", "jti",
            "sid",
        ];
        if self.claims.is_empty() {
            return !OF_THE_PROTOCOL.contains(&name);
        }
        let top = |claim: &String| claim == name || claim.split('.').next() == Some(name);
        self.claims.iter().any(top)
            || name == "email_verified" && self.claims.iter().any(|claim| claim == "email")
    }
}

fn told(answer: &Answer) -> Result<Map<String, Value>, TokensRefusal> {
    if answer.body.len() > TOKENS_BYTES_MAX {
        return Err(TokensRefusal::Json);
    }
    let told = serde_json::from_slice(&answer.body);
    if answer.status != 200 {
        let error = told.ok().and_then(|told: Value| Some(told.get("error")?.as_str()?.to_owned()));
        let plain =
            |text: String| text.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(64).collect();
        let error = error.map_or_else(|| "without a reason".to_owned(), plain);
        return Err(TokensRefusal::Provider { status: answer.status, error });
    }
    match told {
        Ok(Value::Object(told)) => Ok(told),
        _ => Err(TokensRefusal::Json),
    }
}

/// The access token's end, or the ID token's: after it the provider is asked whether the person is still welcome.
fn fresh_until(told: &Map<String, Value>, expires_at: Option<u64>, now: u64) -> u64 {
    let lasts = told.get("expires_in").and_then(Value::as_u64).map(|seconds| now.saturating_add(seconds));
    lasts.or(expires_at).unwrap_or(now)
}

/// The left half of a hash, by the algorithm of the signature (§3.1.3.6).
fn half_hash(algorithm: Algorithm, text: &str) -> String {
    let by = match algorithm {
        Algorithm::Es384 | Algorithm::Rs384 | Algorithm::Ps384 | Algorithm::Hs384 => &SHA384,
        Algorithm::Es512 | Algorithm::Rs512 | Algorithm::Ps512 | Algorithm::Hs512 | Algorithm::EdDsa => {
            &SHA512
        }
        _ => &SHA256,
    };
    let hash = digest(by, text.as_bytes());
    let bytes = hash.as_ref();
    URL_SAFE_NO_PAD.encode(&bytes[..bytes.len() / 2])
}
