//! Quantities with their units: `"250ms"`.

use std::time::Duration;

use serde_json::Value;

use crate::shape::{Bounds, Form, Pattern, Shape};
use crate::structure::Shaped;

/// A length of time: a whole number and `ms`, `s`, `m` or `h`; at most ten years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// The longest span: what every timer and every message can hold.
const SPAN_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

impl Span {
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().ok()?;
        let millis = match unit {
            "ms" => number,
            "s" => number.checked_mul(1_000)?,
            "m" => number.checked_mul(60_000)?,
            "h" => number.checked_mul(3_600_000)?,
            _ => return None,
        };
        Some(Duration::from_millis(millis)).filter(|span| *span <= SPAN_MAX).map(Self)
    }
}

impl Shaped for Span {
    const SHAPE: &'static Shape = &Shape {
        name: "Span",
        form: Form::String {
            length: Bounds::between(2, 24),
            pattern: Some(Pattern { text: "[0-9]+(ms|s|m|h)", matches: |text| Self::parse(text).is_some() }),
        },
    };

    fn decode(value: &Value) -> Option<Self> {
        Self::parse(value.as_str()?)
    }
}

/// A share: a number with at most four decimals and a percent sign, `0%` to `100%`; kept in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percentage(pub u32);

impl Percentage {
    pub const ALL: Self = Self(1_000_000);

    pub fn parse(text: &str) -> Option<Self> {
        let number = text.strip_suffix('%')?;
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || decimals.len() > 4 {
            return None;
        }
        let decimals: u32 = format!("{decimals:0<4}").parse().ok()?;
        let millionths = whole.parse::<u32>().ok()?.checked_mul(10_000)?.checked_add(decimals)?;
        (millionths <= Self::ALL.0).then_some(Self(millionths))
    }
}

impl Shaped for Percentage {
    const SHAPE: &'static Shape = &Shape {
        name: "Percentage",
        form: Form::String {
            length: Bounds::between(2, 9),
            pattern: Some(Pattern {
                text: "[0-9]+(\\.[0-9]{1,4})?% up to 100%",
                matches: |text| Self::parse(text).is_some(),
            }),
        },
    };

    fn decode(value: &Value) -> Option<Self> {
        Self::parse(value.as_str()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_a_unit() {
        for (text, millis) in [
            ("250ms", Some(250)),
            ("0s", Some(0)),
            ("15s", Some(15_000)),
            ("2m", Some(120_000)),
            ("1h", Some(3_600_000)),
        ] {
            assert_eq!(Span::parse(text).map(|span| span.0.as_millis()), millis, "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            "-1s",
            "1.5s",
            "1 s",
            "1d",
            "99999999999999999999s",
            "18446744073709551615h",
            "90000h",
        ] {
            assert_eq!(Span::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_percentage_is_exact_to_a_millionth() {
        for (text, millionths) in [
            ("0%", Some(0)),
            ("100%", Some(1_000_000)),
            ("12.5%", Some(125_000)),
            ("0.0001%", Some(1)),
            ("100.0000%", Some(1_000_000)),
        ] {
            assert_eq!(Percentage::parse(text).map(|share| share.0), millionths, "{text}");
        }
        for text in
            ["", "%", "5", "101%", "100.0001%", "-1%", "1.%", ".5%", "1.00001%", "1e1%", "99999999999%"]
        {
            assert_eq!(Percentage::parse(text), None, "{text}");
        }
    }
}
