//! Certificates from Pebble, the test server of Let's Encrypt, over the real protocol.

mod authority;
mod gateway;
mod refusals;

use std::path::Path;
use std::sync::Arc;

use authority::{Authority, Responder};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use selvedge_acme::{Certificate, Challenge, Folder, Keeper, KeyType, Settings, Tended};
use selvedge_guard::reach::Reach;
use selvedge_outbound::{Fetcher, Roots};
use selvedge_store::sqlite::Sqlite;
use selvedge_store::{Read, Revision, Store};

struct World {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl World {
    fn new() -> Self {
        Self::with(tempfile::tempdir().expect("a folder"), Authority::start)
    }

    fn with(folder: tempfile::TempDir, start: impl FnOnce(&Path) -> Authority) -> Self {
        let authority = start(folder.path());
        Self { authority, folder }
    }

    fn keeper(&self) -> Keeper {
        self.keeper_of(&self.authority.directory)
    }

    fn keeper_of(&self, directory: &str) -> Keeper {
        let reach = Reach::of_operator([directory]);
        let fetcher = Fetcher::new(reach, &Roots::File(self.authority.root.clone())).expect("a root");
        Keeper::new(Arc::new(Folder::new(self.folder.path().join("store"))), Arc::new(fetcher))
    }

    fn settings(&self, challenge: Challenge, names: &[&str]) -> Settings {
        Settings {
            directory: self.authority.directory.clone(),
            contact: Some("ops@example.com".into()),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            challenge,
            key: KeyType::default(),
            profile: None,
            external: None,
        }
    }

    /// Documents of the store under a prefix.
    fn count(&self, prefix: &str) -> usize {
        self.read(|view| view.scan(prefix, None, 100).expect("the store is there").len())
    }

    fn revision(&self) -> Revision {
        self.read(|view| view.revision())
    }

    fn read<T>(&self, what: impl FnOnce(&dyn Read) -> T) -> T {
        let store = Sqlite::open(&self.folder.path().join("store")).expect("nobody has it");
        let view = store.snapshot().expect("the store is there");
        what(&*view)
    }
}

fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs()
}

async fn kept(keeper: &Keeper, settings: &Settings) -> Certificate {
    keeper.certificate(settings).await.expect("the store is there").expect("a certificate")
}

/// The key is the certificate's, and the names are in it.
fn check(certificate: &Certificate, names: &[&str]) {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate.chain.as_bytes())
        .collect::<Result<_, _>>()
        .expect("a chain");
    let leaf = chain.first().expect("a leaf").clone();
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key);
    server.expect("the key is the certificate's");
    let parsed = rustls::server::ParsedCertificate::try_from(&leaf).expect("a certificate");
    for name in names {
        let name = rustls::pki_types::ServerName::try_from((*name).to_owned()).expect("a name");
        rustls::client::verify_server_name(&parsed, &name).expect("the name is in it");
    }
}

#[tokio::test]
async fn http_01_issues_keeps_and_renews() {
    let world = World::new();
    let keeper = world.keeper();
    let _responder = Responder::http(world.authority.http_port, keeper.proofs());
    let settings = world.settings(Challenge::Http01, &["a.example", "b.example"]);
    let began = now();

    let issued = keeper.tend(&settings, began, 7).await.expect("it can be ordered");
    let Tended::Issued { until } = issued else { panic!("{issued:?}") };
    let first = kept(&keeper, &settings).await;
    check(&first, &["a.example", "b.example"]);
    assert_eq!(world.count("acme/http-01/"), 0, "what answered challenges is gone");
    assert!(until > began && until <= first.due_at(), "looked at again in time");

    let revision = world.revision();
    let again = keeper.tend(&settings, began + 1, 7).await.expect("it can be ordered");
    assert_eq!(again, Tended::Good { until });
    assert_eq!(world.revision(), revision, "a good certificate is left alone");

    let lasts = first.life.not_after - first.life.not_before;
    assert_eq!(first.due_at(), first.life.not_before + lasts / 3 * 2, "an authority without wishes");
    let early = keeper.tend(&settings, first.due_at() - 1, 7).await.expect("it can be ordered");
    assert!(matches!(early, Tended::Good { .. }), "{early:?}");
    let renewed = keeper.tend(&settings, first.due_at(), 7).await.expect("it can be ordered");
    assert!(matches!(renewed, Tended::Issued { .. }), "{renewed:?}");
    let second = kept(&keeper, &settings).await;
    assert_ne!(first.chain, second.chain);
    assert_ne!(first.key, second.key, "a new certificate has a new key");
    assert_eq!(world.count("acme/account/"), 1, "one account for all orders");

    let more = world.settings(Challenge::Http01, &["a.example", "c.example"]);
    let issued = keeper.tend(&more, now(), 7).await.expect("it can be ordered");
    assert!(matches!(issued, Tended::Issued { .. }), "other names are another certificate: {issued:?}");
    check(&kept(&keeper, &more).await, &["a.example", "c.example"]);
}

#[tokio::test]
async fn tls_alpn_01_issues_before_there_is_any_certificate() {
    let world = World::new();
    let keeper = world.keeper();
    let _responder = Responder::tls(world.authority.tls_port, keeper.proofs());
    let settings = world.settings(Challenge::TlsAlpn01, &["a.example"]);
    let issued = keeper.tend(&settings, now(), 7).await.expect("it can be ordered");
    assert!(matches!(issued, Tended::Issued { .. }), "{issued:?}");
    check(&kept(&keeper, &settings).await, &["a.example"]);
    assert_eq!(world.count("acme/tls-alpn-01/"), 0);
}

#[tokio::test]
async fn of_two_replicas_one_orders_and_either_answers() {
    let world = World::new();
    let (one, two) = (world.keeper(), world.keeper());
    let settings = world.settings(Challenge::Http01, &["a.example"]);
    let moment = now();
    // The authority reaches the second replica whoever ordered.
    let _responder = Responder::http(world.authority.http_port, two.proofs());
    let (first, second) = tokio::join!(one.tend(&settings, moment, 1), two.tend(&settings, moment, 2));
    let outcomes = [first.expect("it can be ordered"), second.expect("it can be ordered")];
    let issued = outcomes.iter().filter(|outcome| matches!(outcome, Tended::Issued { .. })).count();
    assert_eq!(issued, 1, "{outcomes:?}");
    assert_eq!(kept(&one, &settings).await, kept(&two, &settings).await);
    for keeper in [&one, &two] {
        let later = keeper.tend(&settings, moment + 10, 3).await.expect("it can be ordered");
        assert!(matches!(later, Tended::Good { .. }), "{later:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_proven_waits_and_keeps_what_there_was() {
    let world = World::new();
    let keeper = world.keeper();
    let settings = world.settings(Challenge::Http01, &["a.example"]);
    let moment = now();
    let failed = keeper.tend(&settings, moment, 0).await.expect("it can be ordered");
    let Tended::Failed { until, reason, .. } = failed else { panic!("{failed:?}") };
    assert_eq!(until, moment + 60);
    assert!(reason.contains("a.example"), "the authority says what was wrong: {reason}");
    assert_eq!(world.count("acme/http-01/"), 0, "nothing is left behind");

    let revision = world.revision();
    let soon = keeper.tend(&settings, moment + 59, 0).await.expect("it can be ordered");
    assert!(matches!(soon, Tended::Failed { until, .. } if until == moment + 60), "{soon:?}");
    assert_eq!(world.revision(), revision, "the authority is left in peace");

    let again = keeper.tend(&settings, moment + 60, 0).await.expect("it can be ordered");
    assert!(matches!(again, Tended::Failed { until, .. } if until == moment + 60 + 120), "{again:?}");

    let _responder = Responder::http(world.authority.http_port, keeper.proofs());
    let issued = keeper.tend(&settings, moment + 180, 0).await.expect("it can be ordered");
    assert!(matches!(issued, Tended::Issued { .. }), "{issued:?}");
    assert_eq!(keeper.trouble(&settings).await.expect("the store is there"), None, "forgotten once it works");
}
