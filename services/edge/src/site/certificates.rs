//! Certificates by what a client asks for, read once and again when their files change.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use super::fetched::{self, Fetched};
use super::files::Files;
use super::staples::{Leaf, Staples, unix};
use selvedge_client::Endpoint;
use selvedge_identity::ocsp::Question;
use selvedge_identity::{Authorities, BundleInvalid, Rules, Trust, Verifier};
use selvedge_site::condition::{Field, Operand, Operation};
use selvedge_site::directive::Ssl;
use selvedge_site::{PatternExhausted, Program, RequestFacts};
use selvedge_wire::tls::{
    ClientAuth, Curve, Material, MaterialInvalid, ServerContext, ServerSettings, ServerTls, Suites,
};
use zeroize::Zeroizing;

/// Different sets of TLS files that one configuration may use.
pub(crate) const CONTEXTS_MAX: usize = 10_000;
/// Groups of the key exchange, the hybrid one first: what strangers' networks record today is not to be read by tomorrow's machines.
const GROUPS: [Curve; 4] = [Curve::X25519MlKem768, Curve::X25519, Curve::P256, Curve::P384];
/// Certificates whose ends are told by metrics: those that end first.
const TOLD_MAX: usize = 100;

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("ssl.engine is on for {0} and neither ssl.pemfile nor mesh.certificate is set")]
    NoCertificate(String),
    #[error("{path} cannot be read")]
    Read { path: String, source: std::io::Error },
    #[error("{path} cannot be used")]
    Material { path: String, source: MaterialInvalid },
    #[error("{path} cannot be used")]
    Authorities { path: String, source: BundleInvalid },
    #[error("clients are to be verified and no ssl.verifyclient.ca-file is set")]
    NoAuthorities,
    #[error("no version of TLS is left to speak")]
    Versions(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("a condition cannot be judged")]
    Condition(#[from] PatternExhausted),
    #[error("more than {CONTEXTS_MAX} certificates")]
    TooMany,
}

/// What makes one context differ from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    chain: String,
    key: String,
    verify: Option<(String, Option<String>, bool)>,
    /// A file with the issuer's word.
    staple: Option<String>,
    http1: bool,
    http2: bool,
    tls12: bool,
    tls13: bool,
}

/// What is shown of an issuer's word beside a certificate.
#[derive(Debug, Default)]
struct Stapled {
    /// What its issuer is asked, where no file says it.
    question: Option<(Leaf, Question)>,
    /// From when the word is, that is shown.
    since: Option<i64>,
}

#[derive(Debug)]
struct Loaded {
    context: Arc<ServerContext>,
    changed: Changes,
    stapled: Stapled,
    /// When it ends, in seconds since 1970.
    ends: i64,
    /// What was changed into something that cannot be used, once that has been told.
    told: Option<Changes>,
}

/// What tells one state of a file from another: a file that is put in its place, a link that is turned, a change in place. A
/// certificate that was fetched has the moment alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    /// Seconds and nanoseconds since 1970.
    changed: (i64, i64),
    device: u64,
    inode: u64,
    len: u64,
}

/// Files, and when each was last changed.
type Changes = Vec<(String, Option<Stamp>)>;

/// The TLS contexts of a configuration.
#[derive(Debug)]
pub(crate) struct Certificates {
    /// Locked for a look-up once a handshake, or for the reading of files.
    loaded: Mutex<HashMap<Key, Loaded>>,
    staples: Arc<Staples>,
    fetched: Arc<Fetched>,
    files: Files,
}

impl Certificates {
    /// Reads what listeners show to clients that name no server.
    ///
    /// # Errors
    /// See [`TlsError`]: what cannot be used keeps the configuration from being put in force.
    pub(crate) fn new(program: &Program, files: &Files, before: Option<&Self>) -> Result<Self, TlsError> {
        let staples = before.map_or_else(Arc::default, |before| Arc::clone(&before.staples));
        let fetched = before.map_or_else(Arc::default, |before| Arc::clone(&before.fetched));
        // Those of names that clients ask for are fetched before the first of them does.
        for (_, value, _) in program.assignments("mesh.certificate") {
            if let Some(arn) = value.as_text().filter(|text| fetched::is_arn(text)) {
                fetched.want(arn);
            }
        }
        let certificates = Self { loaded: Mutex::default(), staples, fetched, files: files.clone() };
        certificates.read_all(program, |_| false)?;
        Ok(certificates)
    }

    /// Reads what every listener shows, to clients that name no server and to those that name one of the hosts for which there is
    /// a certificate of its own: as with lighttpd, one that cannot be used is known before anybody asks for it. `is_to_come`
    /// says of a file whether it may be missing.
    fn read_all(&self, program: &Program, is_to_come: impl Fn(&str) -> bool) -> Result<(), TlsError> {
        let hosts = hosts_with_certificates(program);
        for listener in program.listeners.iter().filter(|listener| listener.ssl.engine) {
            for name in std::iter::once(None).chain(hosts.iter().map(|host| Some(&**host))) {
                match self.context(program, &listener.token, name) {
                    Err(TlsError::Read { path, .. }) if is_to_come(&path) => {}
                    other => drop(other?),
                }
            }
        }
        Ok(())
    }

    /// Whether all of it can be used, but for what an authority has yet to issue.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub(crate) fn check(program: &Program) -> Result<(), TlsError> {
        let issued = program.base().directives.mesh.acme.as_deref().map(crate::acme::files);
        let certificates = Self {
            loaded: Mutex::default(),
            staples: Arc::default(),
            fetched: Arc::default(),
            files: Files::default(),
        };
        certificates.read_all(program, |path| {
            let is_issued = issued.as_ref().is_some_and(|(chain, key)| path == chain || path == key);
            is_issued && !Path::new(path).exists()
        })
    }

    /// The context for a client that connects to a listener and asks for a name.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub(crate) fn context(
        &self,
        program: &Program,
        socket: &str,
        name: Option<&str>,
    ) -> Result<Arc<ServerContext>, TlsError> {
        let facts = RequestFacts {
            socket: Some(socket),
            scheme: Some("https"),
            host: Some(name.unwrap_or_default()),
            ..RequestFacts::default()
        };
        let resolved = program.resolve(&facts)?;
        let spoken =
            program.listener(socket).map_or((true, false), |listener| (listener.http1, listener.http2));
        let issued = program.base().directives.mesh.acme.as_deref().map(crate::acme::files);
        let directives = &resolved.directives;
        let arn = directives.mesh.certificate.as_deref();
        let key = Key::of(&directives.ssl, arn, spoken, socket, issued.as_ref())?;
        if fetched::is_arn(&key.chain) {
            self.fetched.want(&key.chain);
        }
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = loaded.get(&key) {
            return Ok(Arc::clone(&known.context));
        }
        if loaded.len() >= CONTEXTS_MAX {
            return Err(TlsError::TooMany);
        }
        let fresh = key.load(&self.staples, &self.fetched, &self.files)?;
        let context = Arc::clone(&fresh.context);
        loaded.insert(key, fresh);
        Ok(context)
    }

    /// Asks the issuers of those certificates that name somebody to be asked, where it is time, and shows what they say.
    pub(crate) async fn ask(&self) {
        let questions: Vec<(Leaf, Question)> = {
            let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
            loaded.values().filter_map(|known| known.stapled.question.clone()).collect()
        };
        if !questions.is_empty() {
            self.staples.ask(questions, unix()).await;
            self.refresh();
        }
    }

    /// Asks the control plane for the mesh's certificates, where any are named, and shows those that are new.
    pub(crate) async fn fetch(&self, endpoint: &Endpoint) {
        if self.fetched.fetch(endpoint).await {
            self.refresh();
        }
    }

    /// Reads again what has changed on disk; what cannot be used any more leaves the last good one in force.
    pub(crate) fn refresh(&self) {
        let keys: Vec<(Key, Changes, bool)> = {
            let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
            let now = unix();
            let stale = loaded.iter().filter(|(_, known)| {
                known.changed.iter().any(|(path, at)| changed(path, &self.fetched) != *at)
                    || known.stapled.question.as_ref().is_some_and(|(leaf, _)| {
                        self.staples.shown(leaf, now).map(|status| status.since) != known.stapled.since
                    })
            });
            let seen = |known: &Loaded| -> Changes {
                known.changed.iter().map(|(path, _)| (path.clone(), changed(path, &self.fetched))).collect()
            };
            let found = stale.map(|(key, known)| (key, seen(known), known));
            found.map(|(key, seen, known)| (key.clone(), seen.clone(), seen == known.changed)).collect()
        };
        let nothing_kept = Files::default();
        for (key, seen, same) in keys {
            // What has changed and may not be read is not what it was when it could be.
            let files = if same { &self.files } else { &nothing_kept };
            match key.load(&self.staples, &self.fetched, files) {
                Ok(fresh) => {
                    tracing::info!(chain = key.chain, "a certificate was read again");
                    self.loaded.lock().unwrap_or_else(PoisonError::into_inner).insert(key, fresh);
                }
                Err(error) => {
                    let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
                    let Some(known) = loaded.get_mut(&key) else { continue };
                    if known.told.replace(seen.clone()) != Some(seen) {
                        let error: &dyn std::error::Error = &error;
                        tracing::error!(
                            error,
                            chain = key.chain,
                            "a changed certificate cannot be used; the last good one stays"
                        );
                    }
                }
            }
        }
    }

    /// In Prometheus' text format.
    pub(crate) fn prometheus(&self, out: &mut String) {
        let mut ends: Vec<(i64, String)> = {
            let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
            loaded.iter().map(|(key, known)| (known.ends, key.chain.clone())).collect()
        };
        ends.sort_unstable();
        ends.dedup();
        let name = "selvedge_edge_certificate_end_seconds";
        let _ = write!(
            out,
            "# HELP {name} When a certificate in force ends, in seconds since 1970.\n# TYPE {name} gauge\n"
        );
        for (end, chain) in ends.into_iter().take(TOLD_MAX) {
            let chain = chain.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = writeln!(out, "{name}{{certificate=\"{chain}\"}} {end}");
        }
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let stale = loaded.values().filter(|known| known.told.is_some()).count();
        let name = "selvedge_edge_certificates_stale";
        let _ = write!(
            out,
            "# HELP {name} Certificates whose files have changed and cannot be used.\n# TYPE {name} gauge\n{name} {stale}\n"
        );
    }
}

/// The hosts that a condition names whole and gives a certificate.
fn hosts_with_certificates(program: &Program) -> Vec<Arc<str>> {
    let mut hosts: Vec<Arc<str>> = program
        .assignments("ssl.pemfile")
        .filter_map(|(condition, ..)| program.condition(condition?))
        .filter_map(|condition| condition.test.as_ref())
        .filter_map(|test| match (&test.field, &test.operation) {
            (Field::Host, Operation::Equal { operand: Operand::Text(host), not: false }) => {
                Some(Arc::clone(host))
            }
            _ => None,
        })
        .take(CONTEXTS_MAX / 2)
        .collect();
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}

fn changed(path: &str, fetched: &Fetched) -> Option<Stamp> {
    if fetched::is_arn(path) {
        let since = fetched.since(path)?.duration_since(UNIX_EPOCH).ok()?;
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        let changed = (seconds, i64::from(since.subsec_nanos()));
        return Some(Stamp { changed, device: 0, inode: 0, len: 0 });
    }
    let facts = std::fs::metadata(path).ok()?;
    let changed = (facts.ctime(), facts.ctime_nsec());
    Some(Stamp { changed, device: facts.dev(), inode: facts.ino(), len: facts.len() })
}

fn read(path: &str, files: &Files) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    files.read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

impl Key {
    /// `arn`: a certificate of the mesh's, which comes before files: a lighttpd that reads the same configuration has those.
    /// `issued`: chain and key of what an authority issues, for those who configure no other.
    fn of(
        ssl: &Ssl,
        arn: Option<&str>,
        (http1, http2): (bool, bool),
        socket: &str,
        issued: Option<&(String, String)>,
    ) -> Result<Self, TlsError> {
        let (chain, key) = match (arn.or(ssl.pemfile.as_deref()), issued) {
            (Some(chain), _) if arn.is_some() => (chain, chain),
            (Some(chain), _) => (chain, ssl.privkey.as_deref().unwrap_or(chain)),
            (None, Some((chain, key))) => (chain.as_str(), key.as_str()),
            (None, None) => return Err(TlsError::NoCertificate(socket.to_owned())),
        };
        let verify = match asked_of_clients(ssl) {
            None => None,
            Some((authorities, revoked, enforce)) => {
                // Without authorities nobody could be refused: that is not what was asked for.
                let authorities = authorities.ok_or(TlsError::NoAuthorities)?;
                Some((authorities.to_owned(), revoked.map(str::to_owned), enforce))
            }
        };
        let (tls12, tls13) = versions(ssl);
        let staple = ssl.stapling_file.as_deref().map(str::to_owned);
        Ok(Self { chain: chain.to_owned(), key: key.to_owned(), verify, staple, http1, http2, tls12, tls13 })
    }

    fn load(&self, staples: &Staples, fetched: &Fetched, files: &Files) -> Result<Loaded, TlsError> {
        let read = |path: &str| read(path, files);
        let changed = |path: &str| changed(path, fetched);
        let mut changed_at =
            vec![(self.chain.clone(), changed(&self.chain)), (self.key.clone(), changed(&self.key))];
        let (chain, key) = if fetched::is_arn(&self.chain) {
            fetched.pair(&self.chain)
        } else {
            (read(&self.chain)?.to_vec(), read(&self.key)?)
        };
        let material = Material::read(&chain, &key)
            .map_err(|source| TlsError::Material { path: self.chain.clone(), source })?;
        let ends = material.certificate.not_after;
        let (material, stapled) = self.staple(material, staples, files);
        if let Some(path) = &self.staple {
            changed_at.push((path.clone(), changed(path)));
        }
        let mut verifier = None;
        let mut client_auth = ClientAuth::Optional;
        if let Some((authorities, revoked, enforce)) = &self.verify {
            changed_at.push((authorities.clone(), changed(authorities)));
            let invalid = |source| TlsError::Authorities { path: authorities.clone(), source };
            let bundle = Authorities::read(&read(authorities)?).map_err(invalid)?;
            let crl = revoked.as_deref().map(read).transpose()?;
            if let Some(path) = revoked {
                changed_at.push((path.clone(), changed(path)));
            }
            let rules = Rules::default();
            verifier = Some(Arc::new(
                Verifier::new(Trust::Authorities(bundle), rules, crl.as_ref().map(|crl| crl.as_slice()))
                    .map_err(invalid)?,
            ));
            if *enforce {
                client_auth = ClientAuth::Required;
            }
        }
        let spoken = [("h2", self.http2), ("http/1.1", self.http1)];
        let alpn =
            spoken.into_iter().filter(|(_, spoken)| *spoken).map(|(name, _)| name.to_owned()).collect();
        let settings = ServerSettings {
            alpn,
            client_auth,
            require_sni: false,
            // Each context has tickets of its own: a session of one host is not taken up at another.
            tickets: true,
            tls12: self.tls12,
            tls13: self.tls13,
            suites: Suites { curves: GROUPS.to_vec(), ..Suites::default() },
        };
        let tls = ServerTls::default();
        tls.replace(&settings, material, verifier).map_err(|error| TlsError::Versions(Box::new(error)))?;
        let context = tls.current().ok_or(TlsError::NoAuthorities)?;
        Ok(Loaded { context, changed: changed_at, stapled, ends, told: None })
    }

    /// Puts the issuer's word beside a certificate: that of a file, or what the issuer was asked for. One that is of another
    /// certificate, or too old, is not shown: clients would end the handshake for it.
    fn staple(&self, material: Material, staples: &Staples, files: &Files) -> (Material, Stapled) {
        let Some(question) = Question::of(&material.chain) else { return (material, Stapled::default()) };
        let now = unix();
        if let Some(path) = &self.staple {
            let said = files.read(path).map_err(|error| error.to_string());
            return match said.and_then(|said| question.read(&said, now).map_err(|error| error.to_string())) {
                Ok(status) => {
                    let stapled = Stapled { question: None, since: Some(status.since) };
                    (material.with_staple(status.der), stapled)
                }
                Err(reason) => {
                    tracing::error!(path, reason, "the issuer's word cannot be shown");
                    (material, Stapled::default())
                }
            };
        }
        if question.responder.is_none() {
            return (material, Stapled::default());
        }
        let leaf = material.certificate.sha256();
        let shown = staples.shown(&leaf, now);
        let stapled =
            Stapled { question: Some((leaf, question)), since: shown.as_ref().map(|status| status.since) };
        match shown {
            Some(status) => (material.with_staple(status.der), stapled),
            None => (material, stapled),
        }
    }
}

/// What clients have to show: whose certificates, which of them are revoked, and whether they have to at all; `None` if they are
/// not asked.
pub(crate) fn asked_of_clients(ssl: &Ssl) -> Option<(Option<&str>, Option<&str>, bool)> {
    let authorities = ssl.verifyclient_ca_file.as_deref().or(ssl.ca_file.as_deref());
    let revoked = ssl.verifyclient_ca_crl_file.as_deref().or(ssl.ca_crl_file.as_deref());
    ssl.verifyclient_activate.then_some((authorities, revoked, ssl.verifyclient_enforce))
}

/// Which versions the configuration leaves; older ones than 1.2 are never spoken.
fn versions(ssl: &Ssl) -> (bool, bool) {
    let command = |name: &str| {
        let found = ssl.openssl_ssl_conf_cmd.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_ascii_lowercase())
    };
    let min13 = command("MinProtocol").map_or(ssl.only_1_3, |value| value.contains("1.3"));
    let max12 = command("MaxProtocol").is_some_and(|value| value.contains("1.2"));
    let off = command("Protocol").unwrap_or_default();
    (!min13 && !off.contains("-tlsv1.2"), !max12 && !off.contains("-tlsv1.3"))
}
