//! What a provider says of itself (OpenID Connect Discovery 1.0, RFC 8414).

use serde_json::{Map, Value};

use crate::reach::Target;

/// The longest document that is read.
pub const METADATA_BYTES_MAX: usize = 256 * 1024;

/// A provider's endpoints, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    pub issuer: String,
    pub authorization_endpoint: String,
    pub token_endpoint: String,
    pub jwks_uri: String,
    pub end_session_endpoint: Option<String>,
    /// It puts its name into callbacks (RFC 9207): one without is not its own.
    pub names_itself: bool,
    /// The secret goes into the body, because the `Authorization` header is not taken.
    pub secret_in_body: bool,
}

/// Why what a provider says is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderInvalid {
    #[error("the provider's metadata are no JSON object, or too long")]
    Json,
    #[error("the metadata lack {0:?}")]
    Missing(&'static str),
    #[error("the metadata are {found:?}'s, and {wanted:?} was asked")]
    Issuer { wanted: String, found: String },
    #[error(
        "{0:?} of the metadata is no URL that may be called: https is, and http on the host that was configured with it"
    )]
    Url(&'static str),
    #[error("the provider does not take PKCE with S256")]
    Pkce,
    #[error("the provider does not take the authorisation code flow")]
    Flow,
}

impl Provider {
    /// Where an issuer describes itself.
    pub fn metadata_url(issuer: &str) -> String {
        format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))
    }

    /// Reads what the issuer with that URL says of itself.
    ///
    /// # Errors
    /// When it is another's word, lacks something, or leads where nothing may lead.
    pub fn parse(text: &[u8], issuer: &str) -> Result<Self, ProviderInvalid> {
        if text.len() > METADATA_BYTES_MAX {
            return Err(ProviderInvalid::Json);
        }
        let Ok(Value::Object(said)) = serde_json::from_slice(text) else { return Err(ProviderInvalid::Json) };
        let found = string(&said, "issuer")?;
        if found != issuer {
            return Err(ProviderInvalid::Issuer {
                wanted: issuer.to_owned(),
                found: found.chars().take(256).collect(),
            });
        }
        let own = Target::parse(issuer).map_err(|_| ProviderInvalid::Url("issuer"))?;
        let endpoint = |name: &'static str| {
            let url = string(&said, name)?;
            let target = Target::parse(url).map_err(|_| ProviderInvalid::Url(name))?;
            // Without TLS only there where the operator configured the issuer itself without.
            let may = target.tls || !own.tls && target.host == own.host;
            if may { Ok(url.to_owned()) } else { Err(ProviderInvalid::Url(name)) }
        };
        if !lists(&said, "code_challenge_methods_supported", "S256").unwrap_or(true) {
            return Err(ProviderInvalid::Pkce);
        }
        if !lists(&said, "response_types_supported", "code").unwrap_or(true) {
            return Err(ProviderInvalid::Flow);
        }
        let methods = "token_endpoint_auth_methods_supported";
        let takes_header = lists(&said, methods, "client_secret_basic").unwrap_or(true);
        Ok(Self {
            issuer: issuer.to_owned(),
            authorization_endpoint: endpoint("authorization_endpoint")?,
            token_endpoint: endpoint("token_endpoint")?,
            jwks_uri: endpoint("jwks_uri")?,
            end_session_endpoint: said
                .contains_key("end_session_endpoint")
                .then(|| endpoint("end_session_endpoint"))
                .transpose()?,
            names_itself: said.get("authorization_response_iss_parameter_supported")
                == Some(&Value::Bool(true)),
            secret_in_body: !takes_header && lists(&said, methods, "client_secret_post") == Some(true),
        })
    }
}

fn string<'a>(said: &'a Map<String, Value>, name: &'static str) -> Result<&'a str, ProviderInvalid> {
    said.get(name).and_then(Value::as_str).ok_or(ProviderInvalid::Missing(name))
}

/// Whether a list has a value; `None` without the list.
fn lists(said: &Map<String, Value>, name: &str, value: &str) -> Option<bool> {
    let list = said.get(name)?.as_array()?;
    Some(list.iter().any(|own| own.as_str() == Some(value)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://id.example/tenant";

    fn said(change: impl FnOnce(&mut Map<String, Value>)) -> Vec<u8> {
        let mut said = json!({
            "issuer": ISSUER,
            "authorization_endpoint": "https://id.example/auth",
            "token_endpoint": "https://api.id.example/token",
            "jwks_uri": "https://id.example/keys",
            "end_session_endpoint": "https://id.example/end",
            "code_challenge_methods_supported": ["S256"],
            "response_types_supported": ["code", "code id_token"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "none"],
        });
        if let Value::Object(members) = &mut said {
            change(members);
        }
        said.to_string().into_bytes()
    }

    #[test]
    fn a_provider_that_says_who_it_is() {
        let provider = Provider::parse(&said(|_| {}), ISSUER).expect("a provider");
        assert_eq!(provider.token_endpoint, "https://api.id.example/token");
        assert!(provider.secret_in_body && !provider.names_itself);
        assert_eq!(Provider::metadata_url("https://a/t/"), "https://a/t/.well-known/openid-configuration");
    }

    #[test]
    fn metadata_that_are_not_believed() {
        let set =
            |name: &str, value: Value| Provider::parse(&said(|m| drop(m.insert(name.into(), value))), ISSUER);
        assert!(matches!(set("issuer", json!("https://evil.example")), Err(ProviderInvalid::Issuer { .. })));
        assert!(matches!(
            set("issuer", json!("https://id.example/tenant/")),
            Err(ProviderInvalid::Issuer { .. })
        ));
        for url in ["http://id.example/keys", "http://169.254.169.254/", "file:///etc/passwd", "//x", ""] {
            assert_eq!(set("jwks_uri", json!(url)), Err(ProviderInvalid::Url("jwks_uri")), "{url}");
            assert_eq!(
                set("token_endpoint", json!(url)),
                Err(ProviderInvalid::Url("token_endpoint")),
                "{url}"
            );
            assert_eq!(
                set("end_session_endpoint", json!(url)),
                Err(ProviderInvalid::Url("end_session_endpoint"))
            );
        }
        assert_eq!(set("code_challenge_methods_supported", json!(["plain"])), Err(ProviderInvalid::Pkce));
        assert_eq!(set("response_types_supported", json!(["id_token"])), Err(ProviderInvalid::Flow));
        assert_eq!(set("jwks_uri", json!(7)), Err(ProviderInvalid::Missing("jwks_uri")));
        assert_eq!(Provider::parse(b"[]", ISSUER), Err(ProviderInvalid::Json));
        assert_eq!(Provider::parse(&vec![b' '; METADATA_BYTES_MAX + 1], ISSUER), Err(ProviderInvalid::Json));
    }
}
