//! Whose address counts as the client's.

use selvedge_model::policy::{self, address_block};
use selvedge_traffic::matching::Cidr;
use selvedge_traffic::{
    CertificateForwarding, ClientAddress, ClientCertificate, ClientDetection, DetectBy, HttpConnection,
};

pub(super) fn apply(spec: &policy::ClientAddress, connection: &mut HttpConnection) {
    let append = spec.append.unwrap_or(true);
    // Where addresses say whom to believe, the peer's is not the client's by itself (Envoy refuses both).
    let by_address = !spec.trusted_proxies.is_empty();
    connection.use_remote_address = !by_address;
    connection.client_address = ClientAddress {
        trusted_hops: spec.trusted_hops.unwrap_or(0),
        skip_append: !append && !by_address,
        internal: blocks(&spec.internal),
        detection: by_address
            .then(|| ClientDetection { by: DetectBy::Proxies(blocks(&spec.trusted_proxies)), append }),
        keep_request_id: spec.keep_request_id.unwrap_or(false),
    };
    if let Some(certificate) = &spec.certificate {
        connection.client_certificate = client_certificate(certificate);
    }
}

fn blocks(blocks: &[String]) -> Vec<Cidr> {
    let block = |text: &String| address_block(text).and_then(|(address, length)| Cidr::new(address, length));
    blocks.iter().filter_map(block).collect()
}

fn client_certificate(spec: &policy::ClientCertificate) -> ClientCertificate {
    ClientCertificate {
        forwarding: match spec.forward {
            policy::CertificateForwarding::Remove => CertificateForwarding::Sanitize,
            policy::CertificateForwarding::Set => CertificateForwarding::SanitizeSet,
            policy::CertificateForwarding::Append => CertificateForwarding::AppendForward,
            policy::CertificateForwarding::Keep => CertificateForwarding::ForwardOnly,
            policy::CertificateForwarding::KeepAlways => CertificateForwarding::AlwaysForwardOnly,
        },
        subject: spec.subject.unwrap_or(false),
        certificate: spec.pem.unwrap_or(false),
        uri: spec.uri.unwrap_or(false),
        dns: spec.dns.unwrap_or(false),
    }
}
