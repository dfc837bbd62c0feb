//! Discovery's resources.

use selvedge_traffic::ResourceKind;

use crate::cut;

const KINDS: [ResourceKind; 4] =
    [ResourceKind::Listener, ResourceKind::Routes, ResourceKind::Cluster, ResourceKind::Endpoints];

/// A resource of any kind: what is taken can be said again, and means the same then.
pub(super) fn decode(bytes: &[u8]) {
    let (kind, bytes) = cut(bytes);
    let kind = KINDS[kind % KINDS.len()];
    let Ok(resource) = selvedge_xds::decode(kind, bytes) else { return };
    let encoded = selvedge_xds::encode(&resource);
    let again = selvedge_xds::decode(kind, &encoded.value);
    assert_eq!(again.as_ref(), Ok(&resource), "what was said again");
}
