//! Another service says whether a request may pass.

use super::headers::HeaderValue;
use super::{Percentage, Rules, ServiceAddress, Span, TextMatch};
use crate::shape::{Bounds, Shape};
use crate::structure::{Shaped, structure, union};
use crate::violation::Violations;

const STATUS: Shape = Shape::integer("Status", Bounds::between(400, 599));
const BYTES: Shape = Shape::integer("Bytes", Bounds::between(1, 64 << 20));
const PATH: Shape = Shape::string_of("PathPrefix", 1, 1024);
const HEADERS: Shape = Shape::list("HeaderNames", TextMatch::SHAPE, Bounds::between(0, 32));
const VALUES: Shape = Shape::list("HeaderValues", HeaderValue::SHAPE, Bounds::between(0, 16));

structure! {
    /// Where requests come in, another service says whether they may pass.
    pub struct ExtAuthz {
        /// The service, and how it is asked.
        required service "service": AuthzService,
        /// How long it may take; 200 ms unless told otherwise.
        optional timeout "timeout": Span,
        /// Requests pass while it does not answer; they are refused unless told otherwise.
        optional fail_open "failOpen": bool,
        /// The answer while it does not answer; 403 unless told otherwise.
        optional status_on_error "statusOnError": u16 => &STATUS,
        /// How much of a request's body it sees; nothing unless told otherwise.
        optional body "body": AuthzBody,
        /// The names of headers that it sees; over gRPC all, over HTTP a few unless told otherwise.
        many request_headers "requestHeaders": TextMatch => &HEADERS,
        /// The share of requests that it is asked about; all unless told otherwise.
        optional share "share": Percentage,
    }
}

union! {
    /// How the service is asked.
    pub enum AuthzService {
        /// By `envoy.service.auth.v3.Authorization`.
        Grpc "grpc": ServiceAddress,
        /// By the request's own head: a status of 200 lets it pass.
        Http "http": HttpAuthz,
    }
}

structure! {
    /// A service that is asked by the request's own head.
    pub struct HttpAuthz {
        /// The service.
        required service "service": ServiceAddress,
        /// Before the request's path.
        optional path_prefix "pathPrefix": String => &PATH,
        /// Headers that its question has besides.
        many add_headers "addHeaders": HeaderValue => &VALUES,
        /// The names of headers of a good answer that go on to the application.
        many upstream_headers "upstreamHeaders": TextMatch => &HEADERS,
        /// The names of headers of a refusal that the client sees; all unless told otherwise.
        many client_headers "clientHeaders": TextMatch => &HEADERS,
    }
}

structure! {
    /// How much of a request's body the service sees.
    pub struct AuthzBody {
        /// So many bytes; a longer request is answered with 413 …
        required max_bytes "maxBytes": u32 => &BYTES,
        /// … or its body is shown cut short.
        optional partial "partial": bool,
    }
}

impl Rules for ExtAuthz {
    fn check(&self, found: &mut Violations) {
        if let AuthzService::Http(http) = &self.service {
            if http.path_prefix.as_ref().is_some_and(|prefix| !prefix.starts_with('/')) {
                found.rule("spec.service.http.pathPrefix", "it must begin with /");
            }
            for (index, header) in http.add_headers.iter().enumerate() {
                let at = format!("spec.service.http.addHeaders[{index}].name");
                super::headers::check_name(&at, &header.name, found);
            }
        }
    }
}
