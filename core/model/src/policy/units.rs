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
}
