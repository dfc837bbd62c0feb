//! The provider sends somebody back.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Browser, Pending, Provider, Settings, Used};
use crate::call::Call;
use crate::form;
use crate::seal::Ring;

/// A callback that is believed: the tokens can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callback {
    pub pending: Pending,
    /// The call for the tokens.
    pub call: Call,
}

/// Why a callback is not believed. None of it is a reason to try again by itself: a person is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallbackRefusal {
    #[error("the address of the callback cannot be read in one way")]
    Query,
    #[error("the callback has no state")]
    StateMissing,
    /// Forged, too old, or of another browser.
    #[error("this browser did not begin the sign-in that ends here, or began it too long ago")]
    StateUnknown,
    #[error("this sign-in has been completed already")]
    Replayed,
    #[error("the callback comes from another provider than the one that was asked")]
    MixUp,
    #[error("the provider refused: {0}")]
    Provider(String),
    #[error("the callback has no code")]
    CodeMissing,
}

impl Settings {
    /// Looks at a callback: `query` without its question mark.
    ///
    /// # Errors
    /// When the callback is not the end of a sign-in that this browser began with this provider.
    pub fn callback(
        &self,
        provider: &Provider,
        ring: &Ring,
        used: &mut Used,
        query: &str,
        browser: Browser<'_>,
        now: u64,
    ) -> Result<Callback, CallbackRefusal> {
        let fields = form::decode(query).ok_or(CallbackRefusal::Query)?;
        let field = |name: &str| fields.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
        let state = field("state").filter(|state| !state.is_empty()).ok_or(CallbackRefusal::StateMissing)?;
        let pending = self.pending(ring, browser, state, now).ok_or(CallbackRefusal::StateUnknown)?;
        match field("iss") {
            Some(issuer) if issuer != provider.issuer => return Err(CallbackRefusal::MixUp),
            None if provider.names_itself => return Err(CallbackRefusal::MixUp),
            _ => {}
        }
        if !used.take(&pending.state, now, pending.until) {
            return Err(CallbackRefusal::Replayed);
        }
        if let Some(error) = field("error") {
            let text: String =
                error.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(64).collect();
            return Err(CallbackRefusal::Provider(text));
        }
        let code = field("code").filter(|code| !code.is_empty()).ok_or(CallbackRefusal::CodeMissing)?;
        let call = self.token_call(
            provider,
            &[
                ("grant_type", "authorization_code"),
                ("code", code),
                ("redirect_uri", &pending.redirect_uri),
                ("code_verifier", &pending.verifier),
            ],
        );
        Ok(Callback { pending, call })
    }

    /// A call to the token endpoint, with who we are (RFC 6749 §2.3.1).
    pub(super) fn token_call(&self, provider: &Provider, fields: &[(&str, &str)]) -> Call {
        let mut fields = fields.to_vec();
        let mut authorization = None;
        match &self.client_secret {
            Some(secret) if !provider.secret_in_body => {
                let pair = format!("{}:{}", form::component(&self.client_id), form::component(secret));
                authorization = Some(format!("Basic {}", STANDARD.encode(pair)));
            }
            Some(secret) => {
                fields.extend([("client_id", self.client_id.as_str()), ("client_secret", secret.as_str())])
            }
            None => fields.push(("client_id", self.client_id.as_str())),
        }
        let mut call = Call::form(&provider.token_endpoint, &fields);
        call.headers.extend(authorization.map(|value| ("authorization".to_owned(), value)));
        call
    }
}
