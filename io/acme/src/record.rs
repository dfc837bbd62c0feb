//! What stands in the store.
//!
//! ```text
//! acme/account/<hash of directory, contact and who it is bound to>   the account, with its key
//! acme/certificate/<hash of what is wanted>      a certificate, with its key and the authority's wish
//! acme/trouble/<hash of that, account and way>    how often it failed, why, and when it is tried again
//! acme/lease/<hash of what is wanted>            who is at work on it, and what it shows to authorities
//! acme/http-01/<token>                           what to answer under /.well-known/acme-challenge/<token>
//! acme/tls-alpn-01/<host>/<what is wanted>       the digest that the certificate of the challenge carries
//! acme/turn/<host>                               the lease, and its number, under which that host is proven in handshakes
//! ```
//! What is wanted: the directory, the names, the profile, the kind of key.

use selvedge_guard::renewal::{Life, Window};
use serde_json::{Value, json};
use x509_parser::prelude::{FromDer, X509Certificate};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// A certificate as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The names it was ordered for.
    pub names: Vec<String>,
    /// PEM, the leaf first.
    pub chain: String,
    /// PEM.
    pub key: String,
    pub life: Life,
    /// When the authority would like it renewed.
    pub window: Option<Window>,
    /// When the authority is asked next for its wish; in seconds since 1970.
    pub ask_at: u64,
    /// The place within a window that this certificate drew.
    pub draw: u32,
}

/// Failures in a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    pub failures: u32,
    /// In seconds since 1970.
    pub retry_at: u64,
    /// The last one, for people.
    pub reason: String,
}

/// Keys are not shown.
impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate")
            .field("names", &self.names)
            .field("life", &self.life)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

impl Certificate {
    /// From when it is due.
    pub fn due_at(&self) -> u64 {
        selvedge_guard::renewal::due_at(self.life, self.window, self.draw)
    }

    /// When it needs a look: it is due, or the authority is asked for its wish. `None` when it needs one at `now`.
    pub(crate) fn good_until(&self, now: u64) -> Option<u64> {
        let until = self.due_at().min(self.ask_at);
        (until > now).then_some(until)
    }

    /// The leaf, in DER.
    pub(crate) fn leaf(&self) -> Option<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.chain.as_bytes()).next()?.ok()
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        let window = self.window.map(|window| json!([window.start, window.end]));
        json!({
            "names": self.names, "chain": self.chain, "key": self.key, "window": window,
            "not_before": self.life.not_before, "not_after": self.life.not_after,
            "ask_at": self.ask_at, "draw": self.draw,
        })
        .to_string()
        .into_bytes()
    }

    pub(crate) fn of_json(bytes: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        let text = |name: &str| value.get(name)?.as_str().map(str::to_owned);
        let number = |name: &str| value.get(name)?.as_u64();
        let names = value.get("names")?.as_array()?.iter().map(|name| name.as_str().map(str::to_owned));
        let window = value.get("window").and_then(Value::as_array).and_then(|window| {
            Some(Window { start: window.first()?.as_u64()?, end: window.get(1)?.as_u64()? })
        });
        Some(Self {
            names: names.collect::<Option<_>>()?,
            chain: text("chain")?,
            key: text("key")?,
            life: Life { not_before: number("not_before")?, not_after: number("not_after")? },
            window,
            ask_at: number("ask_at")?,
            draw: u32::try_from(number("draw")?).ok()?,
        })
    }
}

impl Trouble {
    pub(crate) fn to_json(&self) -> Vec<u8> {
        json!({"failures": self.failures, "retry_at": self.retry_at, "reason": self.reason})
            .to_string()
            .into_bytes()
    }

    pub(crate) fn of_json(bytes: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        Some(Self {
            failures: u32::try_from(value.get("failures")?.as_u64()?).ok()?,
            retry_at: value.get("retry_at")?.as_u64()?,
            reason: value.get("reason")?.as_str()?.to_owned(),
        })
    }
}

/// From when until when a certificate lives.
pub(crate) fn life_of(der: &[u8]) -> Option<Life> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    Some(Life {
        not_before: u64::try_from(validity.not_before.timestamp()).ok()?,
        not_after: u64::try_from(validity.not_after.timestamp()).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back() {
        let certificate = Certificate {
            names: vec!["a.example".into(), "b.example".into()],
            chain: "chain".into(),
            key: "key".into(),
            life: Life { not_before: 10, not_after: 100 },
            window: Some(Window { start: 50, end: 60 }),
            ask_at: 20,
            draw: u32::MAX,
        };
        assert_eq!(Certificate::of_json(&certificate.to_json()), Some(certificate.clone()));
        assert_eq!(certificate.due_at(), 60);
        let without = Certificate { window: None, ..certificate };
        assert_eq!(Certificate::of_json(&without.to_json()), Some(without.clone()));
        assert!(!format!("{without:?}").contains("key"), "{without:?}");
        let trouble = Trouble { failures: 3, retry_at: 9, reason: "why".into() };
        assert_eq!(Trouble::of_json(&trouble.to_json()), Some(trouble));
        assert_eq!(Certificate::of_json(b"{}"), None);
    }
}
