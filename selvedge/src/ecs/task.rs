//! A task definition as far as running it needs it.

use serde::Deserialize;
use serde_json::{Map, Value};

/// A task.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Task {
    pub(super) container_definitions: Vec<Container>,
    #[serde(default)]
    pub(super) proxy_configuration: Option<ProxyConfiguration>,
}

/// A container.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Container {
    pub(super) name: String,
    #[serde(default)]
    pub(super) environment: Vec<Variable>,
    #[serde(default)]
    pub(super) secrets: Vec<Secret>,
    #[serde(default)]
    pub(super) depends_on: Vec<Dependency>,
    #[serde(default)]
    pub(super) health_check: Option<HealthCheck>,
    #[serde(default)]
    pub(super) user: Option<String>,
    #[serde(default = "yes")]
    pub(super) essential: bool,
    /// Seconds, as in ECS: how long whoever depends on it waits for it …
    #[serde(default)]
    pub(super) start_timeout: Option<u64>,
    /// … and how long it may take to end.
    #[serde(default)]
    pub(super) stop_timeout: Option<u64>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Secret {
    pub(super) name: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Dependency {
    pub(super) container_name: String,
    pub(super) condition: Condition,
}

/// What must be so of a container before another starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Condition {
    Start,
    Complete,
    Success,
    Healthy,
}

/// Docker's health check; times in seconds, with ECS's defaults.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HealthCheck {
    pub(super) command: Vec<String>,
    #[serde(default = "thirty")]
    pub(super) interval: u64,
    #[serde(default = "five")]
    pub(super) timeout: u64,
    #[serde(default = "three")]
    pub(super) retries: u32,
    #[serde(default)]
    pub(super) start_period: u64,
}

/// What the ECS agent redirects.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProxyConfiguration {
    pub(super) container_name: String,
    #[serde(default)]
    properties: Vec<Variable>,
}

fn yes() -> bool {
    true
}

fn thirty() -> u64 {
    30
}

fn five() -> u64 {
    5
}

fn three() -> u32 {
    3
}

impl Task {
    /// # Errors
    /// What is there has another shape than ECS's.
    pub(super) fn of(task: &Map<String, Value>) -> Result<Self, String> {
        Self::deserialize(Value::Object(task.clone())).map_err(|error| error.to_string())
    }
}

impl ProxyConfiguration {
    pub(super) fn property(&self, name: &str) -> Option<&str> {
        let property = self.properties.iter().find(|property| property.name == name)?;
        Some(property.value.trim()).filter(|value| !value.is_empty())
    }
}
