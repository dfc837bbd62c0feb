//! One type on one stream: what is asked for, held, rejected and under way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use selvedge_traffic::ResourceKind;

use super::event::MESSAGE_BYTES_MAX;
use super::outstanding::{Batch, Outstanding};
use super::subscription::{Change, Subscription};
use super::view::Collection;
use super::{Event, Fault, Rejected};
use crate::{Encoded, rejected};

/// What must wait for its turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gates {
    pub(super) changes: bool,
    pub(super) removals: bool,
}

/// The answer to a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) nonce: String,
    /// Present in a NACK.
    pub(super) error: Option<String>,
}

#[derive(Debug)]
pub(super) struct Channel {
    kind: ResourceKind,
    introduced: bool,
    pub(super) subscription: Subscription,
    /// What the proxy is known to have.
    held: BTreeMap<Arc<str>, Held>,
    refused: BTreeMap<Arc<str>, Refusal>,
    /// Names to be answered whether or not they changed.
    forced: BTreeSet<Arc<str>>,
    /// Names that are to be answered when they are asked for, whatever version the proxy brings along.
    awaited: BTreeSet<Arc<str>>,
    /// A request that must be answered even if there is nothing to tell.
    answer_due: bool,
    outstanding: Option<Outstanding>,
}

#[derive(Debug)]
struct Held {
    version: Arc<str>,
    /// Kept so that a whole answer can repeat it while its removal waits; unknown if the proxy brought it along.
    encoded: Option<Arc<Encoded>>,
}

#[derive(Debug)]
struct Refusal {
    version: Arc<str>,
    message: String,
}

impl Channel {
    pub(super) fn new(kind: ResourceKind) -> Self {
        Self {
            kind,
            introduced: false,
            subscription: Subscription::default(),
            held: BTreeMap::new(),
            refused: BTreeMap::new(),
            forced: BTreeSet::new(),
            awaited: BTreeSet::new(),
            answer_due: false,
            outstanding: None,
        }
    }

    pub(super) fn kind(&self) -> ResourceKind {
        self.kind
    }

    pub(super) fn is_introduced(&self) -> bool {
        self.introduced
    }

    /// A response may go out: the kind was asked for, and the last response was answered.
    pub(super) fn is_ready(&self) -> bool {
        self.introduced && self.outstanding.is_none()
    }

    pub(super) fn awaits_answer(&self) -> bool {
        self.outstanding.is_some()
    }

    pub(super) fn is_forced(&self, name: &str) -> bool {
        self.forced.contains(name)
    }

    pub(super) fn forced(&self) -> impl Iterator<Item = &Arc<str>> {
        self.forced.iter()
    }

    pub(super) fn is_answer_due(&self) -> bool {
        self.answer_due
    }

    pub(super) fn holds(&self, name: &str, version: &str) -> bool {
        self.held.get(name).is_some_and(|held| held.version.as_ref() == version)
    }

    /// Whether the proxy has some version of it, or said that it will not.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.held.contains_key(name) || self.refused.contains_key(name)
    }

    pub(super) fn held_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.held.keys()
    }

    /// What the proxy has of `name`, if it was sent on this stream.
    pub(super) fn held_encoding(&self, name: &str) -> Option<&Arc<Encoded>> {
        self.held.get(name).and_then(|held| held.encoded.as_ref())
    }

    pub(super) fn rejected(&self) -> impl Iterator<Item = Rejected> {
        self.refused.iter().map(|(name, refusal)| Rejected {
            kind: self.kind,
            name: name.to_string(),
            version: refusal.version.to_string(),
            message: refusal.message.clone(),
        })
    }

    /// Whether the proxy lacks this version and has not rejected it. A version that it holds is sent again after it
    /// rejected another: only that ends the rejection, on both sides.
    pub(super) fn lacks(&self, encoded: &Encoded) -> bool {
        match self.refused.get(&encoded.name) {
            Some(refusal) => refusal.version != encoded.version,
            None => !self.holds(&encoded.name, &encoded.version),
        }
    }

    /// Whether something changed that the proxy asked for and does not have yet.
    pub(super) fn is_unsettled(&self, collection: &Collection) -> bool {
        if !self.introduced {
            return false;
        }
        if self.subscription.is_wildcard() {
            return collection.values().any(|encoded| self.lacks(encoded));
        }
        self.subscription.names().filter_map(|name| collection.get(name)).any(|encoded| self.lacks(encoded))
    }

    /// Whether the proxy has something that is gone.
    pub(super) fn removes(&self, collection: &Collection) -> bool {
        self.held.keys().any(|name| !collection.contains_key(name) && self.subscription.covers(name))
    }

    /// Whether a change has not even been sent: the answer before it is owed, or it waits for its turn.
    pub(super) fn has_unsent_changes(&self, collection: &Collection) -> bool {
        let sent: BTreeMap<&str, &str> =
            self.under_way().map(|encoded| (&*encoded.name, &*encoded.version)).collect();
        let is_unsent = |encoded: &Encoded| sent.get(&*encoded.name) != Some(&&*encoded.version);
        let mut covered = collection.values().filter(|encoded| self.subscription.covers(&encoded.name));
        self.introduced && covered.any(|encoded| self.lacks(encoded) && is_unsent(encoded))
    }

    /// Whether a removal has not even been sent.
    pub(super) fn has_unsent_removals(&self, collection: &Collection) -> bool {
        let batch = self.outstanding.as_ref().map(|outstanding| &outstanding.batch);
        let arrives: BTreeSet<&Arc<str>> = self.under_way().map(|encoded| &encoded.name).collect();
        let goes = |name: &Arc<str>| match batch {
            Some(batch) if batch.whole => !arrives.contains(name),
            Some(batch) => batch.removed.contains(name),
            None => false,
        };
        let mut known = self.held.keys().chain(arrives.iter().copied());
        known.any(|name| !collection.contains_key(name) && self.subscription.covers(name) && !goes(name))
    }

    /// Whether the proxy has not been told of `name`, or is being told.
    pub(super) fn owes(&self, name: &str) -> bool {
        !self.knows(name) || self.is_forced(name) || self.under_way().any(|encoded| &*encoded.name == name)
    }

    /// What the response that is not answered yet brings.
    fn under_way(&self) -> impl Iterator<Item = &Arc<Encoded>> {
        self.outstanding.iter().flat_map(|outstanding| &outstanding.batch.resources)
    }

    pub(super) fn force(&mut self, name: &Arc<str>) {
        if self.subscription.covers(name) {
            self.forced.insert(name.clone());
        } else {
            self.awaited.insert(name.clone());
        }
    }

    /// Follows what is asked for. A stale nonce does not matter here: a change of names must never be lost.
    pub(super) fn subscribe(&mut self, change: Change) -> Result<(), Fault> {
        let first = !self.introduced;
        self.introduced = true;
        let wildcard_kind = matches!(self.kind, ResourceKind::Cluster | ResourceKind::Listener);
        match change {
            Change::Set(names) => {
                if first {
                    self.subscription.introduce(names.is_empty(), wildcard_kind);
                    self.answer_due = true;
                }
                let added = self.subscription.set(names)?;
                self.forced.extend(added);
                let subscription = &self.subscription;
                // A whole answer is what tells that a name is gone, so clusters and listeners stay until then.
                if !wildcard_kind {
                    self.held.retain(|name, _| subscription.covers(name));
                }
            }
            Change::Edit { subscribe, unsubscribe, initial_versions } => {
                if first {
                    self.subscription.introduce(subscribe.is_empty(), wildcard_kind);
                    self.answer_due = true;
                    self.hold_initial(&subscribe, initial_versions);
                }
                let fresh: BTreeSet<Arc<str>> =
                    if first { self.held.keys().cloned().collect() } else { BTreeSet::new() };
                // What came with its version needs no answer if that is the present one.
                let added = self.subscription.add(subscribe)?;
                let awaited = &self.awaited;
                self.forced
                    .extend(added.into_iter().filter(|name| !fresh.contains(name) || awaited.contains(name)));
                for name in unsubscribe {
                    self.unsubscribe(&name);
                }
            }
        }
        self.refused.retain(|name, _| self.subscription.covers(name));
        self.forced.retain(|name| self.subscription.covers(name));
        self.awaited.retain(|name| !self.subscription.covers(name));
        Ok(())
    }

    fn hold_initial(&mut self, subscribe: &[String], versions: Vec<(String, String)>) {
        // A set, for both lists are a stranger's and long: every stream would wait for the comparison of all with all.
        let subscribed: BTreeSet<&str> = subscribe.iter().map(String::as_str).collect();
        let wildcard = self.subscription.is_wildcard() || subscribed.contains("*");
        for (name, version) in versions.into_iter().take(super::SUBSCRIBED_NAMES_MAX) {
            if wildcard || subscribed.contains(name.as_str()) {
                self.held.insert(name.into(), Held { version: version.into(), encoded: None });
            }
        }
    }

    fn unsubscribe(&mut self, name: &str) {
        self.subscription.remove(name);
        if self.subscription.covers(name) {
            // Still covered by the wildcard: that has to be said.
            self.forced.insert(name.into());
        }
        let subscription = &self.subscription;
        self.held.retain(|held, _| subscription.covers(held));
    }

    /// A request was answered by silence: the proxy has all that it asked for.
    pub(super) fn nothing_to_say(&mut self) {
        self.answer_due = false;
    }

    /// A response went out.
    pub(super) fn sent(&mut self, nonce: String, revision: u64, batch: Batch) {
        self.answer_due = false;
        if batch.whole {
            self.forced.clear();
        }
        for name in batch.resources.iter().map(|encoded| &encoded.name).chain(&batch.removed) {
            self.forced.remove(name);
        }
        self.outstanding = Some(Outstanding { nonce, revision, batch });
    }

    /// An ACK or a NACK; one of another response than the last is ignored.
    pub(super) fn handle_answer(&mut self, answer: &Answer, events: &mut VecDeque<Event>) {
        let Some(outstanding) = self.outstanding.take_if(|outstanding| outstanding.nonce == answer.nonce)
        else {
            return;
        };
        let Outstanding { revision, batch, .. } = outstanding;
        let rejected = answer.error.as_deref().map(|message| refused_names(&batch, message));
        events.push_back(match rejected {
            None => Event::Acknowledged { kind: self.kind, revision },
            Some(_) => Event::Rejected { kind: self.kind, revision },
        });
        if batch.whole {
            let stays: BTreeSet<&Arc<str>> = batch.resources.iter().map(|encoded| &encoded.name).collect();
            self.held.retain(|name, _| stays.contains(name));
            self.refused.retain(|name, _| stays.contains(name));
        }
        for name in &batch.removed {
            self.held.remove(name);
            self.refused.remove(name);
        }
        for encoded in batch.resources {
            let name = encoded.name.clone();
            if rejected.as_ref().is_some_and(|names| names.contains(&name)) {
                let message = shortened(answer.error.as_deref().unwrap_or_default());
                self.refused.insert(name, Refusal { version: encoded.version.clone(), message });
            } else if self.subscription.covers(&name) {
                // A NACK is partial: what it does not name was applied.
                self.refused.remove(&name);
                self.held.insert(name, Held { version: encoded.version.clone(), encoded: Some(encoded) });
            }
        }
    }
}

/// Those that the message names; if it names none, all that the response carried.
fn refused_names(batch: &Batch, message: &str) -> BTreeSet<Arc<str>> {
    let all = || batch.resources.iter().map(|encoded| &encoded.name);
    let named = rejected::named_in(message, all().map(|name| &**name));
    if named.is_empty() { all().cloned().collect() } else { named.into_iter().map(Arc::from).collect() }
}

fn shortened(message: &str) -> String {
    let end = (0..=message.len().min(MESSAGE_BYTES_MAX)).rev().find(|at| message.is_char_boundary(*at));
    message[..end.unwrap_or_default()].to_owned()
}
