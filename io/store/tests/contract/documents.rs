//! Documents, scans, snapshots and their bounds.

use crate::{Make, text};
use bytes::Bytes;
use selvedge_store::{
    Error, KEY_BYTES_MAX, LimitExceeded, PAGE_MAX, Revision, TRANSACTION_BYTES_MAX, TRANSACTION_WRITES_MAX,
    VALUE_BYTES_MAX,
};

pub(crate) fn a_new_store_is_empty_at_revision_zero(make: Make) {
    let fixture = make(10);
    let view = fixture.store().snapshot().unwrap();
    assert_eq!(view.revision(), Revision::ZERO);
    assert_eq!(view.get("a").unwrap(), None);
    assert_eq!(view.scan("", None, 10).unwrap(), []);
    assert_eq!(fixture.store().changes(Revision::ZERO, 10).unwrap(), []);
}

pub(crate) fn created_survives_overwriting_and_not_deleting(make: Make) {
    let fixture = make(10);
    let read = || {
        let document = fixture.store().snapshot().unwrap().get("a").unwrap().unwrap();
        (text(&document.value), document.created.number(), document.modified.number())
    };
    fixture.put("a", "1");
    assert_eq!(read(), ("1".into(), 1, 1));
    fixture.put("b", "");
    fixture.put("a", "2");
    assert_eq!(read(), ("2".into(), 1, 3));
    fixture.write(&[("a", None)]).unwrap();
    assert_eq!(fixture.value("a"), None);
    fixture.put("a", "3");
    assert_eq!(read(), ("3".into(), 5, 5));
    fixture.write(&[("a", None), ("a", Some("4"))]).unwrap();
    assert_eq!(read(), ("4".into(), 6, 6));
    assert_eq!(fixture.value("b").as_deref(), Some(""), "an empty value is a value");
}

pub(crate) fn scans_page_in_byte_order(make: Make) {
    let fixture = make(10);
    let keys = ["a", "a/", "a/1", "a/10", "a/2", "a/é", "a0", "b", "a/\u{10ffff}"];
    let writes: Vec<_> = keys.iter().map(|&key| (key, Some("x"))).collect();
    fixture.write(&writes).unwrap();
    let view = fixture.store().snapshot().unwrap();
    let scan = |prefix, after, limit| -> Vec<String> {
        view.scan(prefix, after, limit).unwrap().into_iter().map(|document| document.key).collect()
    };
    #[rustfmt::skip]
    let rows: &[(&str, Option<&str>, usize, &[&str])] = &[
        ("a/", None,         9, &["a/", "a/1", "a/10", "a/2", "a/é", "a/\u{10ffff}"]),
        ("a/", None,         2, &["a/", "a/1"]),
        ("a/", Some("a/1"),  2, &["a/10", "a/2"]),
        ("a/", Some("a"),    1, &["a/"]),
        ("a/", Some("a0"),   9, &[]),
        ("a/", Some("zzz"),  9, &[]),
        ("a/", None,         0, &[]),
        ("",   None,         9, &["a", "a/", "a/1", "a/10", "a/2", "a/é", "a/\u{10ffff}", "a0", "b"]),
        ("c",  None,         9, &[]),
    ];
    for (prefix, after, limit, expected) in rows {
        assert_eq!(scan(prefix, *after, *limit), *expected, "{prefix:?} after {after:?} limit {limit}");
    }
    drop(view);
    fixture
        .store()
        .write(|tx| {
            for number in 0..PAGE_MAX + 5 {
                tx.put(&format!("many/{number:05}"), Bytes::new())?;
            }
            Ok::<_, selvedge_store::WriteError<()>>(())
        })
        .unwrap();
    let view = fixture.store().snapshot().unwrap();
    assert_eq!(view.scan("many/", None, usize::MAX).unwrap().len(), PAGE_MAX);
    assert_eq!(view.scan_all("many/").unwrap().len(), PAGE_MAX + 5);
}

pub(crate) fn a_snapshot_stays_as_it_was(make: Make) {
    let fixture = make(10);
    fixture.put("a", "1");
    let view = fixture.store().snapshot().unwrap();
    fixture.write(&[("a", Some("2")), ("b", Some("2"))]).unwrap();
    assert_eq!(text(&view.get("a").unwrap().unwrap().value), "1");
    assert_eq!(view.scan("", None, 9).unwrap().len(), 1);
    assert_eq!(view.revision().number(), 1);
    drop(view);
    assert_eq!(fixture.value("a").as_deref(), Some("2"));
}

pub(crate) fn bounds_are_enforced_and_doom_the_transaction(make: Make) {
    let fixture = make(10);
    let long = "k".repeat(KEY_BYTES_MAX + 1);
    let fits = "k".repeat(KEY_BYTES_MAX);
    let large = "v".repeat(VALUE_BYTES_MAX + 1);
    let rows = [
        ("", "v", LimitExceeded::KeyEmpty),
        ("a\0b", "v", LimitExceeded::KeyNul),
        (&long, "v", LimitExceeded::KeyTooLong(KEY_BYTES_MAX + 1)),
        ("a", &large, LimitExceeded::ValueTooLarge { key: "a".into(), bytes: VALUE_BYTES_MAX + 1 }),
    ];
    for (key, value, expected) in rows {
        let refused = fixture.write(&[("before", Some("1")), (key, Some(value))]);
        assert_eq!(refused, Err(Error::Limit(expected)));
    }
    fixture.write(&[(&fits, Some(&large[1..]))]).expect("at the bound is within it");

    let many: Vec<String> = (0..=TRANSACTION_WRITES_MAX).map(|number| number.to_string()).collect();
    let writes: Vec<_> = many.iter().map(|key| (key.as_str(), Some(""))).collect();
    assert_eq!(fixture.write(&writes), Err(Error::Limit(LimitExceeded::TooManyWrites)));
    let heavy: Vec<_> = many
        .iter()
        .take(TRANSACTION_BYTES_MAX / VALUE_BYTES_MAX + 1)
        .map(|key| (key.as_str(), Some(&large[1..])))
        .collect();
    assert_eq!(fixture.write(&heavy), Err(Error::Limit(LimitExceeded::TooManyBytes)));
    assert_eq!(fixture.value("before"), None);
    assert_eq!(fixture.store().revision().unwrap().number(), 1);
}
