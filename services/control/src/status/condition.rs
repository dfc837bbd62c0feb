//! The condition of a resource, from everything that is known against it.

use selvedge_translate::{Diagnostic, Severity};
use serde_json::{Value, json};

use super::Rejection;

/// How a resource is; the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// It does what it says.
    Active,
    /// A part of it has no effect.
    Degraded,
    /// Something that it names does not exist; it has no effect until that does.
    Inactive,
    /// A proxy refused it and keeps what it had.
    Rejected,
}

impl Condition {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Degraded => "DEGRADED",
            Self::Inactive => "INACTIVE",
            Self::Rejected => "REJECTED",
        }
    }
}

/// A condition with its reasons, worst first.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Assessment {
    pub(super) condition: Condition,
    pub(super) reasons: Vec<Value>,
}

/// What speaks against one resource.
pub(super) fn assess<'a>(
    missing: Option<&str>,
    diagnostics: impl Iterator<Item = &'a Diagnostic>,
    rejections: impl Iterator<Item = &'a Rejection>,
) -> Assessment {
    let mut condition = Condition::Active;
    let mut reasons = Vec::new();
    for rejection in rejections {
        condition = Condition::Rejected;
        let message = format!("{} refused it: {}", rejection.proxy, rejection.message);
        reasons.push(json!({ "severity": "error", "message": message, "proxy": rejection.proxy }));
    }
    if let Some(missing) = missing {
        condition = condition.max(Condition::Inactive);
        reasons.push(json!({ "severity": "error", "code": "PROVIDER_MISSING", "message": missing }));
    }
    for diagnostic in diagnostics {
        // What is said twice is said once: the provider was looked at already.
        if missing.is_some() && diagnostic.code.as_str() == "PROVIDER_MISSING" {
            continue;
        }
        condition = condition.max(match (diagnostic.severity, diagnostic.code.as_str()) {
            (
                Severity::Error,
                "PROVIDER_MISSING" | "ROUTE_DROPPED" | "WEIGHTS_ZERO" | "POLICY_TARGET_MISSING",
            ) => Condition::Inactive,
            (_, "POLICY_SHADOWED") => Condition::Inactive,
            (Severity::Error, _) => Condition::Degraded,
            _ => Condition::Active,
        });
        let mut reason = json!({
            "severity": diagnostic.severity.to_string(),
            "code": diagnostic.code.as_str(),
            "message": diagnostic.text,
        });
        if !diagnostic.path.is_empty() {
            reason["path"] = diagnostic.path.as_str().into();
        }
        reasons.push(reason);
    }
    Assessment { condition, reasons }
}

/// The condition that diagnostics alone make, and their reasons.
pub(crate) fn judge<'a>(diagnostics: impl Iterator<Item = &'a Diagnostic>) -> (Condition, Vec<Value>) {
    let Assessment { condition, reasons } = assess(None, diagnostics, std::iter::empty());
    (condition, reasons)
}

#[cfg(test)]
mod tests {
    use selvedge_translate::Code;

    use super::*;

    fn diagnostic(severity: Severity, code: Code) -> Diagnostic {
        Diagnostic { severity, code, subject: String::new(), path: String::new(), text: "why".into() }
    }

    #[test]
    fn the_worst_that_is_known_is_the_condition() {
        let rejection = Rejection { subject: String::new(), proxy: "p".into(), message: "no".into() };
        let dropped = diagnostic(Severity::Error, Code::RouteDropped);
        let clash = diagnostic(Severity::Error, Code::PortClash);
        let note = diagnostic(Severity::Note, Code::RouteShadowed);
        for (missing, diagnostics, rejections, expected) in [
            (None, vec![], vec![], Condition::Active),
            (None, vec![&note], vec![], Condition::Active),
            (None, vec![&note, &clash], vec![], Condition::Degraded),
            (None, vec![&clash, &dropped], vec![], Condition::Inactive),
            (Some("gone"), vec![], vec![], Condition::Inactive),
            (Some("gone"), vec![], vec![&rejection], Condition::Rejected),
        ] {
            let count = diagnostics.len() + rejections.len() + usize::from(missing.is_some());
            let assessment = assess(missing, diagnostics.into_iter(), rejections.into_iter());
            assert_eq!((assessment.condition, assessment.reasons.len()), (expected, count));
        }
    }
}
