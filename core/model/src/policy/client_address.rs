//! Whose address counts as the client's, where requests come in.

use super::Rules;
use super::address_block::{BLOCK, check_blocks};
use crate::shape::{Bounds, Shape};
use crate::structure::{enumeration, structure};
use crate::violation::Violations;

const HOPS: Shape = Shape::integer("Hops", Bounds::between(0, 255));
const BLOCKS: Shape = Shape::list("AddressBlocks", &BLOCK, Bounds::between(0, 64));

structure! {
    /// Whose address counts as the client's. With nothing said it is the peer's, which is appended to `x-forwarded-for`.
    pub struct ClientAddress {
        /// Proxies in front of this one whose entries in `x-forwarded-for` are believed.
        optional trusted_hops "trustedHops": u32 => &HOPS,
        /// In place of their number, their addresses: the client is the last entry that is none of these, if the peer
        /// itself is one of them.
        many trusted_proxies "trustedProxies": String => &BLOCKS,
        /// The peer's address is appended to `x-forwarded-for`; it is unless told otherwise.
        optional append "append": bool,
        /// Clients that count as inside: their `x-envoy-*` headers steer retries and time-outs, others' are removed.
        many internal "internal": String => &BLOCKS,
        /// A request's `x-request-id` is kept even if it comes from outside.
        optional keep_request_id "keepRequestId": bool,
        /// What applications are told of the client's certificate, in `x-forwarded-client-cert`.
        optional certificate "certificate": ClientCertificate,
    }
}

structure! {
    /// What applications are told of the client's certificate.
    pub struct ClientCertificate {
        /// Whose word it is.
        required forward "forward": CertificateForwarding,
        /// The certificate's subject is told.
        optional subject "subject": bool,
        /// Its URI names are.
        optional uri "uri": bool,
        /// Its DNS names are.
        optional dns "dns": bool,
        /// The certificate itself is, in PEM.
        optional pem "pem": bool,
    }
}

enumeration! {
    /// Whose word on the client's certificate goes on.
    pub enum CertificateForwarding {
        /// Nobody's: the header is removed.
        Remove "remove",
        /// This proxy's alone, if the client shows a certificate.
        Set "set",
        /// The client's and then this proxy's, if the client shows a certificate.
        Append "append",
        /// The client's, if it shows a certificate.
        Keep "keep",
        /// The client's, whoever it is.
        KeepAlways "keepAlways",
    }
}

impl Rules for ClientAddress {
    fn check(&self, found: &mut Violations) {
        if self.trusted_hops.is_some() && !self.trusted_proxies.is_empty() {
            found.rule("spec.trustedProxies", "it takes the place of trustedHops: give one of them");
        }
        check_blocks("spec.trustedProxies", &self.trusted_proxies, found);
        check_blocks("spec.internal", &self.internal, found);
    }
}
