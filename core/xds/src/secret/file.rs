//! Secrets in a file: what a secret discovery service would answer, as an Envoy reads it from disk.
//!
//! ```yaml
//! version_info: "1"
//! resources:
//! - "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
//!   name: front
//!   tls_certificate: { certificate_chain: { filename: /certs/front.pem }, private_key: { filename: /certs/front.key } }
//! ```

use prost::Message;
use prost_types::Any;
use selvedge_xds_proto::envoy::service::discovery::v3::DiscoveryResponse;
use serde_json::Value;

use super::{SecretUpdate, read_whole};
use crate::json::read::{self, Unreadable};

/// Why a file says nothing.
#[derive(Debug, thiserror::Error)]
pub enum FileInvalid {
    #[error("its name ends in none of .json, .yaml, .yml and .pb")]
    Ending,
    #[error("it is no JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("it is no YAML: {0}")]
    Yaml(#[from] serde_norway::Error),
    #[error("it is no discovery response: {0}")]
    Malformed(#[from] prost::DecodeError),
    #[error("it is no discovery response: {0}")]
    Unreadable(#[from] Unreadable),
}

/// What a file at `path` says of the secret `name`.
///
/// # Errors
/// When it is no discovery response; no text of a secret is in the reason.
pub fn read(path: &str, content: &[u8], name: &str) -> Result<SecretUpdate, FileInvalid> {
    let response = match path.rsplit_once('.').map(|(_, ending)| ending) {
        Some("json") => response(&serde_json::from_slice(content)?)?,
        Some("yaml" | "yml") => response(&serde_norway::from_slice(content)?)?,
        Some("pb") => DiscoveryResponse::decode(content)?,
        _ => return Err(FileInvalid::Ending),
    };
    let mut update = read_whole(response);
    if !update.only(name) {
        update.removed.push(name.to_owned());
    }
    Ok(update)
}

fn response(value: &Value) -> Result<DiscoveryResponse, Unreadable> {
    let wrong = |path: &str, reason: &str| Unreadable { path: path.to_owned(), reason: reason.to_owned() };
    let object = value.as_object().ok_or_else(|| wrong("the file", "it is no object"))?;
    let mut response = DiscoveryResponse::default();
    for (name, value) in object {
        match name.as_str() {
            "version_info" | "versionInfo" => {
                let version = value.as_str().ok_or_else(|| wrong(name, "it is no text"))?;
                version.clone_into(&mut response.version_info);
            }
            "resources" => {
                let resources = value.as_array().ok_or_else(|| wrong(name, "it is no list"))?;
                for (index, resource) in resources.iter().enumerate() {
                    let (type_url, value) = read::any(resource, &format!("resources[{index}]"))?;
                    response.resources.push(Any { type_url, value });
                }
            }
            // Of a stream; an Envoy passes over them too.
            "type_url" | "typeUrl" | "nonce" | "canary" | "control_plane" | "controlPlane" | "@type" => {}
            _ => return Err(wrong(name, "a discovery response has no such field")),
        }
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::super::{Content, Secret, response as encoded};
    use super::*;

    const YAML: &str = r#"
version_info: "7"
resources:
- "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
  name: front
  tls_certificate:
    certificate_chain: { filename: /certs/front.pem }
    private_key: { filename: /certs/front.key }
- "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
  name: roots
  validation_context: { trusted_ca: { inline_string: PEM } }
"#;

    fn front() -> Secret {
        let content = Content::Files { chain: "/certs/front.pem".into(), key: "/certs/front.key".into() };
        Secret { name: "front".into(), content }
    }

    #[test]
    fn every_form_of_a_file_says_the_same() {
        let json: Value = serde_norway::from_str(YAML).expect("YAML");
        let roots = read("s.yaml", YAML.as_bytes(), "roots").expect("secrets").changed.remove(0).secret;
        let binary = encoded("7", "", &[front(), roots]);
        for (path, content) in [
            ("s.yaml", YAML.as_bytes()),
            ("s.yml", YAML.as_bytes()),
            ("s.json", json.to_string().as_bytes()),
            ("s.pb", &binary),
        ] {
            let update = read(path, content, "front").expect("secrets");
            let changed: Vec<_> = update.changed.iter().map(|it| (&it.secret, it.version.as_str())).collect();
            assert_eq!(changed, [(&front(), "7")], "{path}");
            assert!(update.removed.is_empty() && update.refused.is_empty());
        }
    }

    #[test]
    fn a_secret_that_is_not_in_it_is_told_as_absent() {
        let update = read("s.yaml", YAML.as_bytes(), "other").expect("secrets");
        assert_eq!((update.changed.len(), update.removed), (0, vec!["other".to_owned()]));
    }

    #[test]
    fn what_is_no_response_is_told_without_its_content() {
        for (path, content, told) in [
            ("s.txt", "", "its name ends in none of"),
            ("s.json", "{", "it is no JSON"),
            ("s.yaml", "[1]", "it is no object"),
            ("s.json", r#"{"resource": []}"#, "resource: a discovery response has no such field"),
            ("s.json", r#"{"resources": [{"name": "KEY"}]}"#, "resources[0]: it has no @type"),
            ("s.pb", "no protobuf", "it is no discovery response"),
        ] {
            let error = read(path, content.as_bytes(), "front").expect_err("no response").to_string();
            assert!(error.contains(told) && !error.contains("KEY"), "{error}");
        }
    }
}
