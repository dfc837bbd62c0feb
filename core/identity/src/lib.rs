//! Who a peer is: what certificates say, whom to believe, and which names will do.
//!
//! Nothing here opens a file or asks the time: bytes and the moment are arguments. The handshake itself is made
//! elsewhere; it asks [`Verifier`] what to make of the certificates that it was shown.

pub mod certificate;
pub mod name;
pub mod ocsp;
pub mod pem;
pub mod spiffe;
pub mod verify;

pub use certificate::{Certificate, CertificateInvalid};
pub use name::Names;
pub use pem::PemInvalid;
pub use spiffe::SvidInvalid;
pub use verify::{Authorities, BundleInvalid, Distrust, Rules, Side, Trust, Verifier};
