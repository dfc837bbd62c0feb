//! Which pages of other origins may read answers.

use super::{Rules, Span, TextMatch};
use crate::shape::{Bounds, Shape};
use crate::structure::{Shaped, structure};
use crate::violation::Violations;

const ORIGINS: Shape = Shape::list("Origins", TextMatch::SHAPE, Bounds::between(1, 64));
const WORD: Shape = Shape::string_of("Word", 1, 128);
const WORDS: Shape = Shape::list("Words", &WORD, Bounds::between(0, 64));

structure! {
    /// Which pages of other origins may read answers, and what they may send.
    pub struct Cors {
        /// The origins; any match is enough. `{"exact": "*"}` is everybody.
        many origins "origins": TextMatch => &ORIGINS,
        /// Methods beside those that browsers always allow.
        many methods "methods": String => &WORDS,
        /// Request headers beside those that browsers always allow.
        many headers "headers": String => &WORDS,
        /// Response headers that a page may read.
        many expose_headers "exposeHeaders": String => &WORDS,
        /// How long a browser remembers this.
        optional max_age "maxAge": Span,
        /// A page may send cookies.
        optional credentials "credentials": bool,
        /// A page of a public network may call.
        optional private_network "privateNetwork": bool,
        /// Preflights of other origins go on to the application; true unless told otherwise.
        optional forward_unmatched_preflights "forwardUnmatchedPreflights": bool,
    }
}

impl Rules for Cors {
    fn check(&self, found: &mut Violations) {
        let everybody = self.origins.iter().any(TextMatch::is_everything);
        if everybody && self.credentials == Some(true) {
            found.rule(
                "spec.credentials",
                "not together with every origin: any page could act for its reader",
            );
        }
        for (member, words) in
            [("methods", &self.methods), ("headers", &self.headers), ("exposeHeaders", &self.expose_headers)]
        {
            for (index, word) in words.iter().enumerate() {
                if word.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b',') {
                    found.rule(format!("spec.{member}[{index}]"), format!("{word:?} is not one word"));
                }
            }
        }
    }
}
