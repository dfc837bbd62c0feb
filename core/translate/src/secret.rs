//! The names of secrets that the control plane itself hands out.
//!
//! ```text
//! arn:aws:acm:…:certificate/ID                                       a certificate with its key
//! arn:aws:acm:…:certificate/ID#authority                             who vouches for it
//! arn:aws:acm-pca:…:certificate-authority/ID,arn:aws:acm-pca:…       authorities, each of which may vouch
//! ```

use std::collections::BTreeSet;

use selvedge_traffic::tls::{SecretRef, SecretSource};

/// What a name ends with that stands for whoever vouches for a certificate.
const OF_AUTHORITY: &str = "#authority";

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning<'a> {
    /// A certificate with its key, by ARN.
    Certificate(&'a str),
    /// Who vouches for that certificate.
    AuthorityOf(&'a str),
    /// These authorities.
    Authorities(Vec<&'a str>),
}

/// What a secret's name stands for; `None` for one that is an agent's matter.
pub fn meaning(name: &str) -> Option<Meaning<'_>> {
    match service(name)? {
        "acm" => Some(match name.strip_suffix(OF_AUTHORITY) {
            Some(arn) => Meaning::AuthorityOf(arn),
            None => Meaning::Certificate(name),
        }),
        _ => {
            let arns: Vec<&str> = name.split(',').collect();
            arns.iter().all(|arn| service(arn) == Some("acm-pca")).then_some(Meaning::Authorities(arns))
        }
    }
}

/// The service in an ARN of a certificate or an authority.
fn service(arn: &str) -> Option<&str> {
    let mut parts = arn.split(':');
    let (scheme, _partition, service) = (parts.next()?, parts.next()?, parts.next()?);
    (scheme == "arn" && matches!(service, "acm" | "acm-pca")).then_some(service)
}

/// What can be had, and what was looked for.
pub(crate) struct Manager<'a> {
    pub(crate) known: &'a BTreeSet<String>,
    pub(crate) looked_for: &'a mut BTreeSet<String>,
    pub(crate) secrets: &'a mut BTreeSet<String>,
}

impl Manager<'_> {
    /// A certificate by its ARN.
    ///
    /// # Errors
    /// The ARN, when it cannot be had.
    pub(crate) fn certificate(&mut self, arn: &str) -> Result<SecretRef, String> {
        self.find(arn)?;
        Ok(self.secret(arn.to_owned()))
    }

    /// Who vouches for a certificate.
    ///
    /// # Errors
    /// The ARN, when it cannot be had.
    pub(crate) fn authority_of(&mut self, arn: &str) -> Result<SecretRef, String> {
        self.find(arn)?;
        Ok(self.secret(format!("{arn}{OF_AUTHORITY}")))
    }

    /// Authorities by their ARNs.
    ///
    /// # Errors
    /// Those of them that cannot be had.
    pub(crate) fn authorities<'a>(
        &mut self,
        arns: impl Iterator<Item = &'a str>,
    ) -> Result<SecretRef, String> {
        let arns: Vec<&str> = arns.collect();
        let missing: Vec<String> = arns.iter().filter_map(|arn| self.find(arn).err()).collect();
        if missing.is_empty() { Ok(self.secret(arns.join(","))) } else { Err(missing.join(", ")) }
    }

    /// A secret by a name that is an agent's, unless it is an ARN of a certificate or of authorities.
    ///
    /// # Errors
    /// The ARN, when it cannot be had.
    pub(crate) fn named(&mut self, name: &str) -> Result<SecretRef, String> {
        match meaning(name) {
            None => Ok(SecretRef::of_socket(name)),
            Some(Meaning::Certificate(arn)) => self.certificate(arn),
            Some(Meaning::AuthorityOf(arn)) => self.authority_of(arn),
            Some(Meaning::Authorities(arns)) => self.authorities(arns.into_iter()),
        }
    }

    fn find(&mut self, arn: &str) -> Result<(), String> {
        self.looked_for.insert(arn.to_owned());
        if self.known.contains(arn) { Ok(()) } else { Err(arn.to_owned()) }
    }

    fn secret(&mut self, name: String) -> SecretRef {
        self.secrets.insert(name.clone());
        SecretRef { name, source: SecretSource::Ads }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_arns_are_the_control_planes_and_others_an_agents() {
        let certificate = "arn:aws:acm:r:1:certificate/a";
        let (one, other) =
            ("arn:aws:acm-pca:r:1:certificate-authority/a", "arn:aws:acm-pca:r:1:certificate-authority/b");
        assert_eq!(meaning(certificate), Some(Meaning::Certificate(certificate)));
        assert_eq!(meaning(&format!("{certificate}#authority")), Some(Meaning::AuthorityOf(certificate)));
        assert_eq!(meaning(&format!("{one},{other}")), Some(Meaning::Authorities(vec![one, other])));
        for name in ["", "web", "spiffe://mesh.local/web", "arn:aws:s3:::b", &format!("{one},web")] {
            assert_eq!(meaning(name), None, "{name}");
        }
    }
}
