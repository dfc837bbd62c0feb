//! The providers and issuers of a configuration, with what is known of them.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use selvedge_guard::bearer::Accept;
use selvedge_guard::call::Call;
use selvedge_guard::reach::Reach;
use selvedge_guard::seal::{Ring, RingInvalid};
use selvedge_guard::sign_in::{Provider, Session, Settings, Used};
use selvedge_jwt::KeySet;
use selvedge_outbound::{Fetcher, Roots, RootsInvalid};
use selvedge_site::Program;
use selvedge_site::directive::Text;
use selvedge_site::directive::guard::{Jwt, KeysFrom, Oidc};

use super::kept::Kept;
use crate::site::Files;

/// The largest file of a secret.
pub(crate) const SECRET_BYTES_MAX: u64 = 64 * 1024;
/// Sessions renewed lately that are remembered, for requests that still bring the old one.
pub(crate) const RENEWED_MAX: usize = 1024;

/// All of a configuration.
#[derive(Debug, Default)]
pub(crate) struct Guards {
    oidc: HashMap<Text, Arc<SignInWith>>,
    jwt: HashMap<Text, Arc<BearersOf>>,
    /// Locked for a look-up; services that are asked, by their URLs.
    asks: Mutex<HashMap<String, Arc<Fetcher>>>,
    tickets: Option<Tickets>,
}

/// What seals the addresses of executions.
#[derive(Clone, Debug)]
pub(crate) struct Tickets {
    /// The process's own.
    own: Arc<Ring>,
    /// What all replicas have.
    shared: Option<Arc<Ring>>,
}

impl Tickets {
    pub(crate) fn own() -> std::io::Result<Self> {
        let mut secret = [0; 32];
        rustix::rand::getrandom(&mut secret, rustix::rand::GetRandomFlags::empty())?;
        let own = Ring::new(&[secret]).expect("one secret of 32 bytes is a ring");
        Ok(Self { own: Arc::new(own), shared: None })
    }

    /// The ring that seals, and those that open.
    pub(crate) fn rings(&self) -> impl Iterator<Item = &Ring> {
        self.shared.iter().chain([&self.own]).map(|ring| &**ring)
    }
}

/// A provider by whom people sign in.
#[derive(Debug)]
pub(crate) struct SignInWith {
    pub(crate) settings: Settings,
    pub(crate) ring: Ring,
    pub(crate) fetcher: Fetcher,
    known: Kept<Known>,
    pub(crate) used: Arc<Mutex<Used>>,
    /// By the refresh token that they were renewed with, the oldest first. Held while one is being renewed.
    pub(crate) renewed: tokio::sync::Mutex<VecDeque<(String, Session)>>,
}

/// What a provider said of itself, and its keys.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) provider: Provider,
    pub(crate) keys: KeySet,
}

/// An issuer whose bearers are let in.
#[derive(Debug)]
pub(crate) struct BearersOf {
    pub(crate) accept: Accept,
    keys: Keys,
}

#[derive(Debug)]
enum Keys {
    Here(Arc<KeySet>),
    Afar { url: String, fetcher: Box<Fetcher>, kept: Kept<KeySet> },
}

/// Why a provider or issuer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GuardInvalid {
    #[error("{path} cannot be read")]
    Read { path: String, source: std::io::Error },
    #[error("{path} is larger than {SECRET_BYTES_MAX} bytes")]
    TooLarge { path: String },
    #[error("the keys of cookies in {path} cannot be used: {source}")]
    Ring { path: String, source: RingInvalid },
    #[error("the keys of an issuer in {path} cannot be used: {source}")]
    Keys { path: String, source: selvedge_jwt::Refusal },
    #[error("the keys in {path} (mesh.keys) cannot be used: {source}")]
    Tickets { path: String, source: RingInvalid },
    #[error("there is no entropy")]
    Entropy(#[source] std::io::Error),
    #[error("authorities cannot be read")]
    Roots(#[from] RootsInvalid),
}

impl Guards {
    /// Reads what a program names; callbacks that were used under the configuration before stay used.
    ///
    /// # Errors
    /// When a file cannot be used: the configuration is not put in force.
    pub(crate) fn new(program: &Program, files: &Files, before: Option<&Self>) -> Result<Self, GuardInvalid> {
        let mesh = &program.base().directives.mesh;
        let mut guards = Self::default();
        let mut tickets = match before.and_then(|before| before.tickets.clone()) {
            Some(known) => known,
            None => Tickets::own().map_err(GuardInvalid::Entropy)?,
        };
        tickets.shared = match program.global().mesh_keys.as_deref().filter(|path| !path.is_empty()) {
            None => None,
            Some(path) => {
                let failed = |source| GuardInvalid::Tickets { path: path.to_owned(), source };
                Some(Arc::new(Ring::of_lines(&read(files, path)?).map_err(failed)?))
            }
        };
        guards.tickets = Some(tickets);
        for (name, oidc) in mesh.oidc.iter() {
            let used = before.and_then(|before| before.oidc.get(name)).map(|known| Arc::clone(&known.used));
            guards
                .oidc
                .insert(name.clone(), Arc::new(SignInWith::new(oidc, files, used.unwrap_or_default())?));
        }
        for (name, jwt) in mesh.jwt.iter() {
            guards.jwt.insert(name.clone(), Arc::new(BearersOf::new(jwt, files)?));
        }
        Ok(guards)
    }

    /// What seals the addresses of executions.
    pub(crate) fn tickets(&self) -> Option<&Tickets> {
        self.tickets.as_ref()
    }

    pub(crate) fn oidc(&self, name: &str) -> Option<Arc<SignInWith>> {
        self.oidc.get(name).cloned()
    }

    /// The provider whose callback or logout this path is.
    pub(crate) fn of_path(&self, path: &str) -> Option<Arc<SignInWith>> {
        let is_its = |with: &&Arc<SignInWith>| {
            path == with.settings.callback_path || path == with.settings.logout_path
        };
        if self.oidc.is_empty() { None } else { self.oidc.values().find(is_its).cloned() }
    }

    pub(crate) fn jwt(&self, name: &str) -> Option<Arc<BearersOf>> {
        self.jwt.get(name).cloned()
    }

    /// What calls a service that is asked whether requests may go on.
    pub(crate) fn asker(&self, url: &str) -> Result<Arc<Fetcher>, RootsInvalid> {
        let mut asks = self.asks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = asks.get(url) {
            return Ok(Arc::clone(known));
        }
        let fresh = Arc::new(fetcher(url, None)?);
        asks.insert(url.to_owned(), Arc::clone(&fresh));
        Ok(fresh)
    }
}

impl SignInWith {
    fn new(oidc: &Oidc, files: &Files, used: Arc<Mutex<Used>>) -> Result<Self, GuardInvalid> {
        let mut settings = oidc.settings.clone();
        if let Some(path) = &oidc.secret_file {
            settings.client_secret = Some(read(files, path)?.trim().to_owned());
        }
        let ring = Ring::of_lines(&read(files, &oidc.cookie_keys)?);
        let ring =
            ring.map_err(|source| GuardInvalid::Ring { path: oidc.cookie_keys.to_string(), source })?;
        let fetcher = fetcher(&settings.issuer, oidc.roots.as_deref())?;
        let renewed = tokio::sync::Mutex::default();
        Ok(Self { settings, ring, fetcher, known: Kept::default(), used, renewed })
    }

    /// What is known of the provider; `None` while it cannot be reached.
    pub(crate) async fn known(&self) -> Option<Arc<Known>> {
        self.known.get(self.learn()).await
    }

    /// The same, newer: a token was signed with a key that is not among those known.
    pub(crate) async fn known_anew(&self) -> Option<Arc<Known>> {
        self.known.again(self.learn()).await
    }

    async fn learn(&self) -> Option<Known> {
        let issuer = &self.settings.issuer;
        let failed = |what: &dyn std::fmt::Display| {
            tracing::warn!(%issuer, problem = %what, "a provider cannot be asked: nobody can sign in");
        };
        let url = Provider::metadata_url(issuer);
        let said = self.fetcher.fetch(&Call::json(&url)).await.map_err(|error| failed(&error)).ok()?;
        if said.status != 200 {
            failed(&format!("{url} answers {}", said.status));
            return None;
        }
        let provider = Provider::parse(&said.body, issuer).map_err(|error| failed(&error)).ok()?;
        let keys = keys(&self.fetcher, &provider.jwks_uri).await?;
        Some(Known { provider, keys })
    }
}

impl BearersOf {
    fn new(jwt: &Jwt, files: &Files) -> Result<Self, GuardInvalid> {
        let keys = match &jwt.keys {
            KeysFrom::File(path) => {
                let keys = KeySet::parse(&read(files, path)?);
                Keys::Here(Arc::new(
                    keys.map_err(|source| GuardInvalid::Keys { path: path.to_string(), source })?,
                ))
            }
            KeysFrom::Url(url) => Keys::Afar {
                url: url.to_string(),
                fetcher: Box::new(fetcher(url, jwt.roots.as_deref())?),
                kept: Kept::default(),
            },
        };
        Ok(Self { accept: jwt.accept.clone(), keys })
    }

    /// The issuer's keys; `None` while they cannot be had. `anew` where those known lack the one that is looked for.
    pub(crate) async fn keys(&self, anew: bool) -> Option<Arc<KeySet>> {
        match &self.keys {
            Keys::Here(keys) => Some(Arc::clone(keys)),
            Keys::Afar { url, fetcher, kept } if anew => kept.again(keys(fetcher, url)).await,
            Keys::Afar { url, fetcher, kept } => kept.get(keys(fetcher, url)).await,
        }
    }
}

async fn keys(fetcher: &Fetcher, url: &str) -> Option<KeySet> {
    let keys = match fetcher.fetch(&Call::json(url)).await {
        Ok(said) if said.status == 200 => KeySet::parse(&String::from_utf8_lossy(&said.body)).ok(),
        Ok(_) => None,
        Err(error) => {
            tracing::warn!(%error, url, "an issuer's keys cannot be had: nobody is believed");
            return None;
        }
    };
    if keys.is_none() {
        tracing::warn!(url, "an issuer's keys are none: nobody is believed");
    }
    keys
}

fn fetcher(url: &str, roots: Option<&str>) -> Result<Fetcher, RootsInvalid> {
    let roots = match roots {
        Some(path) => Roots::File(PathBuf::from(path)),
        None if url.starts_with("http://") => Roots::Nobody,
        None => Roots::System,
    };
    Fetcher::new(Reach::of_operator([url]), &roots)
}

fn read(files: &Files, path: &str) -> Result<String, GuardInvalid> {
    let failed = |source| GuardInvalid::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).is_ok_and(|facts| facts.len() > SECRET_BYTES_MAX) {
        return Err(GuardInvalid::TooLarge { path: path.to_owned() });
    }
    let bytes = files.read(path).map_err(failed)?;
    String::from_utf8(bytes.to_vec()).map_err(|error| failed(std::io::Error::other(error)))
}
