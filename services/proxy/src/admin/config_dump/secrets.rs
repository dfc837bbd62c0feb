//! Secrets: certificates are shown, keys are not – they are no part of what is at hand here.

use selvedge_traffic::tls::SecretRef;
use selvedge_wire::tls::Secret;
use selvedge_xds::json::REDACTED;
use selvedge_xds::secret;
use serde_json::{Value, json};

use super::{Object, error_state, lists, time, typed};
use crate::admin::Subject;
use crate::discovery::Dump;

const TYPE: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

pub(super) fn show(subject: &Subject, dump: &Dump, is_wanted: impl Fn(&str) -> bool) -> Value {
    let (mut active, mut warming) = (Vec::new(), Vec::new());
    for asked in dump.secrets.iter().filter(|asked| is_wanted(&asked.name.name)) {
        let mut members = Object::new();
        members.insert("name".to_owned(), asked.name.name.clone().into());
        match &asked.in_force {
            Some((version, since)) => {
                if !version.is_empty() {
                    members.insert("version_info".to_owned(), version.clone().into());
                }
                members.insert("last_updated".to_owned(), time(*since).into());
            }
            None => {
                members.insert("version_info".to_owned(), "uninitialized".into());
            }
        }
        members.insert("secret".to_owned(), content(subject, &asked.name));
        if let Some((_, failure)) = dump.secret_failures.iter().find(|(name, _)| *name == asked.name.name) {
            members.insert("error_state".to_owned(), error_state(failure));
        }
        if asked.in_force.is_some() { &mut active } else { &mut warming }.push(Value::Object(members));
    }
    let members = [("dynamic_active_secrets", active), ("dynamic_warming_secrets", warming)];
    typed("SecretsConfigDump", lists(members))
}

fn content(subject: &Subject, name: &SecretRef) -> Value {
    let mut shown = json!({ "@type": TYPE, "name": name.name });
    match subject.clusters.secrets().secret(name) {
        Some(Secret::Certificate(material)) => {
            shown["tls_certificate"] = json!({
                "certificate_chain": { "inline_string": material.chain_pem() },
                "private_key": { "inline_string": REDACTED },
            });
        }
        // Where a key is, is part of the secret too.
        Some(Secret::Files { chain, .. }) => {
            shown["tls_certificate"] = json!({
                "certificate_chain": { "filename": chain },
                "private_key": { "filename": REDACTED },
            });
        }
        Some(Secret::Validation(validation)) => {
            let content = secret::Content::Validation(Box::new((*validation).clone()));
            let secret = secret::Secret { name: name.name.clone(), content };
            shown = selvedge_xds::json::render(TYPE, &secret.encode());
        }
        None => {}
    }
    shown
}
