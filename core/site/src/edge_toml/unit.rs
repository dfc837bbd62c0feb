//! Durations, sizes and rates: a number is nothing without its unit.

/// Milliseconds of `10s`, `500ms`, `5m`, `2h`, `1d`; `0` needs no unit.
pub fn duration_ms(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "d" => 24 * 60 * 60 * 1000,
        "" if number == 0 => 1,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// Bytes of `16KiB`, `10MiB`, `1GB`, `512B`; `0` needs no unit.
pub fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let factor = match unit {
        "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1000 * 1000,
        "GB" => 1000 * 1000 * 1000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "" if number == 0 => 1,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// Bytes a second of `512KiB/s`.
pub(super) fn bandwidth(text: &str) -> Option<u64> {
    bytes(text.strip_suffix("/s")?)
}

/// What somebody may have meant who wrote a unit otherwise, or none: `10 sec` is `10s`, `8kib` is `8KiB`.
pub(super) fn guess(text: &str, units: &[(&'static str, &[&str])], usual: &'static str) -> Option<String> {
    let (number, unit) = split(text.trim())?;
    let lower = unit.to_ascii_lowercase();
    let meant = match lower.as_str() {
        "" => usual,
        lower => {
            units.iter().find(|(unit, words)| unit.eq_ignore_ascii_case(lower) || words.contains(&lower))?.0
        }
    };
    Some(format!("{number}{meant}"))
}

/// Units of durations, and how else they are written.
pub(super) const OF_TIME: &[(&str, &[&str])] = &[
    ("ms", &["msec", "msecs", "millisecond", "milliseconds"]),
    ("s", &["sec", "secs", "second", "seconds"]),
    ("m", &["min", "mins", "minute", "minutes"]),
    ("h", &["hr", "hrs", "hour", "hours"]),
    ("d", &["day", "days"]),
];

/// Units of sizes, and how else they are written.
pub(super) const OF_SIZE: &[(&str, &[&str])] = &[
    ("B", &["byte", "bytes"]),
    ("KiB", &["k", "ki", "kbyte", "kbytes"]),
    ("MiB", &["m", "mi", "mbyte", "mbytes"]),
    ("GiB", &["g", "gi", "gbyte", "gbytes"]),
    ("KB", &[]),
    ("MB", &[]),
    ("GB", &[]),
];

fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_needs_its_unit() {
        for (text, expected) in [
            ("10s", Some(10_000)),
            ("500 ms", Some(500)),
            ("0", Some(0)),
            ("1d", Some(86_400_000)),
            ("10", None),
            ("s", None),
            ("1.5s", None),
            ("-1s", None),
            ("99999999999999999999s", None),
        ] {
            assert_eq!(duration_ms(text), expected, "{text}");
        }
        for (text, expected) in [
            ("16KiB", Some(16_384)),
            ("10 MB", Some(10_000_000)),
            ("7", None),
            ("0", Some(0)),
            ("1TiB", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
        for (text, units, usual, expected) in [
            ("10", OF_TIME, "s", Some("10s")),
            ("5 sec", OF_TIME, "s", Some("5s")),
            ("2 Hours", OF_TIME, "s", Some("2h")),
            ("8kib", OF_SIZE, "KiB", Some("8KiB")),
            ("8k", OF_SIZE, "KiB", Some("8KiB")),
            ("10mb", OF_SIZE, "KiB", Some("10MB")),
            ("ten", OF_SIZE, "KiB", None),
            ("10 parsec", OF_TIME, "s", None),
        ] {
            assert_eq!(guess(text, units, usual).as_deref(), expected, "{text}");
        }
        assert_eq!(bandwidth("512KiB/s"), Some(524_288));
        assert_eq!(bandwidth("512KiB"), None);
    }
}
