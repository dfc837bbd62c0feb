//! Certificates that an authority issues: had, renewed, and shown by the listeners that have no other.
//!
//! The authority's certificate is written beside the store, where listeners read it as they read any file; until there is
//! one, a certificate that nobody vouches for stands in its place, so that the authority can be answered on the same socket.

use std::fs;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use selvedge_acme::{Certificate, Challenge, Keeper, Proofs, Settings, placeholder};
use selvedge_guard::reach::Reach;
use selvedge_outbound::{Fetcher, Roots};
use selvedge_site::directive::guard::Acme as Configured;
use selvedge_store::Store;
use selvedge_store::sqlite::Sqlite;
use selvedge_wire::tls::{ClientAuth, Material, ServerContext, ServerSettings, ServerTls};
use tokio::task::JoinHandle;

use crate::request::{Exchange, Flow, Response};
use crate::worker::Shared;

/// What configuration calls the one certificate there is.
const NAME: &str = "public";
/// How often is looked at least, in seconds.
const LOOK_EVERY: u64 = 60;

/// Certificates being kept.
#[derive(Debug)]
pub(crate) struct Acme {
    keeper: Keeper,
    proofs: Proofs,
    settings: Settings,
    folder: PathBuf,
}

/// Whoever looks after the certificates that the configuration in force wants.
#[derive(Debug, Default)]
pub(crate) struct Care {
    task: Option<(Configured, JoinHandle<()>)>,
}

/// Why no certificates can be had.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    #[error("the folder {path:?} cannot be used")]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("the store in {path:?} cannot be opened: {problem}")]
    Store { path: PathBuf, problem: String },
    #[error("authorities cannot be read")]
    Roots(#[from] selvedge_outbound::RootsInvalid),
    #[error("the certificate cannot be ordered: {0}")]
    Settings(#[from] selvedge_acme::SettingsInvalid),
    #[error("no key can be made")]
    Key,
}

/// The chain and the key that listeners without others show.
pub(crate) fn files(configured: &Configured) -> (String, String) {
    let folder = configured.store.trim_end_matches('/');
    (format!("{folder}/{NAME}.pem"), format!("{folder}/{NAME}.key"))
}

/// Puts something in place that listeners can show, before they are opened.
///
/// # Errors
/// When the folder cannot be written.
pub(crate) fn prepare(configured: &Configured) -> Result<(), AcmeError> {
    let folder = PathBuf::from(&*configured.store);
    let failed = |source| AcmeError::Folder { path: folder.clone(), source };
    fs::create_dir_all(&folder).map_err(failed)?;
    let (chain, _) = files(configured);
    if Path::new(&chain).exists() {
        return Ok(());
    }
    let names: Vec<String> = configured.names.iter().map(|name| name.to_string()).collect();
    let (chain, key) = placeholder(&names).ok_or(AcmeError::Key)?;
    write(&folder, &chain, &key).map_err(failed)
}

/// The key first: whoever reads between the two sees that they do not belong together, and keeps what it has.
fn write(folder: &Path, chain: &str, key: &str) -> std::io::Result<()> {
    for (name, text) in [(format!("{NAME}.key"), key), (format!("{NAME}.pem"), chain)] {
        let fresh = folder.join(format!("{name}.new"));
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(fresh, folder.join(name))?;
    }
    Ok(())
}

impl Care {
    /// Follows the configuration in force: what it does not want any more is not looked after, what it newly wants is.
    ///
    /// # Errors
    /// When its store cannot be opened; then nothing is looked after.
    pub(crate) fn follow(&mut self, shared: &Arc<Shared>) -> Result<(), AcmeError> {
        let wanted = shared.site.load().program.base().directives.mesh.acme.as_deref().cloned();
        if self.task.as_ref().map(|(configured, _)| configured) == wanted.as_ref() {
            return Ok(());
        }
        self.stop();
        shared.acme.store(None);
        let Some(configured) = wanted else { return Ok(()) };
        let acme = Acme::open(&configured)?;
        shared.acme.store(Some(Arc::clone(&acme)));
        let shared = Arc::clone(shared);
        let task = tokio::spawn(acme.run(move || shared.site.load().certificates.refresh()));
        self.task = Some((configured, task));
        Ok(())
    }

    /// Ends the work; what was ordered stays in the store.
    pub(crate) fn stop(&mut self) {
        if let Some((_, task)) = self.task.take() {
            task.abort();
        }
    }
}

impl Acme {
    /// Opens the store.
    ///
    /// # Errors
    /// See [`AcmeError`].
    pub(crate) fn open(configured: &Configured) -> Result<Arc<Self>, AcmeError> {
        let folder = PathBuf::from(&*configured.store);
        let path = folder.join("store");
        fs::create_dir_all(&path).map_err(|source| AcmeError::Folder { path: path.clone(), source })?;
        let store: Arc<dyn Store> = Arc::new(
            Sqlite::open(&path)
                .map_err(|error| AcmeError::Store { path: path.clone(), problem: error.to_string() })?,
        );
        let roots = configured.roots.as_deref().map_or(Roots::System, |path| Roots::File(path.into()));
        let fetcher = Arc::new(Fetcher::new(Reach::of_operator([&*configured.directory]), &roots)?);
        let keeper = Keeper::new(store, fetcher);
        let settings = Settings {
            name: NAME.to_owned(),
            directory: configured.directory.to_string(),
            contact: configured.contact.as_deref().map(str::to_owned),
            names: configured.names.iter().map(|name| name.to_string()).collect(),
            challenge: if configured.http { Challenge::Http01 } else { Challenge::TlsAlpn01 },
            profile: configured.profile.as_deref().map(str::to_owned),
            external: None,
        };
        settings.check()?;
        Ok(Arc::new(Self { proofs: keeper.proofs(), keeper, settings, folder }))
    }

    /// Looks after the certificate for as long as the process serves; `changed` is called when there is a new one.
    pub(crate) async fn run(self: Arc<Self>, changed: impl Fn()) {
        let mut shown: Option<Certificate> = None;
        loop {
            let now = unix();
            let mut draw = [0; 4];
            // Without entropy everybody waits as long as everybody else: no reason to have no certificate.
            let _ = aws_lc_rs::rand::fill(&mut draw);
            let until = match self.keeper.tend(&self.settings, now, u32::from_ne_bytes(draw)).await {
                Ok(tended) => tended.until(),
                Err(error) => {
                    tracing::error!(%error, "certificates cannot be looked after");
                    now + LOOK_EVERY
                }
            };
            match self.keeper.certificate(&self.settings.name).await {
                Ok(Some(certificate)) if shown.as_ref() != Some(&certificate) => {
                    match write(&self.folder, &certificate.chain, &certificate.key) {
                        Ok(()) => {
                            shown = Some(certificate);
                            changed();
                        }
                        Err(error) => {
                            tracing::error!(%error, folder = ?self.folder, "a certificate cannot be written")
                        }
                    }
                }
                Ok(_) => {}
                Err(error) => tracing::error!(%error, "certificates cannot be read"),
            }
            let wait = until.saturating_sub(unix()).clamp(1, LOOK_EVERY);
            tokio::time::sleep(Duration::from_secs(wait)).await;
        }
    }

    /// What is shown in a handshake for an authority that asks; blocks on the store for a moment.
    pub(crate) async fn challenge(&self, host: &str) -> Option<Arc<ServerContext>> {
        let (proofs, host) = (self.proofs.clone(), host.to_owned());
        let found = tokio::task::spawn_blocking(move || proofs.certificate(&host)).await.ok()?;
        let (chain, key) = match found {
            Ok(found) => found?,
            Err(error) => {
                tracing::error!(%error, "an authority cannot be answered");
                return None;
            }
        };
        let settings = ServerSettings {
            alpn: vec![String::from_utf8_lossy(Proofs::ALPN).into_owned()],
            client_auth: ClientAuth::Optional,
            require_sni: true,
            tickets: false,
            tls12: true,
            tls13: true,
            suites: Default::default(),
        };
        let tls = ServerTls::default();
        tls.replace(&settings, Material::read_own(chain.as_bytes(), key.as_bytes()).ok()?, None).ok()?;
        tls.current()
    }
}

/// Answers an authority that asks on port 80. Whatever else is asked under that path goes on its way.
pub(crate) async fn answer(x: &mut Exchange<'_>) -> Flow {
    let Some(acme) = x.worker.shared.acme.load_full() else { return ControlFlow::Continue(()) };
    let Some(token) = x.path().strip_prefix(Proofs::HTTP_PATH).map(str::to_owned) else {
        return ControlFlow::Continue(());
    };
    let proofs = acme.proofs.clone();
    match tokio::task::spawn_blocking(move || proofs.text(&token)).await {
        Ok(Ok(Some(text))) => ControlFlow::Break(Response::with(200, "application/octet-stream", text)),
        Ok(Ok(None)) => ControlFlow::Continue(()),
        _ => ControlFlow::Break(Response::status(503)),
    }
}

fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
