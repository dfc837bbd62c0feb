//! A backend beside the simplest thing that could be right, under random transactions.

use crate::{Make, write};
use selvedge_store::Revision;
use std::collections::BTreeMap;

const KEYS: [&str; 7] = ["a", "a/b", "a/b/c", "a0", "b", "b/é", "c"];
const STEPS: usize = 300;

/// Documents as (created, modified, value), and every revision's keys.
#[derive(Default)]
struct Reference {
    documents: BTreeMap<String, (u64, u64, String)>,
    feed: Vec<Vec<String>>,
}

impl Reference {
    fn write(&mut self, writes: &[(&str, Option<&str>)]) -> u64 {
        let revision = self.feed.len() as u64 + 1;
        let mut touched = Vec::new();
        for &(key, value) in writes {
            match value {
                Some(value) => {
                    let created = self.documents.get(key).map_or(revision, |document| document.0);
                    self.documents.insert(key.to_owned(), (created, revision, value.to_owned()));
                }
                None if self.documents.remove(key).is_some() => {}
                None => continue,
            }
            touched.push(key.to_owned());
        }
        touched.sort();
        touched.dedup();
        if !touched.is_empty() {
            self.feed.push(touched);
        }
        self.feed.len() as u64
    }
}

/// SplitMix64: enough chance for a test, the same on every machine.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).expect("below a usize")
    }
}

pub(crate) fn agrees_with_the_reference_model(make: Make) {
    let fixture = make(10_000);
    let mut reference = Reference::default();
    let mut chance = Chance(42);
    for step in 0..STEPS {
        let value = step.to_string();
        let writes: Vec<(&str, Option<&str>)> = (0..chance.below(4))
            .map(|_| {
                let key = KEYS[chance.below(KEYS.len())];
                (key, (chance.below(3) > 0).then_some(value.as_str()))
            })
            .collect();
        let revision = write(fixture.store(), &writes).expect("nothing fails here");
        assert_eq!(revision.number(), reference.write(&writes), "step {step}: {writes:?}");

        let prefix = ["", "a", "a/", "b"][chance.below(4)];
        let view = fixture.store().snapshot().unwrap();
        let seen: BTreeMap<_, _> = view
            .scan_all(prefix)
            .unwrap()
            .into_iter()
            .map(|it| (it.key, (it.created.number(), it.modified.number(), crate::text(&it.value))))
            .collect();
        let expected: BTreeMap<_, _> =
            reference.documents.clone().into_iter().filter(|(key, _)| key.starts_with(prefix)).collect();
        assert_eq!(seen, expected, "step {step}");
    }
    let mut feed = vec![Vec::new(); reference.feed.len()];
    let mut after = Revision::ZERO;
    loop {
        let page = fixture.store().changes(after, 5).unwrap();
        let Some(last) = page.last() else { break };
        after = last.revision;
        for change in page {
            feed[usize::try_from(change.revision.number()).unwrap() - 1].push(change.key);
        }
    }
    assert_eq!(feed, reference.feed);
}
