//! Signature Version 4: who calls, proven by a key that is not sent.
//!
//! Source: AWS's general reference, "Signing AWS API requests". Time is an argument.

use std::fmt;
use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

/// Everything but RFC 3986's unreserved characters.
pub(crate) const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same for the segments of a path.
const ENCODED_PATH: &AsciiSet = &ENCODED.remove(b'/');
const BLOCK_BYTES: usize = 64;

/// An access key. Its secret parts are in no debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The key's public name.
    pub access_key: String,
    /// The key.
    pub secret_key: String,
    /// What comes with keys that end.
    pub session_token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

/// What a signature is for, besides the request.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The service's name in signatures: `sqs`, `events`, …
    pub service: &'a str,
    /// `us-east-1`
    pub region: &'a str,
    /// Seconds since 1970.
    pub seconds: i64,
}

/// A request as it goes out.
#[derive(Clone, Copy, Debug)]
pub struct Unsigned<'a> {
    /// `POST`
    pub method: &'a str,
    /// Encoded, as it is sent.
    pub path: &'a str,
    /// Encoded, without the question mark.
    pub query: &'a str,
    /// The headers that are signed; `host` is one of them.
    pub headers: &'a [(String, String)],
    /// All of it.
    pub body: &'a [u8],
}

/// The headers that a signature adds, lower-case: the date, the token, S3's hash of the body, the signature itself.
pub fn sign(request: &Unsigned<'_>, credentials: &Credentials, scope: &Scope<'_>) -> Vec<(String, String)> {
    let time = amz_date(scope.seconds);
    let day = &time[..8];
    let body_hash = hex(&Sha256::digest(request.body));
    let is_s3 = scope.service == "s3";
    let mut added = vec![("x-amz-date".to_owned(), time.clone())];
    if is_s3 {
        added.push(("x-amz-content-sha256".to_owned(), body_hash.clone()));
    }
    if let Some(token) = &credentials.session_token {
        added.push(("x-amz-security-token".to_owned(), token.clone()));
    }
    let mut headers: Vec<(String, String)> = request
        .headers
        .iter()
        .chain(&added)
        .map(|(name, value)| (name.to_ascii_lowercase(), squeezed(value)))
        .collect();
    headers.sort();
    let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(";");
    let mut canonical = format!("{}\n{}\n", request.method, canonical_path(request.path, is_s3));
    canonical.push_str(&canonical_query(request.query));
    canonical.push('\n');
    for (name, value) in &headers {
        let _ = writeln!(canonical, "{name}:{value}");
    }
    let _ = write!(canonical, "\n{names}\n{body_hash}");
    let place = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{place}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
    let mut key = hmac(format!("AWS4{}", credentials.secret_key).as_bytes(), day.as_bytes());
    for part in [scope.region, scope.service, "aws4_request"] {
        key = hmac(&key, part.as_bytes());
    }
    let signature = hex(&hmac(&key, text.as_bytes()));
    added.push((
        "authorization".to_owned(),
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{place}, SignedHeaders={names}, Signature={signature}",
            credentials.access_key
        ),
    ));
    added
}

/// S3 signs the path as it is sent; the other services a normal form of it, encoded once more.
fn canonical_path(path: &str, is_s3: bool) -> String {
    if is_s3 {
        return if path.is_empty() { "/".to_owned() } else { path.to_owned() };
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let mut normal = format!("/{}", segments.join("/"));
    if path.len() > 1 && path.ends_with('/') && !normal.ends_with('/') {
        normal.push('/');
    }
    utf8_percent_encode(&normal, ENCODED_PATH).to_string()
}

fn canonical_query(query: &str) -> String {
    let encoded = |text: &str| {
        let decoded: Vec<u8> = percent_decode_str(text).collect();
        percent_encoding::percent_encode(&decoded, ENCODED).to_string()
    };
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (encoded(name), encoded(value))
        })
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// Without spaces at the ends, and with one where there are several.
fn squeezed(value: &str) -> String {
    value.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// HMAC of RFC 2104 with SHA-256.
pub fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0; BLOCK_BYTES];
    if key.len() > BLOCK_BYTES {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// `20150830T123600Z`
fn amz_date(seconds: i64) -> String {
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let rest = seconds.rem_euclid(86_400);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// `2015-08-30T12:36:00Z`, with milliseconds where there are some.
pub(crate) fn iso_date(ms: i64) -> String {
    let (year, month, day) = civil(ms.div_euclid(86_400_000));
    let rest = ms.rem_euclid(86_400_000);
    let (seconds, fraction) = (rest / 1000, rest % 1000);
    let mut text = format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    if fraction > 0 {
        let _ = write!(text, ".{fraction:03}");
    }
    text.push('Z');
    text
}

/// Year, month and day of a day since 1970, in the proleptic Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    // Years begin in March here, so that the odd day comes last.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn hmac_is_that_of_rfc_4231() {
        let long = [0xaa; 131];
        for (key, message, expected) in [
            (
                &b"Jefe"[..],
                &b"what do ya want for nothing?"[..],
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &long[..],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ] {
            assert_eq!(hex(&hmac(key, message)), expected);
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "19700101T000000Z"),
            (951_827_696, "20000229T123456Z"),
            (1_440_938_160, "20150830T123600Z"),
            (-1, "19691231T235959Z"),
        ] {
            assert_eq!(amz_date(seconds), expected);
        }
        assert_eq!(iso_date(1_440_938_160_250), "2015-08-30T12:36:00.250Z");
        assert_eq!(iso_date(1_440_938_160_000), "2015-08-30T12:36:00Z");
    }

    /// The vectors come from botocore's signer: `tests/conformance/_sigv4.py` writes them anew.
    #[test]
    fn signatures_are_those_of_botocore() {
        let vectors: Vec<Value> = serde_json::from_str(include_str!("sigv4.json")).unwrap();
        assert!(vectors.len() >= 12);
        for vector in &vectors {
            let text = |name: &str| vector[name].as_str().unwrap();
            let headers: Vec<(String, String)> = serde_json::from_value(vector["headers"].clone()).unwrap();
            let credentials = Credentials {
                access_key: "AKIDEXAMPLE".into(),
                secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
                session_token: vector["token"].as_str().map(str::to_owned),
            };
            let request = Unsigned {
                method: text("method"),
                path: text("path"),
                query: text("query"),
                headers: &headers,
                body: text("body").as_bytes(),
            };
            let scope = Scope { service: text("service"), region: "us-east-1", seconds: 1_440_938_160 };
            let added = sign(&request, &credentials, &scope);
            let authorization = &added.iter().find(|(name, _)| name == "authorization").unwrap().1;
            assert_eq!(authorization, text("authorization"), "{}", text("name"));
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let credentials = Credentials {
            access_key: "AKID".into(),
            secret_key: "hush".into(),
            session_token: Some("quiet".into()),
        };
        let shown = format!("{credentials:?}");
        assert!(shown.contains("AKID") && !shown.contains("hush") && !shown.contains("quiet"), "{shown}");
    }
}
