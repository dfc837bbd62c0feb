//! Certificates and authorities on their way to the proxies whose specifications name them, and to no other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use selvedge_traffic::tls::{Pem, Trust, Validation};
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
    /// What each authority took back, by its ARN.
    lists: BTreeMap<String, List>,
    /// The ARNs that can be had.
    known: Arc<BTreeSet<String>>,
}

/// A revocation list in PEM, and whether it is a reason to give lists out.
#[derive(Debug)]
struct List {
    pem: String,
    is_in_force: bool,
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
            match before.material {
                Material::Revocations { .. } => drop(self.lists.remove(&before.arn)),
                _ => drop(self.by_arn.remove(&before.arn)),
            }
            touched.extend(self.concerned(&before.arn));
        }
        if let Some(found) = found {
            match &found.material {
                Material::Revocations { list, is_in_force } => {
                    let list = List { pem: list.clone(), is_in_force: *is_in_force };
                    self.lists.insert(found.arn.clone(), list);
                }
                material => drop(self.by_arn.insert(found.arn.clone(), material.clone())),
            }
            touched.extend(self.concerned(&found.arn));
            self.documents.insert(key, found);
        }
        let known: BTreeSet<String> = self.by_arn.keys().cloned().collect();
        let has_changed = known != *self.known;
        if has_changed {
            self.known = Arc::new(known);
        }
        (touched, has_changed)
    }

    /// What a document about that ARN concerns: it, and what is judged by its authority.
    fn concerned(&self, arn: &str) -> Vec<String> {
        let signed = |material: &Material| matches!(material, Material::Certificate { signer: Some(signer), .. } if signer == arn);
        let signed = self.by_arn.iter().filter(|(_, material)| signed(material)).map(|(arn, _)| arn.clone());
        std::iter::once(arn.to_owned()).chain(signed).collect()
    }

    /// The lists of these authorities, if there is a reason to give them out. Whoever is given one asks for each of them.
    fn lists<'a>(&self, authorities: impl Iterator<Item = &'a str>) -> Option<Pem> {
        let lists: Vec<&List> = authorities.filter_map(|arn| self.lists.get(arn)).collect();
        let text: String = lists.iter().map(|list| list.pem.as_str()).collect();
        lists.iter().any(|list| list.is_in_force).then_some(Pem::Inline(text))
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
        // Each authority is trusted itself, whoever stands above it.
        let trust = |bundle: String, crl: Option<Pem>| {
            let crl_of_leaf_only = crl.is_some();
            Content::Validation(Box::new(Validation {
                crl,
                crl_of_leaf_only,
                ..Validation::new(Trust::Inline(bundle))
            }))
        };
        let content = match meaning(name)? {
            Meaning::Certificate(arn) => match self.by_arn.get(arn)? {
                Material::Certificate { chain, key, .. } => Content::Certificate {
                    chain: chain.clone().into_bytes(),
                    key: Zeroizing::new(key.as_bytes().to_vec()),
                },
                _ => return None,
            },
            Meaning::AuthorityOf(arn) => match self.by_arn.get(arn)? {
                Material::Certificate { authority, signer, .. } => {
                    trust(authority.clone(), self.lists(signer.as_deref().into_iter()))
                }
                _ => return None,
            },
            Meaning::Authorities(arns) => {
                let mut bundle = String::new();
                for arn in &arns {
                    match self.by_arn.get(*arn)? {
                        Material::Authority { certificate } => bundle.push_str(certificate),
                        _ => return None,
                    }
                }
                trust(bundle, self.lists(arns.into_iter()))
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
