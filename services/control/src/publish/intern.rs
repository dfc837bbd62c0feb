//! One encoding for equal resources, however many proxies get them.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use selvedge_traffic::{Resource, ResourceKind};
use selvedge_xds::{Encoded, encode};

/// Below this many entries nobody sweeps.
const SWEEP_MIN: usize = 1024;

/// The encodings in use, by content.
#[derive(Default)]
pub(super) struct Intern {
    known: HashMap<(ResourceKind, Arc<str>, Arc<str>), Weak<Encoded>>,
    swept: usize,
}

impl Intern {
    /// Encodes a resource; equal ones share one encoding.
    pub(super) fn encode(&mut self, resource: &Resource) -> Arc<Encoded> {
        let encoded = encode(resource);
        let key = (encoded.kind, encoded.name.clone(), encoded.version.clone());
        if let Some(known) = self.known.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        let encoded = Arc::new(encoded);
        self.known.insert(key, Arc::downgrade(&encoded));
        if self.known.len() > (2 * self.swept).max(SWEEP_MIN) {
            self.sweep();
        }
        encoded
    }

    /// Forgets what nobody uses.
    pub(super) fn sweep(&mut self) {
        if self.known.len() > (self.swept + self.swept / 2).max(SWEEP_MIN) {
            self.known.retain(|_, encoded| encoded.strong_count() > 0);
            self.swept = self.known.len();
        }
    }
}
