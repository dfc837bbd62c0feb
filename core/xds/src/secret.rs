//! Secrets: what a secret discovery service hands out.
//!
//! They are no part of the configuration: never kept on disk, never dumped, and their keys are never printed. A
//! [`Secret`]'s key is wiped from memory when it is dropped.

pub mod file;

use std::collections::HashSet;
use std::fmt;

use prost::Message;
use selvedge_traffic::tls::{Pem, Validation};
use selvedge_xds_proto::envoy::config::core::v3::data_source;
use selvedge_xds_proto::envoy::extensions::transport_sockets::tls::v3 as proto;
use selvedge_xds_proto::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use selvedge_xds_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use selvedge_xds_proto::google::rpc::Status;
use xxhash_rust::xxh3::xxh3_64;
use zeroize::Zeroizing;

use crate::client::Refused;
use crate::decode::tls::{pem, whole};
use crate::encode::tls::{file as of_file, inline, whole as encode_whole};
use crate::{Reason, type_url, unspoken};

/// Of the message.
const NAME: &str = "envoy.extensions.transport_sockets.tls.v3.Secret";
/// Longest text of a NACK, in bytes.
const ERROR_BYTES_MAX: usize = 4096;

/// A secret by its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Secret {
    pub name: String,
    pub content: Content,
}

/// What a secret is.
#[derive(Clone, PartialEq)]
pub enum Content {
    /// A chain and its key, in PEM.
    Certificate { chain: Vec<u8>, key: Zeroizing<Vec<u8>> },
    /// The same in two files.
    Files { chain: String, key: String },
    /// Whom to trust, and what a peer must show.
    Validation(Box<Validation>),
}

impl fmt::Debug for Content {
    /// Secrets are not for showing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate { .. } | Self::Files { .. } => "Certificate",
            Self::Validation(_) => "Validation",
        })
    }
}

/// A secret as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    pub secret: Secret,
    pub version: String,
    /// Of the message: equal ones have equal contents.
    pub digest: u64,
}

/// A change of secrets to apply.
#[derive(Clone, Debug, PartialEq)]
pub struct SecretUpdate {
    pub nonce: String,
    pub changed: Vec<Received>,
    /// Names that the server does not know. What is in force stays, as with Envoy; who waits need wait no longer.
    pub removed: Vec<String>,
    /// What could not be decoded, to be part of what is refused.
    pub refused: Vec<Refused>,
}

impl Secret {
    /// Decodes a message.
    ///
    /// # Errors
    /// When it is malformed, or says what cannot be honoured; no text of a secret is in the reason.
    pub fn decode(bytes: &[u8]) -> Result<Self, Reason> {
        let message = proto::Secret::decode(bytes).map_err(|error| Reason::Malformed(error.to_string()))?;
        let content = match message.r#type {
            None => return Err(Reason::Missing("type")),
            Some(Type::TlsCertificate(certificate)) => self::certificate(certificate)?,
            Some(Type::ValidationContext(context)) => Content::Validation(Box::new(whole(context)?)),
        };
        match unspoken::find(NAME, bytes) {
            None => Ok(Self { name: message.name, content }),
            Some(path) => Err(Reason::Unspoken { path }),
        }
    }

    /// Encodes it as a message.
    pub fn encode(&self) -> Vec<u8> {
        let certificate = |chain, key| {
            Type::TlsCertificate(proto::TlsCertificate {
                certificate_chain: Some(chain),
                private_key: Some(key),
                password: None,
            })
        };
        let content = match &self.content {
            Content::Certificate { chain, key } => certificate(inline(chain.clone()), inline(key.to_vec())),
            Content::Files { chain, key } => certificate(of_file(chain), of_file(key)),
            Content::Validation(validation) => Type::ValidationContext(encode_whole(validation)),
        };
        proto::Secret { name: self.name.clone(), r#type: Some(content) }.encode_to_vec()
    }
}

fn certificate(certificate: proto::TlsCertificate) -> Result<Content, Reason> {
    const KEY: &str = "tls_certificate.private_key";
    if certificate.password.is_some() {
        return Err(Reason::Unsupported {
            field: "tls_certificate.password",
            value: "a password".to_owned(),
        });
    }
    let chain = pem("tls_certificate.certificate_chain", certificate.certificate_chain.as_ref())?;
    let key = certificate.private_key.and_then(|key| key.specifier).ok_or(Reason::Missing(KEY))?;
    match (chain, key) {
        (Pem::File(chain), data_source::Specifier::Filename(key)) if !key.is_empty() => {
            Ok(Content::Files { chain, key })
        }
        (Pem::Inline(chain), data_source::Specifier::InlineBytes(key)) => {
            Ok(Content::Certificate { chain: chain.into_bytes(), key: Zeroizing::new(key.to_vec()) })
        }
        (Pem::Inline(chain), data_source::Specifier::InlineString(key)) => {
            Ok(Content::Certificate { chain: chain.into_bytes(), key: Zeroizing::new(key.into_bytes()) })
        }
        _ => Err(Reason::Unsupported {
            field: "tls_certificate",
            value: "one half in a file and the other not".to_owned(),
        }),
    }
}

pub(crate) fn read_delta(message: DeltaDiscoveryResponse) -> SecretUpdate {
    let resources = message.resources.into_iter().map(|resource| {
        let any = resource.resource.unwrap_or_default();
        (Some(resource.name), resource.version, any)
    });
    let (changed, refused) = read(resources);
    SecretUpdate { nonce: message.nonce, changed, removed: message.removed_resources, refused }
}

pub(crate) fn read_whole(message: DiscoveryResponse) -> SecretUpdate {
    let version = message.version_info;
    let resources = message.resources.into_iter().map(|any| (None, version.clone(), any));
    let (changed, refused) = read(resources);
    SecretUpdate { nonce: message.nonce, changed, removed: Vec::new(), refused }
}

/// Each with the name under which it came, if it came under one.
fn read(
    resources: impl Iterator<Item = (Option<String>, String, prost_types::Any)>,
) -> (Vec<Received>, Vec<Refused>) {
    let (mut changed, mut refused, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
    for (name, version, any) in resources {
        let mut refuse = |name: String, reason: String| refused.push(Refused { resource: name, reason });
        let named = name.clone().unwrap_or_default();
        if any.type_url != type_url::SECRET {
            refuse(named, format!("type URL {:?} does not match the response's", any.type_url));
            continue;
        }
        match Secret::decode(&any.value) {
            Err(reason) => refuse(named, reason.to_string()),
            Ok(secret) if name.is_some_and(|name| name != secret.name) => {
                refuse(named, format!("the resource calls itself {:?}", secret.name));
            }
            Ok(secret) if !seen.insert(secret.name.clone()) => {
                refuse(secret.name, "duplicate secret found".to_owned());
            }
            Ok(secret) => changed.push(Received { secret, version, digest: xxh3_64(&any.value) }),
        }
    }
    (changed, refused)
}

impl SecretUpdate {
    /// Leaves out what nobody asked for: services send others along. Whether there was anything of `name`.
    pub(crate) fn only(&mut self, name: &str) -> bool {
        self.changed.retain(|received| received.secret.name == name);
        self.removed.retain(|removed| removed == name);
        for refused in &mut self.refused {
            if refused.resource.is_empty() {
                name.clone_into(&mut refused.resource);
            }
        }
        !(self.changed.is_empty() && self.removed.is_empty() && self.refused.is_empty())
    }
}

/// What a NACK says; none if nothing was refused.
pub(crate) fn error_detail(refused: &[Refused]) -> Option<Status> {
    if refused.is_empty() {
        return None;
    }
    let each: Vec<String> =
        refused.iter().map(|refused| format!("{}: {}", refused.resource, refused.reason)).collect();
    let mut message = format!("Error adding/updating secret(s) {}", each.join(", "));
    if message.len() > ERROR_BYTES_MAX {
        let end = (0..=ERROR_BYTES_MAX).rev().find(|at| message.is_char_boundary(*at)).unwrap_or_default();
        message.truncate(end);
    }
    Some(Status { code: 3, message })
}

/// What a proxy asks a secret discovery service, read at the service's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Of the proxy; empty after the first request of a stream.
    pub node_id: String,
    pub names: Vec<String>,
    /// The version that is in force.
    pub version: String,
    /// Of the response that is answered; empty for the first request.
    pub nonce: String,
    /// Present in a NACK.
    pub error: Option<String>,
}

impl Request {
    /// Decodes a message.
    ///
    /// # Errors
    /// When it is malformed, or asks for anything but secrets.
    pub fn decode(bytes: &[u8]) -> Result<Self, Reason> {
        let message =
            DiscoveryRequest::decode(bytes).map_err(|error| Reason::Malformed(error.to_string()))?;
        if !message.type_url.is_empty() && message.type_url != type_url::SECRET {
            return Err(Reason::Unsupported { field: "type_url", value: message.type_url });
        }
        Ok(Self {
            node_id: message.node.map(|node| node.id).unwrap_or_default(),
            names: message.resource_names,
            version: message.version_info,
            nonce: message.response_nonce,
            error: message.error_detail.map(|status| status.message),
        })
    }
}

impl Request {
    /// As [`Request::decode`], of the protocol's other form; `None` if it asks for something else.
    pub fn decode_delta(bytes: &[u8]) -> Option<Self> {
        let message = DeltaDiscoveryRequest::decode(bytes).ok()?;
        (message.type_url == type_url::SECRET).then(|| Self {
            node_id: message.node.map(|node| node.id).unwrap_or_default(),
            names: message.resource_names_subscribe,
            version: String::new(),
            nonce: message.response_nonce,
            error: message.error_detail.map(|status| status.message),
        })
    }
}

/// A service's answer, of the protocol's other form: secrets with their versions, and names of what there is not.
pub fn delta_response(nonce: &str, secrets: &[(Secret, String)], removed: &[String]) -> Vec<u8> {
    let resource = |(secret, version): &(Secret, String)| Resource {
        name: secret.name.clone(),
        version: version.clone(),
        resource: Some(prost_types::Any { type_url: type_url::SECRET.to_owned(), value: secret.encode() }),
    };
    DeltaDiscoveryResponse {
        resources: secrets.iter().map(resource).collect(),
        type_url: type_url::SECRET.to_owned(),
        removed_resources: removed.to_vec(),
        nonce: nonce.to_owned(),
        ..DeltaDiscoveryResponse::default()
    }
    .encode_to_vec()
}

/// A service's answer.
pub fn response(version: &str, nonce: &str, secrets: &[Secret]) -> Vec<u8> {
    let resources = secrets
        .iter()
        .map(|secret| prost_types::Any { type_url: type_url::SECRET.to_owned(), value: secret.encode() });
    DiscoveryResponse {
        version_info: version.to_owned(),
        resources: resources.collect(),
        type_url: type_url::SECRET.to_owned(),
        nonce: nonce.to_owned(),
    }
    .encode_to_vec()
}
