//! What one proxy is to have.

use std::collections::BTreeMap;
use std::sync::Arc;

use selvedge_traffic::ResourceKind;

use crate::Encoded;

/// Resources of one kind, by name.
pub(super) type Collection = BTreeMap<Arc<str>, Arc<Encoded>>;

/// All resources of one proxy at a revision. The encodings are shared between the views of many proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub revision: u64,
    kinds: [Collection; 4],
}

impl View {
    /// A view of `resources`; of two with one name the later stays, for a duplicate would be rejected.
    pub fn new(revision: u64, resources: impl IntoIterator<Item = Arc<Encoded>>) -> Self {
        let mut kinds: [Collection; 4] = Default::default();
        for encoded in resources {
            kinds[encoded.kind as usize].insert(encoded.name.clone(), encoded);
        }
        Self { revision, kinds }
    }

    pub(super) fn of(&self, kind: ResourceKind) -> &Collection {
        &self.kinds[kind as usize]
    }

    pub fn resources(&self) -> impl Iterator<Item = &Arc<Encoded>> {
        self.kinds.iter().flat_map(BTreeMap::values)
    }

    /// Whether both hold the same, whatever their revisions.
    pub fn same_content(&self, other: &Self) -> bool {
        self.kinds.iter().zip(&other.kinds).all(|(ours, theirs)| {
            ours.len() == theirs.len()
                && ours.iter().zip(theirs).all(|((name, encoded), (other_name, other))| {
                    name == other_name && (Arc::ptr_eq(encoded, other) || encoded.version == other.version)
                })
        })
    }
}
