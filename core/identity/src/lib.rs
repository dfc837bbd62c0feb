//! Who a peer is: what certificates say, whom to believe, and which names will do; and what the mesh's own authority
//! issues, for how long.
//!
//! Nothing here opens a file or asks the time: bytes and the moment are arguments. The handshake itself is made
//! elsewhere; it asks [`Verifier`] what to make of the certificates that it was shown.

pub mod arn;
pub mod authority;
pub mod certificate;
mod der;
pub mod key;
pub mod name;
pub mod ocsp;
pub mod pem;
pub mod rotation;
pub mod spiffe;
pub mod verify;

pub use authority::Authority;
pub use certificate::{Certificate, CertificateInvalid};
pub use key::{Key, KeyInvalid};
pub use name::Names;
pub use pem::PemInvalid;
pub use spiffe::SvidInvalid;
pub use verify::{Authorities, BundleInvalid, Distrust, Rules, Side, Trust, Verifier};
