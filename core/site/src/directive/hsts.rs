//! What browsers are told of a host, by `Strict-Transport-Security` (RFC 6797): to come by HTTPS alone.

use super::Text;
use super::guard::Parts;
use super::reading::{Reading, keyed, truth};
use crate::edge_toml::duration_ms;
use crate::value::Value;

/// The longest time that can be said, in seconds: ten years.
pub const MAX_AGE_MAX: u64 = 10 * YEAR;
/// The shortest time with which the list in browsers takes a host.
const PRELOAD_AGE_MIN: u64 = YEAR;
const YEAR: u64 = 365 * 86_400;

/// `( "max-age" => "365d", "include-subdomains" => "enable", "preload" => "enable" )`, as the header has it.
pub(super) fn hsts(value: &Value, reading: &mut Reading<'_>) -> Result<Option<Text>, String> {
    let list = keyed(value, reading)?;
    if list.is_empty() {
        return Ok(None);
    }
    let mut parts = Parts::new("mesh.hsts", list, reading);
    let said = parts.required("max-age")?;
    let max_age = duration_ms(&said).map(|time| time / 1000).filter(|seconds| *seconds <= MAX_AGE_MAX);
    let max_age = max_age.ok_or_else(|| {
        format!("mesh.hsts: \"max-age\" is a time of at most ten years, such as \"365d\", and not {said:?}")
    })?;
    let mut is_on = |name: &'static str| match parts.find(name) {
        None => Ok(false),
        Some(value) => {
            truth(value).ok_or_else(|| format!("mesh.hsts: \"{name}\" is \"enable\" or \"disable\""))
        }
    };
    let (subdomains, preload) = (is_on("include-subdomains")?, is_on("preload")?);
    parts.end()?;
    // The list's own rules: it is compiled into browsers, and who is on it does not get off it for months.
    if preload && (max_age < PRELOAD_AGE_MIN || !subdomains) {
        return Err(
            "mesh.hsts: \"preload\" wants \"max-age\" of a year at least (365d) and \"include-subdomains\": browsers' list takes no \
             other"
                .into(),
        );
    }
    let mut header = format!("max-age={max_age}");
    for (is_on, word) in [(subdomains, "; includeSubDomains"), (preload, "; preload")] {
        header.push_str(if is_on { word } else { "" });
    }
    Ok(Some(header.into()))
}
