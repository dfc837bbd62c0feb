//! Another service says whether a request may pass.

use selvedge_model::Policy;
use selvedge_model::policy::{self, AuthzService, HttpAuthz};
use selvedge_traffic::filter::ext_authz::TIMEOUT_DEFAULT;
use selvedge_traffic::filter::{self, AuthzBody, AuthzHttp};
use selvedge_traffic::matching::TextMatch;
use selvedge_traffic::matching::header::PatternInvalid;
use selvedge_traffic::{FilterEntry, HttpFilter};

use super::filters::{share, text};
use super::service::{self, Speaks};
use crate::context::Context;

const EXT_AUTHZ: &str = "envoy.filters.http.ext_authz";

/// # Errors
/// When an expression cannot be used.
pub(super) fn check(spec: &policy::ExtAuthz) -> Result<(), PatternInvalid> {
    made(spec, |service| match service {
        AuthzService::Grpc(_) | AuthzService::Http(_) => String::new(),
    })
    .map(drop)
}

pub(super) fn filter(
    context: &mut Context<'_>,
    policy: &Policy,
    spec: &policy::ExtAuthz,
) -> Option<FilterEntry> {
    let made = made(spec, |asked| match asked {
        AuthzService::Grpc(address) => {
            service::cluster(context, policy, "spec.service.grpc", address, Speaks::Grpc)
        }
        AuthzService::Http(http) => {
            service::cluster(context, policy, "spec.service.http.service", &http.service, Speaks::Http1)
        }
    });
    let filter = HttpFilter::ExtAuthz(Box::new(made.ok()?));
    Some(FilterEntry { name: EXT_AUTHZ.to_owned(), disabled: false, filter })
}

fn made(
    spec: &policy::ExtAuthz,
    cluster: impl FnOnce(&AuthzService) -> String,
) -> Result<filter::ExtAuthz, PatternInvalid> {
    let timeout = spec.timeout.map_or(TIMEOUT_DEFAULT, |span| span.0);
    let asked = cluster(&spec.service);
    let service = match &spec.service {
        AuthzService::Grpc(_) => {
            filter::AuthzService::Grpc { cluster: asked, authority: String::new(), timeout }
        }
        AuthzService::Http(http) => filter::AuthzService::Http(Box::new(by_http(http, asked, timeout)?)),
    };
    Ok(filter::ExtAuthz {
        service,
        failure_mode_allow: spec.fail_open.unwrap_or(false),
        failure_mode_allow_header: false,
        body: spec.body.as_ref().map(|body| AuthzBody {
            bytes_max: body.max_bytes,
            allow_partial: body.partial.unwrap_or(false),
            as_bytes: false,
        }),
        clear_route_cache: false,
        status_on_error: spec.status_on_error.unwrap_or(403),
        metadata_namespaces: Vec::new(),
        enabled: spec.share.map(|part| share(Some(part))),
        deny_at_disable: false,
        stat_prefix: String::new(),
        allowed_headers: texts(&spec.request_headers)?,
        disallowed_headers: Vec::new(),
    })
}

fn by_http(
    spec: &HttpAuthz,
    cluster: String,
    timeout: std::time::Duration,
) -> Result<AuthzHttp, PatternInvalid> {
    Ok(AuthzHttp {
        uri: format!("http://{cluster}/"),
        cluster,
        timeout,
        path_prefix: spec.path_prefix.clone().unwrap_or_default(),
        allowed_headers: Vec::new(),
        headers_to_add: spec
            .add_headers
            .iter()
            .map(|one| (one.name.to_ascii_lowercase(), one.value.clone()))
            .collect(),
        upstream_headers: texts(&spec.upstream_headers)?,
        upstream_headers_to_append: Vec::new(),
        client_headers: texts(&spec.client_headers)?,
        client_headers_on_success: Vec::new(),
    })
}

fn texts(specs: &[policy::TextMatch]) -> Result<Vec<TextMatch>, PatternInvalid> {
    specs.iter().map(text).map(|made| made.map(|one| TextMatch { ignore_case: true, ..one })).collect()
}
