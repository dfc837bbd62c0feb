//! Who may see what: `auth.*`.

use super::reading::{Reading, key_lists, keyed, named_texts, number, text, truth};
use super::{Named, Text, Texts};
use crate::value::Value;

/// What is asked of who wants to see what is below a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthRequirement {
    /// How a client says who it is.
    pub method: AuthMethod,
    /// The realm.
    pub realm: Text,
    /// Who may.
    pub require: Require,
    /// The digests that may be used, the one that is liked best first.
    pub algorithms: Vec<Algorithm>,
    /// What makes nonces ours; `None`: nonces are not held to it.
    pub nonce_secret: Option<Text>,
    /// Whether clients may send the user's name as a digest.
    pub userhash: bool,
}

/// How a client says who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    /// RFC 7617.
    Basic,
    /// RFC 7616.
    Digest,
    /// Another module found out: `REMOTE_USER` is set.
    Extern,
}

/// A digest of RFC 7616.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// The default.
    Md5,
    /// `SHA-256`.
    Sha256,
    /// `SHA-512-256`.
    Sha512_256,
}

/// Who may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Require {
    /// Every user whose password is right.
    ValidUser,
    /// One of these.
    AnyOf {
        /// Users.
        users: Texts,
        /// Groups.
        groups: Texts,
    },
}

pub(super) fn backend(value: &Value, reading: &mut Reading<'_>) -> Result<Option<Text>, String> {
    let name = text(value, reading)?;
    match &*name {
        "" => Ok(None),
        "plain" | "htpasswd" | "htdigest" => Ok(Some(name)),
        "dbi" | "gssapi" | "ldap" | "pam" | "sasl" | "mysql" => Err(format!(
            "auth.backend \"{name}\" is not supported: use \"htpasswd\" or \"htdigest\" with a file, or sign-in by \
             OpenID Connect in edge.toml"
        )),
        other => Err(format!("auth.backend not supported: {other}")),
    }
}

pub(super) fn cache(value: &Value, reading: &mut Reading<'_>) -> Result<Option<u32>, String> {
    let mut seconds = 600;
    for (key, value) in keyed(value, reading)?.iter() {
        if key.is_some_and(|key| **key == *"max-age") {
            seconds = match value {
                Value::Integer(number) => u32::try_from(*number).unwrap_or(seconds),
                Value::Text(text) => {
                    number(text).and_then(|number| u32::try_from(number).ok()).unwrap_or(seconds)
                }
                Value::List(_) => seconds,
            };
        }
    }
    Ok((seconds != 0).then_some(seconds))
}

pub(super) fn require(value: &Value, reading: &mut Reading<'_>) -> Result<Named<AuthRequirement>, String> {
    key_lists(value, reading)?
        .into_iter()
        .map(|(prefix, list)| {
            let fields = named_texts(&Value::List(list.clone()), reading).map_err(|_| {
                "unexpected value for auth.require; expected auth.require = ( \"urlpath\" => ( \"option\" => \"value\" ) )"
                    .to_owned()
            })?;
            Ok((prefix.clone(), requirement(&fields, reading)?))
        })
        .collect()
}

fn requirement(fields: &[(Text, Text)], reading: &mut Reading<'_>) -> Result<AuthRequirement, String> {
    let (mut method, mut realm, mut who, mut algorithms, mut nonce_secret, mut userhash) =
        (None, None, None, None, None, false);
    for (key, value) in fields {
        match &**key {
            "method" => method = Some(value),
            "realm" => realm = Some(value),
            "require" => who = Some(value),
            "algorithm" => algorithms = Some(value),
            "nonce_secret" | "nonce-secret" => nonce_secret = Some(value.clone()),
            "userhash" => userhash = truth(&Value::Text(value.clone())).unwrap_or(false),
            other => {
                return Err(format!(
                    "the field is unknown in: auth.require = ( \"...\" => ( ..., -> \"{other}\" <- => \"...\" ) )"
                ));
            }
        }
    }
    let missing = |field: &str, what: &str| {
        format!(
            "the {field} field is {what} in: auth.require = ( \"...\" => ( ..., \"{field}\" => \"...\" ) )"
        )
    };
    let method = match method.map(|method| &**method) {
        None | Some("") => return Err(missing("method", "missing or blank")),
        Some("basic") => AuthMethod::Basic,
        Some("digest") => AuthMethod::Digest,
        Some("extern") => AuthMethod::Extern,
        Some(other) => {
            return Err(format!(
                "unknown method {other} (e.g. \"basic\", \"digest\" or \"extern\") in auth.require = ( \"...\" => ( ..., \"method\" => \"...\") )"
            ));
        }
    };
    let realm = realm.cloned().ok_or_else(|| missing("realm", "missing"))?;
    let who = who.filter(|who| !who.is_empty()).ok_or_else(|| missing("require", "missing or blank"))?;
    let algorithms = match algorithms.filter(|names| !names.is_empty()) {
        None => vec![Algorithm::Md5],
        Some(names) => read_algorithms(names).ok_or_else(|| {
            "invalid algorithm in: auth.require = ( \"...\" => ( ..., \"algorithm\" => \"...\" ) )".to_owned()
        })?,
    };
    Ok(AuthRequirement {
        method,
        realm,
        require: read_who(who, reading)?,
        algorithms,
        nonce_secret,
        userhash,
    })
}

fn read_algorithms(names: &str) -> Option<Vec<Algorithm>> {
    names
        .split('|')
        .map(|name| match name.trim().to_ascii_uppercase().as_str() {
            "MD5" => Some(Algorithm::Md5),
            "SHA-256" => Some(Algorithm::Sha256),
            "SHA-512-256" => Some(Algorithm::Sha512_256),
            _ => None,
        })
        .collect()
}

fn read_who(who: &str, reading: &mut Reading<'_>) -> Result<Require, String> {
    if who == "valid-user" {
        return Ok(Require::ValidUser);
    }
    let (mut users, mut groups) = (Vec::new(), Vec::new());
    let expecting = "(expecting \"valid-user\" or \"user=a|user=b|group=g|host=h\")";
    for token in who.strip_suffix('|').unwrap_or(who).split('|') {
        let wrong = |what: &str| {
            format!(
                "error parsing auth.require 'require' field: {what} {expecting}. error value: {who} error near: {token}"
            )
        };
        match token.split_once('=') {
            None => return Err(wrong("missing '='")),
            Some((_, "")) => return Err(wrong("missing token after '='")),
            Some(("user", name)) => users.push(Text::from(name)),
            Some(("group", name)) => groups.push(Text::from(name)),
            Some(("host", _)) => reading.warn(format!(
                "warning parsing auth.require 'require' field: 'host' not implemented; field value: {who}"
            )),
            Some(("valid-user", _)) => {
                return Err(wrong("valid user can not be combined with other require rules"));
            }
            Some(_) => return Err(wrong("invalid/unsupported token")),
        }
    }
    Ok(Require::AnyOf { users: users.into(), groups: groups.into() })
}
