//! An answer that sends the client elsewhere.

use super::{PathRewrite, Rules};
use crate::listener::PORT_NUMBER;
use crate::shape::Shape;
use crate::structure::structure;
use crate::violation::Violations;

const HOST: Shape = Shape::string_of("Host", 1, 255);
const PATH: Shape = Shape::string_of("Path", 1, 1024);

structure! {
    /// An answer with a `location`: what is absent stays as in the request.
    pub struct Redirect {
        /// `https` or `http`.
        optional scheme "scheme": String,
        /// The host.
        optional host "host": String => &HOST,
        /// The port.
        optional port "port": u16 => &PORT_NUMBER,
        /// The path.
        optional path "path": String => &PATH,
        /// A part of the path, in place of `path`.
        optional path_rewrite "pathRewrite": PathRewrite,
        /// 301, 302, 303, 307 or 308; 301 unless told otherwise.
        optional status "status": u16,
        /// The query is left out.
        optional strip_query "stripQuery": bool,
    }
}

impl Rules for Redirect {
    fn check(&self, found: &mut Violations) {
        if self.scheme.as_deref().is_some_and(|scheme| !["http", "https"].contains(&scheme)) {
            found.rule("spec.scheme", "it must be http or https");
        }
        if self.status.is_some_and(|status| ![301, 302, 303, 307, 308].contains(&status)) {
            found.rule("spec.status", "it must be 301, 302, 303, 307 or 308");
        }
        if self.path.as_deref().is_some_and(|path| !path.starts_with('/')) {
            found.rule("spec.path", "it must begin with /");
        }
        if self.path.is_some() && self.path_rewrite.is_some() {
            found.rule("spec.pathRewrite", "it stands in place of path, not beside it");
        }
        if let Some(rewrite) = &self.path_rewrite {
            rewrite.check("spec.pathRewrite", found);
        }
        for (member, text) in [("host", &self.host), ("path", &self.path)] {
            let unprintable = |text: &String| text.chars().any(|one| one.is_control() || one == ' ');
            if text.as_ref().is_some_and(unprintable) {
                found.rule(format!("spec.{member}"), "it holds no spaces or control characters");
            }
        }
        if self.scheme.is_none()
            && self.host.is_none()
            && self.port.is_none()
            && self.path.is_none()
            && self.path_rewrite.is_none()
        {
            found.rule("spec", "it leads back to where the request came from");
        }
    }
}
