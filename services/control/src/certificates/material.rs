//! What of a certificate or an authority goes to proxies.

use std::collections::BTreeSet;
use std::fmt;

use selvedge_identity::{Key, arn};
use selvedge_model::Value;
use selvedge_store::{Error as StoreError, Read, Vault};
use selvedge_translate::secret::{Meaning, meaning};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::document::{
    AUTHORITIES, Authority, CERTIFICATES, Certificate, REVOCATIONS, Revocations, authority_key,
    certificate_key,
};
use super::read;

/// PEM that proxies show, or judge others by.
#[derive(Clone, PartialEq, Eq)]
pub enum Material {
    /// What is shown to a peer, its key, and who vouches for it; by its ARN where it is an authority of ours.
    Certificate { chain: String, key: Zeroizing<String>, authority: String, signer: Option<String> },
    /// Whoever it signed is believed.
    Authority { certificate: String },
    /// Whom the authority of that ARN takes back, and whether anybody is to be told.
    Revocations { list: String, is_in_force: bool },
}

/// A document, as far as it is of use to proxies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub arn: String,
    pub material: Material,
}

impl fmt::Debug for Material {
    /// Keys are not for showing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate { .. } => "Certificate",
            Self::Authority { .. } => "Authority",
            Self::Revocations { .. } => "Revocations",
        })
    }
}

/// What the keys of certificates, authorities and revocations begin with.
pub const PREFIXES: [&str; 3] = [CERTIFICATES, AUTHORITIES, REVOCATIONS];

/// Whether the document under that key is one of those.
pub fn is_material(key: &str) -> bool {
    PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

impl Found {
    /// Reads a document; `None` for an authority that vouches for nobody.
    ///
    /// # Errors
    /// When it cannot be read, or its key not be opened.
    pub fn read(key: &str, value: &[u8], vault: &Vault) -> Result<Option<Self>, StoreError> {
        if key.starts_with(AUTHORITIES) {
            let one: Authority = read(key, value)?;
            let vouches = !one.certificate.is_empty() && one.status != "DELETED";
            let material = Material::Authority { certificate: one.certificate };
            return Ok(vouches.then_some(Self { arn: one.arn, material }));
        }
        if key.starts_with(REVOCATIONS) {
            let one: Revocations = read(key, value)?;
            let material = Material::Revocations { list: one.list, is_in_force: one.is_in_force };
            return Ok(Some(Self { arn: one.authority, material }));
        }
        let one: Certificate = read(key, value)?;
        let broken = |reason: &dyn fmt::Display| StoreError::Corrupt(format!("{key}: {reason}"));
        let opened = Zeroizing::new(vault.open(key, &one.sealed).map_err(|error| broken(&error))?);
        let private = Key::of_der(&opened).map_err(|error| broken(&error))?.pem();
        // Nobody stands above one that was imported without a chain: it vouches for itself.
        let authority = if one.chain.is_empty() { one.certificate.clone() } else { one.chain.clone() };
        let material = Material::Certificate {
            chain: format!("{}{}", one.certificate, one.chain),
            key: private,
            authority,
            signer: one.authority,
        };
        Ok(Some(Self { arn: one.arn, material }))
    }
}

/// Adds the ARNs of certificates and authorities that a specification names, however it does.
pub fn named_in(specification: &Value, names: &mut BTreeSet<String>) {
    match specification {
        Value::String(text) => match meaning(text) {
            Some(Meaning::Certificate(arn) | Meaning::AuthorityOf(arn)) => drop(names.insert(arn.to_owned())),
            Some(Meaning::Authorities(arns)) => names.extend(arns.into_iter().map(str::to_owned)),
            None => {}
        },
        Value::Array(elements) => elements.iter().for_each(|element| named_in(element, names)),
        Value::Object(members) => members.values().for_each(|member| named_in(member, names)),
        _ => {}
    }
}

/// Those of the ARNs that can be had. It reads what is named, and none of the others, however many there are.
///
/// # Errors
/// The store's.
pub fn known(view: &dyn Read, names: BTreeSet<String>) -> Result<BTreeSet<String>, StoreError> {
    #[derive(Deserialize)]
    struct Named {
        arn: String,
        #[serde(default)]
        status: String,
    }
    let mut arns = BTreeSet::new();
    for name in names {
        let key = arn::certificate_id(&name).map(certificate_key);
        let Some(key) = key.or_else(|| arn::authority_id(&name).map(authority_key)) else { continue };
        let Some(named) = super::get::<Named>(view, &key)? else { continue };
        if named.arn == name && !matches!(named.status.as_str(), "DELETED" | "PENDING_CERTIFICATE") {
            arns.insert(name);
        }
    }
    Ok(arns)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use selvedge_store::{Document, Revision};
    use serde_json::json;

    use super::*;

    /// A store of a thousand certificates and one authority that is deleted, which counts what is asked of it.
    #[derive(Default)]
    struct Counting(RefCell<Vec<String>>);

    fn certificate(number: u32) -> String {
        format!("arn:aws:acm:eu-west-1:123456789012:certificate/{number}")
    }

    const GONE: &str = "arn:aws:acm-pca:eu-west-1:123456789012:certificate-authority/gone";

    impl Read for Counting {
        fn revision(&self) -> Revision {
            Revision::default()
        }

        fn get(&self, key: &str) -> Result<Option<Document>, StoreError> {
            self.0.borrow_mut().push(key.to_owned());
            let value = match key.strip_prefix(CERTIFICATES).and_then(|id| id.parse().ok()) {
                Some(number @ 0..1000) => json!({ "arn": certificate(number), "domain": "x" }),
                _ if key.ends_with("/gone") => json!({ "arn": GONE, "status": "DELETED" }),
                _ => return Ok(None),
            };
            let document = Document {
                key: key.into(),
                value: value.to_string().into(),
                created: Revision::default(),
                modified: Revision::default(),
            };
            Ok(Some(document))
        }

        fn scan(&self, prefix: &str, _: Option<&str>, _: usize) -> Result<Vec<Document>, StoreError> {
            panic!("everything below {prefix} is read")
        }
    }

    #[test]
    fn only_what_is_named_is_read_however_many_there_are() {
        let spec = json!({ "listeners": [{ "tls": {
            "certificate": { "acm": { "certificateArn": certificate(7) } },
            "validation": { "trust": { "sds": { "secretName": format!("{}#authority", certificate(8)) } } } } }],
            "backendDefaults": { "clientPolicy": { "tls": { "validation": { "trust": {
                "acm": { "certificateAuthorityArns": [GONE] } } } } } },
            "serviceDiscovery": { "dns": { "hostname": "web.local" } } });
        let mut names = BTreeSet::new();
        named_in(&spec, &mut names);
        named_in(&json!({ "secretName": certificate(5000) }), &mut names);
        assert_eq!(
            names,
            BTreeSet::from([certificate(7), certificate(8), certificate(5000), GONE.to_owned()])
        );
        let view = Counting::default();
        let found = known(&view, names).expect("read");
        assert_eq!(
            found,
            BTreeSet::from([certificate(7), certificate(8)]),
            "not what is deleted, nor what never was"
        );
        assert_eq!(view.0.borrow().len(), 4, "{:?}", view.0.borrow());
    }
}
