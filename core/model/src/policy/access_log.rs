//! Where the proxies write a line for each request.

use super::Rules;
use crate::shape::{Bounds, Shape};
use crate::structure::{Shaped, structure};
use crate::violation::Violations;

const PATH: Shape = Shape::string_of("FilePath", 1, 255);
const FORMAT: Shape = Shape::string_of("Format", 1, 4096);
const KEY: Shape = Shape::string_of("Key", 1, 128);
const MEMBERS: Shape = Shape::list("JsonMembers", JsonMember::SHAPE, Bounds::between(0, 128));

structure! {
    /// Where the proxies write a line for each request; replaces the spec's own logging.
    pub struct AccessLog {
        /// A file; `/dev/stdout` and `/dev/stderr` are the proxy's own.
        required path "path": String => &PATH,
        /// A line with command operators; a newline is added.
        optional text "text": String => &FORMAT,
        /// A JSON object with command operators.
        many json "json": JsonMember => &MEMBERS,
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

impl Rules for AccessLog {
    fn check(&self, found: &mut Violations) {
        if self.text.is_some() && !self.json.is_empty() {
            found.rule("spec", "a line is text or json, not both");
        }
        let mut seen = std::collections::BTreeSet::new();
        for (index, member) in self.json.iter().enumerate() {
            if !seen.insert(&member.key) {
                found.rule(format!("spec.json[{index}].key"), format!("{:?} is given twice", member.key));
            }
        }
    }
}
