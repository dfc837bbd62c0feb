//! What one listener shows to those who ask for one name: the files it comes from, and the context that is made of them.

use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::certificates::TlsError;
use super::fetched::{self, Fetched};
use super::files::Files;
use super::staples::{Leaf, SPARE, Staples, unix};
use selvedge_identity::ocsp::{self, Question};
use selvedge_identity::{Authorities, Rules, Trust, Verifier};
use selvedge_site::directive::{Directives, Ssl};
use selvedge_wire::tls::{
    ClientAuth, Curve, Material, MaterialInvalid, ServerContext, ServerSettings, ServerTls, Suites,
};
use zeroize::Zeroizing;

/// Groups of the key exchange, the hybrid one first: what strangers' networks record today is not to be read by tomorrow's machines.
const GROUPS: [Curve; 4] = [Curve::X25519MlKem768, Curve::X25519, Curve::P256, Curve::P384];

/// What makes one context differ from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
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
pub(super) struct Stapled {
    /// What its issuer is asked, where no file says it.
    pub(super) question: Option<(Leaf, Question)>,
    /// The moments of the word that is shown: from when it is, and when it is worth nothing any more.
    life: Option<(i64, i64)>,
    /// Clients are to refuse the certificate without it.
    is_demanded: bool,
}

#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) context: Arc<ServerContext>,
    pub(super) changed: Changes,
    pub(super) stapled: Stapled,
    /// When it ends, in seconds since 1970.
    pub(super) ends: i64,
    /// What was changed into something that cannot be used, once that has been told.
    pub(super) told: Option<Changes>,
}

/// What tells one state of a file from another: a file that is put in its place, a link that is turned, a change in place. A
/// certificate that was fetched has the moment alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Seconds and nanoseconds since 1970.
    changed: (i64, i64),
    device: u64,
    inode: u64,
    len: u64,
}

/// Files, and when each was last changed.
pub(super) type Changes = Vec<(String, Option<Stamp>)>;

impl Loaded {
    /// The states in which its files are now.
    pub(super) fn seen(&self, fetched: &Fetched) -> Changes {
        self.changed.iter().map(|(path, _)| (path.clone(), changed(path, fetched))).collect()
    }
}

impl Stapled {
    /// Whether another word is to be shown at `now` than the one that is, or none any more.
    pub(super) fn is_other(&self, staples: &Staples, now: i64) -> bool {
        match &self.question {
            Some((leaf, _)) => {
                staples.shown(leaf, now).map(|status| status.since) != self.life.map(|(since, _)| since)
            }
            None => self.life.is_some_and(|(_, until)| until <= now + SPARE),
        }
    }

    /// Whether clients that hold the certificate to its demand refuse it.
    pub(super) fn is_missed(&self) -> bool {
        self.is_demanded && self.life.is_none()
    }
}

fn changed(path: &str, fetched: &Fetched) -> Option<Stamp> {
    if fetched::is_arn(path) || fetched::is_authority(path) {
        let since =
            fetched.since(path).or_else(|| fetched.believed.since(path))?.duration_since(UNIX_EPOCH).ok()?;
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
    /// The path of the chain, or the ARN.
    pub(super) fn chain(&self) -> &str {
        &self.chain
    }

    /// Who vouches for clients: a path, or the ARN.
    pub(super) fn authority(&self) -> Option<&str> {
        self.verify.as_ref().map(|(authority, ..)| &**authority)
    }

    /// What is of the mesh's comes before files: a lighttpd that reads the same configuration has those.
    /// `issued`: chain and key of what an authority issues, for those who configure no other.
    pub(super) fn of(
        directives: &Directives,
        (http1, http2): (bool, bool),
        socket: &str,
        issued: Option<&(String, String)>,
    ) -> Result<Self, TlsError> {
        let (ssl, arn) = (&directives.ssl, directives.mesh.certificate.as_deref());
        let (chain, key) = match (arn.or(ssl.pemfile.as_deref()), issued) {
            (Some(chain), _) if arn.is_some() => (chain, chain),
            (Some(chain), _) => (chain, ssl.privkey.as_deref().unwrap_or(chain)),
            (None, Some((chain, key))) => (chain.as_str(), key.as_str()),
            (None, None) => return Err(TlsError::NoCertificate(socket.to_owned())),
        };
        let verify = match asked_of_clients(directives) {
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

    pub(super) fn load(
        &self,
        staples: &Staples,
        fetched: &Fetched,
        files: &Files,
    ) -> Result<Loaded, TlsError> {
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
            .map_err(|source| TlsError::Material { path: self.at_fault(&source), source })?;
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
            let (bundle, crl) = match fetched.believed.judged_by(authorities) {
                Some((bundle, crl)) => (bundle, crl),
                None => (read(authorities)?, revoked.as_deref().map(read).transpose()?),
            };
            let bundle = Authorities::read(&bundle).map_err(invalid)?;
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

    /// The file that has what is wrong, or both.
    fn at_fault(&self, invalid: &MaterialInvalid) -> String {
        match invalid {
            MaterialInvalid::Key(_) | MaterialInvalid::KeyKind => self.key.clone(),
            MaterialInvalid::Mismatch if self.key != self.chain => {
                format!("{} with {}", self.chain, self.key)
            }
            _ => self.chain.clone(),
        }
    }

    /// Puts the issuer's word beside a certificate: that of a file, or what the issuer was asked for. One that is of another
    /// certificate, or too old, is not shown: clients would end the handshake for it.
    fn staple(&self, material: Material, staples: &Staples, files: &Files) -> (Material, Stapled) {
        let is_demanded = ocsp::is_demanded_by(&material.certificate);
        let none = Stapled { is_demanded, ..Stapled::default() };
        let unsaid = |reason: &str| {
            if is_demanded {
                tracing::error!(
                    chain = self.chain,
                    reason,
                    "a certificate demands its issuer's word (must-staple), and there is none: clients that heed that refuse it"
                );
            }
        };
        let Some(question) = Question::of(&material.chain) else {
            unsaid("the chain does not have the issuer's certificate");
            return (material, none);
        };
        let now = unix();
        if let Some(path) = &self.staple {
            let said = files.read(path).map_err(|error| error.to_string());
            let said = said.and_then(|said| question.read(&said, now).map_err(|error| error.to_string()));
            return match said.and_then(|status| match status.until > now + SPARE {
                true => Ok(status),
                false => Err("it ends".to_owned()),
            }) {
                Ok(status) => {
                    let stapled = Stapled { life: Some((status.since, status.until)), ..none };
                    (material.with_staple(status.der), stapled)
                }
                Err(reason) => {
                    tracing::error!(
                        path,
                        reason,
                        demanded = is_demanded,
                        "the issuer's word cannot be shown"
                    );
                    (material, none)
                }
            };
        }
        if question.responder.is_none() {
            unsaid("the certificate names nobody to ask, and no ssl.stapling-file is set");
            return (material, none);
        }
        let leaf = material.certificate.sha256();
        let shown = staples.shown(&leaf, now);
        let life = shown.as_ref().map(|status| (status.since, status.until));
        let stapled = Stapled { question: Some((leaf, question)), life, is_demanded };
        match shown {
            Some(status) => (material.with_staple(status.der), stapled),
            None => (material, stapled),
        }
    }
}

/// What clients have to show: whose certificates, which of them are revoked, and whether they have to at all; `None` if they are
/// not asked.
pub(crate) fn asked_of_clients(directives: &Directives) -> Option<(Option<&str>, Option<&str>, bool)> {
    let ssl = &directives.ssl;
    let of_files = ssl.verifyclient_ca_file.as_deref().or(ssl.ca_file.as_deref());
    let of_the_mesh = directives.mesh.client_authority.as_deref();
    // An authority of the mesh's comes with its own list.
    let revoked = ssl.verifyclient_ca_crl_file.as_deref().or(ssl.ca_crl_file.as_deref());
    let revoked = revoked.filter(|_| of_the_mesh.is_none());
    let authorities = of_the_mesh.or(of_files);
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
