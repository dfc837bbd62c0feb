//! How long requests may take.

use super::{Rules, Span};
use crate::structure::structure;
use crate::violation::Violations;

structure! {
    /// How long requests may take; `"0s"` is no bound, and what is absent stays as the spec has it.
    pub struct Timeout {
        /// From the end of the request to the end of the response, over all tries.
        optional request "request": Span,
        /// How long a request may make no progress.
        optional idle "idle": Span,
        /// From a stream's first byte to its last, both ways, in the place of `request`: for streams that are meant to last.
        optional stream "stream": Span,
    }
}

impl Rules for Timeout {
    fn check(&self, found: &mut Violations) {
        if *self == (Self { request: None, idle: None, stream: None }) {
            found.rule("spec", "it sets no time-out");
        }
        if self.request.is_some() && self.stream.is_some() {
            found.rule("spec.stream", "it takes the place of request: give one of them");
        }
    }
}
