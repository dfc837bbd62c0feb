//! Certificates by what a client asks for, read once and again when their files change.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::fetched::{self, Fetched};
use super::files::Files;
use super::shown::{Changes, Key, Loaded};
use super::staples::{Leaf, Staples, unix};
use selvedge_client::Endpoint;
use selvedge_identity::BundleInvalid;
use selvedge_identity::ocsp::Question;
use selvedge_site::condition::{Field, Operand, Operation};
use selvedge_site::{PatternExhausted, Program, RequestFacts};
use selvedge_wire::tls::{MaterialInvalid, ServerContext};

/// Different sets of TLS files that one configuration may use.
pub(crate) const CONTEXTS_MAX: usize = 10_000;
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
        for (_, value, _) in program.assignments("mesh.client-authority") {
            if let Some(arn) = value.as_text().filter(|text| fetched::is_authority(text)) {
                fetched.believed.want(arn);
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
        let key = Key::of(directives, spoken, socket, issued.as_ref())?;
        if fetched::is_arn(key.chain()) {
            self.fetched.want(key.chain());
        }
        if let Some(authority) = key.authority().filter(|authority| fetched::is_authority(authority)) {
            self.fetched.believed.want(authority);
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
        let of_ours = self.fetched.fetch(endpoint).await;
        if self.fetched.believed.fetch(endpoint).await || of_ours {
            self.refresh();
        }
    }

    /// Reads again what has changed on disk; what cannot be used any more leaves the last good one in force.
    pub(crate) fn refresh(&self) {
        let mut keys: Vec<(Key, Changes, bool)> = Vec::new();
        {
            let now = unix();
            let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
            for (key, known) in loaded.iter_mut() {
                let seen = known.seen(&self.fetched);
                let is_same = seen == known.changed;
                // A link that was turned back leads to the very files that are in force.
                if is_same && known.told.take().is_some() {
                    tracing::info!(
                        chain = key.chain(),
                        "the files of a certificate are those in force again"
                    );
                }
                if !is_same || known.stapled.is_other(&self.staples, now) {
                    keys.push((key.clone(), seen, is_same));
                }
            }
        }
        let nothing_kept = Files::default();
        for (key, seen, same) in keys {
            // What has changed and may not be read is not what it was when it could be.
            let files = if same { &self.files } else { &nothing_kept };
            match key.load(&self.staples, &self.fetched, files) {
                Ok(fresh) => {
                    tracing::info!(chain = key.chain(), "a certificate was read again");
                    self.loaded.lock().unwrap_or_else(PoisonError::into_inner).insert(key, fresh);
                }
                Err(error) => {
                    let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
                    let Some(known) = loaded.get_mut(&key) else { continue };
                    if known.told.replace(seen.clone()) != Some(seen) {
                        let error: &dyn std::error::Error = &error;
                        tracing::error!(
                            error,
                            chain = key.chain(),
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
            loaded.iter().map(|(key, known)| (known.ends, key.chain().to_owned())).collect()
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
        let revoked = self.fetched.revoked();
        let unstapled = loaded.values().filter(|known| known.stapled.is_missed()).count();
        for (name, help, value) in [
            (
                "selvedge_edge_certificates_stale",
                "Certificates whose files have changed and cannot be used.",
                stale,
            ),
            (
                "selvedge_edge_certificates_unstapled",
                "Certificates that demand their issuer's word (must-staple) and are shown without.",
                unstapled,
            ),
            (
                "selvedge_edge_certificates_revoked",
                "Certificates of the mesh's that are shown and were taken back.",
                revoked,
            ),
        ] {
            let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n");
        }
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
