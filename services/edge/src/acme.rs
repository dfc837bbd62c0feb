//! Certificates that an authority issues: had, renewed, and shown by the listeners that have no other.
//!
//! The authority's certificate is written beside the store, where listeners read it as they read any file; until there is
//! one, a certificate that nobody vouches for stands in its place, so that the authority can be answered on the same socket.

mod progress;
mod remote;

use std::fs;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use selvedge_acme::{
    Certificate, Challenge, Documents, External, Folder, Keeper, KeyType, Proofs, Settings, placeholder,
};
use selvedge_client::Endpoint;
use selvedge_guard::reach::Reach;
use selvedge_outbound::{Fetcher, Roots};
use selvedge_site::Program;
use selvedge_site::directive::guard::{Acme as Configured, AcmeKey, AcmeStore};
use selvedge_wire::tls::{ClientAuth, Material, ServerContext, ServerSettings, ServerTls};
use tokio::task::JoinHandle;

use crate::request::{Exchange, Flow, Response};
use crate::worker::Shared;
pub(crate) use progress::Progress;
use remote::Remote;

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
    progress: Progress,
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
    #[error("authorities cannot be read")]
    Roots(#[from] selvedge_outbound::RootsInvalid),
    #[error("the certificate cannot be ordered: {0}")]
    Settings(#[from] selvedge_acme::SettingsInvalid),
    #[error("no key can be made")]
    Key,
    #[error("{path} cannot be read")]
    ExternalKey { path: String, source: std::io::Error },
    #[error("{0} is no key in base64url, as authorities give it out for eab-key-file")]
    ExternalKeyInvalid(String),
}

/// The chain and the key that listeners without others show.
pub(crate) fn files(configured: &Configured) -> (String, String) {
    let folder = configured.folder.trim_end_matches('/');
    (format!("{folder}/{NAME}.pem"), format!("{folder}/{NAME}.key"))
}

/// How it stands with the certificate that an authority issues, in the words of the edge that looks after it here: until when it
/// is in force, and what failed. `None` where there is no such certificate or nobody has looked after it yet.
pub fn issued(program: &Program) -> Option<String> {
    let configured = program.base().directives.mesh.acme.as_deref()?;
    fs::read_to_string(progress_file(Path::new(&*configured.folder))).ok()
}

/// Where it is written.
fn progress_file(folder: &Path) -> PathBuf {
    folder.join(format!("{NAME}.txt"))
}

/// Puts something in place that listeners can show, before they are opened.
///
/// # Errors
/// When the folder cannot be written, or what is configured cannot be ordered.
pub(crate) fn prepare(configured: &Configured) -> Result<(), AcmeError> {
    settings(configured)?;
    let folder = PathBuf::from(&*configured.folder);
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
    write_file(&folder.join(format!("{NAME}.key")), key)?;
    write_file(&folder.join(format!("{NAME}.pem")), chain)
}

/// Whole or not at all, whoever else writes it.
fn write_file(path: &Path, text: &str) -> std::io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}.new", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(fresh, path)
}

/// What is ordered.
///
/// # Errors
/// When nobody could issue it, or a file that it needs cannot be used.
fn settings(configured: &Configured) -> Result<Settings, AcmeError> {
    let external = configured.external.as_ref().map(|(id, path)| {
        let text = fs::read_to_string(&**path)
            .map_err(|source| AcmeError::ExternalKey { path: path.to_string(), source })?;
        let key = BASE64_URL_SAFE_NO_PAD.decode(text.trim().trim_end_matches('='));
        let key = key.map_err(|_| AcmeError::ExternalKeyInvalid(path.to_string()))?;
        Ok::<_, AcmeError>(External { id: id.to_string(), key })
    });
    let settings = Settings {
        directory: configured.directory.to_string(),
        contact: configured.contact.as_deref().map(str::to_owned),
        names: configured.names.iter().map(|name| name.to_string()).collect(),
        challenge: if configured.http { Challenge::Http01 } else { Challenge::TlsAlpn01 },
        key: match configured.key {
            AcmeKey::P256 => KeyType::EcP256,
            AcmeKey::P384 => KeyType::EcP384,
            AcmeKey::Rsa2048 => KeyType::Rsa2048,
            AcmeKey::Rsa4096 => KeyType::Rsa4096,
        },
        profile: configured.profile.as_deref().map(str::to_owned),
        external: external.transpose()?,
    };
    settings.check()?;
    Ok(settings)
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
        let acme = Acme::open(&configured, &shared.mesh.endpoint)?;
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
    /// Opens the store; one at the control plane is asked once it is needed.
    ///
    /// # Errors
    /// See [`AcmeError`].
    pub(crate) fn open(configured: &Configured, mesh: &Endpoint) -> Result<Arc<Self>, AcmeError> {
        let settings = settings(configured)?;
        let folder = PathBuf::from(&*configured.folder);
        let documents: Arc<dyn Documents> = match configured.store {
            AcmeStore::Mesh => Arc::new(Remote::new(mesh)),
            AcmeStore::Folder => Arc::new(Folder::new(folder.join("store"))),
        };
        let roots = configured.roots.as_deref().map_or(Roots::System, |path| Roots::File(path.into()));
        let fetcher = Arc::new(Fetcher::new(Reach::of_operator([&*configured.directory]), &roots)?);
        let keeper = Keeper::new(documents, fetcher);
        Ok(Arc::new(Self {
            proofs: keeper.proofs(),
            keeper,
            settings,
            folder,
            progress: Progress::default(),
        }))
    }

    /// How it stands with the certificate.
    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Looks after the certificate for as long as the process serves; `changed` is called when there is a new one.
    pub(crate) async fn run(self: Arc<Self>, changed: impl Fn()) {
        let mut shown: Option<Certificate> = None;
        let mut told = String::new();
        loop {
            let now = unix();
            let mut draw = [0; 4];
            // Without entropy everybody waits as long as everybody else: no reason to have no certificate.
            let _ = aws_lc_rs::rand::fill(&mut draw);
            let tended = self.keeper.tend(&self.settings, now, u32::from_ne_bytes(draw)).await;
            let tended = tended.map_err(|error| {
                tracing::error!(%error, "certificates cannot be looked after");
                error.to_string()
            });
            let until = tended.as_ref().map_or(now + LOOK_EVERY, |tended| tended.until());
            match self.keeper.certificate(&self.settings).await {
                Ok(kept) => {
                    self.progress.note(
                        &self.settings.names,
                        tended.as_ref().map_err(String::as_str),
                        kept.as_ref(),
                        until,
                    );
                    if kept != shown && self.show(kept.as_ref()) {
                        shown = kept;
                        changed();
                    }
                }
                Err(error) => {
                    let reason = error.to_string();
                    self.progress.note(&self.settings.names, Err(&reason), shown.as_ref(), until);
                }
            }
            let words = self.progress.told();
            if words != told {
                if let Err(error) = write_file(&progress_file(&self.folder), &words) {
                    tracing::warn!(%error, folder = ?self.folder, "how it stands with the certificate cannot be written");
                }
                told = words;
            }
            let wait = until.saturating_sub(unix()).clamp(1, LOOK_EVERY);
            tokio::time::sleep(Duration::from_secs(wait)).await;
        }
    }

    /// Writes a certificate where listeners find it; whether it is there.
    fn show(&self, kept: Option<&Certificate>) -> bool {
        let Some(certificate) = kept else { return false };
        let written = write(&self.folder, &certificate.chain, &certificate.key);
        if let Err(error) = &written {
            tracing::error!(%error, folder = ?self.folder, "a certificate cannot be written");
        }
        written.is_ok()
    }

    /// What is shown in a handshake for an authority that asks.
    pub(crate) async fn challenge(&self, host: &str) -> Option<Arc<ServerContext>> {
        let (chain, key) = match self.proofs.certificate(host).await {
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
    match acme.proofs.text(&token).await {
        Ok(Some(text)) => ControlFlow::Break(Response::with(200, "application/octet-stream", text)),
        Ok(None) => ControlFlow::Continue(()),
        Err(error) => {
            tracing::error!(%error, "an authority cannot be answered");
            ControlFlow::Break(Response::status(503))
        }
    }
}

fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
