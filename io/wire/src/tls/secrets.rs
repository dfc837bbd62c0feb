//! The secrets of listeners and clusters: read from files, looked at again and again, and exchanged whole.
//!
//! The control thread alone works here; workers see the outcome, [`ServerTls`] and [`ClientTls`]. Whatever cannot be used
//! – half of a pair that is just being replaced, a file that is gone – leaves the last good secrets in force.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use selvedge_identity::verify::BundleInvalid;
use selvedge_identity::{self as identity, Authorities, Certificate, Rules, Verifier};
use selvedge_traffic::tls::{
    Certificate as CertificateSource, DownstreamTls, Pem, SecretRef, Trust, UpstreamTls, Validation, Version,
    Versions,
};

use super::secret::{Secret, leans, merged};
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
    /// Path of its file, or `<inline>`.
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

    /// A secret came: it is in force for all that asked for it, for the connections to come.
    ///
    /// # Errors
    /// When it cannot be used by somebody who asked for it. The one before stays in force.
    pub fn set(&self, name: &SecretRef, secret: Secret) -> Result<(), SecretInvalid> {
        let inner = &mut *self.lock();
        if let Secret::Validation(validation) = &secret {
            if leans(validation) {
                return Err(SecretInvalid::Kind(name.name.clone()));
            }
            inner.verifier(validation)?;
        }
        let before = inner.named.insert(name.clone(), secret);
        let concerns = |source: &Source| matches!(source, Source::Named(named) if named == name);
        if let Err(invalid) = inner.try_out(&concerns) {
            match before {
                Some(before) => inner.named.insert(name.clone(), before),
                None => inner.named.remove(name),
            };
            return Err(invalid);
        }
        inner.rebuild(&concerns);
        Ok(())
    }

    /// Forgets the secrets that nobody asks for any more.
    pub fn retain(&self, wanted: &BTreeSet<SecretRef>) {
        self.lock().named.retain(|name, _| wanted.contains(name));
    }

    /// A secret that has come.
    pub fn secret(&self, name: &SecretRef) -> Option<Secret> {
        self.lock().named.get(name).cloned()
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
            let authorities = context.verifier().map(|verifier| facts(verifier)).unwrap_or_default();
            add(
                &inner.place_of(&server.config.certificate),
                server.config.validation.as_ref().map(|it| inner.trusted(it)).unwrap_or_default(),
                &authorities,
                &context.material().chain,
            );
        }
        for client in &inner.clients {
            let Some(context) = client.tls.upgrade().and_then(|tls| tls.current()) else { continue };
            let authorities = facts(context.verifier());
            let name = client.config.certificate.as_ref().map(|it| inner.place_of(it)).unwrap_or_default();
            let trusted = client.config.validation.as_ref().map(|it| inner.trusted(it)).unwrap_or_default();
            add(&name, trusted, &authorities, context.material().map_or(&[][..], |it| &it.chain));
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

impl Source {
    fn into_path(self) -> Option<String> {
        match self {
            Self::File(path) => Some(path),
            Self::Named(_) => None,
        }
    }
}

impl Inner {
    /// Drops what nobody holds any more.
    fn forget(&mut self) {
        self.servers.retain(|server| server.tls.strong_count() > 0);
        self.clients.retain(|client| client.tls.strong_count() > 0);
        let servers = self.servers.iter().flat_map(|it| self.server_sources(&it.config));
        let clients = self.clients.iter().flat_map(|it| self.client_sources(&it.config));
        let used: HashSet<String> = servers.chain(clients).filter_map(Source::into_path).collect();
        self.files.retain(|path, _| used.contains(path));
    }

    /// Whether all that use a source can be made anew.
    fn try_out(&mut self, changed: &dyn Fn(&Source) -> bool) -> Result<(), SecretInvalid> {
        let servers = self.servers.iter().map(|server| &server.config);
        let servers = servers.filter(|config| self.server_sources(config).iter().any(changed));
        let servers: Vec<DownstreamTls> = servers.cloned().collect();
        let clients = self.clients.iter().map(|client| &client.config);
        let clients = clients.filter(|config| self.client_sources(config).iter().any(changed));
        let clients: Vec<UpstreamTls> = clients.cloned().collect();
        for config in servers {
            unless_awaited(self.server(&config, &ServerTls::default()))?;
        }
        for config in clients {
            unless_awaited(self.client(&config, &ClientTls::default()))?;
        }
        Ok(())
    }

    /// Makes anew what uses a source that has changed, or failed before; whether anything came of it.
    fn rebuild(&mut self, changed: &dyn Fn(&Source) -> bool) -> bool {
        let (mut servers, mut clients) =
            (std::mem::take(&mut self.servers), std::mem::take(&mut self.clients));
        let mut any = false;
        for server in &mut servers {
            let concerned = server.failing || self.server_sources(&server.config).iter().any(changed);
            if let Some(tls) = server.tls.upgrade().filter(|_| concerned) {
                let result = self.server(&server.config, &tls);
                any |= result.is_ok();
                server.failing = tell_again(result, &name_of(&server.config.certificate), server.failing);
            }
        }
        for client in &mut clients {
            let concerned = client.failing || self.client_sources(&client.config).iter().any(changed);
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
            suites: config.suites.clone(),
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
        let settings = ClientSettings {
            sni: config.sni.clone(),
            alpn: config.alpn.clone(),
            tls12,
            tls13,
            suites: config.suites.clone(),
        };
        Ok(tls.replace(&settings, material, verifier)?)
    }

    fn material(&mut self, source: &CertificateSource) -> Result<Material, SecretInvalid> {
        let (chain, key) = match source {
            CertificateSource::Files { chain, key } => (chain.clone(), key.clone()),
            CertificateSource::Sds(name) => match self.named.get(name) {
                Some(Secret::Certificate(material)) => return Ok((**material).clone()),
                Some(Secret::Files { chain, key }) => (chain.clone(), key.clone()),
                Some(Secret::Validation(_)) => return Err(SecretInvalid::Kind(name.name.clone())),
                None => return Err(SecretInvalid::Awaited(name.name.clone())),
            },
        };
        let (chain, key) = (self.file(&chain)?, self.file(&key)?);
        Material::read(&chain, &key)
            .map_err(|invalid| SecretInvalid::Material { name: name_of(source), source: invalid })
    }

    fn verifier(&mut self, validation: &Validation) -> Result<Arc<Verifier>, SecretInvalid> {
        let whole;
        let validation = match &validation.trust {
            Trust::Sds(name) => match self.named.get(name) {
                Some(Secret::Validation(given)) => {
                    whole = merged(validation, given);
                    &whole
                }
                Some(_) => return Err(SecretInvalid::Kind(name.name.clone())),
                None => return Err(SecretInvalid::Awaited(name.name.clone())),
            },
            _ => validation,
        };
        let trust = match &validation.trust {
            Trust::AcceptAny => return Ok(Arc::new(Verifier::accepting_any())),
            // A secret that names another is refused when it comes.
            Trust::Unvouched | Trust::Sds(_) => identity::Trust::Nobody,
            Trust::File { chain } => {
                identity::Trust::Authorities(self.authorities(&Pem::File(chain.clone()))?)
            }
            Trust::Inline(text) => {
                identity::Trust::Authorities(self.authorities(&Pem::Inline(text.clone()))?)
            }
            Trust::Spiffe(domains) => {
                let read = domains
                    .iter()
                    .map(|domain| Ok((domain.name.clone(), self.authorities(&domain.bundle)?)))
                    .collect::<Result<BTreeMap<_, _>, SecretInvalid>>();
                identity::Trust::Domains(read?)
            }
        };
        let crl = validation.crl.as_ref().map(|crl| self.pem(crl)).transpose()?;
        let rules = Rules {
            names: validation.names.clone(),
            certificate_hashes: validation.certificate_hashes.clone(),
            spki_hashes: validation.spki_hashes.clone(),
            allow_expired: validation.allow_expired,
            crl_of_leaf_only: validation.crl_of_leaf_only,
        };
        let verifier = Verifier::new(trust, rules, crl.as_deref()).map_err(|source| {
            SecretInvalid::Bundle { name: validation.crl.as_ref().map(place).unwrap_or_default(), source }
        })?;
        Ok(Arc::new(verifier))
    }

    fn authorities(&mut self, bundle: &Pem) -> Result<Authorities, SecretInvalid> {
        let text = self.pem(bundle)?;
        Authorities::read(&text).map_err(|source| SecretInvalid::Bundle { name: place(bundle), source })
    }

    fn pem(&mut self, pem: &Pem) -> Result<Arc<[u8]>, SecretInvalid> {
        match pem {
            Pem::File(path) => self.file(path),
            Pem::Inline(text) => Ok(text.as_bytes().into()),
        }
    }

    fn server_sources(&self, config: &DownstreamTls) -> Vec<Source> {
        self.sources(Some(&config.certificate), config.validation.as_ref())
    }

    fn client_sources(&self, config: &UpstreamTls) -> Vec<Source> {
        self.sources(config.certificate.as_ref(), config.validation.as_ref())
    }

    /// Where a certificate lies; Envoy's word for one that came.
    fn place_of(&self, certificate: &CertificateSource) -> String {
        match certificate {
            CertificateSource::Files { chain, .. } => chain.clone(),
            CertificateSource::Sds(secret) => match self.named.get(secret) {
                Some(Secret::Files { chain, .. }) => chain.clone(),
                _ => INLINE.to_owned(),
            },
        }
    }

    fn trusted(&self, validation: &Validation) -> String {
        match &validation.trust {
            Trust::File { chain } => chain.clone(),
            Trust::Sds(secret) => match self.named.get(secret) {
                Some(Secret::Validation(given)) if !leans(given) => self.trusted(given),
                _ => INLINE.to_owned(),
            },
            Trust::Inline(_) | Trust::Spiffe(_) => INLINE.to_owned(),
            Trust::AcceptAny | Trust::Unvouched => String::new(),
        }
    }

    /// All that a piece of TLS is made of; with a secret come the files that it names.
    fn sources(
        &self,
        certificate: Option<&CertificateSource>,
        validation: Option<&Validation>,
    ) -> Vec<Source> {
        let mut sources = Vec::new();
        let files = |chain: &String, key: &String, sources: &mut Vec<Source>| {
            sources.extend([Source::File(chain.clone()), Source::File(key.clone())]);
        };
        match certificate {
            Some(CertificateSource::Files { chain, key }) => files(chain, key, &mut sources),
            Some(CertificateSource::Sds(secret)) => {
                sources.push(Source::Named(secret.clone()));
                if let Some(Secret::Files { chain, key }) = self.named.get(secret) {
                    files(chain, key, &mut sources);
                }
            }
            None => {}
        }
        let mut rules: Vec<&Validation> = validation.into_iter().collect();
        if let Some(Trust::Sds(secret)) = validation.map(|validation| &validation.trust) {
            sources.push(Source::Named(secret.clone()));
            if let Some(Secret::Validation(given)) = self.named.get(secret) {
                rules.push(given);
            }
        }
        for rule in rules {
            let domains: &[_] = if let Trust::Spiffe(domains) = &rule.trust { domains } else { &[] };
            let pems = domains.iter().map(|domain| &domain.bundle).chain(&rule.crl);
            sources.extend(pems.filter_map(|pem| match pem {
                Pem::File(path) => Some(Source::File(path.clone())),
                Pem::Inline(_) => None,
            }));
            if let Trust::File { chain } = &rule.trust {
                sources.push(Source::File(chain.clone()));
            }
        }
        sources
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

/// What stands in a path's place, in Envoy's words.
const INLINE: &str = "<inline>";

fn place(pem: &Pem) -> String {
    match pem {
        Pem::File(path) => path.clone(),
        Pem::Inline(_) => INLINE.to_owned(),
    }
}

/// The certificates of all who vouch.
fn facts(verifier: &Verifier) -> Vec<Certificate> {
    verifier.authorities().flat_map(|authorities| authorities.facts.iter().cloned()).collect()
}

/// Whether 1.2 and 1.3 are spoken, within the bounds.
fn spoken(versions: Versions, max_default: Version) -> (bool, bool) {
    let min = versions.min.unwrap_or(Version::Tls12);
    let max = versions.max.unwrap_or_else(|| max_default.max(min));
    let within = |version: Version| (min..=max).contains(&version);
    (within(Version::Tls12), within(Version::Tls13))
}
