//! X-Ray's local sampling rules: so many requests a second, and a share of the others.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;
use thiserror::Error;

use crate::matching::RequestView;

/// Rules of a manifest, at most.
pub const RULES_MAX: usize = 100;
/// The longest manifest, in bytes.
pub const MANIFEST_BYTES_MAX: usize = 64 << 10;

/// Requests of a second that are always traced, and the share of the others, unless a manifest says otherwise.
const FIXED_DEFAULT: u32 = 1;
pub const RATE_DEFAULT: f64 = 0.05;

/// A manifest that cannot be used.
#[derive(Debug, Error)]
pub enum SamplingRulesInvalid {
    #[error("the manifest has more than {MANIFEST_BYTES_MAX} bytes")]
    TooLong,
    #[error("the manifest is no JSON of sampling rules")]
    Json(#[from] serde_json::Error),
    #[error("version {0} is neither 1 nor 2")]
    Version(u32),
    #[error("there are more than {RULES_MAX} rules")]
    TooMany,
    #[error("rate {0} is not between 0 and 1")]
    Rate(f64),
}

/// Rules in order, then what holds for all other requests.
#[derive(Debug)]
pub struct SamplingRules {
    rules: Vec<Rule>,
    default: Target,
}

#[derive(Debug)]
struct Rule {
    host: String,
    method: String,
    path: String,
    target: Target,
}

/// How many are traced.
#[derive(Debug)]
struct Target {
    fixed: u32,
    rate: f64,
    /// The second in the upper half, how many it had in the lower.
    taken: AtomicU64,
}

#[derive(Deserialize)]
struct Manifest {
    version: u32,
    #[serde(default)]
    rules: Vec<RuleOfManifest>,
    #[serde(default)]
    default: Option<TargetOfManifest>,
}

#[derive(Deserialize)]
struct RuleOfManifest {
    #[serde(default = "any", alias = "service_name")]
    host: String,
    #[serde(default = "any")]
    http_method: String,
    #[serde(default = "any")]
    url_path: String,
    #[serde(flatten)]
    target: TargetOfManifest,
}

#[derive(Deserialize)]
struct TargetOfManifest {
    #[serde(default)]
    fixed_target: u32,
    #[serde(default)]
    rate: f64,
}

fn any() -> String {
    "*".to_owned()
}

impl SamplingRules {
    /// One request a second, and this share of the others.
    pub fn with_rate(rate: f64) -> Self {
        Self { rules: Vec::new(), default: Target::new(FIXED_DEFAULT, rate) }
    }

    /// Reads X-Ray's local manifest, of either version.
    ///
    /// # Errors
    /// See [`SamplingRulesInvalid`].
    pub fn parse(manifest: &str) -> Result<Self, SamplingRulesInvalid> {
        if manifest.len() > MANIFEST_BYTES_MAX {
            return Err(SamplingRulesInvalid::TooLong);
        }
        let manifest: Manifest = serde_json::from_str(manifest)?;
        if ![1, 2].contains(&manifest.version) {
            return Err(SamplingRulesInvalid::Version(manifest.version));
        }
        if manifest.rules.len() > RULES_MAX {
            return Err(SamplingRulesInvalid::TooMany);
        }
        let target = |target: &TargetOfManifest| match target.rate {
            rate if (0.0..=1.0).contains(&rate) => Ok(Target::new(target.fixed_target, rate)),
            rate => Err(SamplingRulesInvalid::Rate(rate)),
        };
        let rules = manifest.rules.into_iter().map(|rule| {
            let target = target(&rule.target)?;
            Ok(Rule { host: rule.host, method: rule.http_method, path: rule.url_path, target })
        });
        let default = match &manifest.default {
            Some(given) => target(given)?,
            None => Target::new(FIXED_DEFAULT, RATE_DEFAULT),
        };
        Ok(Self { rules: rules.collect::<Result<_, SamplingRulesInvalid>>()?, default })
    }

    /// Whether a request in this second (since any fixed moment) is traced; `random` is any number.
    pub fn samples(&self, request: &impl RequestView, second: u32, random: u64) -> bool {
        let path = request.path().split('?').next().unwrap_or_default();
        let matches = |rule: &&Rule| {
            wildcard(&rule.host, request.authority())
                && wildcard(&rule.method, request.method())
                && wildcard(&rule.path, path)
        };
        self.rules.iter().find(matches).map_or(&self.default, |rule| &rule.target).take(second, random)
    }
}

impl Target {
    fn new(fixed: u32, rate: f64) -> Self {
        Self { fixed, rate, taken: AtomicU64::new(0) }
    }

    fn take(&self, second: u32, random: u64) -> bool {
        let reserve = |taken: u64| {
            let (of, count) = ((taken >> 32) as u32, taken as u32);
            match of == second {
                true if count >= self.fixed => None,
                true => Some(taken + 1),
                false if self.fixed == 0 => None,
                false => Some(u64::from(second) << 32 | 1),
            }
        };
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserve).is_ok()
            // 53 bits are as many as a float tells apart.
            || ((random >> 11) as f64) < self.rate * (1_u64 << 53) as f64
    }
}

/// `*` is any run of characters, `?` any one; letters of either case are the same.
fn wildcard(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == b'?' || byte.eq_ignore_ascii_case(&text[t]) => {
                p += 1;
                t += 1;
            }
            // The last star takes one more character.
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    t = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matching::PlainRequest;

    const NEVER: u64 = u64::MAX;

    #[test]
    fn a_second_has_its_reservoir_and_the_rest_its_rate() {
        let rules = SamplingRules::with_rate(0.05);
        let request = PlainRequest::new("GET", "a", "/");
        assert!(rules.samples(&request, 10, NEVER));
        assert!(!rules.samples(&request, 10, NEVER));
        assert!(rules.samples(&request, 10, u64::MAX / 100 * 4), "within the rate");
        assert!(!rules.samples(&request, 10, u64::MAX / 100 * 6));
        assert!(rules.samples(&request, 11, NEVER));
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let manifest = r#"{"version": 2, "rules": [
            {"description": "never", "host": "*.local", "http_method": "GET", "url_path": "/ping*", "fixed_target": 0, "rate": 0},
            {"host": "*", "http_method": "*", "url_path": "/api/?/x", "fixed_target": 2, "rate": 0}
        ], "default": {"fixed_target": 0, "rate": 1.0}}"#;
        let rules = SamplingRules::parse(manifest).expect("valid");
        let samples = |method: &str, host: &str, path: &str| {
            rules.samples(&PlainRequest::new(method, host, path), 1, NEVER - (1 << 11))
        };
        assert!(!samples("GET", "COLORS.local", "/ping/a?b"));
        assert!(samples("POST", "colors.local", "/ping"), "the default");
        assert!(samples("GET", "x", "/api/1/x") && samples("GET", "x", "/api/2/x"));
        assert!(!samples("GET", "x", "/api/3/x"), "its two are taken");
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        for manifest in ["", "{}", r#"{"version": 3}"#, r#"{"version": 2, "default": {"rate": 1.5}}"#] {
            assert!(SamplingRules::parse(manifest).is_err(), "{manifest}");
        }
        let many = format!(r#"{{"version": 2, "rules": [{}{{}}]}}"#, "{},".repeat(RULES_MAX));
        assert!(matches!(SamplingRules::parse(&many), Err(SamplingRulesInvalid::TooMany)));
        let long = " ".repeat(MANIFEST_BYTES_MAX + 1);
        assert!(matches!(SamplingRules::parse(&long), Err(SamplingRulesInvalid::TooLong)));
    }

    #[test]
    fn wildcards_take_what_they_should_in_linear_space() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*b", "aXXb", true),
            ("a*b", "aXXc", false),
            ("?", "", false),
            ("a?c", "ABC", true),
            ("*a*b*", "xxaxxbxx", true),
            ("ab", "abc", false),
            ("*************x", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(wildcard(pattern, text), expected, "{pattern} {text}");
        }
    }
}
