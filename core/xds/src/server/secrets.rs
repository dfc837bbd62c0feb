//! Secrets on a proxy's stream: what it asked for by name, in either form of the protocol.
//!
//! They are kept apart from the configuration: nothing waits for them here, for a proxy waits by itself with whatever names a
//! secret; and no debug output, log or dump has them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use selvedge_xds_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryResponse, DiscoveryResponse, Resource,
};
use xxhash_rust::xxh3::xxh3_64;

use super::channel::Answer;
use super::event::MESSAGE_BYTES_MAX;
use super::subscription::{Change, Subscription};
use super::{Fault, Form};
use crate::secret::Secret;
use crate::type_url;

/// The secrets of one proxy, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets(BTreeMap<Arc<str>, Arc<Encoded>>);

/// A secret as it goes over the wire.
#[derive(Clone, PartialEq, Eq)]
pub struct Encoded {
    /// A hash of the content, 16 hexadecimal digits.
    version: String,
    value: Bytes,
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoded").field("version", &self.version).finish_non_exhaustive()
    }
}

impl Encoded {
    pub fn new(secret: &Secret) -> Self {
        let value = secret.encode();
        Self { version: format!("{:016x}", xxh3_64(&value)), value: value.into() }
    }
}

impl FromIterator<(String, Arc<Encoded>)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (String, Arc<Encoded>)>>(secrets: I) -> Self {
        Self(secrets.into_iter().map(|(name, encoded)| (name.into(), encoded)).collect())
    }
}

/// What was asked for, is held, was refused and is under way.
#[derive(Debug, Default)]
pub(super) struct SecretChannel {
    introduced: bool,
    subscription: Subscription,
    /// Versions by name; an empty one is the news that there is no such secret.
    held: BTreeMap<Arc<str>, String>,
    refused: BTreeMap<Arc<str>, Refusal>,
    outstanding: Option<Outstanding>,
}

#[derive(Debug)]
struct Refusal {
    version: String,
    message: String,
}

#[derive(Debug)]
struct Outstanding {
    nonce: String,
    /// Versions by name, as for what is held.
    sent: BTreeMap<Arc<str>, String>,
}

impl SecretChannel {
    /// Nothing is under way, and nothing was refused.
    pub(super) fn is_quiet(&self) -> bool {
        self.outstanding.is_none() && self.refused.is_empty()
    }

    pub(super) fn is_introduced(&self) -> bool {
        self.introduced
    }

    /// What the proxy has refused and not accepted since: the name, and its words.
    pub(super) fn rejected(&self) -> impl Iterator<Item = (&str, &str)> {
        self.refused.iter().map(|(name, refusal)| (&**name, refusal.message.as_str()))
    }

    pub(super) fn subscribe(&mut self, change: Change) -> Result<(), Fault> {
        self.introduced = true;
        match change {
            Change::Set(names) => {
                for name in self.subscription.set(names)? {
                    self.forget(&name);
                }
            }
            Change::Edit { subscribe, unsubscribe, initial_versions } => {
                // Whoever asks again is answered again.
                for name in &subscribe {
                    self.forget(name);
                }
                for (name, version) in initial_versions.into_iter().take(super::SUBSCRIBED_NAMES_MAX) {
                    self.held.insert(name.into(), version);
                }
                self.subscription.add(subscribe)?;
                for name in unsubscribe {
                    self.subscription.remove(&name);
                }
            }
        }
        let asked: BTreeSet<Arc<str>> = self.subscription.names().cloned().collect();
        self.held.retain(|name, _| asked.contains(name));
        self.refused.retain(|name, _| asked.contains(name));
        Ok(())
    }

    fn forget(&mut self, name: &str) {
        self.held.remove(name);
        self.refused.remove(name);
    }

    /// An ACK or a NACK; one of another response than the last is ignored. Whether something was refused.
    pub(super) fn handle_answer(&mut self, answer: &Answer) -> bool {
        let Some(outstanding) = self.outstanding.take_if(|one| one.nonce == answer.nonce) else {
            return false;
        };
        let Some(message) = &answer.error else {
            for name in outstanding.sent.keys() {
                self.refused.remove(name);
            }
            self.held.extend(outstanding.sent);
            return false;
        };
        let message: String = message.chars().take(MESSAGE_BYTES_MAX / 4).collect();
        let named: BTreeSet<Arc<str>> =
            outstanding.sent.keys().filter(|name| message.contains(&***name)).cloned().collect();
        for (name, version) in outstanding.sent {
            if named.is_empty() || named.contains(&name) {
                self.refused.insert(name, Refusal { version, message: message.clone() });
            } else {
                self.held.insert(name, version);
            }
        }
        true
    }

    /// The next message, if there is something that the proxy lacks and the last one was answered.
    pub(super) fn poll(
        &mut self,
        secrets: &Secrets,
        form: Form,
        nonce: impl FnOnce() -> String,
    ) -> Option<Bytes> {
        if !self.introduced || self.outstanding.is_some() {
            return None;
        }
        let (mut sent, mut resources, mut removed) = (BTreeMap::new(), Vec::new(), Vec::new());
        for name in self.subscription.names() {
            let found = secrets.0.get(name);
            let version = found.map(|encoded| encoded.version.as_str()).unwrap_or_default();
            let refused = self.refused.get(name).map(|refusal| &refusal.version);
            let known = refused.or_else(|| self.held.get(name));
            if known.is_some_and(|known| known == version) {
                continue;
            }
            match found {
                Some(encoded) => resources.push((name.clone(), Arc::clone(encoded))),
                // Of the whole, what is not there is said by silence: a proxy keeps what it has.
                None if form == Form::StateOfTheWorld => continue,
                None => removed.push(name.to_string()),
            }
            sent.insert(name.clone(), version.to_owned());
        }
        if sent.is_empty() {
            return None;
        }
        let nonce = nonce();
        let message = match form {
            Form::StateOfTheWorld => whole(&nonce, &resources),
            Form::Delta => difference(&nonce, &resources, removed),
        };
        self.outstanding = Some(Outstanding { nonce, sent });
        Some(message.into())
    }
}

fn any(encoded: &Encoded) -> prost_types::Any {
    prost_types::Any { type_url: type_url::SECRET.to_owned(), value: encoded.value.to_vec() }
}

fn whole(nonce: &str, secrets: &[(Arc<str>, Arc<Encoded>)]) -> Vec<u8> {
    let versions: String =
        secrets.iter().map(|(name, encoded)| format!("{name}\n{}\n", encoded.version)).collect();
    DiscoveryResponse {
        version_info: format!("{:016x}", xxh3_64(versions.as_bytes())),
        resources: secrets.iter().map(|(_, encoded)| any(encoded)).collect(),
        type_url: type_url::SECRET.to_owned(),
        nonce: nonce.to_owned(),
    }
    .encode_to_vec()
}

fn difference(nonce: &str, secrets: &[(Arc<str>, Arc<Encoded>)], removed: Vec<String>) -> Vec<u8> {
    let resource = |(name, encoded): &(Arc<str>, Arc<Encoded>)| Resource {
        name: name.to_string(),
        version: encoded.version.clone(),
        resource: Some(any(encoded)),
    };
    DeltaDiscoveryResponse {
        resources: secrets.iter().map(resource).collect(),
        type_url: type_url::SECRET.to_owned(),
        removed_resources: removed,
        nonce: nonce.to_owned(),
        ..DeltaDiscoveryResponse::default()
    }
    .encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Content;
    use selvedge_traffic::tls::{Trust, Validation};

    fn secret(name: &str, text: &str) -> (String, Arc<Encoded>) {
        let content = Content::Validation(Box::new(Validation::new(Trust::Inline(text.to_owned()))));
        (name.to_owned(), Arc::new(Encoded::new(&Secret { name: name.to_owned(), content })))
    }

    fn asking(names: &[&str]) -> SecretChannel {
        let mut channel = SecretChannel::default();
        channel.subscribe(edit(names)).expect("few");
        channel
    }

    fn edit(names: &[&str]) -> Change {
        let subscribe = names.iter().map(|name| (*name).to_owned()).collect();
        Change::Edit { subscribe, unsubscribe: Vec::new(), initial_versions: Vec::new() }
    }

    fn poll(channel: &mut SecretChannel, secrets: &Secrets, nonce: &str) -> Option<DeltaDiscoveryResponse> {
        let message = channel.poll(secrets, Form::Delta, || nonce.to_owned())?;
        Some(DeltaDiscoveryResponse::decode(message).expect("a response"))
    }

    fn answer(nonce: &str, error: Option<&str>) -> Answer {
        Answer { nonce: nonce.to_owned(), error: error.map(str::to_owned) }
    }

    #[test]
    fn only_what_was_asked_for_is_given_and_again_when_it_changes() {
        let mut channel = asking(&["a"]);
        let first: Secrets = [secret("a", "1"), secret("b", "1")].into_iter().collect();
        let message = poll(&mut channel, &first, "1").expect("a secret");
        assert_eq!(message.resources.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["a"]);
        assert_eq!(poll(&mut channel, &first, "2"), None, "one at a time");
        assert!(!channel.handle_answer(&answer("1", None)));
        assert_eq!(poll(&mut channel, &first, "2"), None, "it is held");
        let second: Secrets = [secret("a", "2")].into_iter().collect();
        assert_eq!(poll(&mut channel, &second, "2").expect("changed").resources.len(), 1);
        assert!(channel.handle_answer(&answer("2", Some("a: no certificate"))));
        assert_eq!(channel.rejected().collect::<Vec<_>>(), [("a", "a: no certificate")]);
        assert_eq!(poll(&mut channel, &second, "3"), None, "what was refused is not sent again");
        let third: Secrets = [secret("a", "3")].into_iter().collect();
        poll(&mut channel, &third, "3").expect("another");
        assert!(!channel.handle_answer(&answer("3", None)) && channel.is_quiet());
    }

    #[test]
    fn what_there_is_not_is_said_once() {
        let mut channel = asking(&["a", "b"]);
        let none = Secrets::default();
        assert_eq!(poll(&mut channel, &none, "1").expect("news").removed_resources, ["a", "b"]);
        channel.handle_answer(&answer("1", None));
        assert_eq!(poll(&mut channel, &none, "2"), None);
        let later: Secrets = [secret("b", "1")].into_iter().collect();
        assert_eq!(poll(&mut channel, &later, "2").expect("it came").resources.len(), 1);
        channel.subscribe(edit(&["b"])).expect("few");
        channel.handle_answer(&answer("2", None));
        let mut whole = asking(&["a"]);
        assert_eq!(whole.poll(&none, Form::StateOfTheWorld, || "1".to_owned()), None);
    }

    #[test]
    fn what_a_proxy_brings_along_is_not_sent_again_and_a_secret_is_not_shown() {
        let secrets: Secrets = [secret("a", "hush")].into_iter().collect();
        let version = secrets.0["a"].version.clone();
        let mut channel = SecretChannel::default();
        let mut change = edit(&["a"]);
        if let Change::Edit { initial_versions, .. } = &mut change {
            initial_versions.push(("a".to_owned(), version));
        }
        channel.subscribe(change).expect("few");
        assert_eq!(poll(&mut channel, &secrets, "1"), None);
        assert!(!format!("{secrets:?}").contains("hush"));
    }
}
