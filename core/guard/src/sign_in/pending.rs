//! A sign-in that has begun: the person is at the provider, and their browser keeps what we will need.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{Browser, Provider, ReturnTo, Settings};
use crate::cookie::{self, Scope};
use crate::form;
use crate::seal::{Ring, Salt};

/// How long a person may take at the provider.
pub const PENDING_MAX: Duration = Duration::from_secs(600);
/// Sign-ins that one browser has under way at a time; the oldest make room.
pub const UNDER_WAY_MAX: usize = 8;

/// What has to be random for one sign-in.
#[derive(Clone, Copy, Debug)]
pub struct Entropy {
    pub state: [u8; 16],
    pub nonce: [u8; 16],
    pub verifier: [u8; 32],
    pub salt: Salt,
}

/// The answer that sends somebody to the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    pub location: String,
    pub set_cookie: String,
}

/// What the browser keeps until the callback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    pub state: String,
    pub nonce: String,
    pub verifier: String,
    pub redirect_uri: String,
    pub return_to: ReturnTo,
    /// In seconds since 1970.
    pub until: u64,
}

impl Settings {
    /// Sends somebody who wants `target` on `origin` (such as `https://shop.example.com`) to the provider.
    pub fn begin(
        &self,
        provider: &Provider,
        ring: &Ring,
        origin: &str,
        target: &str,
        entropy: Entropy,
        now: u64,
    ) -> Begin {
        let pending = Pending {
            state: URL_SAFE_NO_PAD.encode(entropy.state),
            nonce: URL_SAFE_NO_PAD.encode(entropy.nonce),
            verifier: URL_SAFE_NO_PAD.encode(entropy.verifier),
            redirect_uri: self.redirect_uri(origin),
            return_to: ReturnTo::new(target),
            until: now + PENDING_MAX.as_secs(),
        };
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, pending.verifier.as_bytes()));
        let query = form::encode(&[
            ("response_type", "code"),
            ("client_id", &self.client_id),
            ("redirect_uri", &pending.redirect_uri),
            ("scope", &self.scopes.join(" ")),
            ("state", &pending.state),
            ("nonce", &pending.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        let endpoint = &provider.authorization_endpoint;
        let joint = if endpoint.contains('?') { '&' } else { '?' };
        let scope = Scope { secure: origin.starts_with("https://"), max_age: PENDING_MAX.as_secs() };
        let sealed = ring.seal(&self.purpose("wait"), pending.to_json().to_string().as_bytes(), entropy.salt);
        Begin {
            location: format!("{endpoint}{joint}{query}"),
            set_cookie: cookie::keep_short(&self.pending_cookie(&pending.state), &sealed, scope),
        }
    }

    /// What the browser kept for a state, if it is whole and not too old.
    /// The `Set-Cookie` lines that make room for one more sign-in: a browser that is sent away again and again would bring so many
    /// cookies that no server takes its requests any more. The oldest go, and what is none of ours.
    pub fn make_room(&self, ring: &Ring, browser: Browser<'_>, now: u64) -> Vec<String> {
        let prefix = self.pending_cookie("");
        let full = cookie::full_name(&prefix, browser.secure);
        let mut under_way: Vec<(u64, String)> = cookie::names(browser.cookies)
            .filter_map(|name| Some((name, name.strip_prefix(&full)?)))
            .map(|(name, state)| {
                let opened = self.opened(ring, browser, name).filter(|pending| pending.until >= now);
                (opened.map_or(0, |pending| pending.until), state.to_owned())
            })
            .collect();
        under_way.sort_unstable();
        let surplus = (under_way.len() + 1).saturating_sub(UNDER_WAY_MAX);
        let gone = under_way.into_iter().take(surplus);
        gone.map(|(_, state)| cookie::drop_short(&self.pending_cookie(&state), browser.secure)).collect()
    }

    pub(super) fn pending(
        &self,
        ring: &Ring,
        browser: Browser<'_>,
        state: &str,
        now: u64,
    ) -> Option<Pending> {
        let name = cookie::full_name(&self.pending_cookie(state), browser.secure);
        let pending = self.opened(ring, browser, &name)?;
        (pending.until >= now && super::same(&pending.state, state)).then_some(pending)
    }

    fn opened(&self, ring: &Ring, browser: Browser<'_>, full_name: &str) -> Option<Pending> {
        let sealed = cookie::find(browser.cookies, full_name)?;
        Pending::of_json(&ring.open(&self.purpose("wait"), &sealed)?)
    }
}

impl Pending {
    fn to_json(&self) -> Value {
        json!({
            "s": self.state,
            "n": self.nonce,
            "v": self.verifier,
            "u": self.redirect_uri,
            "r": self.return_to.as_str(),
            "t": self.until,
        })
    }

    fn of_json(text: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(text).ok()?;
        let text = |name: &str| value.get(name)?.as_str().map(str::to_owned);
        Some(Self {
            state: text("s")?,
            nonce: text("n")?,
            verifier: text("v")?,
            redirect_uri: text("u")?,
            return_to: ReturnTo::new(&text("r")?),
            until: value.get("t")?.as_u64()?,
        })
    }
}
