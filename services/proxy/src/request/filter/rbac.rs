//! Who may do what.

use std::sync::Arc;

use selvedge_telemetry::{FilterStats, Owner};
use selvedge_traffic::access::{Judgement, Rules, RulesAction};
use selvedge_traffic::{RouteFilter, filter};
use serde_json::Value;

use super::Scope;
use super::subject::subject;
use crate::request::exchange::{Ended, Exchange};
use crate::request::reply::Reply;

/// Under which the filter tells others what it thinks (Envoy's name for it).
const NAMESPACE: &str = "envoy.filters.http.rbac";
/// Under which it says whether to log.
const COMMON: &str = "envoy.common";
const NAMES: &[&str] = &["allowed", "denied"];
const SHADOW_NAMES: &[&str] = &["shadow_allowed", "shadow_denied"];

#[derive(Debug)]
pub(crate) struct Rbac {
    /// `None`: everything passes.
    config: Option<Arc<filter::Rbac>>,
    stats: FilterStats,
    shadow_stats: FilterStats,
}

impl Rbac {
    pub(super) fn new(config: &filter::Rbac, scope: Scope<'_>) -> Self {
        let count = |part: &str, names| {
            let owner = Owner::Http(scope.stat_prefix.to_owned());
            let dot = if part.is_empty() || part.ends_with('.') { "" } else { "." };
            scope.telemetry.registry.filter(owner, &format!("rbac.{part}{dot}"), names)
        };
        Self {
            stats: count(&config.rules_stat_prefix, NAMES),
            shadow_stats: count(&config.shadow_rules_stat_prefix, SHADOW_NAMES),
            config: Some(Arc::new(config.clone())),
        }
    }

    pub(super) fn for_route(&self, configs: &[&RouteFilter], scope: Scope<'_>) -> Self {
        let own = configs.iter().find_map(|config| match config {
            RouteFilter::Rbac(config) => Some(config),
            _ => None,
        });
        match own {
            Some(Some(config)) => Self::new(config, scope),
            Some(None) => Self { config: None, ..self.shared() },
            None => self.shared(),
        }
    }

    fn shared(&self) -> Self {
        let (stats, shadow_stats) = (self.stats.clone(), self.shadow_stats.clone());
        Self { config: self.config.clone(), stats, shadow_stats }
    }

    pub(super) fn request(&self, x: &mut Exchange<'_>) -> Result<(), Ended> {
        let Some(config) = &self.config else { return Ok(()) };
        if let Some(rules) = &config.shadow_rules {
            let judgement = rules.judge(&subject(x));
            self.shadow_stats.inc(usize::from(!judgement.allowed));
            let prefix = format!("{}shadow", config.shadow_rules_stat_prefix);
            tell(x, rules, &prefix, judgement);
        }
        let Some(rules) = &config.rules else { return Ok(()) };
        let judgement = rules.judge(&subject(x));
        self.stats.inc(usize::from(!judgement.allowed));
        if rules.action == RulesAction::Log {
            x.metadata.set(COMMON, "access_log_hint", Value::Bool(judgement.policy.is_some()));
        }
        if judgement.allowed {
            return Ok(());
        }
        let policy = judgement.policy.unwrap_or("none").replace(char::is_whitespace, "_");
        Err(Ended::Reply(Reply {
            details: format!("rbac_access_denied_matched_policy[{policy}]").into(),
            ..Reply::new(403, None, "", "RBAC: access denied")
        }))
    }
}

fn tell(x: &mut Exchange<'_>, rules: &Rules, prefix: &str, judgement: Judgement<'_>) {
    if rules.action == RulesAction::Log {
        return;
    }
    let result = if judgement.allowed { "allowed" } else { "denied" };
    x.metadata.set(NAMESPACE, &format!("{prefix}_engine_result"), result.into());
    if let Some(policy) = judgement.policy {
        x.metadata.set(NAMESPACE, &format!("{prefix}_effective_policy_id"), policy.into());
    }
}
