//! The mesh's certificates: AWS Certificate Manager's API and that of its private authorities, over one store.
//!
//! ```text
//!   RequestCertificate ─▶ acm ─▶ authority ─▶ core/identity (what may be signed) ─▶ one transaction, the key sealed
//!   time ─▶ renew (one certificate after the other) ──────────────────────────────▶ the same
//!   the change feed ─▶ publish ─▶ to the proxies whose specifications name them
//! ```
//! Private keys lie in the store sealed, and leave by [`Channel::Private`] connections alone.

mod acm;
mod acme;
mod authority;
mod document;
mod draw;
mod failure;
mod in_use;
mod material;
mod page;
mod pca;
mod renew;
mod tags;
mod trust;

use std::sync::Arc;
use std::time::Duration;

use selvedge_aws::Call;
use selvedge_aws::error::ErrorShape;
use selvedge_model::Value;
use selvedge_store::{Error as StoreError, Read, Store, Transaction, Vault, WriteError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::{Answer, Caller, Channel, Service, Surroundings};
use crate::operations::{Settings, Unperformed};
use failure::Failure;

pub use acme::{ACME_CHANGES_MAX, ACME_DOCUMENTS_MAX, ACME_VALUE_BYTES_MAX, AcmeRoute};
pub use authority::AUTHORITIES_MAX;
pub use material::{Found, Material, PREFIXES, is_material, known, named_in};
pub use pca::{ISSUED_MAX, REVOKED_MAX};
pub use renew::{RENEWAL_RETRY, forget, renew, renew_lists, run as run_renewals};
pub use trust::TrustRoute;

/// Certificates that may be kept; AWS's quota.
pub const CERTIFICATES_MAX: usize = 2500;
/// Names of a certificate besides its domain; AWS's quota, when it is raised.
pub const NAMES_PER_CERTIFICATE_MAX: usize = 99;
/// Certificates in the chain of an imported one.
pub const CHAIN_MAX: usize = 10;
/// How long a certificate lives unless told otherwise; as in AWS, thirteen months.
pub const LIFE_DEFAULT: Duration = Duration::from_secs(395 * 24 * 60 * 60);

/// The certificates of an installation.
pub struct Certificates {
    store: Arc<dyn Store>,
    settings: Settings,
    surroundings: Arc<dyn Surroundings>,
    vault: Vault,
    life: Duration,
}

/// What a call is performed in.
struct Scope<'a> {
    office: &'a Certificates,
    call: &'a Call,
    /// Milliseconds since the Unix epoch.
    now: u64,
    region: String,
    channel: Channel,
}

/// AWS Certificate Manager.
struct Acm(Arc<Certificates>);

/// AWS Private Certificate Authority.
struct Pca(Arc<Certificates>);

impl Certificates {
    /// The certificates in `store`, whose keys `vault` seals; new ones live for `life`.
    pub fn new(
        store: Arc<dyn Store>,
        settings: Settings,
        surroundings: Arc<dyn Surroundings>,
        vault: Vault,
        life: Duration,
    ) -> Arc<Self> {
        Arc::new(Self { store, settings, surroundings, vault, life })
    }

    /// AWS Certificate Manager's operations.
    pub fn acm(self: &Arc<Self>) -> impl Service + use<> {
        Acm(Arc::clone(self))
    }

    /// AWS Private Certificate Authority's operations.
    pub fn pca(self: &Arc<Self>) -> impl Service + use<> {
        Pca(Arc::clone(self))
    }

    fn perform(
        &self,
        caller: &Caller,
        call: &Call,
        invalid: ErrorShape,
        dispatch: fn(&Scope<'_>) -> Result<Value, Failure>,
    ) -> Result<Value, Unperformed> {
        let checked = call.check(self.settings.strictness);
        checked.map_err(|found| Unperformed { error: invalid.because(found.to_string()), cause: None })?;
        let region = caller.region.clone().unwrap_or_else(|| self.settings.region.clone());
        let scope =
            Scope { office: self, call, now: self.surroundings.now().0, region, channel: caller.channel };
        dispatch(&scope).map_err(|failure| match failure {
            Failure::Api(error) => Unperformed { error, cause: None },
            Failure::Store(cause) => {
                Unperformed { error: failure::words(invalid).describe(&cause), cause: Some(cause) }
            }
        })
    }
}

impl Service for Acm {
    fn name(&self) -> &str {
        "acm"
    }

    fn perform(&self, caller: Caller, call: &Call) -> Answer<Result<Value, Unperformed>> {
        let invalid = selvedge_aws::operations::acm::VALIDATION_EXCEPTION;
        Answer::Now(self.0.perform(&caller, call, invalid, acm::perform))
    }
}

impl Service for Pca {
    fn name(&self) -> &str {
        "acm-pca"
    }

    fn perform(&self, caller: Caller, call: &Call) -> Answer<Result<Value, Unperformed>> {
        let invalid = selvedge_aws::operations::acm_pca::VALIDATION_EXCEPTION;
        Answer::Now(self.0.perform(&caller, call, invalid, pca::perform))
    }
}

impl<'a> Scope<'a> {
    /// A text member; empty when absent.
    fn text(&self, member: &str) -> &'a str {
        self.call.text(member).unwrap_or_default()
    }

    /// The bytes of a member; empty when absent. That it is base64 was checked.
    fn bytes(&self, member: &str) -> zeroize::Zeroizing<Vec<u8>> {
        use base64::Engine as _;
        zeroize::Zeroizing::new(
            base64::prelude::BASE64_STANDARD.decode(self.text(member)).unwrap_or_default(),
        )
    }

    /// A list of texts.
    fn texts(&self, member: &str) -> impl Iterator<Item = &'a str> {
        let list = self.call.input.get(member).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str)
    }

    /// The moment in seconds.
    fn seconds(&self) -> i64 {
        i64::try_from(self.now / 1000).unwrap_or(i64::MAX)
    }

    fn uuid(&self) -> String {
        self.office.surroundings.uuid()
    }

    /// Refuses to let a key leave where others could read it.
    fn check_channel(&self, invalid: ErrorShape) -> Result<(), Failure> {
        match self.channel {
            Channel::Private => Ok(()),
            Channel::Open => Err(invalid
                .because(
                    "a private key leaves over loopback, a socket in the file system, or TLS on a port that asks clients \
                     for a certificate (--tls-client-ca), and over nothing else",
                )
                .into()),
        }
    }

    /// Runs one transaction.
    fn write<T>(&self, mut f: impl FnMut(&mut dyn Transaction) -> Result<T, Failure>) -> Result<T, Failure> {
        let (value, _) = self.office.store.write(|tx| f(tx).map_err(WriteError::from))?;
        Ok(value)
    }
}

/// A document.
fn get<T: DeserializeOwned>(view: &dyn Read, key: &str) -> Result<Option<T>, StoreError> {
    let Some(document) = view.get(key)? else { return Ok(None) };
    read(key, &document.value).map(Some)
}

fn read<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(value).map_err(|error| StoreError::Corrupt(format!("{key}: {error}")))
}

fn put<T: Serialize>(tx: &mut dyn Transaction, key: &str, value: &T) -> Result<(), StoreError> {
    let text = serde_json::to_vec(value).map_err(|error| StoreError::Corrupt(format!("{key}: {error}")))?;
    tx.put(key, text.into())
}

/// Counts one more or one less under a key, and says how many there are.
fn count(tx: &mut dyn Transaction, key: &str, by: i64) -> Result<usize, StoreError> {
    let before: i64 = get(&*tx, key)?.unwrap_or_default();
    let after = before.saturating_add(by).max(0);
    if by != 0 {
        put(tx, key, &after)?;
    }
    Ok(usize::try_from(after).unwrap_or(usize::MAX))
}
