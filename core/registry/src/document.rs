//! How the registry stands in the store.
//!
//! ```text
//! registry/namespace/ns-…
//! registry/service/srv-…
//! registry/service-named/ns-…/web     the service of that name: that there is but one
//! registry/instance/srv-…/i-1
//! registry/lease/srv-…/i-1            beside the instance, because it changes with every renewal
//! registry/operation/…
//! registry/tags/ns-…
//! ```

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What all keys begin with.
pub const PREFIX: &str = "registry/";

/// A key of a document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Namespace(String),
    Service(String),
    /// The service of that lower-case name in a namespace.
    ServiceNamed(String, String),
    Instance(String, String),
    Lease(String, String),
    Operation(String),
    /// The tags of a namespace or a service.
    Tags(String),
}

impl Key {
    /// Reads a key; `None` for one of other documents.
    pub fn parse(text: &str) -> Option<Self> {
        let (sort, rest) = text.strip_prefix(PREFIX)?.split_once('/')?;
        let pair = || rest.split_once('/').map(|(first, second)| (first.to_owned(), second.to_owned()));
        Some(match sort {
            "namespace" => Self::Namespace(rest.to_owned()),
            "service" => Self::Service(rest.to_owned()),
            "service-named" => pair().map(|(namespace, name)| Self::ServiceNamed(namespace, name))?,
            "instance" => pair().map(|(service, id)| Self::Instance(service, id))?,
            "lease" => pair().map(|(service, id)| Self::Lease(service, id))?,
            "operation" => Self::Operation(rest.to_owned()),
            "tags" => Self::Tags(rest.to_owned()),
            _ => return None,
        })
    }

    pub fn instance(service: &str, id: &str) -> Self {
        Self::Instance(service.to_owned(), id.to_owned())
    }

    pub fn lease(service: &str, id: &str) -> Self {
        Self::Lease(service.to_owned(), id.to_owned())
    }

    pub fn service_named(namespace: &str, name: &str) -> Self {
        Self::ServiceNamed(namespace.to_owned(), name.to_ascii_lowercase())
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(PREFIX)?;
        match self {
            Self::Namespace(id) => write!(f, "namespace/{id}"),
            Self::Service(id) => write!(f, "service/{id}"),
            Self::ServiceNamed(namespace, name) => write!(f, "service-named/{namespace}/{name}"),
            Self::Instance(service, id) => write!(f, "instance/{service}/{id}"),
            Self::Lease(service, id) => write!(f, "lease/{service}/{id}"),
            Self::Operation(id) => write!(f, "operation/{id}"),
            Self::Tags(id) => write!(f, "tags/{id}"),
        }
    }
}

/// Writes a document.
pub fn write<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("the registry's own types have text keys only")
}

/// Reads a document; `None` for one that is damaged.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back() {
        for key in [
            Key::Namespace("ns-1".into()),
            Key::Service("srv-1".into()),
            Key::service_named("ns-1", "Web"),
            Key::instance("srv-1", "a/b:c@d.e"),
            Key::lease("srv-1", "i"),
            Key::Operation("x".into()),
            Key::Tags("ns-1".into()),
        ] {
            assert_eq!(Key::parse(&key.to_string()), Some(key));
        }
        for other in ["", "registry/", "registry/other/x", "appmesh/mesh/m", "registry/instance/srv"] {
            assert_eq!(Key::parse(other), None);
        }
    }
}
