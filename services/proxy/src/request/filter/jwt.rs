//! Who asks, by a token that somebody trusted has signed.

mod keys;
mod locate;
mod pass_on;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use selvedge_jwt::{Refusal, Token};
use selvedge_telemetry::{FilterStats, Owner};
use selvedge_traffic::filter::{self, JwtProvider, JwtRoute, Requirement, RuleRequirement};
use selvedge_traffic::matching::Target;
use selvedge_traffic::{RouteFilter, filter::jwt};
use serde_json::json;

use super::Scope;
use crate::request::exchange::{Ended, Exchange};
use crate::request::reply::Reply;
use crate::request::view::Request;
use crate::serve::compile::CompileError;
pub(crate) use keys::Ahead;
use keys::Keys;
use locate::Found;

/// Under which others find claims (Envoy's name for the filter).
const NAMESPACE: &str = "envoy.filters.http.jwt_authn";
const NAMES: &[&str] =
    &["allowed", "denied", "cors_preflight_bypassed", "jwks_fetch_success", "jwks_fetch_failed"];
const ALLOWED: usize = 0;
const DENIED: usize = 1;
const PREFLIGHT: usize = 2;
const FETCHED: usize = 3;
const FETCH_FAILED: usize = 4;
/// The longest URI that a challenge names.
const REALM_BYTES_MAX: usize = 256;

#[derive(Debug)]
pub(crate) struct Jwt {
    shared: Arc<Shared>,
    /// What the route says.
    route: Option<JwtRoute>,
}

#[derive(Debug)]
struct Shared {
    config: filter::Jwt,
    /// By provider.
    keys: BTreeMap<String, Keys>,
    stats: FilterStats,
}

impl Jwt {
    pub(super) fn new(config: &filter::Jwt, scope: Scope<'_>) -> Result<Self, CompileError> {
        let owner = Owner::Http(scope.stat_prefix.to_owned());
        let part = match config.stat_prefix.as_str() {
            "" => "jwt_authn.".to_owned(),
            prefix => format!("jwt_authn.{prefix}."),
        };
        let keys: BTreeMap<String, Keys> = config
            .providers
            .iter()
            .map(|provider| Ok((provider.name.clone(), Keys::new(provider)?)))
            .collect::<Result<_, CompileError>>()?;
        let stats = scope.telemetry.registry.filter(owner, &part, NAMES);
        for ahead in keys.values().filter_map(|keys| keys.ahead(&stats)) {
            // Without workers there are no requests that could need them.
            let _ = scope.telemetry.ahead.send(ahead);
        }
        Ok(Self { shared: Arc::new(Shared { config: config.clone(), keys, stats }), route: None })
    }

    pub(super) fn for_route(&self, configs: &[&RouteFilter]) -> Self {
        let route = configs.iter().find_map(|config| match config {
            RouteFilter::Jwt(route) => Some(route.clone()),
            _ => None,
        });
        Self { shared: Arc::clone(&self.shared), route }
    }

    pub(super) async fn request(&self, x: &mut Exchange<'_>) -> Result<(), Ended> {
        let shared = &*self.shared;
        // What says that a token was checked is this filter's to say.
        pass_on::sanitize(x, &shared.config);
        if shared.config.bypass_cors_preflight && is_preflight(x) {
            shared.stats.inc(PREFLIGHT);
            return Ok(());
        }
        let Some(requirement) = self.requirement(x)? else {
            shared.stats.inc(ALLOWED);
            return Ok(());
        };
        let mut good = Vec::new();
        match Box::pin(shared.meet(x, requirement, &mut good)).await? {
            Ok(()) => {
                shared.stats.inc(ALLOWED);
                for verified in &good {
                    pass_on::pass_on(x, verified);
                }
                Ok(())
            }
            Err(refusal) => {
                shared.stats.inc(DENIED);
                Err(shared.refuse(x, refusal))
            }
        }
    }

    /// What the request needs: as the route says, else as the first rule that takes it.
    fn requirement(&self, x: &Exchange<'_>) -> Result<Option<&Requirement>, Ended> {
        let config = &self.shared.config;
        match &self.route {
            Some(JwtRoute::Nothing) => return Ok(None),
            Some(JwtRoute::Named(name)) => {
                return match config.requirement(name) {
                    Some(requirement) => Ok(Some(requirement)),
                    None => Err(wrong_name(config, name)),
                };
            }
            None => {}
        }
        let request = Request(&x.heads.request);
        let target = Target::parse(x.heads.request.path());
        let rule = config.rules.iter().find(|rule| rule.matches.check(&request, &target).is_ok());
        Ok(match rule.map(|rule| &rule.requires) {
            None | Some(RuleRequirement::Nothing) => None,
            Some(RuleRequirement::Is(requirement)) => Some(requirement),
            Some(RuleRequirement::Named(name)) => config.requirement(name),
        })
    }
}

/// A route that asks for what there is not lets nobody in.
fn wrong_name(config: &filter::Jwt, name: &str) -> Ended {
    let known: Vec<&str> = config.requirements.iter().map(|(name, _)| name.as_str()).collect();
    let text = format!("Wrong requirement_name: {name}. It should be one of [{}]", known.join(","));
    Ended::Reply(Reply {
        details: details(&text).into(),
        body: format!("Failed JWT authentication: {text}").into(),
        ..Reply::new(403, None, "", "")
    })
}

/// A token that was found good.
struct Verified<'a> {
    provider: &'a JwtProvider,
    token: Token,
    found: Found,
}

type Met = Result<(), Refusal>;

impl Shared {
    /// Whether a requirement is met; good tokens are added to `good`.
    async fn meet<'a>(
        &'a self,
        x: &mut Exchange<'_>,
        requirement: &'a Requirement,
        good: &mut Vec<Verified<'a>>,
    ) -> Result<Met, Ended> {
        match requirement {
            Requirement::Provider(name) => self.of_provider(x, name, None, good).await,
            Requirement::ProviderWithAudiences(name, audiences) => {
                self.of_provider(x, name, Some(audiences), good).await
            }
            Requirement::All(all) => {
                for one in all {
                    if let Err(refusal) = Box::pin(self.meet(x, one, good)).await? {
                        return Ok(Err(refusal));
                    }
                }
                Ok(Ok(()))
            }
            Requirement::Any(any) => {
                // Of all that is wrong the last counts, but that a token is missing counts least.
                let mut refused = Refusal::Missing;
                for one in any {
                    match Box::pin(self.meet(x, one, good)).await? {
                        Ok(()) => return Ok(Ok(())),
                        Err(Refusal::Missing | Refusal::UnknownIssuer) if refused != Refusal::Missing => {}
                        Err(refusal) => refused = refusal,
                    }
                }
                Ok(Err(refused))
            }
            Requirement::AllowMissing => self.of_anybody(x, false, good).await,
            Requirement::AllowMissingOrFailed => self.of_anybody(x, true, good).await,
        }
    }

    async fn of_provider<'a>(
        &'a self,
        x: &mut Exchange<'_>,
        name: &str,
        audiences: Option<&[String]>,
        good: &mut Vec<Verified<'a>>,
    ) -> Result<Met, Ended> {
        let Some(provider) = self.config.provider(name) else { return Ok(Err(Refusal::UnknownIssuer)) };
        let found = locate::of_provider(&x.heads.request, provider);
        if found.is_empty() {
            note_failure(x, provider, Refusal::Missing);
            return Ok(Err(Refusal::Missing));
        }
        for found in found {
            match self.check(x, provider, audiences, &found).await? {
                Ok(token) => good.push(Verified { provider, token, found }),
                Err(refusal) => {
                    note_failure(x, provider, refusal);
                    return Ok(Err(refusal));
                }
            }
        }
        Ok(Ok(()))
    }

    /// Checks whatever tokens there are, each by the provider that issued it.
    async fn of_anybody<'a>(
        &'a self,
        x: &mut Exchange<'_>,
        failed_too: bool,
        good: &mut Vec<Verified<'a>>,
    ) -> Result<Met, Ended> {
        let mut seen = Vec::new();
        for provider in &self.config.providers {
            for found in locate::of_provider(&x.heads.request, provider) {
                if seen.contains(&found.token) {
                    continue;
                }
                seen.push(found.token.clone());
                let issuer = Token::parse(&found.token).map(|token| token.issuer);
                let of_issuer = match &issuer {
                    Ok(issuer) => self.config.providers.iter().find(|one| one.issuer == *issuer),
                    Err(_) => Some(provider),
                };
                let Some(of_issuer) = of_issuer else { continue };
                match self.check(x, of_issuer, None, &found).await? {
                    Ok(token) => good.push(Verified { provider: of_issuer, token, found }),
                    Err(refusal) => {
                        note_failure(x, of_issuer, refusal);
                        if !failed_too {
                            return Ok(Err(refusal));
                        }
                    }
                }
            }
        }
        Ok(Ok(()))
    }

    async fn check(
        &self,
        x: &mut Exchange<'_>,
        provider: &JwtProvider,
        audiences: Option<&[String]>,
        found: &Found,
    ) -> Result<Result<Token, Refusal>, Ended> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let token = match judge(&found.token, provider, audiences, now) {
            Ok(token) => token,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let Some(keys) = self.keys.get(&provider.name) else { return Ok(Err(Refusal::NoValidKeys)) };
        Ok(match keys.current(x, &self.stats).await? {
            Ok(keys) => keys.verify(&token).map(|()| token),
            Err(refusal) => Err(refusal),
        })
    }

    fn refuse(&self, x: &Exchange<'_>, refusal: Refusal) -> Ended {
        let status = if refusal == Refusal::AudienceNotAllowed { 403 } else { 401 };
        let text = refusal.to_string();
        let reply = Reply { details: details(&text).into(), ..Reply::new(status, None, "", "") };
        if self.config.strip_failure_response {
            return Ended::Reply(reply);
        }
        let headers = vec![("www-authenticate".into(), challenge(x, refusal).into_bytes())];
        Ended::Reply(Reply { body: text.into(), headers, ..reply })
    }
}

/// What a token says of itself, against what the provider asks; the signature comes after.
fn judge(
    text: &str,
    provider: &JwtProvider,
    audiences: Option<&[String]>,
    now: u64,
) -> Result<Token, Refusal> {
    let token = Token::parse(text)?;
    if !provider.issuer.is_empty() && token.issuer != provider.issuer {
        return Err(Refusal::UnknownIssuer);
    }
    if provider.subjects.as_ref().is_some_and(|subjects| !subjects.takes(&token.subject)) {
        return Err(Refusal::SubjectNotAllowed);
    }
    token.check_times(now, provider.clock_skew)?;
    if let Some(longest) = provider.lifetime_max {
        let until = token.expires_at.ok_or(Refusal::NoExpiration)?;
        let skew = provider.clock_skew.as_secs();
        if until > now.saturating_add(longest.as_secs()).saturating_add(skew) {
            return Err(Refusal::LifetimeTooLong);
        }
    } else if provider.require_expiration && token.expires_at.is_none() {
        return Err(Refusal::NoExpiration);
    }
    let allowed = audiences.filter(|audiences| !audiences.is_empty()).unwrap_or(&provider.audiences);
    if !allowed.is_empty()
        && !token.audiences.iter().any(|own| allowed.iter().any(|one| same_audience(own, one)))
    {
        return Err(Refusal::AudienceNotAllowed);
    }
    Ok(token)
}

/// As Envoy compares them: without scheme and last slash.
fn same_audience(a: &str, b: &str) -> bool {
    let bare = |audience: &str| -> String {
        let audience = audience
            .strip_prefix("https://")
            .or_else(|| audience.strip_prefix("http://"))
            .unwrap_or(audience);
        audience.strip_suffix('/').unwrap_or(audience).to_owned()
    };
    bare(a) == bare(b)
}

fn note_failure(x: &mut Exchange<'_>, provider: &JwtProvider, refusal: Refusal) {
    if !provider.failed_status_in_metadata.is_empty() {
        let status = json!({ "message": refusal.to_string() });
        x.metadata.set(NAMESPACE, &provider.failed_status_in_metadata, status);
    }
}

fn details(text: &str) -> String {
    format!("jwt_authn_access_denied{{{}}}", text.replace(char::is_whitespace, "_"))
}

fn challenge(x: &Exchange<'_>, refusal: Refusal) -> String {
    let head = &x.heads.request;
    let mut uri = format!("{}://{}{}", head.scheme(), head.authority().unwrap_or_default(), head.path());
    // A quote would end the realm.
    uri.retain(|character| !matches!(character, '"' | '\\'));
    let end = uri.char_indices().map(|(at, _)| at).take_while(|at| *at <= REALM_BYTES_MAX).last();
    if uri.len() > REALM_BYTES_MAX {
        uri.truncate(end.unwrap_or(0));
    }
    match refusal {
        Refusal::Missing => format!("Bearer realm=\"{uri}\""),
        _ => format!("Bearer realm=\"{uri}\", error=\"invalid_token\""),
    }
}

fn is_preflight(x: &Exchange<'_>) -> bool {
    let fields = &x.heads.request.fields;
    let there = |name| fields.named(name).is_some_and(|value| !value.is_empty());
    x.heads.request.method() == "OPTIONS" && there("origin") && there("access-control-request-method")
}

/// Whether keys that stand in the configuration can be used.
pub(crate) fn validate(config: &filter::Jwt) -> Result<(), Refusal> {
    config.providers.iter().try_for_each(|provider| match &provider.keys {
        jwt::JwtKeys::Inline(text) => selvedge_jwt::KeySet::parse(text).map(|_| ()),
        jwt::JwtKeys::Remote { .. } => Ok(()),
    })
}
