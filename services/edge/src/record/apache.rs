//! Lines in Apache's log format, with lighttpd's escapes.

use std::io::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use selvedge_http::date;
use selvedge_site::directive::access_log::{Escaping, Piece};
use selvedge_wire::channel::Channel;
use selvedge_wire::tls::Facts;

use crate::request::{After, Exchange};

/// Writes one line, without its end.
pub(super) fn write(
    x: &Exchange<'_>,
    pieces: &[Piece],
    escaping: Escaping,
    took: Duration,
    after: After,
    out: &mut Vec<u8>,
) {
    for piece in pieces {
        match piece {
            Piece::Literal(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Field { letter, argument, .. } => {
                let before = out.len();
                field(x, *letter, argument.as_deref(), escaping, took, after, out);
                // What is blank is a hyphen, but for a query.
                if out.len() == before && *letter != 'q' {
                    out.push(b'-');
                }
            }
        }
    }
}

fn field(
    x: &Exchange<'_>,
    letter: char,
    argument: Option<&str>,
    escaping: Escaping,
    took: Duration,
    after: After,
    out: &mut Vec<u8>,
) {
    let mut escaped = |text: &[u8]| escape(text, escaping, out);
    let method = x.method_original.as_deref().unwrap_or_else(|| x.head.method());
    let version = x.protocol();
    match letter {
        'h' | 'a' => {
            let _ = write!(out, "{}", x.remote);
        }
        'A' => {
            let _ = write!(out, "{}", x.peer.local.ip().to_canonical());
        }
        'u' => escaped(x.user.as_ref().map_or("", |user| &user.name).as_bytes()),
        't' => time(x, argument, out),
        'r' => {
            escaped(method.as_bytes());
            out.push(b' ');
            escape(x.target_original.as_bytes(), escaping, out);
            out.push(b' ');
            out.extend_from_slice(version.as_bytes());
        }
        's' => {
            let _ = write!(out, "{}", x.status);
        }
        'b' | 'B' => {
            let _ = write!(out, "{}", x.sent);
        }
        'i' => escaped(header(x, argument.unwrap_or_default()).as_bytes()),
        'o' => {
            let name = argument.unwrap_or_default().to_ascii_lowercase();
            escaped(x.response_fields.named(&name).unwrap_or_default());
        }
        // The notes that we keep of a request: which trace it is in, and which route answered it.
        'n' if argument == Some("trace") => {
            if let Some(trace) = &x.trace {
                let _ = write!(out, "{:032x}", trace.own.trace);
            }
        }
        'n' if argument.is_some_and(|name| name.starts_with("tls-")) => {
            if let Some(facts) = x.peer.tls.as_deref() {
                escaped(negotiated(facts, argument.unwrap_or_default()));
            }
        }
        'n' => {
            let route = x.conf.edge.route.as_deref().filter(|_| argument == Some("route"));
            escaped(route.unwrap_or_default().as_bytes());
        }
        'e' => {
            let name = argument.unwrap_or_default();
            let found = x.environment.iter().find(|(known, _)| known == name);
            escaped(found.map_or("", |(_, value)| value).as_bytes());
        }
        'C' => escaped(cookie(x, argument.unwrap_or_default()).as_bytes()),
        'f' => escaped(x.physical.path.as_bytes()),
        'U' => {
            let target = if x.target.text.is_empty() { &x.target_original } else { &x.target.text };
            escaped(target.split('?').next().unwrap_or_default().as_bytes());
        }
        'q' => escaped(x.target.query().as_bytes()),
        'm' => escaped(method.as_bytes()),
        'H' => out.extend_from_slice(version.as_bytes()),
        'p' => {
            let port = if argument == Some("remote") { x.remote_port } else { x.peer.local.port() };
            let _ = write!(out, "{port}");
        }
        'v' => {
            escaped(x.server_name.as_deref().or(x.conf.server.name.as_deref()).unwrap_or_default().as_bytes())
        }
        'V' => escaped(x.head.authority().unwrap_or_default().as_bytes()),
        'D' => {
            let _ = write!(out, "{}", took.as_micros());
        }
        'T' => {
            let _ = match argument {
                Some("ms") => write!(out, "{}", took.as_millis()),
                Some("us") => write!(out, "{}", took.as_micros()),
                Some("ns") => write!(out, "{}", took.as_nanos()),
                _ => write!(out, "{}", took.as_secs()),
            };
        }
        'X' => out.extend_from_slice(match after {
            After::Cut => b"X",
            After::Keep => b"+",
            After::Close => b"-",
        }),
        'k' => {
            let _ = write!(out, "{}", x.connection_requests.saturating_sub(1));
        }
        'I' | 'O' | 'S' => {
            let (read, mut written) = (x.received(), x.sent);
            if let Channel::Http1(http) = &*x.channel {
                written = http.io.bytes_written.saturating_sub(x.bytes_before.1);
            }
            let count = match letter {
                'I' => read,
                'O' => written,
                _ => read + written,
            };
            let _ = write!(out, "{count}");
        }
        'R' => {
            let handler = if x.physical.path.is_empty() { "gateway" } else { "file" };
            out.extend_from_slice(handler.as_bytes());
        }
        _ => {}
    }
}

/// What the connection's handshake agreed on.
fn negotiated<'f>(facts: &'f Facts, name: &str) -> &'f [u8] {
    match name {
        "tls-version" => facts.version.text().as_bytes(),
        "tls-cipher" => facts.cipher.as_bytes(),
        "tls-group" => facts.curve.unwrap_or_default().as_bytes(),
        "tls-name" => facts.server_name.as_deref().unwrap_or_default().as_bytes(),
        "tls-alpn" => facts.alpn.as_deref().unwrap_or_default(),
        _ => b"",
    }
}

fn header(x: &Exchange<'_>, name: &str) -> String {
    if name.eq_ignore_ascii_case("host") {
        return x.head.authority().unwrap_or_default().to_owned();
    }
    let name = name.to_ascii_lowercase();
    let values: Vec<String> =
        x.head.fields.all_named(&name).map(|value| String::from_utf8_lossy(value).into_owned()).collect();
    values.join(", ")
}

fn cookie(x: &Exchange<'_>, name: &str) -> String {
    let cookies = x.header("cookie").unwrap_or_default();
    let found =
        cookies.split(';').filter_map(|pair| pair.trim().split_once('=')).find(|(known, _)| *known == name);
    found.map_or(String::new(), |(_, value)| value.to_owned())
}

/// `[28/Nov/2026:05:23:43 +0000]`, or what the argument asks for.
fn time(x: &Exchange<'_>, argument: Option<&str>, out: &mut Vec<u8>) {
    let since = x.begun_at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let asked = argument.unwrap_or_default();
    let asked = asked.strip_prefix("begin:").or_else(|| asked.strip_prefix("end:")).unwrap_or(asked);
    let _ = match asked {
        "sec" => write!(out, "{}", since.as_secs()),
        "msec" => write!(out, "{}", since.as_millis()),
        "usec" => write!(out, "{}", since.as_micros()),
        "nsec" => write!(out, "{}", since.as_nanos()),
        "msec_frac" => write!(out, "{:03}", since.subsec_millis()),
        "usec_frac" => write!(out, "{:06}", since.subsec_micros()),
        "nsec_frac" => write!(out, "{:09}", since.subsec_nanos()),
        _ => {
            let text = date::imf_fixdate(since.as_secs());
            let text = String::from_utf8_lossy(&text);
            match strftime(x.begun_at, asked) {
                Some(text) => write!(out, "{text}"),
                None => write!(
                    out,
                    "[{}/{}/{}:{} +0000]",
                    &text[5..7],
                    &text[8..11],
                    &text[12..16],
                    &text[17..25]
                ),
            }
        }
    };
}

/// A time in the words of strftime; `None` where there are none. Logs are in universal time.
fn strftime(at: std::time::SystemTime, format: &str) -> Option<String> {
    use jiff::fmt::strtime::{BrokenDownTime, Config};
    if !format.contains('%') {
        return None;
    }
    let at = jiff::Timestamp::try_from(at).ok()?.to_zoned(jiff::tz::TimeZone::UTC);
    let config = Config::new().lenient(true);
    BrokenDownTime::from(&at).to_string_with_config(&config, format).ok()
}

/// What could end a line, a field or a terminal's patience is written as an escape.
fn escape(text: &[u8], escaping: Escaping, out: &mut Vec<u8>) {
    if escaping == Escaping::Json {
        for char in String::from_utf8_lossy(text).chars() {
            match char {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                char if char < ' ' || char == '\u{7f}' => {
                    let _ = write!(out, "\\u{:04x}", u32::from(char));
                }
                char => {
                    let mut bytes = [0; 4];
                    out.extend_from_slice(char.encode_utf8(&mut bytes).as_bytes());
                }
            }
        }
        return;
    }
    for &byte in text {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b' '..=b'~' => out.push(byte),
            byte => {
                let _ = write!(out, "\\x{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_a_line_early() {
        let of = |text: &str, escaping| {
            let mut out = Vec::new();
            escape(text.as_bytes(), escaping, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(of("a\"b\\c\n\u{1b}é", Escaping::Default), "a\\\"b\\\\c\\n\\x1B\\xC3\\xA9");
        let json = of("a\"b\\c\n\u{1b}é", Escaping::Json);
        assert_eq!(json, "a\\\"b\\\\c\\u000a\\u001bé");
        assert_eq!(serde_json::from_str::<String>(&format!("\"{json}\"")).unwrap(), "a\"b\\c\n\u{1b}é");
        let at = UNIX_EPOCH + Duration::from_secs(1_704_164_645);
        assert_eq!(strftime(at, "%Y-%m-%dT%H:%M:%S%z").as_deref(), Some("2024-01-02T03:04:05+0000"));
        assert_eq!(strftime(at, "%FT%TZ").as_deref(), Some("2024-01-02T03:04:05Z"));
        assert_eq!(strftime(at, "begin"), None);
    }
}
