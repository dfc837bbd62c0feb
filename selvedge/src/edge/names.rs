//! Names and days of certificates, for people.

use selvedge_http::date::imf_fixdate;
use selvedge_identity::Certificate;
use selvedge_identity::name::dns_matches;

/// Whether a client that asks for `name` takes the certificate for it.
pub(super) fn covers(certificate: &Certificate, name: &str) -> bool {
    certificate.names.dns.iter().any(|presented| dns_matches(name, presented))
}

/// A day, such as `06 Nov 1994`, of a moment in seconds since 1970.
pub(super) fn date(seconds: i64) -> String {
    let whole = imf_fixdate(u64::try_from(seconds).unwrap_or(0));
    // `Sun, 06 Nov 1994 08:49:37 GMT`
    String::from_utf8_lossy(&whole[5..16]).into_owned()
}
