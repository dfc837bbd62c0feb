//! Somebody leaves (OpenID Connect RP-Initiated Logout 1.0).

use super::{Provider, Session, Settings};
use crate::{cookie, form};

/// The answer to somebody who leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logout {
    pub location: String,
    pub set_cookies: Vec<String>,
}

impl Settings {
    /// Takes the session away and sends the person to the provider, so that they leave there too; without an endpoint for
    /// that, or without a session, to where configuration says.
    ///
    /// `None` for what another site made the browser send: `fetch_site` is the request's `Sec-Fetch-Site`.
    pub fn logout(
        &self,
        provider: Option<&Provider>,
        session: Option<&Session>,
        origin: &str,
        fetch_site: Option<&[u8]>,
    ) -> Option<Logout> {
        if fetch_site.is_some_and(|site| site == b"cross-site" || site == b"same-site") {
            return None;
        }
        let set_cookies = cookie::drop(&self.session_cookie(), origin.starts_with("https://"));
        let back = format!("{origin}{}", self.after_logout);
        let endpoint = provider.and_then(|provider| provider.end_session_endpoint.as_ref());
        let location = match (endpoint, session) {
            (Some(endpoint), Some(session)) => {
                let mut fields =
                    vec![("client_id", self.client_id.as_str()), ("post_logout_redirect_uri", &back)];
                if let Some(hint) = &session.hint {
                    fields.push(("id_token_hint", hint));
                }
                let joint = if endpoint.contains('?') { '&' } else { '?' };
                format!("{endpoint}{joint}{}", form::encode(&fields))
            }
            _ => self.after_logout.clone(),
        };
        Some(Logout { location, set_cookies })
    }
}
