//! Values of `server.*` and of small modules.

use std::sync::Arc;

use super::reading::{self, Reading, boolean, keyed, named_texts, number, optional_text, text, texts, truth};
use super::{Named, Text, Texts};
use crate::value::Value;

/// A rate that is shared by everything with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedRate {
    /// Which one: requests with the same number share the rate.
    pub id: u32,
    /// KiB a second.
    pub kbytes_per_second: u16,
}

/// `server.http-parseopts`: how strictly requests are read, and what becomes of their URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseOptions {
    /// Refuses control characters and other oddities in headers.
    pub header_strict: bool,
    /// Refuses hosts that are none.
    pub host_strict: bool,
    /// Brings addresses in hosts to one form; `host_strict` brings it with it.
    pub host_normalize: bool,
    /// Takes a body with GET and HEAD.
    pub method_get_body: bool,
    /// What becomes of URLs; `None` leaves them as they are.
    pub url: Option<UrlNormalize>,
}

/// What becomes of URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UrlNormalize {
    /// Decodes what need not be encoded.
    pub unreserved: bool,
    /// Decodes everything but what must be encoded.
    pub required: bool,
    /// Refuses control characters.
    pub ctrls_reject: bool,
    /// Turns `\` into `/`.
    pub path_backslash_trans: bool,
    /// Decodes `%2F` in paths.
    pub path_2f_decode: bool,
    /// Refuses `%2F` in paths.
    pub path_2f_reject: bool,
    /// Removes `.` and `..`.
    pub path_dotseg_remove: bool,
    /// Refuses `.` and `..`.
    pub path_dotseg_reject: bool,
    /// Turns `%20` of queries into `+`.
    pub query_20_plus: bool,
    /// Refuses what is no UTF-8.
    pub invalid_utf8_reject: bool,
}

/// `server.feature-flags`: switches by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeatureFlags {
    flags: Arc<[(Text, Value)]>,
}

/// `dir-listing.cache`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListingCache {
    /// Seconds for which a listing is kept.
    pub max_age: u32,
    /// Where; `None`: in memory.
    pub path: Option<Text>,
    /// Whether it is sent with an `ETag`.
    pub etag: bool,
}

/// `evhost.path-pattern`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    /// Its pieces, in order.
    pub pieces: Arc<[HostPiece]>,
}

/// A piece of a document root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPiece {
    /// As it is.
    Literal(Text),
    /// `%_`: the whole host.
    Host,
    /// `%N` and `%{N}`: 0 is domain and top level, 1 the top level, 2 the domain, 3 the next on the left, ….
    Part(u8),
    /// `%{N.M}`: character M of part N, counted from 1; 0 is the whole part.
    Character(u8, u8),
}

impl Default for ParseOptions {
    fn default() -> Self {
        Self {
            header_strict: true,
            host_strict: true,
            host_normalize: true,
            method_get_body: false,
            url: Some(UrlNormalize::default()),
        }
    }
}

impl Default for UrlNormalize {
    fn default() -> Self {
        Self {
            unreserved: true,
            required: false,
            ctrls_reject: true,
            path_backslash_trans: false,
            path_2f_decode: true,
            path_2f_reject: false,
            path_dotseg_remove: true,
            path_dotseg_reject: false,
            query_20_plus: false,
            invalid_utf8_reject: true,
        }
    }
}

impl FeatureFlags {
    /// The switch's position; `default` where it is not named or its value is no boolean.
    pub fn bool(&self, name: &str, default: bool) -> bool {
        self.get(name).and_then(truth).unwrap_or(default)
    }

    /// The switch's number.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        match self.get(name) {
            Some(Value::Integer(number)) => *number,
            Some(Value::Text(text)) => number(text).unwrap_or(default),
            _ => default,
        }
    }

    /// The switch's value.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.flags.iter().find(|(found, _)| **found == *name).map(|(_, value)| value)
    }
}

pub(super) fn feature_flags(value: &Value, reading: &mut Reading<'_>) -> Result<FeatureFlags, String> {
    let list = keyed(value, reading)?;
    let flags = list.iter().filter_map(|(key, value)| Some((key?.clone(), value.clone())));
    Ok(FeatureFlags { flags: flags.collect() })
}

pub(super) fn parse_options(value: &Value, reading: &mut Reading<'_>) -> Result<ParseOptions, String> {
    let mut options = ParseOptions::default();
    let mut url = UrlNormalize::default();
    let mut off = false;
    let mut decode_2f = true;
    for (key, text) in &*named_texts(value, reading)? {
        let on = truth(&Value::Text(text.clone())).ok_or_else(|| {
            format!(
                "unrecognized value for server.http-parseopts: {key} => {text} (expect \"[enable|disable]\")"
            )
        })?;
        match &**key {
            "url-normalize" => {
                if !on {
                    off = true;
                    break;
                }
            }
            "url-normalize-unreserved" => url.unreserved = on,
            "url-normalize-required" => url.required = on,
            "url-ctrls-reject" => url.ctrls_reject = on,
            "url-path-backslash-trans" => url.path_backslash_trans = on,
            "url-path-2f-decode" => {
                url.path_2f_decode = on;
                decode_2f &= on;
            }
            "url-path-2f-reject" => url.path_2f_reject = on,
            "url-path-dotseg-remove" => url.path_dotseg_remove = on,
            "url-path-dotseg-reject" => url.path_dotseg_reject = on,
            "url-query-20-plus" => url.query_20_plus = on,
            "url-invalid-utf8-reject" => url.invalid_utf8_reject = on,
            "header-strict" => options.header_strict = on,
            "host-strict" => options.host_strict = on,
            "host-normalize" => options.host_normalize = on,
            "method-get-body" => options.method_get_body = on,
            _ => return Err(format!("unrecognized key for server.http-parseopts: {key}")),
        }
    }
    options.host_normalize |= options.host_strict;
    if off {
        options.url = None;
        return Ok(options);
    }
    if url.path_2f_decode && url.path_2f_reject {
        return Err(
            "conflicting options in server.http-parseopts:url-path-2f-decode, url-path-2f-reject".into()
        );
    }
    if url.path_dotseg_remove && url.path_dotseg_reject {
        return Err(
            "conflicting options in server.http-parseopts:url-path-dotseg-remove, url-path-dotseg-reject"
                .into(),
        );
    }
    if !url.unreserved && !url.required {
        url.unreserved = true;
        url.invalid_utf8_reject = true;
        url.path_2f_decode |= decode_2f && !url.path_2f_reject;
    }
    options.url = Some(url);
    Ok(options)
}

pub(super) fn mimetypes(value: &Value, reading: &mut Reading<'_>) -> Result<Named<Text>, String> {
    let named = named_texts(value, reading)?;
    let script = |(suffix, kind): &(Text, Text)| {
        let kind = if **suffix == *".js" && **kind == *"application/javascript" {
            "text/javascript".into()
        } else {
            kind.clone()
        };
        (suffix.clone(), kind)
    };
    Ok(named.iter().map(script).collect())
}

/// A prefix that begins with another has to come before it, or it would never count.
pub(super) fn aliases(value: &Value, reading: &mut Reading<'_>) -> Result<Named<Text>, String> {
    let named = named_texts(value, reading)?;
    for (index, (before, _)) in named.iter().enumerate() {
        if let Some((after, _)) = named[index + 1..].iter().find(|(after, _)| after.starts_with(&**before)) {
            return Err(format!("alias.url: `{after}' will never match as `{before}' matched first"));
        }
    }
    Ok(named)
}

pub(super) fn listing_cache(
    value: &Value,
    reading: &mut Reading<'_>,
) -> Result<Option<ListingCache>, String> {
    let mut cache = ListingCache { max_age: 15, path: None, etag: false };
    for (key, value) in keyed(value, reading)?.iter() {
        match key.map(|key| &**key) {
            Some("max-age") => cache.max_age = reading::int(value, reading)?,
            Some("path") => cache.path = optional_text(value, reading)?,
            Some("etag") => cache.etag = boolean(value, reading)?,
            other => return Err(format!("unexpected key in dir-listing.cache: {}", other.unwrap_or(""))),
        }
    }
    Ok((cache.max_age != 0).then_some(cache))
}

pub(super) fn header_file(value: &Value, reading: &mut Reading<'_>) -> Result<Option<Text>, String> {
    file_or_switch(value, reading, "HEADER.txt")
}

pub(super) fn readme_file(value: &Value, reading: &mut Reading<'_>) -> Result<Option<Text>, String> {
    file_or_switch(value, reading, "README.txt")
}

fn file_or_switch(value: &Value, reading: &mut Reading<'_>, usual: &str) -> Result<Option<Text>, String> {
    Ok(match optional_text(value, reading)?.as_deref() {
        None | Some("disable") => None,
        Some("enable") => Some(usual.into()),
        Some(name) => Some(name.into()),
    })
}

pub(super) fn binary(value: &Value, reading: &mut Reading<'_>) -> Result<bool, String> {
    Ok(text(value, reading)?.eq_ignore_ascii_case("binary"))
}

pub(super) fn origins(value: &Value, reading: &mut Reading<'_>) -> Result<Texts, String> {
    let origins = texts(value, reading)?;
    if origins.iter().any(|origin| origin.is_empty()) {
        return Err("unexpected empty string in wstunnel.origins".into());
    }
    Ok(origins)
}

pub(super) fn host_pattern(value: &Value, reading: &mut Reading<'_>) -> Result<Option<HostPattern>, String> {
    let Some(text) = optional_text(value, reading)? else { return Ok(None) };
    let pieces = host_pieces(&text).ok_or_else(|| format!("invalid evhost.path-pattern: {text}"))?;
    Ok(Some(HostPattern { pieces: pieces.into() }))
}

fn host_pieces(text: &str) -> Option<Vec<HostPiece>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        if at > 0 {
            pieces.push(HostPiece::Literal(rest[..at].into()));
        }
        let digit = |byte: u8| byte.is_ascii_digit().then(|| byte - b'0');
        let (piece, taken) = match rest.as_bytes()[at + 1..] {
            [b'%', ..] => (HostPiece::Literal("%".into()), 2),
            [b'_', ..] => (HostPiece::Host, 2),
            [b'{', part, b'}', ..] => (HostPiece::Part(digit(part)?), 4),
            [b'{', part, b'.', character, b'}', ..] => {
                (HostPiece::Character(digit(part)?, digit(character)?), 6)
            }
            [part, ..] => (HostPiece::Part(digit(part)?), 2),
            [] => return None,
        };
        pieces.push(piece);
        rest = &rest[at + taken..];
    }
    if !rest.is_empty() {
        pieces.push(HostPiece::Literal(rest.into()));
    }
    Some(pieces)
}

/// Which ciphers are spoken is not for a list to say: there are none that one would have to forbid.
pub(super) fn ciphers(value: &Value, reading: &mut Reading<'_>) -> Result<Option<Text>, String> {
    let list = optional_text(value, reading)?;
    if list.is_some() {
        reading.warn(format!(
            "{}: whatever it lists, TLS is spoken with the ciphers that have forward secrecy and authenticate, and with no others",
            reading.key
        ));
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_roots_take_parts_of_the_host() {
        let rows = [
            (
                "/srv/%3/%{2.1}/%0/pages/",
                Some(vec![
                    HostPiece::Literal("/srv/".into()),
                    HostPiece::Part(3),
                    HostPiece::Literal("/".into()),
                    HostPiece::Character(2, 1),
                    HostPiece::Literal("/".into()),
                    HostPiece::Part(0),
                    HostPiece::Literal("/pages/".into()),
                ]),
            ),
            ("%_", Some(vec![HostPiece::Host])),
            ("%{4}%%", Some(vec![HostPiece::Part(4), HostPiece::Literal("%".into())])),
            ("/srv/%", None),
            ("/srv/%x", None),
            ("/srv/%{1", None),
            ("/srv/%{1.x}", None),
        ];
        for (text, pieces) in rows {
            assert_eq!(host_pieces(text), pieces, "{text}");
        }
    }
}
