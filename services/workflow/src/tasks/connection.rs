//! Connections: how an endpoint wants to be authorised, in the shape of EventBridge's `CreateConnection`.
//!
//! What is secret is sealed when it comes in. Nothing shows it again: a connection's answer has `AuthParameters` without it.

mod document;

use std::collections::BTreeMap;

use selvedge_store::{Error as StoreError, PAGE_MAX, Read, Store, Transaction, Vault, VaultError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use document::{check_name, check_word, hide, only, read, text};

use crate::audit::{self, Act};
use crate::record;

/// How many connections there may be.
pub(crate) const CONNECTIONS_MAX: usize = 3000;
const NAME_LENGTH_MAX: usize = 64;

/// A connection as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Connection {
    pub(crate) name: String,
    pub(crate) arn: String,
    pub(crate) description: Option<String>,
    authorization_type: String,
    pub(crate) created_ms: i64,
    pub(crate) updated_ms: i64,
    /// Changes with each change: what was cached for another is of no use.
    pub(crate) revision: String,
    /// `AuthParameters` without what is secret.
    shown: Value,
    /// `AuthParameters`, all of it.
    sealed: String,
}

/// A connection with its secrets, in memory for a call.
pub(crate) struct Opened {
    pub(crate) name: String,
    pub(crate) revision: String,
    pub(crate) authorization: Authorization,
    /// What travels besides with each call.
    pub(crate) extra: Extra,
}

/// How calls are authorised.
pub(crate) enum Authorization {
    ApiKey { name: String, value: String },
    Basic { username: String, password: String },
    OAuth(OAuth),
}

/// Client credentials.
pub(crate) struct OAuth {
    pub(crate) endpoint: String,
    pub(crate) method: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    pub(crate) extra: Extra,
}

/// Parameters of a connection that travel with a call.
#[derive(Clone, Default)]
pub(crate) struct Extra {
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) body: Vec<(String, String)>,
}

/// A connection cannot be made or found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    #[error("{path}: {problem}")]
    Invalid { path: String, problem: String },
    #[error("there is no connection {0}")]
    Unknown(String),
    #[error("there are {CONNECTIONS_MAX} connections already")]
    TooMany,
    #[error("{0}")]
    Vault(#[from] VaultError),
    #[error("the store failed")]
    Store(#[from] StoreError),
}

fn invalid(path: &str, problem: impl Into<String>) -> ConnectionError {
    ConnectionError::Invalid { path: path.to_owned(), problem: problem.into() }
}

pub(crate) const PREFIX: &str = "connection/";

fn key(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// What a new connection is made from besides its document.
pub(crate) struct Making<'a> {
    pub(crate) region: &'a str,
    pub(crate) account: &'a str,
    /// Becomes the end of its ARN, unless it has one.
    pub(crate) id: String,
    /// Changes with each change.
    pub(crate) revision: String,
    pub(crate) now_ms: i64,
    /// Who makes it, as far as it is known.
    pub(crate) actor: &'a str,
}

/// Checks a document, seals what is secret and stores it. Whether it is new.
pub(crate) fn put(
    store: &dyn Store,
    vault: &Vault,
    name: &str,
    document: &Value,
    making: &Making<'_>,
) -> Result<(Connection, bool), ConnectionError> {
    check_name(name)?;
    let members = document.as_object().ok_or_else(|| invalid("", "an object is expected"))?;
    only(members, "", &["Name", "Description", "AuthorizationType", "AuthParameters", "Id"])?;
    if members.get("Name").is_some_and(|given| given != name) {
        return Err(invalid("Name", format!("it is {name} in the path")));
    }
    let authorization_type = text(members, "", "AuthorizationType")?.to_owned();
    let parameters =
        members.get("AuthParameters").ok_or_else(|| invalid("AuthParameters", "it is required"))?;
    read(&authorization_type, parameters)?;
    let description = members.get("Description").map(|_| text(members, "", "Description")).transpose()?;
    let id = match members.get("Id") {
        None => None,
        Some(_) => Some(text(members, "", "Id")?.to_owned()),
    };
    if let Some(id) = &id {
        check_word("Id", id)?;
    }
    let sealed = vault.seal(&key(name), parameters.to_string().as_bytes())?;
    let mut shown = parameters.clone();
    hide(&mut shown);
    let written = store.write(|tx| {
        let found = tx.get(&key(name))?;
        let earlier: Option<Connection> = found.as_ref().map(record::decode).transpose()?;
        if earlier.is_none() && count(tx)? >= CONNECTIONS_MAX {
            return Err(selvedge_store::WriteError::Refused(ConnectionError::TooMany));
        }
        let arn = match (&id, &earlier) {
            (None, Some(earlier)) => earlier.arn.clone(),
            (id, _) => {
                let id = id.as_deref().unwrap_or(&making.id);
                format!("arn:aws:events:{}:{}:connection/{name}/{id}", making.region, making.account)
            }
        };
        let connection = Connection {
            name: name.to_owned(),
            arn,
            description: description.map(str::to_owned),
            authorization_type: authorization_type.clone(),
            created_ms: earlier.as_ref().map_or(making.now_ms, |earlier| earlier.created_ms),
            updated_ms: making.now_ms,
            revision: making.revision.clone(),
            shown: shown.clone(),
            sealed: sealed.clone(),
        };
        tx.put(&key(name), record::encode(&connection))?;
        note(tx, "PutConnection", making.actor, making.now_ms, &connection)?;
        Ok((connection, earlier.is_none()))
    });
    match written {
        Ok((done, _)) => Ok(done),
        Err(selvedge_store::WriteError::Refused(error)) => Err(error),
        Err(selvedge_store::WriteError::Store(error)) => Err(error.into()),
    }
}

/// A connection by its name.
pub(crate) fn find(view: &dyn Read, name: &str) -> Result<Connection, ConnectionError> {
    let unknown = || ConnectionError::Unknown(name.chars().take(NAME_LENGTH_MAX).collect());
    check_name(name).map_err(|_| unknown())?;
    let found = view.get(&key(name))?.ok_or_else(unknown)?;
    Ok(record::decode(&found)?)
}

/// All of them.
pub(crate) fn list(view: &dyn Read) -> Result<Vec<Connection>, ConnectionError> {
    view.scan_all(PREFIX)?.iter().map(|found| Ok(record::decode(found)?)).collect()
}

/// Removes a connection; it as it was.
pub(crate) fn delete(
    store: &dyn Store,
    name: &str,
    actor: &str,
    now_ms: i64,
) -> Result<Connection, ConnectionError> {
    let connection = find(&*store.snapshot()?, name)?;
    store.transact(&mut |tx| {
        tx.delete(&key(name))?;
        Ok(note(tx, "DeleteConnection", actor, now_ms, &connection)?)
    })?;
    Ok(connection)
}

fn note(
    tx: &mut dyn Transaction,
    kind: &str,
    actor: &str,
    at_ms: i64,
    connection: &Connection,
) -> Result<(), StoreError> {
    audit::append(tx, &Act { at_ms, kind, actor, subject: &connection.arn, details: connection.show() })
}

fn count(view: &dyn Read) -> Result<usize, StoreError> {
    let (mut count, mut after) = (0, None);
    loop {
        let page = view.scan(PREFIX, after.as_deref(), PAGE_MAX)?;
        count += page.len();
        match page.last() {
            Some(last) if page.len() == PAGE_MAX => after = Some(last.key.clone()),
            _ => return Ok(count),
        }
    }
}

/// The connection that an ARN names, or a name, with its secrets.
pub(crate) fn open(view: &dyn Read, vault: &Vault, arn: &str) -> Result<Opened, ConnectionError> {
    let unknown = || ConnectionError::Unknown(arn.chars().take(200).collect());
    let rest = match arn.strip_prefix("arn:") {
        None => arn,
        Some(_) => {
            let resource = arn.splitn(6, ':').nth(5).ok_or_else(unknown)?;
            resource.strip_prefix("connection/").ok_or_else(unknown)?
        }
    };
    let (name, id) = rest.split_once('/').map_or((rest, None), |(name, id)| (name, Some(id)));
    let connection = find(view, name)?;
    // Another one of the same name is another one.
    if id.is_some_and(|id| !connection.arn.ends_with(&format!("/{id}"))) {
        return Err(unknown());
    }
    let parameters = vault.open(&key(name), &connection.sealed)?;
    let parameters: Value = serde_json::from_slice(&parameters)
        .map_err(|error| StoreError::Corrupt(format!("{}: {error}", key(name))))?;
    let (authorization, extra) = read(&connection.authorization_type, &parameters)?;
    Ok(Opened { name: connection.name, revision: connection.revision, authorization, extra })
}

impl Connection {
    /// As the API shows it: nothing secret is in it.
    pub(crate) fn show(&self) -> Value {
        let mut shown = json!({
            "Name": self.name,
            "ConnectionArn": self.arn,
            "ConnectionState": "AUTHORIZED",
            "AuthorizationType": self.authorization_type,
            "AuthParameters": self.shown,
            "CreationTime": self.created_ms as f64 / 1000.0,
            "LastModifiedTime": self.updated_ms as f64 / 1000.0,
        });
        if let Some(description) = &self.description {
            shown["Description"] = description.as_str().into();
        }
        shown
    }
}

impl Extra {
    /// Entries of a form or a JSON object: the connection's word counts.
    pub(crate) fn body_map(&self) -> BTreeMap<&str, &str> {
        self.body.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }
}

#[cfg(test)]
mod tests {
    use selvedge_store::memory::Memory;

    use super::*;

    fn making() -> Making<'static> {
        Making {
            region: "eu-west-1",
            account: "123456789012",
            id: "id-1".into(),
            revision: "r".into(),
            now_ms: 0,
            actor: "",
        }
    }

    fn basic(password: &str) -> Value {
        json!({ "AuthorizationType": "BASIC", "AuthParameters": {
            "BasicAuthParameters": { "Username": "ada", "Password": password },
            "InvocationHttpParameters": { "QueryStringParameters": [
                { "Key": "shown", "Value": "yes" }, { "Key": "hidden", "Value": "hush2", "IsValueSecret": true }] },
        } })
    }

    #[test]
    fn secrets_are_sealed_and_never_shown() {
        let (store, vault) = (Memory::new(), Vault::new(&[1; 32]).unwrap());
        let (made, is_new) = put(&store, &vault, "crm", &basic("hush"), &making()).unwrap();
        assert!(is_new);
        assert_eq!(made.arn, "arn:aws:events:eu-west-1:123456789012:connection/crm/id-1");
        let view = store.snapshot().unwrap();
        let stored = String::from_utf8(view.get("connection/crm").unwrap().unwrap().value.to_vec()).unwrap();
        for text in [stored, made.show().to_string(), format!("{made:?}")] {
            assert!(!text.contains("hush"), "{text}");
            assert!(text.contains("yes"), "{text}");
        }
        let opened = open(&*view, &vault, &made.arn).unwrap();
        assert!(matches!(&opened.authorization, Authorization::Basic { password, .. } if password == "hush"));
        assert_eq!(opened.extra.query[1].1, "hush2");
        assert!(open(&*view, &vault, "crm").is_ok());
        assert!(open(&*view, &vault, "arn:aws:events:x:1:connection/crm/other").is_err());
        assert!(open(&*view, &Vault::new(&[2; 32]).unwrap(), &made.arn).is_err());
        // The ARN stays when the connection changes.
        drop(view);
        let again = Making { id: "id-2".into(), ..making() };
        let (changed, is_new) = put(&store, &vault, "crm", &basic("other"), &again).unwrap();
        assert_eq!((changed.arn, is_new), (made.arn, false));
    }

    #[test]
    fn what_is_wrong_is_named_and_no_value_is_repeated() {
        let (store, vault) = (Memory::new(), Vault::new(&[1; 32]).unwrap());
        for (name, document, path) in [
            ("a b", basic("x"), "Name"),
            ("a", json!([]), ""),
            ("a", json!({ "AuthorizationType": "MAGIC", "AuthParameters": {} }), "AuthorizationType"),
            ("a", json!({ "AuthorizationType": "BASIC" }), "AuthParameters"),
            (
                "a",
                json!({ "AuthorizationType": "BASIC", "AuthParameters": { "ApiKeyAuthParameters": "hush" } }),
                "AuthParameters.ApiKeyAuthParameters",
            ),
            (
                "a",
                json!({ "AuthorizationType": "BASIC", "AuthParameters": { "BasicAuthParameters": { "Username": "u" } } }),
                "AuthParameters.BasicAuthParameters.Password",
            ),
            (
                "a",
                json!({ "AuthorizationType": "API_KEY", "AuthParameters": { "ApiKeyAuthParameters": { "ApiKeyName": "x y", "ApiKeyValue": "hush" } } }),
                "AuthParameters.ApiKeyAuthParameters.ApiKeyName",
            ),
            (
                "a",
                json!({ "AuthorizationType": "API_KEY", "AuthParameters": { "ApiKeyAuthParameters": { "ApiKeyName": "x", "ApiKeyValue": "hush\r\nX: y" } } }),
                "AuthParameters.ApiKeyAuthParameters.ApiKeyValue",
            ),
            (
                "a",
                json!({ "AuthorizationType": "OAUTH_CLIENT_CREDENTIALS", "AuthParameters": { "OAuthParameters": {
                "AuthorizationEndpoint": "ftp://hush", "ClientParameters": {} } } }),
                "AuthParameters.OAuthParameters.AuthorizationEndpoint",
            ),
        ] {
            let error = put(&store, &vault, name, &document, &making()).map(drop).expect_err(path);
            let ConnectionError::Invalid { path: found, .. } = &error else { panic!("{error}") };
            assert_eq!(found, path, "{document}");
            assert!(!error.to_string().contains("hush"), "{error}");
        }
        assert!(list(&*store.snapshot().unwrap()).unwrap().is_empty(), "nothing was changed");
        assert!(matches!(
            put(&store, &Vault::default(), "a", &basic("x"), &making()),
            Err(ConnectionError::Vault(VaultError::NoKey))
        ));
    }
}
