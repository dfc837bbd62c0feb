//! What a stream tells about its proxy.

use selvedge_traffic::ResourceKind;

/// Longest text of a rejection that is kept, in bytes.
pub(super) const MESSAGE_BYTES_MAX: usize = 4096;

/// Something became known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A response of a kind was taken as a whole.
    Acknowledged { kind: ResourceKind, revision: u64 },
    /// A response was rejected, in whole or in part: [`super::ServerSession::rejected`] has the present state.
    Rejected { kind: ResourceKind, revision: u64 },
    /// A secret was rejected: [`super::ServerSession::rejected_secrets`] has the present state.
    SecretsRejected,
    /// The proxy has all of a revision and rejects nothing of it.
    Settled { revision: u64 },
}

/// A resource that a proxy does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    pub kind: ResourceKind,
    pub name: String,
    pub version: String,
    /// In the proxy's words.
    pub message: String,
}
