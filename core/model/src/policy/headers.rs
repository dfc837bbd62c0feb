//! Headers that are added, set or removed.

use super::Rules;
use crate::shape::{Bounds, Shape};
use crate::structure::{Shaped, structure};
use crate::violation::Violations;

const NAME: Shape = Shape::string_of("HeaderName", 1, 128);
const VALUE: Shape = Shape::string_of("HeaderValue", 0, 4096);
const VALUES: Shape = Shape::list("HeaderValues", HeaderValue::SHAPE, Bounds::between(0, 64));
const NAMES: Shape = Shape::list("HeaderNames", &NAME, Bounds::between(0, 64));

structure! {
    /// Changes to the headers of requests on their way and of responses on their way back.
    pub struct Headers {
        /// Of the request, before it is sent on.
        optional request "request": HeaderChanges,
        /// Of the response, before it is given back.
        optional response "response": HeaderChanges,
    }
}

structure! {
    /// First headers are removed, then set, then added. Values may hold access-log operators, as in `%REQ(:path)%`; `%%` is
    /// a percent sign, and a value that comes out empty changes nothing.
    pub struct HeaderChanges {
        /// These have one value, this one.
        many set "set": HeaderValue => &VALUES,
        /// These have this value besides those that they have.
        many add "add": HeaderValue => &VALUES,
        /// These have this value unless they have one.
        many add_if_absent "addIfAbsent": HeaderValue => &VALUES,
        /// These have one value, this one, if they have any.
        many set_if_present "setIfPresent": HeaderValue => &VALUES,
        /// These are taken out.
        many remove "remove": String => &NAMES,
    }
}

structure! {
    /// A header.
    pub struct HeaderValue {
        /// Its name.
        required name "name": String => &NAME,
        /// Its value.
        required value "value": String => &VALUE,
    }
}

impl Rules for Headers {
    fn check(&self, found: &mut Violations) {
        for (member, changes) in [("request", &self.request), ("response", &self.response)] {
            let Some(changes) = changes else { continue };
            for (list, values) in changes.lists() {
                for (index, one) in values.iter().enumerate() {
                    let path = format!("spec.{member}.{list}[{index}]");
                    check_name(&format!("{path}.name"), &one.name, found);
                    check_value(&format!("{path}.value"), &one.value, found);
                }
            }
            for (index, name) in changes.remove.iter().enumerate() {
                let path = format!("spec.{member}.remove[{index}]");
                check_name(&path, name, found);
            }
        }
    }
}

impl Headers {
    /// Every value with its path.
    pub fn values(&self) -> impl Iterator<Item = (String, &str)> {
        let sides = [("request", &self.request), ("response", &self.response)];
        sides.into_iter().filter_map(|(side, changes)| Some((side, changes.as_ref()?))).flat_map(
            |(side, changes)| {
                changes.lists().into_iter().flat_map(move |(list, values)| {
                    let path = move |index: usize| format!("spec.{side}.{list}[{index}].value");
                    values.iter().enumerate().map(move |(index, one)| (path(index), one.value.as_str()))
                })
            },
        )
    }
}

impl HeaderChanges {
    fn lists(&self) -> [(&'static str, &Vec<HeaderValue>); 4] {
        [
            ("set", &self.set),
            ("add", &self.add),
            ("addIfAbsent", &self.add_if_absent),
            ("setIfPresent", &self.set_if_present),
        ]
    }
}

/// A field name by RFC 9110; the pseudo-headers and `host` have policies of their own.
pub(super) fn check_name(path: &str, name: &str, found: &mut Violations) {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        found.rule(path, format!("{name:?} is not a header's name"));
    }
    let lower = name.to_ascii_lowercase();
    if lower == "host" {
        found.rule(path, "the host has a policy of its own: rewrite");
    }
    if ["connection", "content-length", "transfer-encoding", "upgrade", "te", "trailer"]
        .contains(&lower.as_str())
    {
        found.rule(path, format!("{name} belongs to the connection, not to the message"));
    }
}

pub(super) fn check_value(path: &str, value: &str, found: &mut Violations) {
    if value.bytes().any(|byte| byte < 0x20 && byte != b'\t' || byte == 0x7f) {
        found.rule(path, "a header's value holds no control characters");
    }
}
