//! What is logged of an encrypted connection.

/// The facts of one side's handshake, wherever they are kept.
pub trait TlsSource {
    /// `TLSv1.3`
    fn version(&self) -> &str;

    /// By OpenSSL's name.
    fn cipher(&self) -> &str;

    /// When a certificate begins and ends to count, in seconds since 1970.
    fn validity(&self, whose: Whose) -> Option<(i64, i64)>;

    /// Appends a fact about a certificate; whether there is one.
    fn write(&self, whose: Whose, fact: CertificateFact, out: &mut Vec<u8>) -> bool;
}

/// Whose certificate is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Peer,
    Local,
}

/// What a certificate says. Several names are parted by commas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateFact {
    Uris,
    DnsNames,
    Emails,
    Addresses,
    Subject,
    Issuer,
    /// Lower-case hexadecimal, as the fingerprints.
    Serial,
    Fingerprint256,
    Fingerprint1,
    /// As PEM, percent-encoded.
    Pem,
}
