//! Another service says whether a request may pass.

use std::time::Duration;

use serde::Serialize;

use crate::Fraction;
use crate::matching::TextMatch;

/// How long the service may take (Envoy's default).
pub const TIMEOUT_DEFAULT: Duration = Duration::from_millis(200);

/// Envoy's `envoy.filters.http.ext_authz`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExtAuthz {
    pub service: AuthzService,
    /// Requests pass while the service does not answer …
    pub failure_mode_allow: bool,
    /// … with `x-envoy-auth-failure-mode-allowed: true`.
    pub failure_mode_allow_header: bool,
    pub body: Option<AuthzBody>,
    /// The route is looked for again after the service has changed headers.
    pub clear_route_cache: bool,
    /// While the service does not answer.
    pub status_on_error: u16,
    /// The namespaces of metadata that the service sees.
    pub metadata_namespaces: Vec<String>,
    /// The share of requests that is asked about; `None` is all.
    pub enabled: Option<Fraction>,
    /// Those that are not asked about are refused.
    pub deny_at_disable: bool,
    /// After `ext_authz` in the names of its statistics, where it is not empty.
    pub stat_prefix: String,
    /// The headers that the service sees. Empty: over gRPC all, over HTTP the fixed few.
    pub allowed_headers: Vec<TextMatch>,
    pub disallowed_headers: Vec<TextMatch>,
}

/// How the service is asked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum AuthzService {
    /// `envoy.service.auth.v3.Authorization`.
    Grpc {
        cluster: String,
        /// Empty: the cluster's name.
        authority: String,
        timeout: Duration,
    },
    /// The request's head goes to the service, whose status is the answer.
    Http(Box<AuthzHttp>),
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AuthzHttp {
    /// Its authority is the request's.
    pub uri: String,
    pub cluster: String,
    pub timeout: Duration,
    /// Before the request's path.
    pub path_prefix: String,
    /// Deprecated twin of [`ExtAuthz::allowed_headers`].
    pub allowed_headers: Vec<TextMatch>,
    pub headers_to_add: Vec<(String, String)>,
    /// Headers of an allowing answer that replace those of the request …
    pub upstream_headers: Vec<TextMatch>,
    /// … and those that are added to it.
    pub upstream_headers_to_append: Vec<TextMatch>,
    /// Headers of a refusing answer that the client sees; empty: all.
    pub client_headers: Vec<TextMatch>,
    /// Headers of an allowing answer that the client sees beside the upstream's.
    pub client_headers_on_success: Vec<TextMatch>,
}

/// How much of the body the service sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AuthzBody {
    /// At least 1.
    pub bytes_max: u32,
    /// A longer body is cut short; without it the answer is 413.
    pub allow_partial: bool,
    pub as_bytes: bool,
}

/// What a route says about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum ExtAuthzRoute {
    Disabled,
    Settings {
        /// For the service; those of all levels, the more specific ones first. In the order of their names.
        context: Vec<(String, String)>,
        without_body: bool,
        body: Option<AuthzBody>,
    },
}
