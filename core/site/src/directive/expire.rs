//! `expire.url`, `expire.mimetypes`: until when what is sent holds.

use super::Named;
use super::reading::{Reading, named_texts};
use crate::value::Value;

/// Until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expire {
    /// Counted from when.
    pub base: ExpireBase,
    /// Seconds.
    pub seconds: u64,
}

/// From when an expiry is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpireBase {
    /// The request.
    Access,
    /// The file's last change.
    Modification,
}

/// The longest time: RFC 9111 asks for no more than about 68 years.
const SECONDS_MAX: u64 = 0x7fff_ffff;

pub(super) fn named(value: &Value, reading: &mut Reading<'_>) -> Result<Named<Expire>, String> {
    named_texts(value, reading)?
        .iter()
        .map(|(key, text)| {
            let expire = parse(text).ok_or_else(|| format!("parsing {} failed: {text}", reading.key))?;
            Ok((key.clone(), expire))
        })
        .collect()
}

/// `access plus 1 month 2 days`, `modification 10 minutes`.
pub(crate) fn parse(text: &str) -> Option<Expire> {
    let mut words = text.split(' ').filter(|word| !word.is_empty()).peekable();
    let base = match words.next()? {
        "access" | "now" => ExpireBase::Access,
        "modification" => ExpireBase::Modification,
        _ => return None,
    };
    words.next_if_eq(&"plus");
    let mut seconds = 0u64;
    let mut parts = 0;
    while let Some(number) = words.next() {
        let number: u64 = number.parse().ok()?;
        let unit = words.next()?;
        let unit = match unit.strip_suffix('s').unwrap_or(unit) {
            "second" => 1,
            "minute" => 60,
            "hour" => 60 * 60,
            "day" => 24 * 60 * 60,
            "week" => 7 * 24 * 60 * 60,
            "month" => 30 * 24 * 60 * 60,
            // Twelve of its months.
            "year" => 360 * 24 * 60 * 60,
            _ => return None,
        };
        seconds = seconds.saturating_add(number.saturating_mul(unit));
        parts += 1;
    }
    (parts > 0).then_some(Expire { base, seconds: seconds.min(SECONDS_MAX) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let rows = [
            ("access plus 30 days", Some((ExpireBase::Access, 30 * 86_400))),
            ("access 1 hours", Some((ExpireBase::Access, 3600))),
            ("modification plus 1 month 2 days 1 second", Some((ExpireBase::Modification, 32 * 86_400 + 1))),
            ("now plus 2 years", Some((ExpireBase::Access, 62_208_000))),
            ("access plus 9999 years", Some((ExpireBase::Access, SECONDS_MAX))),
            ("access", None),
            ("access plus", None),
            ("access plus 3", None),
            ("access plus days", None),
            ("30 days", None),
        ];
        for (text, expected) in rows {
            assert_eq!(parse(text).map(|expire| (expire.base, expire.seconds)), expected, "{text}");
        }
    }
}
