//! Which pages of other origins may read answers.

use std::sync::Arc;

use selvedge_telemetry::{FilterStats, Owner, details};
use selvedge_traffic::RouteFilter;
use selvedge_traffic::filter::CorsPolicy;
use selvedge_upstream::random;

use super::{FilterId, Kept, Scope};
use crate::request::exchange::{Ended, Exchange};
use crate::request::reply::Reply;

const NAMES: &[&str] = &["origin_valid", "origin_invalid"];
const VALID: usize = 0;
const INVALID: usize = 1;

#[derive(Debug)]
pub(crate) struct Cors {
    /// `None`: the route says nothing, and every request passes.
    policy: Option<Arc<CorsPolicy>>,
    id: FilterId,
    stats: FilterStats,
}

impl Cors {
    pub(super) fn new(scope: Scope<'_>) -> Self {
        let owner = Owner::Http(scope.stat_prefix.to_owned());
        Self {
            policy: None,
            id: FilterId::next(),
            stats: scope.telemetry.registry.filter(owner, "cors.", NAMES),
        }
    }

    pub(super) fn for_route(&self, configs: &[&RouteFilter]) -> Self {
        let own = configs.iter().find_map(|config| match config {
            RouteFilter::Cors(policy) => Some(Arc::new((**policy).clone())),
            _ => None,
        });
        Self { policy: own.or_else(|| self.policy.clone()), id: self.id, stats: self.stats.clone() }
    }

    pub(super) fn request(&self, x: &mut Exchange<'_>) -> Result<(), Ended> {
        let Some(policy) = &self.policy else { return Ok(()) };
        let enabled = policy.enabled.takes(random::next());
        if !enabled && !policy.shadow.takes(random::next()) {
            return Ok(());
        }
        let fields = &x.heads.request.fields;
        let Some(origin) = fields.named("origin").filter(|origin| !origin.is_empty()) else { return Ok(()) };
        let preflight = x.heads.request.method() == "OPTIONS"
            && fields.named("access-control-request-method").is_some_and(|method| !method.is_empty());
        if !std::str::from_utf8(origin).is_ok_and(|origin| policy.allows(origin)) {
            self.stats.inc(INVALID);
            if enabled && preflight && !policy.forward_unmatched_preflights {
                return Err(Ended::Reply(Reply::new(200, None, details::CORS_RESPONSE, "")));
            }
            return Ok(());
        }
        self.stats.inc(VALID);
        if !enabled {
            return Ok(());
        }
        let origin = origin.to_vec();
        if !preflight {
            x.kept.push((self.id, Kept::Origin(origin)));
            return Ok(());
        }
        let mut headers = vec![("access-control-allow-origin".into(), origin.clone())];
        let mut add = |name: &'static str, value: &str| {
            if !value.is_empty() {
                headers.push((name.into(), value.as_bytes().to_vec()));
            }
        };
        add("access-control-allow-credentials", if policy.credentials { "true" } else { "" });
        add("access-control-allow-methods", &policy.methods);
        add("access-control-allow-headers", &policy.headers);
        add("access-control-max-age", &policy.max_age);
        let private = fields.named("access-control-request-private-network") == Some(b"true");
        let allowed = private && policy.private_network;
        add("access-control-allow-private-network", if allowed { "true" } else { "" });
        x.kept.push((self.id, Kept::Origin(origin)));
        Err(Ended::Reply(Reply { headers, ..Reply::new(200, None, details::CORS_RESPONSE, "") }))
    }

    pub(super) fn response(&self, x: &mut Exchange<'_>) {
        let Some(policy) = &self.policy else { return };
        let fields = &mut x.heads.response.fields;
        let Some(origin) = x.kept.iter().find_map(|(_, kept)| match kept {
            Kept::Origin(origin) => Some(origin),
            _ => None,
        }) else {
            return;
        };
        fields.set("access-control-allow-origin", origin);
        if policy.credentials {
            fields.set("access-control-allow-credentials", b"true");
        }
        if !policy.expose_headers.is_empty() {
            fields.set("access-control-expose-headers", policy.expose_headers.as_bytes());
        }
    }
}
