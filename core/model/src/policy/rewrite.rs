//! Another path or host for the request on its way.

use super::Rules;
use crate::shape::Shape;
use crate::structure::{structure, union};
use crate::violation::Violations;

const HOST: Shape = Shape::string_of("Host", 1, 255);
const HEADER: Shape = Shape::string_of("HeaderName", 1, 128);
const PATH: Shape = Shape::string_of("Path", 1, 1024);
const PATTERN: Shape = Shape::string_of("Pattern", 1, 1024);
const SUBSTITUTION: Shape = Shape::string_of("Substitution", 0, 1024);

structure! {
    /// Another path or host for the request on its way.
    pub struct Rewrite {
        /// The new path.
        optional path "path": PathRewrite,
        /// The new host.
        optional host "host": HostRewrite,
        /// The host as it was is appended to `x-forwarded-host`.
        optional append_forwarded_host "appendForwardedHost": bool,
    }
}

union! {
    /// A new path; the query stays.
    pub enum PathRewrite {
        /// What the route's prefix matched becomes this.
        Prefix "prefix": String => &PATH,
        /// The whole path becomes this.
        Full "full": String => &PATH,
        /// What matches the expression becomes the substitution.
        Regex "regex": RegexRewrite,
    }
}

structure! {
    /// A substitution by an expression (RE2).
    pub struct RegexRewrite {
        /// The expression.
        required pattern "pattern": String => &PATTERN,
        /// What comes in its place; `\1` is the first group.
        required substitution "substitution": String => &SUBSTITUTION,
    }
}

union! {
    /// A new host.
    pub enum HostRewrite {
        /// This one.
        Literal "literal": String => &HOST,
        /// The name of the chosen instance, where it has one.
        Auto "auto": bool,
        /// The value of this request header; where it is missing, the host stays.
        Header "header": String => &HEADER,
        /// What an expression makes of the path.
        PathRegex "pathRegex": RegexRewrite,
    }
}

impl Rules for Rewrite {
    fn check(&self, found: &mut Violations) {
        if self.path.is_none() && self.host.is_none() {
            found.rule("spec", "it rewrites nothing");
        }
        if let Some(path) = &self.path {
            path.check("spec.path", found);
        }
        match &self.host {
            Some(HostRewrite::Literal(host)) if unprintable(host) => {
                found.rule("spec.host.literal", "it holds no spaces or control characters");
            }
            Some(HostRewrite::Header(name)) => super::headers::check_name("spec.host.header", name, found),
            Some(HostRewrite::PathRegex(regex)) if unprintable(&regex.substitution) => {
                found.rule("spec.host.pathRegex.substitution", "it holds no spaces or control characters");
            }
            Some(HostRewrite::Auto(false)) => {
                found.rule("spec.host.auto", "it is true or absent");
            }
            _ => {}
        }
    }
}

impl PathRewrite {
    pub(super) fn check(&self, at: &str, found: &mut Violations) {
        match self {
            Self::Prefix(path) | Self::Full(path) if !path.starts_with('/') || unprintable(path) => {
                found.rule(at, "a path begins with / and holds no spaces or control characters");
            }
            Self::Regex(regex) if unprintable(&regex.substitution) => {
                let path = format!("{at}.regex.substitution");
                found.rule(path, "it holds no spaces or control characters");
            }
            _ => {}
        }
    }
}

fn unprintable(text: &str) -> bool {
    text.chars().any(|one| one.is_control() || one == ' ')
}
