//! Certificates and authorities on their way to the proxies whose specifications name them, and to no other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use selvedge_traffic::tls::{Trust, Validation};
use selvedge_translate::secret::{Meaning, meaning};
use selvedge_xds::secret::{Content, Secret};
use selvedge_xds::server::{EncodedSecret, Secrets};
use zeroize::Zeroizing;

use crate::certificates::{Found, Material};

/// All that there are.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    /// By the key of their document.
    documents: BTreeMap<String, Found>,
    by_arn: BTreeMap<String, Material>,
    /// The ARNs that can be had.
    known: Arc<BTreeSet<String>>,
}

impl Certificates {
    /// Takes a document as it is; the ARNs that it concerns, and whether any of them came or went.
    pub(super) fn handle(&mut self, key: String, found: Option<Found>) -> (BTreeSet<String>, bool) {
        let before = self.documents.remove(&key);
        if before == found {
            self.documents.extend(found.map(|found| (key, found)));
            return (BTreeSet::new(), false);
        }
        let mut touched = BTreeSet::new();
        if let Some(before) = before {
            self.by_arn.remove(&before.arn);
            touched.insert(before.arn);
        }
        if let Some(found) = found {
            self.by_arn.insert(found.arn.clone(), found.material.clone());
            touched.insert(found.arn.clone());
            self.documents.insert(key, found);
        }
        let known: BTreeSet<String> = self.by_arn.keys().cloned().collect();
        let has_changed = known != *self.known;
        if has_changed {
            self.known = Arc::new(known);
        }
        (touched, has_changed)
    }

    /// The ARNs that can be had.
    pub(super) fn known(&self) -> Arc<BTreeSet<String>> {
        Arc::clone(&self.known)
    }

    /// The secrets of those names, as far as there are any.
    pub(super) fn secrets(&self, names: &BTreeSet<String>) -> Arc<Secrets> {
        let of = |name: &String| Some((name.clone(), Arc::new(EncodedSecret::new(&self.secret(name)?))));
        Arc::new(names.iter().filter_map(of).collect())
    }

    fn secret(&self, name: &str) -> Option<Secret> {
        let trust = |bundle: String| Content::Validation(Box::new(Validation::new(Trust::Inline(bundle))));
        let content = match meaning(name)? {
            Meaning::Certificate(arn) => match self.by_arn.get(arn)? {
                Material::Certificate { chain, key, .. } => Content::Certificate {
                    chain: chain.clone().into_bytes(),
                    key: Zeroizing::new(key.as_bytes().to_vec()),
                },
                Material::Authority { .. } => return None,
            },
            Meaning::AuthorityOf(arn) => match self.by_arn.get(arn)? {
                Material::Certificate { authority, .. } => trust(authority.clone()),
                Material::Authority { .. } => return None,
            },
            Meaning::Authorities(arns) => {
                let mut bundle = String::new();
                for arn in arns {
                    match self.by_arn.get(arn)? {
                        Material::Authority { certificate } => bundle.push_str(certificate),
                        Material::Certificate { .. } => return None,
                    }
                }
                trust(bundle)
            }
        };
        Some(Secret { name: name.to_owned(), content })
    }
}

/// Whether a secret of that name has to do with one of these ARNs.
pub(super) fn concerns(name: &str, arns: &BTreeSet<String>) -> bool {
    match meaning(name) {
        None => false,
        Some(Meaning::Certificate(arn) | Meaning::AuthorityOf(arn)) => arns.contains(arn),
        Some(Meaning::Authorities(list)) => list.iter().any(|arn| arns.contains(*arn)),
    }
}
