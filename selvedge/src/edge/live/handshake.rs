//! One TLS handshake, and what came of it.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, NamedGroup, SignatureScheme};
use selvedge_identity::Certificate;

/// What was agreed on.
#[derive(Debug)]
pub(super) struct Agreed {
    pub(super) version: String,
    pub(super) cipher: String,
    pub(super) group: String,
    /// The protocol above TLS.
    pub(super) alpn: Option<String>,
    /// Whose certificate was shown.
    pub(super) certificate: Option<Certificate>,
    /// Whether the issuer's word came with it.
    pub(super) stapled: bool,
}

/// Makes a handshake as a browser would. Without a name none is asked for: the address stands in its place.
///
/// # Errors
/// What kept it from being made, for people.
pub(super) fn handshake(
    mut socket: TcpStream,
    name: Option<&str>,
    patience: Duration,
) -> Result<Agreed, String> {
    let patience = Some(patience);
    let set = socket.set_read_timeout(patience).and_then(|()| socket.set_write_timeout(patience));
    set.map_err(|error| said(&error))?;
    let address = socket.peer_addr().map_err(|error| said(&error))?.ip();
    let mut provider = aws_lc_rs::default_provider();
    // As browsers do: the hybrid group first.
    provider.kx_groups.sort_by_key(|group| group.name() != NamedGroup::X25519MLKEM768);
    let provider = Arc::new(provider);
    let word = Arc::new(AtomicBool::new(false));
    let anybody = Arc::new(Anybody { provider: Arc::clone(&provider), word: Arc::clone(&word) });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(anybody)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = match name {
        Some(name) => ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?,
        None => ServerName::from(address),
    };
    let mut session = ClientConnection::new(Arc::new(config), name).map_err(|error| error.to_string())?;
    while session.is_handshaking() {
        session.complete_io(&mut socket).map_err(|error| said(&error))?;
    }
    let version = session.protocol_version().and_then(|version| version.as_str().map(version_text));
    let suite = session.negotiated_cipher_suite().map(|suite| suite.suite());
    let group = session.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name()));
    let leaf = session.peer_certificates().and_then(|chain| chain.first());
    Ok(Agreed {
        version: version.unwrap_or("TLS").to_owned(),
        cipher: suite.and_then(|suite| suite.as_str().map(str::to_owned)).unwrap_or_default(),
        group: group.unwrap_or_default(),
        alpn: session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
        certificate: leaf.and_then(|der| Certificate::read(der).ok()),
        stapled: word.load(Ordering::Relaxed),
    })
}

fn version_text(version: &str) -> &str {
    match version {
        "TLSv1_2" => "TLS 1.2",
        "TLSv1_3" => "TLS 1.3",
        other => other,
    }
}

fn said(error: &std::io::Error) -> String {
    match error.kind() {
        // What a socket with a time-out says when it is over.
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "nothing came in time".to_owned(),
        _ => error.to_string(),
    }
}

/// Takes any certificate: what is asked is which one is shown, and signatures are checked all the same.
#[derive(Debug)]
struct Anybody {
    provider: Arc<CryptoProvider>,
    /// Whether the issuer's word (OCSP) came with the certificate.
    word: Arc<AtomicBool>,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.word.store(!ocsp.is_empty(), Ordering::Relaxed);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
