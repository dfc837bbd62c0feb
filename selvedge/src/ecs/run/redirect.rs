//! `proxyConfiguration` as rules in the kernel.

use std::str::FromStr;

use selvedge_intercept::{Choice, Settings};

use super::super::task::ProxyConfiguration;

/// What the ECS agent would redirect.
///
/// # Errors
/// A property that cannot be meant, by its name.
pub(super) fn settings(proxy: &ProxyConfiguration) -> Result<Settings, String> {
    let default = Settings::default();
    let settings = Settings {
        ignore_uid: one(proxy, "IgnoredUID")?,
        ignore_gid: one(proxy, "IgnoredGID")?,
        ingress_port: one(proxy, "ProxyIngressPort")?.unwrap_or(default.ingress_port),
        egress_port: one(proxy, "ProxyEgressPort")?.unwrap_or(default.egress_port),
        app_ports: many(proxy, "AppPorts")?,
        egress_ignored_ips: many(proxy, "EgressIgnoredIPs")?,
        egress_ignored_ports: many(proxy, "EgressIgnoredPorts")?,
        ..default
    };
    match settings.contradiction() {
        Some(contradiction) => Err(format!("proxyConfiguration: {contradiction}")),
        None => Ok(settings),
    }
}

/// Puts the rules in place, in the namespace of the calling thread; they end with it.
pub(super) fn install(settings: &Settings) -> anyhow::Result<()> {
    let backend = Choice::Auto.find().map_err(|error| anyhow::anyhow!("{error}"))?;
    backend.install(settings).map_err(|error| anyhow::anyhow!("{error}"))
}

fn one<T: FromStr>(proxy: &ProxyConfiguration, name: &str) -> Result<Option<T>, String> {
    let read = |text: &str| text.parse().map_err(|_| invalid(name, text));
    proxy.property(name).map(read).transpose()
}

fn many<T: FromStr>(proxy: &ProxyConfiguration, name: &str) -> Result<Vec<T>, String> {
    let parts = proxy.property(name).unwrap_or_default().split(',').map(str::trim);
    parts.filter(|part| !part.is_empty()).map(|part| part.parse().map_err(|_| invalid(name, part))).collect()
}

fn invalid(name: &str, text: &str) -> String {
    format!("proxyConfiguration: {name} cannot be {text:?}")
}
