//! Metadata: labels of hosts, and what has no field of its own in Envoy.

use std::time::Duration;

use prost_types::value::Kind;
use prost_types::{Struct, Value};
use selvedge_traffic::{BreakerConfig, BreakerPolicy, Label, Labels};
use selvedge_xds_proto::envoy::config::core::v3::Metadata;

use super::Reason;
use crate::encode::metadata::{BREAKER, CLOSE_ON_REMOVAL, LABELS, OURS};

/// The labels in metadata. Numbers become their text; lists and structures are no labels.
pub(super) fn labels(metadata: Option<&Metadata>) -> Labels {
    metadata.and_then(|metadata| metadata.filter_metadata.get(LABELS)).map(label_struct).unwrap_or_default()
}

pub(super) fn label_struct(labels: &Struct) -> Labels {
    let label = |value: &Value| match value.kind.as_ref()? {
        Kind::StringValue(text) => Some(Label::Text(text.clone())),
        Kind::BoolValue(flag) => Some(Label::Flag(*flag)),
        Kind::NumberValue(number) => Some(Label::Text(number.to_string())),
        _ => None,
    };
    labels.fields.iter().filter_map(|(key, value)| Some((key.clone(), label(value)?))).collect()
}

pub(super) fn closes_on_removal(metadata: Option<&Metadata>) -> bool {
    metadata
        .and_then(|metadata| metadata.filter_metadata.get(OURS))
        .and_then(|ours| ours.fields.get(CLOSE_ON_REMOVAL))
        .is_some_and(|value| value.kind == Some(Kind::BoolValue(true)))
}

/// The breaker; what is not said is its default, what is not known is refused: it would be a typing error.
pub(super) fn breaker(metadata: Option<&Metadata>) -> Result<Option<BreakerPolicy>, Reason> {
    let Some(ours) = metadata.and_then(|metadata| metadata.filter_metadata.get(BREAKER)) else {
        return Ok(None);
    };
    let mut policy = BreakerPolicy::default();
    for (key, value) in &ours.fields {
        let Some(Kind::StructValue(config)) = &value.kind else {
            return Err(invalid(key, "is no structure"));
        };
        match key.as_str() {
            "endpoint" => policy.endpoint = Some(breaker_config(config)?),
            "cluster" => policy.cluster = Some(breaker_config(config)?),
            _ => return Err(invalid(key, "is not known")),
        }
    }
    Ok(Some(policy))
}

fn breaker_config(config: &Struct) -> Result<BreakerConfig, Reason> {
    let mut breaker = BreakerConfig::default();
    for (key, value) in &config.fields {
        match key.as_str() {
            "failures_in_a_row" => breaker.failures_in_a_row = number(key, value)?,
            "failure_percent" => breaker.failure_percent = number(key, value)?,
            "requests_min" => breaker.requests_min = number(key, value)?,
            "window" => breaker.window = time(key, value)?,
            "open_time" => breaker.open_time = time(key, value)?,
            "open_time_max" => breaker.open_time_max = time(key, value)?,
            "probes" => breaker.probes = number(key, value)?,
            _ => return Err(invalid(key, "is not known")),
        }
    }
    Ok(breaker)
}

fn number(key: &str, value: &Value) -> Result<u32, Reason> {
    match value.kind {
        Some(Kind::NumberValue(number))
            if number.fract() == 0.0 && (0.0..=4_294_967_295.0).contains(&number) =>
        {
            Ok(number as u32)
        }
        _ => Err(invalid(key, "is no whole number")),
    }
}

/// As protobuf writes lengths of time in JSON: `1.5s`.
fn time(key: &str, value: &Value) -> Result<Duration, Reason> {
    let parse = |text: &str| {
        let (seconds, fraction) = {
            let text = text.strip_suffix('s')?;
            text.split_once('.').unwrap_or((text, "0"))
        };
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(seconds) || !digits(fraction) || fraction.len() > 9 {
            return None;
        }
        let nanos: u32 = format!("{fraction:0<9}").parse().ok()?;
        Some(Duration::new(seconds.parse().ok()?, nanos))
    };
    match &value.kind {
        Some(Kind::StringValue(text)) => parse(text).ok_or_else(|| invalid(key, "is no length of time")),
        _ => Err(invalid(key, "is no length of time")),
    }
}

fn invalid(key: &str, expected: &'static str) -> Reason {
    Reason::Invalid { field: "metadata.selvedge.breaker", value: key.to_owned(), expected }
}
