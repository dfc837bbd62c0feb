//! A token as it came: taken apart, nothing believed yet.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::{Algorithm, Refusal};

/// The longest token that is looked at.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// A token in compact form.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    pub header: Map<String, Value>,
    pub claims: Map<String, Value>,
    pub algorithm: Algorithm,
    pub key_id: Option<String>,
    /// Empty if it has none.
    pub issuer: String,
    pub subject: String,
    pub audiences: Vec<String>,
    /// In seconds since 1970.
    pub expires_at: Option<u64>,
    pub not_before: Option<u64>,
    /// Header and payload as they were signed.
    signed: String,
    header_len: usize,
    pub(crate) signature: Vec<u8>,
}

impl Token {
    /// Takes a token apart.
    ///
    /// # Errors
    /// When it is no token, or says something of the wrong type.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::BadFormat);
        }
        let mut parts = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::BadFormat);
        };
        if header.is_empty() || payload.is_empty() || signature.is_empty() {
            return Err(Refusal::BadFormat);
        }
        let (header_len, signed_len) = (header.len(), header.len() + 1 + payload.len());
        let header = object(header, Refusal::HeaderBase64, Refusal::HeaderJson)?;
        let algorithm = header.get("alg").and_then(Value::as_str).ok_or(Refusal::HeaderAlg)?;
        let algorithm = Algorithm::named(algorithm).ok_or(Refusal::HeaderAlgUnknown)?;
        let key_id = match header.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.clone()),
            Some(_) => return Err(Refusal::HeaderKid),
        };
        if header.contains_key("crit") {
            return Err(Refusal::HeaderCrit);
        }
        let claims = object(payload, Refusal::PayloadBase64, Refusal::PayloadJson)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Refusal::SignatureBase64)?;
        seconds(&claims, "iat", Refusal::PayloadIat)?;
        Ok(Self {
            issuer: string(&claims, "iss", Refusal::PayloadIss)?,
            subject: string(&claims, "sub", Refusal::PayloadSub)?,
            audiences: audiences(&claims)?,
            expires_at: seconds(&claims, "exp", Refusal::PayloadExp)?,
            not_before: seconds(&claims, "nbf", Refusal::PayloadNbf)?,
            header,
            claims,
            algorithm,
            key_id,
            signed: text[..signed_len].to_owned(),
            header_len,
            signature,
        })
    }

    /// What was signed.
    pub(crate) fn signed(&self) -> &[u8] {
        self.signed.as_bytes()
    }

    /// The payload, in base64url without padding, as it came.
    pub fn payload(&self) -> &str {
        &self.signed[self.header_len + 1..]
    }

    /// Whether it is valid at `now` (seconds since 1970), give or take `skew`.
    ///
    /// # Errors
    /// When it is not valid yet, or no more.
    pub fn check_times(&self, now: u64, skew: Duration) -> Result<(), Refusal> {
        let skew = skew.as_secs();
        if self.not_before.is_some_and(|from| from > now.saturating_add(skew)) {
            return Err(Refusal::NotYetValid);
        }
        if self.expires_at.is_some_and(|until| now > until.saturating_add(skew)) {
            return Err(Refusal::Expired);
        }
        Ok(())
    }

    /// A claim by its path, whose steps are set apart by dots; a claim whose own name has dots comes first.
    pub fn claim(&self, path: &str) -> Option<&Value> {
        if let Some(value) = self.claims.get(path) {
            return Some(value);
        }
        let mut steps = path.split('.');
        let mut value = self.claims.get(steps.next()?)?;
        for step in steps {
            value = value.as_object()?.get(step)?;
        }
        Some(value)
    }
}

fn object(part: &str, base64: Refusal, json: Refusal) -> Result<Map<String, Value>, Refusal> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| base64)?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(json),
    }
}

fn string(claims: &Map<String, Value>, name: &str, refusal: Refusal) -> Result<String, Refusal> {
    match claims.get(name) {
        None => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(refusal),
    }
}

fn audiences(claims: &Map<String, Value>) -> Result<Vec<String>, Refusal> {
    let one = |value: &Value| value.as_str().map(str::to_owned).ok_or(Refusal::PayloadAud);
    match claims.get("aud") {
        None => Ok(Vec::new()),
        Some(Value::Array(list)) => list.iter().map(one).collect(),
        Some(value) => one(value).map(|audience| vec![audience]),
    }
}

/// A moment: a number that is not negative. Fractions of a second are cut off (RFC 7519 §2 allows them).
fn seconds(claims: &Map<String, Value>, name: &str, refusal: Refusal) -> Result<Option<u64>, Refusal> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    if let Some(seconds) = value.as_u64() {
        return Ok(Some(seconds));
    }
    match value.as_f64() {
        // Beyond this, neighbours are further apart than a second, and no clock goes there.
        Some(seconds) if (0.0..9.0e15).contains(&seconds) => Ok(Some(seconds as u64)),
        _ => Err(refusal),
    }
}
