//! How an authority is shown that a name is ours: by a text under a path (HTTP-01, RFC 8555 §8.3), or by a certificate in a
//! TLS handshake of its own protocol (TLS-ALPN-01, RFC 8737). Any replica can be the one that is asked.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use tokio::sync::Semaphore;

use crate::documents::{Documents, PREFIX, Unavailable};
use crate::turn;

/// The longest token of a challenge that is looked for.
pub const TOKEN_BYTES_MAX: usize = 128;
/// Questions of authorities, and of whoever poses as one, that are looked up at a time; others wait.
pub const LOOKUPS_MAX: usize = 8;

/// Which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Challenge {
    /// On port 80.
    Http01,
    /// On port 443, before any certificate is there.
    #[default]
    TlsAlpn01,
}

impl std::fmt::Display for Challenge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        })
    }
}

/// What is shown to authorities that ask.
#[derive(Clone)]
pub struct Proofs {
    documents: Arc<dyn Documents>,
    lookups: Arc<Semaphore>,
}

impl std::fmt::Debug for Proofs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proofs")
    }
}

impl Proofs {
    /// Of a store's orders.
    pub fn new(documents: Arc<dyn Documents>) -> Self {
        Self { documents, lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)) }
    }

    /// The path under which authorities ask.
    pub const HTTP_PATH: &str = "/.well-known/acme-challenge/";
    /// The protocol that they ask for in a handshake.
    pub const ALPN: &[u8] = b"acme-tls/1";

    /// The text that belongs to a token.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn text(&self, token: &str) -> Result<Option<String>, Unavailable> {
        if !is_token(token) {
            return Ok(None);
        }
        let found = self.look_up(&http_key(token)).await?;
        Ok(found.and_then(|text| String::from_utf8(text).ok()))
    }

    /// The certificate to show for a host in a handshake with [`Proofs::ALPN`] alone, and its key; both in PEM. Makes a key.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn certificate(&self, host: &str) -> Result<Option<(String, String)>, Unavailable> {
        let host = host.to_ascii_lowercase();
        if host.is_empty() || host.len() > 253 {
            return Ok(None);
        }
        // Whoever's turn it is, has shown something or is about to.
        let turn = self.look_up(&turn::key(&host)).await?;
        let Some(certificate) = turn.and_then(|turn| turn::certificate(&turn)) else { return Ok(None) };
        let found = self.look_up(&tls_key(&host, &certificate)).await?;
        let digest = found.and_then(|digest| URL_SAFE_NO_PAD.decode(digest).ok());
        Ok(digest.and_then(|digest| self_signed(&host, &digest)))
    }

    async fn look_up(&self, key: &str) -> Result<Option<Vec<u8>>, Unavailable> {
        let _turn = self.lookups.acquire().await;
        Ok(self.documents.get(key).await?.map(|found| found.value.to_vec()))
    }
}

/// Where the text for a token stands.
pub(crate) fn http_key(token: &str) -> String {
    format!("{PREFIX}http-01/{token}")
}

/// Where the digest for a host stands, as long as one certificate is ordered: who takes another's away leaves that.
pub(crate) fn tls_key(host: &str, certificate: &str) -> String {
    format!("{PREFIX}tls-alpn-01/{host}/{certificate}")
}

fn is_token(token: &str) -> bool {
    let is_of_base64url = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !token.is_empty() && token.len() <= TOKEN_BYTES_MAX && token.bytes().all(is_of_base64url)
}

/// A certificate for one host that carries a digest (RFC 8737 §3).
fn self_signed(host: &str, digest: &[u8]) -> Option<(String, String)> {
    if digest.len() != 32 {
        return None;
    }
    let mut params = CertificateParams::new(vec![host.to_owned()]).ok()?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate().ok()?;
    let certificate = params.self_signed(&key).ok()?;
    Some((certificate.pem(), key.serialize_pem()))
}

/// A certificate that nobody vouches for, and its key, in PEM: what is shown until an authority has issued one.
///
/// `None` when no key can be made.
pub fn placeholder(names: &[String]) -> Option<(String, String)> {
    let params = CertificateParams::new(names.to_vec()).ok()?;
    let key = KeyPair::generate().ok()?;
    let certificate = params.self_signed(&key).ok()?;
    Some((certificate.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Folder;
    use crate::documents::Change;

    #[tokio::test]
    async fn only_what_was_ordered_is_shown() {
        let home = tempfile::tempdir().expect("a folder");
        let documents = Folder::new(home.path().join("store"));
        let changes = vec![
            Change::put(http_key("token"), "token.thumbprint"),
            Change::put("acme/http-01/a/b", "another"),
            Change::put(tls_key("a.example", "one"), URL_SAFE_NO_PAD.encode([7; 32])),
            Change::put(tls_key("b.example", "one"), "short"),
            Change::put(tls_key("d.example", "another"), URL_SAFE_NO_PAD.encode([7; 32])),
            Change::put(tls_key("e.example", "one"), URL_SAFE_NO_PAD.encode([7; 32])),
        ];
        assert!(documents.commit(None, changes).await.is_ok());
        for host in ["a.example", "b.example", "d.example"] {
            let turn = vec![Change::put(turn::key(host), r#"{"lease":"acme/lease/one","number":1}"#)];
            assert!(documents.commit(None, turn).await.is_ok());
        }
        let proofs = Proofs::new(Arc::new(documents));
        assert_eq!(proofs.text("token").await, Ok(Some("token.thumbprint".into())));
        for token in ["", "other", "a/b", "../lease/c", "token\0", &"t".repeat(TOKEN_BYTES_MAX + 1)] {
            assert_eq!(proofs.text(token).await, Ok(None), "{token:?}");
        }
        assert!(proofs.certificate("A.example").await.is_ok_and(|found| found.is_some()));
        for host in ["b.example", "c.example", "d.example", "e.example", "", "x/y"] {
            assert_eq!(proofs.certificate(host).await, Ok(None), "{host}");
        }
    }
}
