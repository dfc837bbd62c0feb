//! Another service says whether a request may pass.

mod check;
mod http;

use std::borrow::Cow;
use std::sync::Arc;

use selvedge_http::framing::Framing;
use selvedge_telemetry::{FilterStats, Flag, Owner};
use selvedge_traffic::filter::{AuthzBody, AuthzService, ExtAuthzRoute};
use selvedge_traffic::{HeaderEdit, RouteFilter, filter};
use selvedge_upstream::random;
use selvedge_xds::rpc::authorization::Answer;

use super::call::CallFailure;
use super::counted::ByCluster;
use super::descriptors::{charge_refusal, destination};
use super::gather::{gather, too_long};
use super::{FilterId, Kept, Scope};
use crate::request::body::{Gathered, RequestBody};
use crate::request::exchange::{Ended, Exchange};
use crate::request::reply::Reply;

/// Under which the service's metadata stands (Envoy's name for the filter).
const NAMESPACE: &str = "envoy.filters.http.ext_authz";
const NAMES: &[&str] = &["ok", "denied", "error", "timeout", "failure_mode_allowed", "disabled"];
const OK: usize = 0;
const DENIED: usize = 1;
const ERROR: usize = 2;
const TIMEOUT: usize = 3;
const FAILURE_MODE_ALLOWED: usize = 4;
const DISABLED: usize = 5;

#[derive(Debug)]
pub(crate) struct ExtAuthz {
    id: FilterId,
    config: Arc<filter::ExtAuthz>,
    stats: FilterStats,
    by_cluster: Arc<ByCluster>,
    disabled: bool,
    /// For the service, those of all levels.
    context: Vec<(String, String)>,
    body: Option<AuthzBody>,
}

impl ExtAuthz {
    pub(super) fn new(config: &filter::ExtAuthz, scope: Scope<'_>) -> Self {
        let part = match config.stat_prefix.as_str() {
            "" => "ext_authz.".to_owned(),
            prefix => format!("ext_authz.{prefix}."),
        };
        let registry = &scope.telemetry.registry;
        Self {
            id: FilterId::next(),
            stats: registry.filter(Owner::Http(scope.stat_prefix.to_owned()), &part, NAMES),
            by_cluster: Arc::new(ByCluster::new(registry, part, NAMES)),
            disabled: false,
            context: Vec::new(),
            body: config.body,
            config: Arc::new(config.clone()),
        }
    }

    pub(super) fn for_route(&self, configs: &[&RouteFilter]) -> Self {
        let mut own = Self {
            id: self.id,
            config: Arc::clone(&self.config),
            stats: self.stats.clone(),
            by_cluster: Arc::clone(&self.by_cluster),
            disabled: false,
            context: Vec::new(),
            body: self.config.body,
        };
        let mut first = true;
        for config in configs {
            match config {
                RouteFilter::ExtAuthz(ExtAuthzRoute::Disabled) => {
                    own.disabled |= first;
                    first = false;
                }
                RouteFilter::ExtAuthz(ExtAuthzRoute::Settings { context, without_body, body }) => {
                    if first {
                        own.body = if *without_body { None } else { body.or(self.config.body) };
                    }
                    first = false;
                    for (name, value) in context {
                        // The more specific level has spoken.
                        if !own.context.iter().any(|(known, _)| known == name) {
                            own.context.push((name.clone(), value.clone()));
                        }
                    }
                }
                _ => {}
            }
        }
        own
    }

    pub(super) async fn request(&self, x: &mut Exchange<'_>, body: &mut RequestBody) -> Result<(), Ended> {
        let config = &*self.config;
        // As in Envoy, a request that goes nowhere needs no permission for it.
        if self.disabled || x.matched.is_none() {
            return Ok(());
        }
        if config.enabled.is_some_and(|share| !share.takes(random::next())) {
            self.count(x, DISABLED);
            if config.deny_at_disable {
                return Err(self.failed());
            }
            return Ok(());
        }
        let seen = self.see_body(x, body).await?;
        let answered = match &config.service {
            AuthzService::Grpc { .. } => check::ask(self, x, seen).await?,
            AuthzService::Http(service) => http::ask(self, service, x, seen).await?,
        };
        match answered {
            Ok(answer) => self.take(x, answer),
            Err(error) => self.fail(x, &error),
        }
    }

    /// What the service is shown of the body, and whether that is all of it.
    async fn see_body(
        &self,
        x: &mut Exchange<'_>,
        body: &mut RequestBody,
    ) -> Result<Option<(Vec<u8>, bool)>, Ended> {
        let Some(of) = self.body else { return Ok(None) };
        if x.facts.framing == Framing::None {
            return Ok(Some((Vec::new(), true)));
        }
        let bytes_max = of.bytes_max as usize;
        let gathered = gather(x, body, bytes_max).await?;
        if gathered == Gathered::TooLong && !of.allow_partial {
            return Err(too_long(x));
        }
        let mut seen = body.kept().unwrap_or_default().to_vec();
        if gathered == Gathered::TooLong {
            let room = bytes_max.saturating_sub(seen.len());
            let next = x.channel.content();
            seen.extend_from_slice(&next[..room.min(next.len())]);
        }
        seen.truncate(bytes_max);
        Ok(Some((seen, gathered == Gathered::Whole)))
    }

    fn count(&self, x: &Exchange<'_>, position: usize) {
        self.stats.inc(position);
        self.by_cluster.inc(destination(x), position);
    }

    fn take(&self, x: &mut Exchange<'_>, answer: Answer) -> Result<(), Ended> {
        match answer {
            Answer::Allowed { request, response, query_set, query_removed } => {
                self.count(x, OK);
                if !query_set.is_empty() || !query_removed.is_empty() {
                    let path = check::with_query(x.heads.request.path(), &query_set, &query_removed);
                    x.heads.request.set_path(&path);
                }
                x.rerouted |= self.config.clear_route_cache && !request.is_empty();
                for edit in &request {
                    apply(&mut x.heads.request, edit);
                }
                if !response.is_empty() {
                    x.kept.push((self.id, Kept::Edits(response)));
                }
                Ok(())
            }
            Answer::Denied { status, headers, body } => {
                self.count(x, DENIED);
                let status = u16::try_from(status).ok().filter(|status| (200..=599).contains(status));
                let status = status.unwrap_or(403);
                charge_refusal(x, status);
                let header = |(name, value): (String, String)| -> (Cow<'static, str>, Vec<u8>) {
                    (name.into(), value.into_bytes())
                };
                let passes = |name: &str| {
                    !name.starts_with(':')
                        && !matches!(name, "content-length" | "transfer-encoding" | "connection")
                };
                let headers = headers.into_iter().filter(|(name, _)| passes(name)).map(header).collect();
                let flag = Some(Flag::UnauthorizedExternalService);
                Err(Ended::Reply(Reply {
                    headers,
                    body: body.into(),
                    ..Reply::new(status, flag, "ext_authz_denied", "")
                }))
            }
        }
    }

    fn fail(&self, x: &mut Exchange<'_>, error: &CallFailure) -> Result<(), Ended> {
        tracing::debug!(%error, "the authorization service does not answer");
        self.count(x, ERROR);
        if matches!(error, CallFailure::Timeout(_)) {
            self.stats.inc(TIMEOUT);
        }
        if !self.config.failure_mode_allow {
            return Err(self.failed());
        }
        self.count(x, FAILURE_MODE_ALLOWED);
        if self.config.failure_mode_allow_header {
            x.heads.request.fields.append(b"x-envoy-auth-failure-mode-allowed", b"true");
        }
        Ok(())
    }

    fn failed(&self) -> Ended {
        let flag = Some(Flag::UnauthorizedExternalService);
        Ended::Reply(Reply::new(self.config.status_on_error, flag, "ext_authz_error", ""))
    }

    pub(super) fn response(&self, x: &mut Exchange<'_>) {
        let Some(at) = x.kept.iter().position(|(id, _)| *id == self.id) else { return };
        if let Kept::Edits(edits) = x.kept.swap_remove(at).1 {
            let fields = &mut x.heads.response.fields;
            edits.iter().for_each(|edit| apply_to(fields, edit));
        }
    }

    /// Whether the service sees a header. Without a list of its own, what it sees is the caller's matter.
    fn shows(&self, name: &str, without_list: bool) -> bool {
        let config = &*self.config;
        let allowed = if config.allowed_headers.is_empty() {
            without_list
        } else {
            config.allowed_headers.iter().any(|one| one.takes(name))
        };
        allowed && !config.disallowed_headers.iter().any(|one| one.takes(name))
    }
}

/// An edit that the service asks for; of the pseudo-headers it may change path, authority and method.
fn apply(head: &mut selvedge_http::head::RequestHead, edit: &HeaderEdit) {
    let (HeaderEdit::Append { name, value } | HeaderEdit::Overwrite { name, value }) = edit else {
        return apply_to(&mut head.fields, edit);
    };
    let is_path = |value: &str| value.starts_with('/') && value.bytes().all(|byte| byte.is_ascii_graphic());
    match name.to_ascii_lowercase().as_str() {
        ":path" if is_path(value) => head.set_path(value),
        ":authority" | "host" if selvedge_http::authority::is_valid(value.as_bytes()) => {
            head.set_authority(value)
        }
        name if name.starts_with(':') || name == "host" => {}
        // As in Envoy: there must be something to append to.
        name if matches!(edit, HeaderEdit::Append { .. }) && head.fields.named(name).is_none() => {}
        _ => apply_to(&mut head.fields, edit),
    }
}

fn apply_to(fields: &mut selvedge_http::fields::Fields, edit: &HeaderEdit) {
    let value = match edit {
        HeaderEdit::Remove { name } => {
            let name = name.to_ascii_lowercase();
            // Without these the message cannot be read.
            if !name.starts_with(':')
                && !matches!(name.as_str(), "host" | "content-length" | "transfer-encoding")
            {
                fields.remove_named(&name);
            }
            return;
        }
        HeaderEdit::Append { value, .. }
        | HeaderEdit::AddIfAbsent { value, .. }
        | HeaderEdit::Overwrite { value, .. }
        | HeaderEdit::OverwriteIfExists { value, .. } => value,
    };
    // The service is trusted to decide, not to write messages of its own.
    let (HeaderEdit::Append { name, .. }
    | HeaderEdit::AddIfAbsent { name, .. }
    | HeaderEdit::Overwrite { name, .. }
    | HeaderEdit::OverwriteIfExists { name, .. }
    | HeaderEdit::Remove { name }) = edit;
    let name = name.to_ascii_lowercase();
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty()
        || !name.bytes().all(is_token)
        || matches!(name.as_str(), "content-length" | "transfer-encoding" | "connection")
        || value.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
    {
        return;
    }
    let there = fields.named(&name).is_some();
    match edit {
        // One line, as Envoy makes of it: who counts lines must not be led astray.
        HeaderEdit::Append { .. } if there => {
            let lines: Vec<&[u8]> = fields.all_named(&name).chain([value.as_bytes()]).collect();
            let joined = lines.join(&b","[..]);
            fields.set(&name, &joined);
        }
        HeaderEdit::Append { .. } => fields.append(name.as_bytes(), value.as_bytes()),
        HeaderEdit::AddIfAbsent { .. } if !there => fields.append(name.as_bytes(), value.as_bytes()),
        HeaderEdit::OverwriteIfExists { .. } if there => fields.set(&name, value.as_bytes()),
        HeaderEdit::Overwrite { .. } => fields.set(&name, value.as_bytes()),
        _ => {}
    }
}
