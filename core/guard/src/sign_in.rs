//! Sign-in by OpenID Connect: the authorisation code flow with PKCE (OpenID Connect Core 1.0, RFC 6749, 7636, 9207, 9700).
//!
//! ```text
//! a request without session ──▶ begin ──▶ 302 to the provider, a sealed cookie with state, nonce and verifier
//! the provider sends back   ──▶ callback: is it ours, is it fresh, is it the provider's? ──▶ a call for the tokens
//! the tokens came           ──▶ complete: whose word, for whom, until when, the nonce? ──▶ a session, sealed in cookies
//! the session grows stale   ──▶ refresh ──▶ a session anew, of the same subject
//! the person leaves         ──▶ logout ──▶ no cookies, and the provider is told
//! ```
//! Nothing is kept on our side except which callbacks have been used: cookies carry the rest, sealed (see [`crate::seal`]), so
//! any replica with the same keys serves any request.

mod callback;
mod logout;
mod pending;
mod provider;
mod return_to;
mod session;
mod tokens;
mod used;

pub use callback::{Callback, CallbackRefusal};
pub use logout::Logout;
pub use pending::{Begin, Entropy, PENDING_MAX, Pending, UNDER_WAY_MAX};
pub use provider::{METADATA_BYTES_MAX, Provider, ProviderInvalid};
pub use return_to::{RETURN_BYTES_MAX, ReturnTo};
pub use session::{CLAIMS_BYTES_MAX, Session, Standing};
pub use tokens::{TOKENS_BYTES_MAX, TokensRefusal};
pub use used::{USED_MAX, Used};

use std::time::Duration;

/// How an edge signs people in with one provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What configuration calls it; part of the cookies' names and of what they are sealed for. Letters, digits and hyphens.
    pub name: String,
    /// The issuer's URL, exactly as its tokens name it.
    pub issuer: String,
    pub client_id: String,
    /// None for a public client.
    pub client_secret: Option<String>,
    /// `openid` is among them.
    pub scopes: Vec<String>,
    /// The path at which the provider sends people back.
    pub callback_path: String,
    /// The path at which people leave.
    pub logout_path: String,
    /// Where they are then; on this origin.
    pub after_logout: String,
    /// How long a session lasts at most, whatever is refreshed.
    pub session: Duration,
    /// The claims that are kept of what was told; empty: all that fit.
    pub claims: Vec<String>,
}

/// What a request shows of the browser that sent it.
#[derive(Clone, Copy, Debug)]
pub struct Browser<'a> {
    /// The values of its `Cookie` headers.
    pub cookies: &'a [&'a [u8]],
    /// It came over TLS.
    pub secure: bool,
}

impl Settings {
    /// With what is usual.
    pub fn new(name: &str, issuer: &str, client_id: &str) -> Self {
        Self {
            name: name.to_owned(),
            issuer: issuer.to_owned(),
            client_id: client_id.to_owned(),
            client_secret: None,
            scopes: vec!["openid".to_owned()],
            callback_path: format!("/.selvedge/{name}/callback"),
            logout_path: format!("/.selvedge/{name}/logout"),
            after_logout: "/".to_owned(),
            session: Duration::from_secs(12 * 3600),
            claims: Vec::new(),
        }
    }

    /// The name of the cookie that holds a session, without prefix.
    pub fn session_cookie(&self) -> String {
        format!("selvedge-{}", self.name)
    }

    /// The name of the cookie that waits for the callback with that state. Each has one of its own, so that two windows can
    /// sign in at the same time.
    pub fn pending_cookie(&self, state: &str) -> String {
        let short: String = state.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
        format!("selvedge-{}-wait-{short}", self.name)
    }

    fn purpose(&self, of: &str) -> String {
        format!("selvedge {of} {} {} {}", self.name, self.issuer, self.client_id)
    }

    /// Where the provider sends people back on an origin such as `https://shop.example.com`.
    fn redirect_uri(&self, origin: &str) -> String {
        format!("{origin}{}", self.callback_path)
    }
}

/// Compares without telling by its time where two texts differ.
fn same(a: &str, b: &str) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(a.as_bytes(), b.as_bytes()).is_ok()
}
