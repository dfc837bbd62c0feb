//! An authority for certificates of tests.

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Output};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use selvedge_traffic::matching::TextMatch;
use selvedge_traffic::tls::{Certificate, DownstreamTls, NameKind, NameMatch, Trust, Validation};

/// An authority and the folder of what it issues.
pub(crate) struct Authority {
    pub(crate) issuer: Issuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), folder }
    }

    pub(crate) fn path(&self, file: &str) -> String {
        self.folder.path().join(file).to_str().unwrap().to_owned()
    }

    /// Issues `<name>.pem` and `<name>.key`, each put in place whole.
    pub(crate) fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) {
        let (chain, key) = self.pair(name, change);
        self.put(&format!("{name}.pem"), &chain);
        self.put(&format!("{name}.key"), &key);
    }

    pub(crate) fn pair(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![format!("{name}.local")]).unwrap();
        params.subject_alt_names.push(SanType::URI(format!("spiffe://m/{name}").try_into().unwrap()));
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        change(&mut params);
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    pub(crate) fn put(&self, file: &str, content: &str) {
        let new = self.path(&format!("{file}.new"));
        fs::write(&new, content).unwrap();
        fs::rename(new, self.path(file)).unwrap();
    }

    pub(crate) fn certificate(&self, name: &str) -> Certificate {
        Certificate::Files {
            chain: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}.key")),
        }
    }

    pub(crate) fn trust(&self, kind: NameKind, name: &str) -> Validation {
        let name = NameMatch { kind, text: TextMatch::exact(name) };
        Validation { names: vec![name], ..Validation::new(Trust::File { chain: self.path("ca.pem") }) }
    }

    /// A listener that wants `spiffe://m/a`.
    pub(crate) fn strict(&self) -> DownstreamTls {
        DownstreamTls {
            validation: Some(self.trust(NameKind::Uri, "spiffe://m/a")),
            require_client_certificate: true,
            alpn: vec!["h2".into(), "http/1.1".into()],
            ..DownstreamTls::new(self.certificate("b"))
        }
    }

    pub(crate) fn curl(&self, address: SocketAddr, arguments: &[&str]) -> Output {
        let ca = self.path("ca.pem");
        let place = format!("b.local:{}:127.0.0.1", address.port());
        Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "20", "--cacert", &ca, "--resolve", &place])
            .args(["--write-out", "\n%{http_code} %{http_version}"])
            .args(arguments)
            .arg(format!("https://b.local:{}/c", address.port()))
            .output()
            .expect("curl is installed")
    }

    pub(crate) fn curl_as(&self, address: SocketAddr, name: &str, arguments: &[&str]) -> Output {
        let (chain, key) = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        let arguments = [&["--cert", &chain, "--key", &key], arguments].concat();
        self.curl(address, &arguments)
    }
}
