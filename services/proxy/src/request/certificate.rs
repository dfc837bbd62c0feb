//! `x-forwarded-client-cert`: what the next hop is told of the client's certificate (Envoy's
//! `forward_client_cert_details`).

use selvedge_http::head::RequestHead;
use selvedge_http::known::HeaderId;
use selvedge_traffic::{CertificateForwarding, ClientCertificate};
use selvedge_wire::tls::Facts;

/// What the client said, where that may go on; it is removed with all that only a trusted hop may say.
pub(super) fn taken(head: &RequestHead, forwarding: CertificateForwarding) -> Vec<u8> {
    match forwarding {
        CertificateForwarding::Sanitize | CertificateForwarding::SanitizeSet => Vec::new(),
        _ => {
            let lines: Vec<&[u8]> = head.fields.all(HeaderId::XForwardedClientCert).collect();
            lines.join(&b","[..])
        }
    }
}

/// Says it anew, as configured.
pub(super) fn tell(head: &mut RequestHead, told: Vec<u8>, config: &ClientCertificate, tls: Option<&Facts>) {
    let shown = tls.filter(|tls| tls.peer.is_some());
    let value = match (config.forwarding, shown) {
        (CertificateForwarding::Sanitize, _) => return,
        (CertificateForwarding::AlwaysForwardOnly, _) | (CertificateForwarding::ForwardOnly, Some(_)) => told,
        (_, None) => return,
        (CertificateForwarding::SanitizeSet, Some(tls)) => element(config, tls).into_bytes(),
        (CertificateForwarding::AppendForward, Some(tls)) => {
            let mut value = told;
            if !value.is_empty() {
                value.push(b',');
            }
            value.extend_from_slice(element(config, tls).as_bytes());
            value
        }
    };
    if !value.is_empty() {
        head.fields.set_id(HeaderId::XForwardedClientCert, &value);
    }
}

/// Our own word: `By=…;Hash=…;Subject="…";URI=…`.
fn element(config: &ClientCertificate, tls: &Facts) -> String {
    let Some(peer) = &tls.peer else { return String::new() };
    let mut parts = Vec::new();
    if let Some(own) = tls.local.as_ref().and_then(|local| local.names.uris.first()) {
        parts.push(format!("By={own}"));
    }
    parts.push(format!("Hash={}", peer.fingerprint_256()));
    if config.certificate {
        parts.push(format!("Cert=\"{}\"", peer.pem_encoded()));
    }
    if config.subject {
        // RFC 2253 has put a backslash before quotation marks and backslashes already.
        parts.push(format!("Subject=\"{}\"", peer.subject));
    }
    if config.uri {
        match peer.names.uris.as_slice() {
            [] => parts.push("URI=".to_owned()),
            uris => parts.extend(uris.iter().map(|uri| format!("URI={uri}"))),
        }
    }
    if config.dns {
        parts.extend(peer.names.dns.iter().map(|name| format!("DNS={name}")));
    }
    parts.join(";")
}
