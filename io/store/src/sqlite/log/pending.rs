//! What has been acknowledged and is not in the database yet, by key and revision.

use crate::{Document, Error, PAGE_MAX, Revision};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

/// A key's value from a revision on.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub(super) revision: u64,
    pub(super) created: Created,
    /// None: it was deleted.
    pub(super) value: Option<Bytes>,
}

/// When a document came into being.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Created {
    /// At this revision, whatever stood there before.
    At(u64),
    /// When the one below did, if there is one; at this revision if there is none.
    Inherited(u64),
}

/// Versions of documents over those of a layer below.
#[derive(Default)]
pub(super) struct Layer {
    versions: BTreeMap<Arc<str>, VecDeque<Version>>,
    /// Which keys each revision wrote, in order.
    order: VecDeque<(u64, Arc<str>)>,
    bytes: usize,
}

impl Created {
    /// With what stands below.
    pub(super) fn over(self, below: Option<Revision>) -> Revision {
        match self {
            Self::At(revision) => Revision::new(revision),
            Self::Inherited(revision) => below.unwrap_or_else(|| Revision::new(revision)),
        }
    }
}

impl Version {
    /// The document, over what stands below; none where it was deleted.
    pub(super) fn document(self, key: &str, below: Option<Revision>) -> Option<Document> {
        let created = self.created.over(below);
        let modified = Revision::new(self.revision);
        self.value.map(|value| Document { key: key.to_owned(), value, created, modified })
    }

    fn bytes(&self) -> usize {
        // What the entries of the maps take, about.
        const OWN_BYTES: usize = 128;
        self.value.as_ref().map_or(0, Bytes::len) + OWN_BYTES
    }
}

impl Layer {
    /// Bytes of all versions and keys, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a write; revisions do not fall.
    pub(super) fn write(&mut self, key: &str, value: Option<Bytes>, revision: u64) {
        let key = match self.versions.get_key_value(key) {
            Some((key, _)) => Arc::clone(key),
            None => Arc::from(key),
        };
        let chain = self.versions.entry(Arc::clone(&key)).or_default();
        let created = match chain.back() {
            None => Created::Inherited(revision),
            Some(last) if last.value.is_none() => Created::At(revision),
            Some(last) => last.created,
        };
        let version = Version { revision, created, value };
        self.bytes += version.bytes() + key.len();
        chain.push_back(version);
        self.order.push_back((revision, key));
    }

    /// What a key has as of a revision, if that is told here.
    pub(super) fn get(&self, key: &str, revision: u64) -> Option<&Version> {
        self.versions.get(key)?.iter().rfind(|version| version.revision <= revision)
    }

    /// What keys that begin with `prefix`, after `after` and up to `upto` have as of a revision; the first `puts_max` documents at
    /// the most, and the deletes between them.
    pub(super) fn range(
        &self,
        prefix: &str,
        after: Option<&str>,
        upto: Option<&str>,
        (revision, puts_max): (u64, usize),
    ) -> Vec<(Arc<str>, Version)> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let (mut found, mut puts) = (Vec::new(), 0);
        for (key, chain) in self.versions.range::<str, _>((from, Bound::Unbounded)) {
            if puts == puts_max || !key.starts_with(prefix) || upto.is_some_and(|upto| &**key > upto) {
                break;
            }
            if let Some(version) = chain.iter().rfind(|version| version.revision <= revision) {
                puts += usize::from(version.value.is_some());
                found.push((Arc::clone(key), version.clone()));
            }
        }
        found
    }

    /// The last version up to `upto` of each key that was written after `after`.
    pub(super) fn between(&self, after: u64, upto: u64) -> Vec<(Arc<str>, Version)> {
        let from = self.order.partition_point(|(revision, _)| *revision <= after);
        let written = self.order.range(from..).take_while(|(revision, _)| *revision <= upto);
        let keys: BTreeSet<&Arc<str>> = written.map(|(_, key)| key).collect();
        let last = |key: &Arc<str>| Some((Arc::clone(key), self.get(key, upto)?.clone()));
        keys.into_iter().filter_map(last).collect()
    }

    /// Forgets what was written up to a revision: it is below.
    pub(super) fn forget(&mut self, upto: u64) {
        while self.order.front().is_some_and(|(revision, _)| *revision <= upto) {
            let Some((_, key)) = self.order.pop_front() else { return };
            self.drop_of(&key, VecDeque::pop_front);
        }
    }

    /// Takes back what was written after a revision.
    pub(super) fn take_back(&mut self, after: u64) {
        while self.order.back().is_some_and(|(revision, _)| *revision > after) {
            let Some((_, key)) = self.order.pop_back() else { return };
            self.drop_of(&key, VecDeque::pop_back);
        }
    }

    /// Drops a key's first or last version: each entry of the order has one.
    fn drop_of(&mut self, key: &Arc<str>, pop: fn(&mut VecDeque<Version>) -> Option<Version>) {
        let Some(chain) = self.versions.get_mut(key) else { return };
        if let Some(gone) = pop(chain) {
            self.bytes -= gone.bytes() + key.len();
        }
        if chain.is_empty() {
            self.versions.remove(key);
        }
    }
}

/// A page of documents of two layers: `below` has what is not told `above`.
pub(super) fn scan_over(
    (prefix, after, limit): (&str, Option<&str>, usize),
    above: impl Fn(Option<&str>, Option<&str>, usize) -> Vec<(Arc<str>, Version)>,
    below: impl Fn(Option<&str>, usize) -> Result<Vec<Document>, Error>,
) -> Result<Vec<Document>, Error> {
    let limit = limit.min(PAGE_MAX);
    let mut page: Vec<Document> = Vec::new();
    let mut cursor = after.filter(|after| *after >= prefix).map(str::to_owned);
    while page.len() < limit {
        let under = below(cursor.as_deref(), limit)?;
        // Beyond a full page there may be more below; up to there everything is known.
        let upto = (under.len() == limit).then(|| under.last().map(|last| last.key.clone())).flatten();
        let over = above(cursor.as_deref(), upto.as_deref(), limit);
        let mut under = under.into_iter().peekable();
        for (key, version) in over {
            while let Some(first) = under.next_if(|document| *document.key < *key) {
                page.push(first);
            }
            let same = under.next_if(|document| *document.key == *key);
            page.extend(version.document(&key, same.map(|document| document.created)));
        }
        page.extend(under);
        page.truncate(limit);
        match upto {
            Some(upto) => cursor = Some(upto),
            None => break,
        }
    }
    Ok(page)
}
