//! `AuthParameters`: what is meant, what is wrong and where, and what of it is secret.

use serde_json::{Map, Value};

use super::{Authorization, ConnectionError, Extra, NAME_LENGTH_MAX, OAuth, invalid};

/// Parameters that travel with each call, of each kind.
const PARAMETERS_MAX: usize = 100;
const VALUE_LENGTH_MAX: usize = 8192;

/// What is meant by `AuthParameters`.
pub(super) fn read(
    authorization_type: &str,
    parameters: &Value,
) -> Result<(Authorization, Extra), ConnectionError> {
    const AT: &str = "AuthParameters";
    let members = parameters.as_object().ok_or_else(|| invalid(AT, "an object is expected"))?;
    let of_type = match authorization_type {
        "API_KEY" => "ApiKeyAuthParameters",
        "BASIC" => "BasicAuthParameters",
        "OAUTH_CLIENT_CREDENTIALS" => "OAuthParameters",
        _ => {
            let problem = "it has to be API_KEY, BASIC or OAUTH_CLIENT_CREDENTIALS";
            return Err(invalid("AuthorizationType", problem));
        }
    };
    only(members, AT, &[of_type, "InvocationHttpParameters"])?;
    let at = format!("{AT}.{of_type}");
    let found = object(members, AT, of_type)?;
    let authorization = match authorization_type {
        "API_KEY" => {
            only(found, &at, &["ApiKeyName", "ApiKeyValue"])?;
            let name = text(found, &at, "ApiKeyName")?.to_owned();
            if http::HeaderName::try_from(&name).is_err() {
                return Err(invalid(&format!("{at}.ApiKeyName"), "it has to be a header's name"));
            }
            Authorization::ApiKey { name, value: header_value(found, &at, "ApiKeyValue")? }
        }
        "BASIC" => {
            only(found, &at, &["Username", "Password"])?;
            let (username, password) = (text(found, &at, "Username")?, text(found, &at, "Password")?);
            if username.contains(':') {
                return Err(invalid(&format!("{at}.Username"), "it must not hold a colon"));
            }
            Authorization::Basic { username: username.to_owned(), password: password.to_owned() }
        }
        _ => {
            only(
                found,
                &at,
                &["AuthorizationEndpoint", "HttpMethod", "ClientParameters", "OAuthHttpParameters"],
            )?;
            let endpoint = text(found, &at, "AuthorizationEndpoint")?.to_owned();
            let is_url = endpoint.starts_with("https://") || endpoint.starts_with("http://");
            if !is_url || endpoint.parse::<http::Uri>().is_err() {
                return Err(invalid(&format!("{at}.AuthorizationEndpoint"), "a URL is expected"));
            }
            let method = found.get("HttpMethod").map_or(Ok("POST"), |_| text(found, &at, "HttpMethod"))?;
            if !["GET", "POST", "PUT"].contains(&method) {
                return Err(invalid(&format!("{at}.HttpMethod"), "it has to be GET, POST or PUT"));
            }
            let client_at = format!("{at}.ClientParameters");
            let client = object(found, &at, "ClientParameters")?;
            only(client, &client_at, &["ClientID", "ClientSecret"])?;
            Authorization::OAuth(OAuth {
                endpoint,
                method: method.to_owned(),
                client_id: text(client, &client_at, "ClientID")?.to_owned(),
                client_secret: text(client, &client_at, "ClientSecret")?.to_owned(),
                extra: extra(found, &at, "OAuthHttpParameters")?,
            })
        }
    };
    Ok((authorization, extra(members, AT, "InvocationHttpParameters")?))
}

fn extra(members: &Map<String, Value>, at: &str, member: &str) -> Result<Extra, ConnectionError> {
    if !members.contains_key(member) {
        return Ok(Extra::default());
    }
    let found = object(members, at, member)?;
    let at = format!("{at}.{member}");
    only(found, &at, &["HeaderParameters", "QueryStringParameters", "BodyParameters"])?;
    let pairs = |kind: &str| -> Result<Vec<(String, String)>, ConnectionError> {
        let at = format!("{at}.{kind}");
        let Some(list) = found.get(kind) else { return Ok(Vec::new()) };
        let list = list.as_array().ok_or_else(|| invalid(&at, "a list is expected"))?;
        if list.len() > PARAMETERS_MAX {
            return Err(invalid(&at, format!("there are more than {PARAMETERS_MAX}")));
        }
        let pair = |(index, one): (usize, &Value)| {
            let at = format!("{at}[{index}]");
            let one = one.as_object().ok_or_else(|| invalid(&at, "an object is expected"))?;
            only(one, &at, &["Key", "Value", "IsValueSecret"])?;
            let name = text(one, &at, "Key")?.to_owned();
            let value = if kind == "HeaderParameters" {
                if http::HeaderName::try_from(&name).is_err() {
                    return Err(invalid(&format!("{at}.Key"), "it has to be a header's name"));
                }
                header_value(one, &at, "Value")?
            } else {
                text(one, &at, "Value")?.to_owned()
            };
            Ok((name, value))
        };
        list.iter().enumerate().map(pair).collect()
    };
    Ok(Extra {
        headers: pairs("HeaderParameters")?,
        query: pairs("QueryStringParameters")?,
        body: pairs("BodyParameters")?,
    })
}

/// Takes out what is secret: the key's value, the password, the client's secret, and parameters that say so.
pub(super) fn hide(value: &mut Value) {
    match value {
        Value::Object(members) => {
            let is_secret = members.get("IsValueSecret").and_then(Value::as_bool) == Some(true);
            members.retain(|name, _| {
                let is_hidden = matches!(name.as_str(), "ApiKeyValue" | "Password" | "ClientSecret");
                !is_hidden && (!is_secret || name != "Value")
            });
            members.values_mut().for_each(hide);
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        _ => {}
    }
}

pub(super) fn check_name(name: &str) -> Result<(), ConnectionError> {
    check_word("Name", name)
}

pub(super) fn check_word(path: &str, text: &str) -> Result<(), ConnectionError> {
    let is_word = !text.is_empty()
        && text.len() <= NAME_LENGTH_MAX
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    if is_word {
        Ok(())
    } else {
        Err(invalid(
            path,
            format!("1 to {NAME_LENGTH_MAX} letters, digits, dots, hyphens and underscores are expected"),
        ))
    }
}

pub(super) fn only(members: &Map<String, Value>, at: &str, known: &[&str]) -> Result<(), ConnectionError> {
    match members.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(unknown) => Err(invalid(
            &join(at, unknown),
            format!("there is no such member here; there is {}", known.join(", ")),
        )),
    }
}

fn join(at: &str, member: &str) -> String {
    if at.is_empty() { member.to_owned() } else { format!("{at}.{member}") }
}

fn object<'m>(
    members: &'m Map<String, Value>,
    at: &str,
    member: &str,
) -> Result<&'m Map<String, Value>, ConnectionError> {
    match members.get(member) {
        Some(Value::Object(found)) => Ok(found),
        Some(_) => Err(invalid(&join(at, member), "an object is expected")),
        None => Err(invalid(&join(at, member), "it is required")),
    }
}

pub(super) fn text<'m>(
    members: &'m Map<String, Value>,
    at: &str,
    member: &str,
) -> Result<&'m str, ConnectionError> {
    match members.get(member) {
        Some(Value::String(found)) if found.len() > VALUE_LENGTH_MAX => {
            Err(invalid(&join(at, member), format!("it is longer than {VALUE_LENGTH_MAX} bytes")))
        }
        Some(Value::String(found)) if !found.is_empty() => Ok(found),
        // What was given is not repeated: it may be a secret in the wrong place.
        Some(_) => Err(invalid(&join(at, member), "a text is expected")),
        None => Err(invalid(&join(at, member), "it is required")),
    }
}

fn header_value(members: &Map<String, Value>, at: &str, member: &str) -> Result<String, ConnectionError> {
    let found = text(members, at, member)?;
    if http::HeaderValue::try_from(found).is_err() {
        return Err(invalid(&join(at, member), "a header cannot hold it"));
    }
    Ok(found.to_owned())
}
