//! What App Mesh hid: the parts of a mesh that do nothing, or not what they seem to.

use serde::Serialize;

/// One thing to know about a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Diagnostic {
    pub severity: Severity,
    pub code: Code,
    /// The ARN of the resource that it is about; its path (`mesh/M/…`) where the resource does not exist.
    pub subject: String,
    /// The member of its spec, as in `spec.httpRoute.action`; empty for the whole.
    pub path: String,
    /// What is the matter, for a person.
    pub text: String,
}

/// How bad it is; the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Severity {
    /// Something that was asked for does not work.
    Error,
    /// It works otherwise than its author may expect.
    Warning,
    /// Good to know.
    Note,
}

macro_rules! codes {
    ($( $(#[doc = $doc:literal])* $variant:ident $text:literal ),* $(,)?) => {
        /// The kinds of diagnostics. Each has a page in `docs/errors/`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum Code { $( $(#[doc = $doc])* #[serde(rename = $text)] $variant, )* }

        impl Code {
            pub const ALL: &'static [Self] = &[ $( Self::$variant ),* ];

            /// The word that people search for, and the name of its page.
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $text, )* }
            }
        }
    };
}

codes! {
    /// A backend names a virtual service that does not exist.
    BackendMissing "BACKEND_MISSING",
    /// A certificate or an authority cannot be had; what needs it is closed.
    CertificateUnavailable "CERTIFICATE_UNAVAILABLE",
    /// Proxies are to ask the control plane, and it does not know under which address they reach it.
    ControlPlaneAddressUnknown "CONTROL_PLANE_ADDRESS_UNKNOWN",
    /// A port or a kind of backend cannot be reached without interception.
    DirectUnserved "DIRECT_UNSERVED",
    /// Instances of Cloud Map are found by their sidecars.
    CloudMapBySidecar "CLOUD_MAP_BY_SIDECAR",
    /// Two virtual services claim the same host name.
    DomainClash "DOMAIN_CLASH",
    /// The health check of a gateway is run by nobody.
    HealthCheckInert "HEALTH_CHECK_INERT",
    /// A name that cannot stand in a proxy's configuration.
    NameUnusable "NAME_UNUSABLE",
    /// A client policy and a listener disagree on encryption.
    TlsMismatch "TLS_MISMATCH",
    /// Two backends ask for different client policies towards the same node.
    PolicyConflict "POLICY_CONFLICT",
    /// A policy says what the place that it governs has no use for.
    PolicyMisfit "POLICY_MISFIT",
    /// Another policy of its kind at the same resource comes first.
    PolicyShadowed "POLICY_SHADOWED",
    /// A policy governs what does not exist.
    PolicyTargetMissing "POLICY_TARGET_MISSING",
    /// A port is not named where several are possible.
    PortAmbiguous "PORT_AMBIGUOUS",
    /// Two backends claim the same port.
    PortClash "PORT_CLASH",
    /// A prefix that matches nothing.
    PrefixUnreachable "PREFIX_UNREACHABLE",
    /// Protocols of a route and its ends do not agree.
    ProtocolMismatch "PROTOCOL_MISMATCH",
    /// A virtual service has nobody to answer.
    ProviderMissing "PROVIDER_MISSING",
    /// The resource that the proxy stands for does not exist.
    ProxyUnknown "PROXY_UNKNOWN",
    /// A regular expression that cannot be used.
    RegexInvalid "REGEX_INVALID",
    /// A retry event without meaning.
    RetryEventUnknown "RETRY_EVENT_UNKNOWN",
    /// A route without a usable target.
    RouteDropped "ROUTE_DROPPED",
    /// A route behind one that takes everything.
    RouteShadowed "ROUTE_SHADOWED",
    /// A target that does not exist or does not listen.
    TargetMissing "TARGET_MISSING",
    /// One time-out ends what another would allow.
    TimeoutShadowed "TIMEOUT_SHADOWED",
    /// All weights of a route are 0.
    WeightsZero "WEIGHTS_ZERO",
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { severity, code, subject, path, text } = self;
        let at = if path.is_empty() { String::new() } else { format!(" {path}") };
        write!(f, "{severity} {code} {subject}{at}: {text}")
    }
}

#[cfg(test)]
mod tests {
    use super::Code;

    #[test]
    fn every_code_has_its_page() {
        let pages = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors");
        for code in Code::ALL {
            let page = pages.join(format!("{code}.md"));
            assert!(page.is_file(), "{} is missing", page.display());
        }
    }
}
