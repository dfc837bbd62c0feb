//! A session: who somebody is, kept by their browser.

use serde_json::{Map, Value, json};

use super::{Browser, Settings};
use crate::Identity;
use crate::cookie::{self, Scope};
use crate::identity::Means;
use crate::seal::{Ring, Salt};

/// What is kept of claims, as JSON.
pub const CLAIMS_BYTES_MAX: usize = 4 * 1024;
/// An ID token is kept for the logout up to this length; without it the provider asks the person.
const HINT_BYTES_MAX: usize = 3 * 1024;

/// Who has signed in.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    pub identity: Identity,
    pub refresh_token: Option<String>,
    /// The ID token, for the logout.
    pub hint: Option<String>,
    /// Until then nobody has to be asked; in seconds since 1970.
    pub fresh_until: u64,
    /// And then the person signs in anew.
    pub ends_at: u64,
}

/// What a request's cookies say.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// Nobody, or nothing that is believed.
    None,
    Fresh(Box<Session>),
    /// The provider has to be asked first.
    Stale(Box<Session>),
}

impl Session {
    /// `None` when the claims are longer than [`CLAIMS_BYTES_MAX`].
    pub(super) fn new(
        identity: Identity,
        refresh_token: Option<String>,
        hint: String,
        fresh_until: u64,
        ends_at: u64,
    ) -> Option<Self> {
        let claims = serde_json::to_string(&identity.claims).ok()?;
        let hint = (hint.len() <= HINT_BYTES_MAX).then_some(hint);
        (claims.len() <= CLAIMS_BYTES_MAX).then_some(Self {
            identity,
            refresh_token,
            hint,
            fresh_until,
            ends_at,
        })
    }

    fn to_json(&self) -> Value {
        json!({
            "s": self.identity.subject,
            "c": self.identity.claims,
            "r": self.refresh_token,
            "h": self.hint,
            "f": self.fresh_until,
            "e": self.ends_at,
        })
    }

    fn of_json(text: &[u8], issuer: &str) -> Option<Self> {
        let value: Value = serde_json::from_slice(text).ok()?;
        let optional = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let claims: Map<String, Value> = value.get("c")?.as_object()?.clone();
        let subject = optional("s").filter(|subject| !subject.is_empty())?;
        Some(Self {
            identity: Identity { subject, issuer: issuer.to_owned(), by: Means::SignIn, claims },
            refresh_token: optional("r"),
            hint: optional("h"),
            fresh_until: value.get("f")?.as_u64()?,
            ends_at: value.get("e")?.as_u64()?,
        })
    }
}

impl Settings {
    /// The session of a request.
    pub fn standing(&self, ring: &Ring, browser: Browser<'_>, now: u64) -> Standing {
        let name = cookie::full_name(&self.session_cookie(), browser.secure);
        let sealed = cookie::find(browser.cookies, &name);
        let opened = sealed.and_then(|sealed| ring.open(&self.purpose("session"), &sealed));
        match opened.and_then(|text| Session::of_json(&text, &self.issuer)) {
            Some(session) if now >= session.ends_at => Standing::None,
            Some(session) if now < session.fresh_until => Standing::Fresh(Box::new(session)),
            Some(session) if session.refresh_token.is_some() => Standing::Stale(Box::new(session)),
            _ => Standing::None,
        }
    }

    /// The `Set-Cookie` lines that keep a session. `None` when it is too long even in several cookies.
    pub fn keep(
        &self,
        ring: &Ring,
        session: &Session,
        secure: bool,
        salt: Salt,
        now: u64,
    ) -> Option<Vec<String>> {
        let scope = Scope { secure, max_age: session.ends_at.saturating_sub(now) };
        let sealed = ring.seal(&self.purpose("session"), session.to_json().to_string().as_bytes(), salt);
        cookie::keep(&self.session_cookie(), &sealed, scope)
    }
}
