//! Certificates of the mesh, by ARN: asked of the control plane, kept in memory alone, and asked for again when they have been
//! renewed.
//!
//! Until one is there, a certificate that nobody vouches for stands in its place, so that the server starts.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::believed::Believed;
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use selvedge_aws::Service;
use selvedge_aws::operations::{acm, find_in};
use selvedge_client::{Client, Endpoint};
use selvedge_identity::Key;
use selvedge_wire::tls::Material;
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// Where the control plane says what its authorities vouch for.
pub(super) const TRUST: &str = "/selvedge/v1/trust";
/// How long the control plane may take to accept a connection, and to answer.
pub(super) const PATIENCE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(5));
/// How long the start, or a reload, waits for certificates that were never had.
pub(crate) const FETCH_PATIENCE: Duration = Duration::from_secs(3);
/// Random bytes of a passphrase.
const PASSPHRASE_BYTES: usize = 32;

/// Certificates that are wanted, and those that are had.
#[derive(Debug, Default)]
pub(crate) struct Fetched {
    entries: Mutex<HashMap<String, Entry>>,
    /// Authorities of the mesh's, by whom clients are judged.
    pub(super) believed: Believed,
}

#[derive(Debug, Default)]
struct Entry {
    held: Option<Held>,
    /// Why it could not be had the last time: said once.
    problem: Option<String>,
    /// Whether its authority took it back: said once.
    is_revoked: bool,
}

#[derive(Clone)]
struct Held {
    /// The certificate, then those above it.
    chain: String,
    key: Zeroizing<String>,
    since: SystemTime,
}

impl std::fmt::Debug for Held {
    /// Keys are not for showing.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("since", &self.since).finish_non_exhaustive()
    }
}

/// Why a certificate cannot be had.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("{0}")]
    Call(#[from] selvedge_client::Error),
    #[error("the answer has no {0}")]
    Answer(&'static str),
    #[error("its key cannot be read: {0}")]
    Key(#[from] selvedge_identity::KeyInvalid),
    #[error("it cannot be used: {0}")]
    Material(#[from] selvedge_wire::tls::MaterialInvalid),
    #[error("no passphrase can be made")]
    Entropy,
}

/// Whether a text is the ARN of a certificate, and not the path of a file.
pub(crate) fn is_arn(text: &str) -> bool {
    selvedge_identity::arn::certificate_id(text).is_some()
}

/// Whether a text is the ARN of an authority, and not the path of a file.
pub(super) fn is_authority(text: &str) -> bool {
    selvedge_identity::arn::authority_id(text).is_some()
}

impl Fetched {
    /// How many are shown that were taken back.
    pub(crate) fn revoked(&self) -> usize {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.values().filter(|entry| entry.is_revoked).count()
    }

    /// Adds one to those that are wanted.
    pub(crate) fn want(&self, arn: &str) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if !entries.contains_key(arn) && entries.len() < super::certificates::CONTEXTS_MAX {
            entries.insert(arn.to_owned(), Entry::default());
        }
    }

    /// Since when what is held has been held.
    pub(crate) fn since(&self, arn: &str) -> Option<SystemTime> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(arn)?.held.as_ref().map(|held| held.since)
    }

    /// A chain and its key in PEM, those of the mesh or what stands in their place.
    pub(crate) fn pair(&self, arn: &str) -> (Vec<u8>, Zeroizing<Vec<u8>>) {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = entries.get(arn).and_then(|entry| entry.held.as_ref()) {
            return (held.chain.clone().into_bytes(), Zeroizing::new(held.key.as_bytes().to_vec()));
        }
        let (chain, key) = selvedge_acme::placeholder(&["localhost".to_owned()]).unwrap_or_default();
        (chain.into_bytes(), Zeroizing::new(key.into_bytes()))
    }

    /// Asks for every one that is wanted; whether any is another than before. What cannot be had leaves the last one in force.
    pub(crate) async fn fetch(&self, endpoint: &Endpoint) -> bool {
        let wanted: Vec<(String, Option<Held>)> = {
            let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            entries.iter().map(|(arn, entry)| (arn.clone(), entry.held.clone())).collect()
        };
        if wanted.is_empty() {
            return false;
        }
        let client = Client::new(endpoint.clone()).with_timeouts(PATIENCE.0, PATIENCE.1);
        let mut changed = false;
        for (arn, held) in wanted {
            let fetched = fetch_one(&client, &arn, held.as_ref()).await;
            let is_revoked = fetched.is_ok() && is_revoked(&client, &arn).await;
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(entry) = entries.get_mut(&arn) else { continue };
            let was_revoked = entry.is_revoked;
            match fetched {
                Ok(None) => entry.problem = None,
                Ok(Some(fresh)) => {
                    tracing::info!(arn, "the mesh's certificate was fetched");
                    *entry = Entry { held: Some(fresh), ..Entry::default() };
                    changed = true;
                }
                Err(problem) => {
                    let text = problem.to_string();
                    if entry.problem.as_ref() != Some(&text) {
                        tracing::error!(
                            arn,
                            problem = text,
                            "the mesh's certificate cannot be fetched, and will be tried again"
                        );
                    }
                    entry.problem = Some(text);
                    continue;
                }
            }
            entry.is_revoked = is_revoked;
            if is_revoked && !was_revoked {
                tracing::error!(
                    arn,
                    "the mesh's certificate was taken back by its authority; it is shown until it is renewed"
                );
            }
        }
        changed
    }
}

/// Asks for one; `None` when it is the one that is held.
async fn fetch_one(client: &Client, arn: &str, held: Option<&Held>) -> Result<Option<Held>, Problem> {
    let shown = call(client, "GetCertificate", &json!({ "CertificateArn": arn })).await?;
    let chain = chain(&shown)?;
    if held.is_some_and(|held| held.chain == chain) {
        return Ok(None);
    }
    let drawn: [u8; PASSPHRASE_BYTES] = {
        let mut bytes = [0; PASSPHRASE_BYTES];
        rand::fill(&mut bytes).map_err(|_| Problem::Entropy)?;
        bytes
    };
    let passphrase = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(drawn));
    let asked = json!({ "CertificateArn": arn, "Passphrase": BASE64_STANDARD.encode(passphrase.as_bytes()) });
    let exported = call(client, "ExportCertificate", &asked).await?;
    // It may have been renewed between the two calls: chain and key are of one answer.
    let chain = self::chain(&exported)?;
    let sealed = exported.get("PrivateKey").and_then(Value::as_str).ok_or(Problem::Answer("PrivateKey"))?;
    let key = Key::of_encrypted(sealed, passphrase.as_bytes())?.pem();
    Material::read(chain.as_bytes(), key.as_bytes())?;
    Ok(Some(Held { chain, key, since: SystemTime::now() }))
}

/// Whether its authority took it back, as far as the control plane can say.
async fn is_revoked(client: &Client, arn: &str) -> bool {
    match client.post(TRUST, &json!({ "certificate": arn })).await {
        Ok(answer) => answer.get("revoked").and_then(Value::as_bool).unwrap_or_default(),
        Err(error) => {
            tracing::debug!(%error, arn, "nobody says whether a certificate was taken back");
            false
        }
    }
}

fn chain(answer: &Value) -> Result<String, Problem> {
    let text = |member: &str| answer.get(member).and_then(Value::as_str);
    let leaf = text("Certificate").ok_or(Problem::Answer("Certificate"))?;
    Ok(format!("{leaf}{}", text("CertificateChain").unwrap_or_default()))
}

async fn call(client: &Client, name: &'static str, input: &Value) -> Result<Value, Problem> {
    const SERVICE: &Service = &acm::SERVICE;
    let operation = find_in(SERVICE, name).ok_or(Problem::Answer(name))?;
    Ok(client.call_json(SERVICE, operation, input).await?)
}
