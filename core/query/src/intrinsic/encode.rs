//! Encodings, digests and merging.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::Entropy;

/// The longest text that is encoded, decoded or digested, in characters.
const CHARACTERS_MAX: usize = 10_000;

fn bounded(value: &Value) -> Result<&str, String> {
    let text = value.as_str().ok_or("the argument must be a text")?;
    if text.chars().count() > CHARACTERS_MAX {
        return Err(format!("the text has more than {CHARACTERS_MAX} characters"));
    }
    Ok(text)
}

pub(super) fn base64_encode(arguments: Vec<Value>, _: &mut dyn Entropy) -> Result<Value, String> {
    Ok(Value::String(STANDARD.encode(bounded(&arguments[0])?)))
}

pub(super) fn base64_decode(arguments: Vec<Value>, _: &mut dyn Entropy) -> Result<Value, String> {
    let bytes = STANDARD
        .decode(bounded(&arguments[0])?)
        .map_err(|error| format!("the text is no Base64: {error}"))?;
    String::from_utf8(bytes).map(Value::String).map_err(|_| "what was decoded is no UTF-8".into())
}

pub(super) fn hash(arguments: Vec<Value>, _: &mut dyn Entropy) -> Result<Value, String> {
    let text = match &arguments[0] {
        Value::String(_) => bounded(&arguments[0])?.to_owned(),
        other => bounded(&Value::String(other.to_string()))?.to_owned(),
    };
    let algorithm = arguments[1].as_str().ok_or("the algorithm must be a text")?;
    digest(text.as_bytes(), algorithm).map(Value::String)
}

/// The digest in lower-case hexadecimal digits.
pub(crate) fn digest(bytes: &[u8], algorithm: &str) -> Result<String, String> {
    use sha2::Digest as _;
    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
    Ok(match algorithm {
        "MD5" => hex(&md5::Md5::digest(bytes)),
        "SHA-1" => hex(&sha1::Sha1::digest(bytes)),
        "SHA-256" => hex(&sha2::Sha256::digest(bytes)),
        "SHA-384" => hex(&sha2::Sha384::digest(bytes)),
        "SHA-512" => hex(&sha2::Sha512::digest(bytes)),
        other => return Err(format!("'{other}' is none of MD5, SHA-1, SHA-256, SHA-384 and SHA-512")),
    })
}

/// Shallow: a member of the second object replaces the first's.
pub(super) fn merge(arguments: Vec<Value>, _: &mut dyn Entropy) -> Result<Value, String> {
    let [first, second, deep] = <[Value; 3]>::try_from(arguments).expect("the parser counted the arguments");
    if deep != Value::Bool(false) {
        return Err("the third argument must be false: only shallow merging is offered".into());
    }
    match (first, second) {
        (Value::Object(mut merged), Value::Object(second)) => {
            merged.extend(second);
            Ok(Value::Object(merged))
        }
        _ => Err("the first two arguments must be objects".into()),
    }
}
