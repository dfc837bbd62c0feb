//! What the server's user may not read: keys and secrets are often root's alone. They are read once, while the process is still
//! root's, and kept for when it is not.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use selvedge_site::Program;
use selvedge_site::directive::guard::KeysFrom;
use zeroize::Zeroizing;

/// The largest file that is kept.
pub(crate) const KEPT_BYTES_MAX: u64 = 1024 * 1024;

/// Directives that name files of TLS.
const OF_TLS: [&str; 7] = [
    "ssl.pemfile",
    "ssl.privkey",
    "ssl.ca-file",
    "ssl.ca-crl-file",
    "ssl.verifyclient.ca-file",
    "ssl.verifyclient.ca-crl-file",
    "ssl.stapling-file",
];

/// Reads files, and knows what was in those that root alone may read.
#[derive(Clone, Default)]
pub(crate) struct Files {
    kept: Arc<HashMap<String, Zeroizing<Vec<u8>>>>,
    /// Paths lead to something else once the process has another root.
    rooted: bool,
}

impl Files {
    /// Keeps what a program names; to be asked before the process becomes somebody else.
    pub(crate) fn before_another_user(program: &Program) -> Self {
        let kept = named(program).into_iter().filter_map(|path| {
            let fits = std::fs::metadata(&path).ok()?.len() <= KEPT_BYTES_MAX;
            let bytes = fits.then(|| std::fs::read(&path).ok())??;
            Some((path, Zeroizing::new(bytes)))
        });
        Self { kept: Arc::new(kept.collect()), rooted: is_rooted(program) }
    }

    /// What is in a file; if it may not be read, what was in it when the process was root's.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn read(&self, path: &str) -> io::Result<Zeroizing<Vec<u8>>> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Zeroizing::new(bytes)),
            Err(error) => match self.kept.get(path).filter(|_| is_out_of_reach(&error, self.rooted)) {
                Some(bytes) => Ok(bytes.clone()),
                None => Err(error),
            },
        }
    }
}

/// Whether a file is there for somebody else, or below another root.
pub(super) fn is_out_of_reach(error: &io::Error, rooted: bool) -> bool {
    match error.kind() {
        io::ErrorKind::PermissionDenied => true,
        io::ErrorKind::NotFound => rooted,
        _ => false,
    }
}

/// Whether the process gets another root.
pub(super) fn is_rooted(program: &Program) -> bool {
    program.global().chroot.as_deref().is_some_and(|root| !root.is_empty())
}

/// Names alone: the rest is secret.
impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.kept.keys()).finish()
    }
}

/// The files of certificates, keys and secrets.
fn named(program: &Program) -> Vec<String> {
    let mut paths = Vec::new();
    for directive in OF_TLS {
        let values = program.assignments(directive).filter_map(|(_, value, _)| value.as_text());
        paths.extend(values.map(|path| path.to_string()));
    }
    for ssl in program.listeners.iter().map(|listener| &listener.ssl) {
        let files = [
            &ssl.pemfile,
            &ssl.privkey,
            &ssl.ca_file,
            &ssl.ca_crl_file,
            &ssl.verifyclient_ca_file,
            &ssl.verifyclient_ca_crl_file,
            &ssl.stapling_file,
        ];
        paths.extend(files.into_iter().flatten().map(|path| path.to_string()));
    }
    let mesh = &program.base().directives.mesh;
    for (_, oidc) in mesh.oidc.iter() {
        paths.extend(oidc.secret_file.iter().chain([&oidc.cookie_keys]).map(|path| path.to_string()));
    }
    for (_, jwt) in mesh.jwt.iter() {
        if let KeysFrom::File(path) = &jwt.keys {
            paths.push(path.to_string());
        }
    }
    paths.extend(program.global().mesh_keys.iter().map(|path| path.to_string()));
    paths.retain(|path| !path.is_empty());
    paths
}

#[cfg(test)]
mod tests {
    use selvedge_site::{Compat, edge_toml, lighttpd};

    use super::*;

    #[test]
    fn every_file_of_a_certificate_and_a_secret_is_named() {
        let text = "server.document-root = \"/srv\"\nserver.modules = ( \"mod_openssl\" )\nssl.engine = \"enable\"\n\
             ssl.pemfile = \"/chain\"\nssl.privkey = \"/key\"\nmesh.keys = \"/keys\"\n\
             mesh.oidc = ( \"staff\" => ( \"issuer\" => \"https://id.example\", \"client-id\" => \"c\", \
             \"client-secret-file\" => \"/secret\", \"cookie-keys\" => \"/cookies\" ) )\n\
             mesh.jwt = ( \"api\" => ( \"issuer\" => \"https://id.example\", \"audience\" => ( \"a\" ), \"jwks-file\" => \"/jwks\" ) )\n\
             $HTTP[\"host\"] == \"b.example\" { ssl.pemfile = \"/chain-b\" ssl.privkey = \"/key-b\" ssl.ca-file = \"/ca-b\" }\n";
        let options = lighttpd::Options { compat: Compat::V1_4_85, allow_shell: false };
        let Ok(document) = lighttpd::parse("test.conf", &mut lighttpd::Alone(text.to_owned()), options)
        else {
            panic!("it does not parse")
        };
        let compiled = lighttpd::compile(&document, Compat::V1_4_85, lighttpd::Level::Modules);
        let paths = named(&compiled.program.expect("it compiles"));
        for path in ["/chain", "/key", "/keys", "/secret", "/cookies", "/jwks", "/chain-b", "/key-b", "/ca-b"]
        {
            assert!(paths.iter().any(|named| named == path), "{path} in {paths:?}");
        }
        let text = "[edge]\nkeys = \"/keys\"\n[[listen]]\naddress = \":443\"\ntls = \"a\"\n\
             [tls.a]\ncertificate = \"/chain\"\nkey = \"/key\"\nclient_ca = \"/ca\"\nclient = \"require\"\n\
             [[site]]\n[[site.route]]\nrespond = \"x\"\n";
        let document = edge_toml::parse("edge.toml", text).unwrap_or_else(|(found, _)| panic!("{found:?}"));
        let paths = named(&edge_toml::compile(&document).unwrap_or_else(|found| panic!("{found:?}")).0);
        for path in ["/chain", "/key", "/keys", "/ca"] {
            assert!(paths.iter().any(|named| named == path), "{path} in {paths:?}");
        }
    }

    #[test]
    fn what_may_be_read_is_read_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key").display().to_string();
        std::fs::write(&path, "old").unwrap();
        let kept = HashMap::from([(path.clone(), Zeroizing::new(b"old".to_vec()))]);
        let files = Files { kept: Arc::new(kept), rooted: false };
        std::fs::write(&path, "new").unwrap();
        assert_eq!(&files.read(&path).unwrap()[..], b"new");
        // What was taken away is gone; within another root it is only out of reach.
        std::fs::remove_file(&path).unwrap();
        assert!(files.read(&path).is_err());
        assert_eq!(&Files { rooted: true, ..files }.read(&path).unwrap()[..], b"old");
    }
}
