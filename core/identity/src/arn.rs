//! The names of certificates and authorities.
//!
//! ```text
//! arn:aws:acm:eu-west-1:123456789012:certificate/6f0a…
//! arn:aws:acm-pca:eu-west-1:123456789012:certificate-authority/6f0a…
//! arn:aws:acm-pca:eu-west-1:123456789012:certificate-authority/6f0a…/certificate/4c1d…
//! ```

/// The longest identifier in a name, in bytes: a UUID has 36.
pub const ID_BYTES_MAX: usize = 64;

/// The name of a certificate.
pub fn certificate(partition: &str, region: &str, account: &str, id: &str) -> String {
    format!("arn:{partition}:acm:{region}:{account}:certificate/{id}")
}

/// The name of an authority.
pub fn authority(partition: &str, region: &str, account: &str, id: &str) -> String {
    format!("arn:{partition}:acm-pca:{region}:{account}:certificate-authority/{id}")
}

/// The identifier in the name of a certificate.
pub fn certificate_id(arn: &str) -> Option<&str> {
    resource(arn, "acm")?.strip_prefix("certificate/").filter(|id| is_id(id))
}

/// The identifier in the name of an authority.
pub fn authority_id(arn: &str) -> Option<&str> {
    resource(arn, "acm-pca")?.strip_prefix("certificate-authority/").filter(|id| is_id(id))
}

/// The authority's identifier and the serial number in the name of what an authority issued.
pub fn issued(arn: &str) -> Option<(&str, &str)> {
    let (authority, serial) =
        resource(arn, "acm-pca")?.strip_prefix("certificate-authority/")?.split_once("/certificate/")?;
    (is_id(authority) && is_id(serial)).then_some((authority, serial))
}

fn resource<'a>(arn: &'a str, service: &str) -> Option<&'a str> {
    let mut parts = arn.splitn(6, ':');
    let (scheme, _partition, named) = (parts.next()?, parts.next()?, parts.next()?);
    let (_region, _account) = (parts.next()?, parts.next()?);
    (scheme == "arn" && named == service).then(|| parts.next())?
}

/// It becomes part of keys: nothing but letters, digits and hyphens.
fn is_id(id: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_as_they_were_put_together() {
        let of_certificate = certificate("aws", "eu-west-1", "123456789012", "6f-0a");
        let of_authority = authority("aws", "eu-west-1", "123456789012", "6f-0a");
        assert_eq!(certificate_id(&of_certificate), Some("6f-0a"));
        assert_eq!(authority_id(&of_authority), Some("6f-0a"));
        assert_eq!(issued(&format!("{of_authority}/certificate/4c")), Some(("6f-0a", "4c")));
        assert_eq!((certificate_id(&of_authority), authority_id(&of_certificate)), (None, None));
        assert_eq!(
            (authority_id(&format!("{of_authority}/certificate/4c")), issued(&of_authority)),
            (None, None)
        );
        for arn in
            ["", "arn", "arn:aws:acm:r:a:", "arn:aws:acm:r:a:certificate/", "x:aws:acm:r:a:certificate/a"]
        {
            assert_eq!(certificate_id(arn), None, "{arn}");
        }
        for id in ["a/b", "../a", "a b", &"a".repeat(ID_BYTES_MAX + 1)] {
            assert_eq!(certificate_id(&certificate("aws", "r", "a", id)), None, "{id}");
        }
    }
}
