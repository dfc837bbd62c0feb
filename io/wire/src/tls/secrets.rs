//! The secrets of listeners and clusters: read from files, looked at again and again, and exchanged whole.
//!
//! The control thread alone works here; workers see the outcome, [`ServerTls`] and [`ClientTls`]. Whatever cannot be used
//! – half of a pair that is just being replaced, a file that is gone – leaves the last good secrets in force.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use selvedge_identity::verify::BundleInvalid;
use selvedge_identity::{Authorities, Certificate, Rules, Verifier};
use selvedge_traffic::tls::{
    Certificate as CertificateSource, DownstreamTls, SecretRef, Trust, UpstreamTls, Validation, Version,
    Versions,
};

use super::{ClientAuth, ClientSettings, ClientTls, Material, MaterialInvalid, ServerSettings, ServerTls};

/// The largest file, or secret, that is read.
pub const FILE_BYTES_MAX: u64 = 4 << 20;

/// Why TLS cannot be spoken as configured.
#[derive(Debug, thiserror::Error)]
pub enum SecretInvalid {
    #[error("failed to read {path:?}")]
    Read {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("{path:?} is larger than {FILE_BYTES_MAX} bytes")]
    TooLarge { path: String },
    #[error("certificate {name:?} cannot be used: {source}")]
    Material {
        name: String,
        #[source]
        source: MaterialInvalid,
    },
    #[error("{name:?} cannot be used: {source}")]
    Bundle {
        name: String,
        #[source]
        source: BundleInvalid,
    },
    #[error("secret {0:?} has not come")]
    Awaited(String),
    #[error("secret {0:?} is of another kind")]
    Kind(String),
    #[error("the protocol cannot be spoken")]
    Protocol(#[from] rustls::Error),
}

/// What a secret discovery service handed out.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    Certificate { chain: Arc<[u8]>, key: Arc<[u8]> },
    Validation { authorities: Arc<[u8]>, crl: Option<Arc<[u8]>> },
}

impl std::fmt::Debug for Secret {
    /// Secrets are not for showing.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Certificate { .. } => "Certificate",
            Self::Validation { .. } => "Validation",
        })
    }
}

/// All secrets of a process.
#[derive(Debug, Default)]
pub struct Secrets {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    files: HashMap<String, File>,
    named: HashMap<SecretRef, Secret>,
    servers: Vec<Server>,
    clients: Vec<Client>,
}

#[derive(Debug)]
struct File {
    stamp: Stamp,
    content: Arc<[u8]>,
}

/// What changes when a file is written or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

#[derive(Debug)]
struct Server {
    config: DownstreamTls,
    tls: Weak<ServerTls>,
    /// The latest attempt came to nothing: tried again with each look at the files.
    failing: bool,
}

#[derive(Debug)]
struct Client {
    config: UpstreamTls,
    tls: Weak<ClientTls>,
    failing: bool,
}

/// A certificate in use, and what it is of.
#[derive(Clone, Debug)]
pub struct InUse {
    /// Path of its file, or the secret's name.
    pub source: String,
    /// Likewise, of the authorities.
    pub trusted: String,
    pub authorities: Vec<Certificate>,
    pub chain: Vec<Certificate>,
}

impl Secrets {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Whether a listener's TLS can be spoken with what is at hand; secrets that are still to come are no obstacle.
    ///
    /// # Errors
    /// See [`SecretInvalid`].
    pub fn check_server(&self, config: &DownstreamTls) -> Result<(), SecretInvalid> {
        let inner = &mut *self.lock();
        unless_awaited(inner.server(config, &ServerTls::default()))
    }

    /// As [`Secrets::check_server`], for a cluster.
    ///
    /// # Errors
    /// See [`SecretInvalid`].
    pub fn check_client(&self, config: &UpstreamTls) -> Result<(), SecretInvalid> {
        let inner = &mut *self.lock();
        unless_awaited(inner.client(config, &ClientTls::default()))
    }

    /// A listener's TLS; the same one for equal configurations, kept up to date for as long as somebody holds it.
    pub fn server(&self, config: &DownstreamTls) -> Arc<ServerTls> {
        let inner = &mut *self.lock();
        let known = inner.servers.iter().filter(|server| server.config == *config);
        if let Some(tls) = known.filter_map(|server| server.tls.upgrade()).next() {
            return tls;
        }
        inner.forget();
        let tls = Arc::<ServerTls>::default();
        let failing = tell(inner.server(config, &tls), "listener");
        inner.servers.push(Server { config: config.clone(), tls: Arc::downgrade(&tls), failing });
        tls
    }

    /// A cluster's TLS.
    pub fn client(&self, config: &UpstreamTls) -> Arc<ClientTls> {
        let inner = &mut *self.lock();
        let known = inner.clients.iter().filter(|client| client.config == *config);
        if let Some(tls) = known.filter_map(|client| client.tls.upgrade()).next() {
            return tls;
        }
        inner.forget();
        let tls = Arc::<ClientTls>::default();
        let failing = tell(inner.client(config, &tls), "cluster");
        inner.clients.push(Client { config: config.clone(), tls: Arc::downgrade(&tls), failing });
        tls
    }

    /// A secret came, or changed; whether it did.
    pub fn set(&self, name: &SecretRef, secret: Secret) -> bool {
        let inner = &mut *self.lock();
        if inner.named.get(name) == Some(&secret) {
            return false;
        }
        inner.named.insert(name.clone(), secret);
        inner.rebuild(&|source| matches!(source, Source::Named(named) if named == name));
        true
    }

    /// Whether a secret has come.
    pub fn has(&self, name: &SecretRef) -> bool {
        self.lock().named.contains_key(name)
    }

    /// Looks whether files have changed, and puts new secrets in force; whether any did. To be called about once a second.
    pub fn refresh(&self) -> bool {
        let inner = &mut *self.lock();
        inner.forget();
        let changed: Vec<String> = inner
            .files
            .iter()
            .filter(|(path, file)| stamp(path) != Some(file.stamp))
            .map(|(path, _)| path.clone())
            .collect();
        for path in &changed {
            inner.files.remove(path);
        }
        let failing = inner.servers.iter().any(|server| server.failing)
            || inner.clients.iter().any(|client| client.failing);
        if changed.is_empty() && !failing {
            return false;
        }
        inner.rebuild(&|source| matches!(source, Source::File(path) if changed.contains(path)))
    }

    /// Whole days until the first certificate in use ends, at a moment in seconds since the Unix epoch.
    pub fn days_left(&self, now: i64) -> Option<u64> {
        let all = self.in_use();
        let certificates = all.iter().flat_map(|used| used.chain.iter().chain(&used.authorities));
        certificates.map(|certificate| certificate.days_left(now)).min()
    }

    /// Every certificate in use.
    pub fn in_use(&self) -> Vec<InUse> {
        let inner = self.lock();
        let mut all: Vec<InUse> = Vec::new();
        let mut add = |source: &str, trusted: String, authorities: &[Certificate], chain: &[Certificate]| {
            if !all.iter().any(|known| known.source == source && known.chain == chain) {
                all.push(InUse {
                    source: source.to_owned(),
                    trusted,
                    authorities: authorities.to_vec(),
                    chain: chain.to_vec(),
                });
            }
        };
        for server in &inner.servers {
            let Some(context) = server.tls.upgrade().and_then(|tls| tls.current()) else { continue };
            let authorities = context.verifier().and_then(|verifier| verifier.authorities());
            add(
                &name_of(&server.config.certificate),
                server.config.validation.as_ref().map(trusted).unwrap_or_default(),
                authorities.map_or(&[], |it| &it.facts),
                &context.material().chain,
            );
        }
        for client in &inner.clients {
            let Some(context) = client.tls.upgrade().and_then(|tls| tls.current()) else { continue };
            let authorities = context.verifier().authorities().map_or(&[][..], |it| &it.facts);
            let name = client.config.certificate.as_ref().map(name_of).unwrap_or_default();
            let trusted = client.config.validation.as_ref().map(trusted).unwrap_or_default();
            add(&name, trusted, authorities, context.material().map_or(&[][..], |it| &it.chain));
        }
        all
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a piece of TLS is made of.
enum Source {
    File(String),
    Named(SecretRef),
}

impl Inner {
    /// Drops what nobody holds any more.
    fn forget(&mut self) {
        self.servers.retain(|server| server.tls.strong_count() > 0);
        self.clients.retain(|client| client.tls.strong_count() > 0);
        let mut used = std::collections::HashSet::new();
        for source in self.servers.iter().flat_map(|it| server_sources(&it.config)) {
            if let Source::File(path) = source {
                used.insert(path);
            }
        }
        for source in self.clients.iter().flat_map(|it| client_sources(&it.config)) {
            if let Source::File(path) = source {
                used.insert(path);
            }
        }
        self.files.retain(|path, _| used.contains(path));
    }

    /// Makes anew what uses a source that has changed, or failed before; whether anything came of it.
    fn rebuild(&mut self, changed: &dyn Fn(&Source) -> bool) -> bool {
        let (mut servers, mut clients) =
            (std::mem::take(&mut self.servers), std::mem::take(&mut self.clients));
        let mut any = false;
        for server in &mut servers {
            let concerned = server.failing || server_sources(&server.config).iter().any(changed);
            if let Some(tls) = server.tls.upgrade().filter(|_| concerned) {
                let result = self.server(&server.config, &tls);
                any |= result.is_ok();
                server.failing = tell_again(result, &name_of(&server.config.certificate), server.failing);
            }
        }
        for client in &mut clients {
            let concerned = client.failing || client_sources(&client.config).iter().any(changed);
            if let Some(tls) = client.tls.upgrade().filter(|_| concerned) {
                let result = self.client(&client.config, &tls);
                any |= result.is_ok();
                let name = client.config.certificate.as_ref().map(name_of).unwrap_or_default();
                client.failing = tell_again(result, &name, client.failing);
            }
        }
        (self.servers, self.clients) = (servers, clients);
        any
    }

    fn server(&mut self, config: &DownstreamTls, tls: &ServerTls) -> Result<(), SecretInvalid> {
        let material = self.material(&config.certificate)?;
        let verifier = config.validation.as_ref().map(|validation| self.verifier(validation)).transpose()?;
        let (tls12, tls13) = spoken(config.versions, Version::Tls13);
        let settings = ServerSettings {
            alpn: config.alpn.clone(),
            client_auth: match config.require_client_certificate {
                true => ClientAuth::Required,
                false => ClientAuth::Optional,
            },
            require_sni: config.require_sni,
            tickets: !config.without_tickets,
            tls12,
            tls13,
        };
        Ok(tls.replace(&settings, material, verifier)?)
    }

    fn client(&mut self, config: &UpstreamTls, tls: &ClientTls) -> Result<(), SecretInvalid> {
        let material = config.certificate.as_ref().map(|source| self.material(source)).transpose()?;
        let verifier = match &config.validation {
            Some(validation) => self.verifier(validation)?,
            None => Arc::new(Verifier::accepting_any()),
        };
        let (tls12, tls13) = spoken(config.versions, Version::Tls12);
        let settings = ClientSettings { sni: config.sni.clone(), alpn: config.alpn.clone(), tls12, tls13 };
        Ok(tls.replace(&settings, material, verifier)?)
    }

    fn material(&mut self, source: &CertificateSource) -> Result<Material, SecretInvalid> {
        let (chain, key) = match source {
            CertificateSource::Files { chain, key } => (self.file(chain)?, self.file(key)?),
            CertificateSource::Sds(name) => match self.named.get(name) {
                Some(Secret::Certificate { chain, key }) => (Arc::clone(chain), Arc::clone(key)),
                Some(Secret::Validation { .. }) => return Err(SecretInvalid::Kind(name.name.clone())),
                None => return Err(SecretInvalid::Awaited(name.name.clone())),
            },
        };
        Material::read(&chain, &key)
            .map_err(|invalid| SecretInvalid::Material { name: name_of(source), source: invalid })
    }

    fn verifier(&mut self, validation: &Validation) -> Result<Arc<Verifier>, SecretInvalid> {
        let (name, bundle, mut crl) = match &validation.trust {
            Trust::AcceptAny => return Ok(Arc::new(Verifier::accepting_any())),
            Trust::Unvouched => (String::new(), None, None),
            Trust::File { chain } => (chain.clone(), Some(self.file(chain)?), None),
            Trust::Sds(secret) => match self.named.get(secret) {
                Some(Secret::Validation { authorities, crl }) => {
                    (secret.name.clone(), Some(Arc::clone(authorities)), crl.clone())
                }
                Some(Secret::Certificate { .. }) => return Err(SecretInvalid::Kind(secret.name.clone())),
                None => return Err(SecretInvalid::Awaited(secret.name.clone())),
            },
        };
        let invalid = |source| SecretInvalid::Bundle { name: name.clone(), source };
        let authorities = bundle.map(|bundle| Authorities::read(&bundle)).transpose().map_err(invalid)?;
        if let Some(path) = &validation.crl {
            crl = Some(self.file(path)?);
        }
        let rules = Rules {
            names: validation.names.clone(),
            certificate_hashes: validation.certificate_hashes.clone(),
            spki_hashes: validation.spki_hashes.clone(),
            allow_expired: validation.allow_expired,
            crl_of_leaf_only: validation.crl_of_leaf_only,
        };
        let verifier = Verifier::new(authorities, rules, crl.as_deref()).map_err(|source| {
            SecretInvalid::Bundle { name: validation.crl.clone().unwrap_or_else(|| name.clone()), source }
        })?;
        Ok(Arc::new(verifier))
    }

    fn file(&mut self, path: &str) -> Result<Arc<[u8]>, SecretInvalid> {
        if let Some(file) = self.files.get(path) {
            return Ok(Arc::clone(&file.content));
        }
        let failed = |source| SecretInvalid::Read { path: path.to_owned(), source };
        // The stamp before the content: what changes in between is read again with the next look.
        let stamp = fs::metadata(path).map(|metadata| Stamp::of(&metadata)).map_err(failed)?;
        if stamp.size > FILE_BYTES_MAX {
            return Err(SecretInvalid::TooLarge { path: path.to_owned() });
        }
        let content: Arc<[u8]> = fs::read(path).map_err(failed)?.into();
        self.files.insert(path.to_owned(), File { stamp, content: Arc::clone(&content) });
        Ok(content)
    }
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

fn stamp(path: &str) -> Option<Stamp> {
    fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata))
}

fn unless_awaited(result: Result<(), SecretInvalid>) -> Result<(), SecretInvalid> {
    match result {
        Err(SecretInvalid::Awaited(_)) => Ok(()),
        other => other,
    }
}

/// Says what failed at first; whether anything did.
fn tell(result: Result<(), SecretInvalid>, of: &str) -> bool {
    match &result {
        Ok(()) => {}
        Err(SecretInvalid::Awaited(name)) => tracing::debug!(name, of, "a secret is awaited"),
        Err(error) => tracing::error!(%error, of, "TLS cannot be spoken as configured"),
    }
    result.is_err()
}

/// Says what became of a change.
fn tell_again(result: Result<(), SecretInvalid>, name: &str, failed_before: bool) -> bool {
    match &result {
        Ok(()) => tracing::info!(name, "new secrets are in force for connections to come"),
        Err(SecretInvalid::Awaited(_)) => {}
        Err(error) if !failed_before => {
            tracing::error!(%error, name, "changed secrets cannot be used; the last good ones stay");
        }
        Err(_) => {}
    }
    result.is_err()
}

fn name_of(source: &CertificateSource) -> String {
    match source {
        CertificateSource::Files { chain, .. } => chain.clone(),
        CertificateSource::Sds(secret) => secret.name.clone(),
    }
}

fn trusted(validation: &Validation) -> String {
    match &validation.trust {
        Trust::File { chain } => chain.clone(),
        Trust::Sds(secret) => secret.name.clone(),
        Trust::AcceptAny | Trust::Unvouched => String::new(),
    }
}

/// Whether 1.2 and 1.3 are spoken, within the bounds.
fn spoken(versions: Versions, max_default: Version) -> (bool, bool) {
    let min = versions.min.unwrap_or(Version::Tls12);
    let max = versions.max.unwrap_or_else(|| max_default.max(min));
    let within = |version: Version| (min..=max).contains(&version);
    (within(Version::Tls12), within(Version::Tls13))
}

fn server_sources(config: &DownstreamTls) -> Vec<Source> {
    let mut sources = certificate_sources(&config.certificate);
    sources.extend(config.validation.as_ref().into_iter().flat_map(validation_sources));
    sources
}

fn client_sources(config: &UpstreamTls) -> Vec<Source> {
    let mut sources: Vec<Source> = config.certificate.as_ref().map(certificate_sources).unwrap_or_default();
    sources.extend(config.validation.as_ref().into_iter().flat_map(validation_sources));
    sources
}

fn certificate_sources(source: &CertificateSource) -> Vec<Source> {
    match source {
        CertificateSource::Files { chain, key } => {
            vec![Source::File(chain.clone()), Source::File(key.clone())]
        }
        CertificateSource::Sds(secret) => vec![Source::Named(secret.clone())],
    }
}

fn validation_sources(validation: &Validation) -> Vec<Source> {
    let trust = match &validation.trust {
        Trust::File { chain } => Some(Source::File(chain.clone())),
        Trust::Sds(secret) => Some(Source::Named(secret.clone())),
        Trust::AcceptAny | Trust::Unvouched => None,
    };
    trust.into_iter().chain(validation.crl.clone().map(Source::File)).collect()
}
