//! rustls' questions about certificates, handed to `selvedge-identity`.

use std::cell::Cell;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use selvedge_identity::{Distrust, Side, Verifier};

use super::provider;

thread_local! {
    /// The scheme of the latest signature on this thread. A flight is worked off without a pause, so that whoever reads
    /// it right after finds that of its own peer.
    static SCHEME: Cell<Option<SignatureScheme>> = const { Cell::new(None) };
}

/// The scheme that the peer has just signed with.
pub(super) fn take_scheme() -> Option<SignatureScheme> {
    SCHEME.take()
}

/// A verifier as rustls wants it.
#[derive(Debug)]
pub(super) struct Peers {
    verifier: Arc<Verifier>,
    side: Side,
    mandatory: bool,
    subjects: Vec<DistinguishedName>,
}

impl Peers {
    /// Of clients; `mandatory` refuses those who show nothing.
    pub(super) fn clients(verifier: Arc<Verifier>, mandatory: bool) -> Self {
        let subjects = verifier.authorities().flat_map(|authorities| authorities.subjects.iter().cloned());
        let subjects: Vec<Vec<u8>> = subjects.collect();
        // A list that would not fit is no help; clients then choose by themselves.
        let fits = subjects.iter().map(|subject| subject.len() + 2).sum::<usize>() < 16 * 1024;
        let subjects = if fits { subjects } else { Vec::new() };
        // rustls keeps the content alone and writes the SEQUENCE around it.
        let subjects = subjects.iter().map(|subject| DistinguishedName::in_sequence(subject)).collect();
        Self { verifier, side: Side::Client, mandatory, subjects }
    }

    pub(super) fn servers(verifier: Arc<Verifier>) -> Self {
        Self { verifier, side: Side::Server, mandatory: true, subjects: Vec::new() }
    }

    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        self.verifier.verify(leaf, intermediates, self.side, now).map_err(|distrust| {
            Error::InvalidCertificate(match distrust {
                Distrust::Expired => CertificateError::Expired,
                Distrust::NotYetValid => CertificateError::NotValidYet,
                Distrust::Revoked => CertificateError::Revoked,
                Distrust::UnknownIssuer => CertificateError::UnknownIssuer,
                other => CertificateError::Other(OtherError(Arc::new(other))),
            })
        })
    }
}

fn signed(dss: &DigitallySignedStruct) {
    SCHEME.set(Some(dss.scheme));
}

impl ClientCertVerifier for Peers {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judge(end_entity, intermediates, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signed(dss);
        verify_tls12_signature(message, cert, dss, provider::signatures())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signed(dss);
        verify_tls13_signature(message, cert, dss, provider::signatures())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider::signatures().supported_schemes()
    }
}

impl ServerCertVerifier for Peers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge(end_entity, intermediates, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signed(dss);
        verify_tls12_signature(message, cert, dss, provider::signatures())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signed(dss);
        verify_tls13_signature(message, cert, dss, provider::signatures())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider::signatures().supported_schemes()
    }
}
