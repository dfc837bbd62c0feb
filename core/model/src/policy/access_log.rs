//! Where the proxies write a line for each request.

use super::{Rules, ServiceAddress, Span};
use crate::shape::{Bounds, Shape};
use crate::structure::{Shaped, structure};
use crate::violation::Violations;

const PATH: Shape = Shape::string_of("FilePath", 1, 255);
const FORMAT: Shape = Shape::string_of("Format", 1, 4096);
const KEY: Shape = Shape::string_of("Key", 1, 128);
const MEMBERS: Shape = Shape::list("JsonMembers", JsonMember::SHAPE, Bounds::between(0, 128));
const NAME: Shape = Shape::string_of("LogName", 1, 128);
const HEADER: Shape = Shape::string_of("HeaderName", 1, 128);
const HEADERS: Shape = Shape::list("HeaderNames", &HEADER, Bounds::between(0, 64));

structure! {
    /// Where the proxies write a line for each request; replaces the spec's own logging.
    pub struct AccessLog {
        /// A file; `/dev/stdout` and `/dev/stderr` are the proxy's own. Needed unless there is a `service`.
        optional path "path": String => &PATH,
        /// A line with command operators; a newline is added.
        optional text "text": String => &FORMAT,
        /// A JSON object with command operators.
        many json "json": JsonMember => &MEMBERS,
        /// A service that is told as well, or in the place of a file.
        optional service "service": LogService,
    }
}

structure! {
    /// A member of a JSON log line.
    pub struct JsonMember {
        /// Its name.
        required key "key": String => &KEY,
        /// Its value, with command operators.
        required value "value": String => &FORMAT,
    }
}

structure! {
    /// A service that is told of requests and connections by gRPC (`envoy.service.accesslog.v3`).
    pub struct LogService {
        /// Where it is.
        required service "service": ServiceAddress,
        /// What it is told that the log is called; the mesh and the proxy's node unless told otherwise.
        optional name "name": String => &NAME,
        /// Headers of a request that it is told of besides those that it always is.
        many request_headers "requestHeaders": String => &HEADERS,
        /// … and of a response.
        many response_headers "responseHeaders": String => &HEADERS,
        /// What has waited for so long is sent; 1 s unless told otherwise.
        optional flush_interval "flushInterval": Span,
    }
}

impl Rules for AccessLog {
    fn check(&self, found: &mut Violations) {
        if self.path.is_none() && self.service.is_none() {
            found.rule("spec.path", "it names neither a file nor a service");
        }
        if self.path.is_none() && (self.text.is_some() || !self.json.is_empty()) {
            found.rule("spec.path", "a line that is written nowhere has a form");
        }
        if self.text.is_some() && !self.json.is_empty() {
            found.rule("spec", "a line is text or json, not both");
        }
        let mut seen = std::collections::BTreeSet::new();
        for (index, member) in self.json.iter().enumerate() {
            if !seen.insert(&member.key) {
                found.rule(format!("spec.json[{index}].key"), format!("{:?} is given twice", member.key));
            }
        }
        let interval = self.service.as_ref().and_then(|service| service.flush_interval);
        if interval.is_some_and(|interval| interval.0.is_zero()) {
            found.rule("spec.service.flushInterval", "it must be more than nothing");
        }
    }
}
