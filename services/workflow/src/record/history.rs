//! Events as they are stored: one after the other, in postcard's form, after a byte that says so.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use selvedge_asl::Event;
use selvedge_store::{Document, Error};
use serde::{Deserialize, Serialize};

/// What a document in this form begins with; one of JSON begins with `[`.
const FORM: u8 = 1;

/// The most bytes of events that are within a record which is written once more when its execution ends.
const FIRST_BYTES_MAX: usize = 1024;
/// The same of one that has ended.
const FIRST_BYTES_MAX_ENDED: usize = 16 * 1024;

/// Events within a record: a document as it would stand beside it, in base 64.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct First(String);

impl First {
    /// A first step's events, if they are few enough for a record.
    pub(crate) fn of(events: &[Event], has_ended: bool) -> Option<Self> {
        let bytes_max = if has_ended { FIRST_BYTES_MAX_ENDED } else { FIRST_BYTES_MAX };
        let mut document = begin();
        for event in events {
            append(&mut document, event);
            if document.len() > bytes_max {
                return None;
            }
        }
        Some(Self(STANDARD_NO_PAD.encode(document)))
    }

    /// Whether the history is beside the record as a whole.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The events, the first of the history before the others.
    pub(crate) fn events(&self) -> Result<Vec<Event>, Error> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        let corrupt = |what: String| Error::Corrupt(format!("an execution's first events: {what}"));
        let document = STANDARD_NO_PAD.decode(&self.0).map_err(|error| corrupt(error.to_string()))?;
        match document.split_first() {
            Some((&FORM, rest)) => events_of(rest).map_err(corrupt),
            _ => Err(corrupt("they are in no known form".into())),
        }
    }
}

/// A document without events.
pub(crate) fn begin() -> Vec<u8> {
    vec![FORM]
}

pub(crate) fn append(document: &mut Vec<u8>, event: &Event) {
    let taken = std::mem::take(document);
    *document = postcard::to_extend(event, taken).expect("events are plain data, and a vector grows");
}

/// The events of a document.
pub(crate) fn decode(document: &Document) -> Result<Vec<Event>, Error> {
    let corrupt = |what: String| Error::Corrupt(format!("{}: {what}", document.key));
    match document.value.split_first() {
        Some((&FORM, rest)) => events_of(rest).map_err(corrupt),
        _ => super::decode(document),
    }
}

fn events_of(mut rest: &[u8]) -> Result<Vec<Event>, String> {
    let mut events = Vec::new();
    while !rest.is_empty() {
        let (event, after) = postcard::take_from_bytes(rest).map_err(|error| error.to_string())?;
        events.push(event);
        rest = after;
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use selvedge_asl::{Detail, Failure, StateType};
    use selvedge_store::Revision;

    use super::*;

    #[test]
    fn what_is_appended_is_decoded_in_either_form() {
        let event = |id, detail| Event { id, previous: id - 1, at_ms: 1_700_000_000_000, detail };
        let events = vec![
            event(1, Detail::ExecutionStarted { input: "{}".into(), role_arn: "r".into() }),
            event(
                2,
                Detail::StateExited {
                    kind: StateType::Map,
                    name: "M".into(),
                    output: "1".into(),
                    assigned: None,
                },
            ),
            event(3, Detail::ExecutionFailed(Failure { error: None, cause: Some("c".into()) })),
        ];
        let mut bytes = begin();
        events.iter().for_each(|event| append(&mut bytes, event));
        let document = |value: Vec<u8>| Document {
            key: "history/M/e/1".into(),
            value: value.into(),
            created: Revision::ZERO,
            modified: Revision::ZERO,
        };
        let text = serde_json::to_vec(&events).unwrap();
        assert!(bytes.len() * 2 < text.len(), "{} and {}", bytes.len(), text.len());
        assert_eq!(decode(&document(bytes.clone())).unwrap(), events);
        assert_eq!(decode(&document(text)).unwrap(), events);
        assert_eq!(First::of(&events, false).unwrap().events().unwrap(), events);
        bytes.truncate(bytes.len() - 1);
        assert!(matches!(decode(&document(bytes)), Err(Error::Corrupt(_))));
    }
    #[test]
    fn events_are_within_a_record_only_where_they_are_few() {
        let event = |bytes: usize| Event {
            id: 1,
            previous: 0,
            at_ms: 0,
            detail: Detail::ExecutionStarted { input: "x".repeat(bytes).into(), role_arn: "r".into() },
        };
        assert!(First::of(&[event(FIRST_BYTES_MAX)], false).is_none());
        assert!(!First::of(&[event(FIRST_BYTES_MAX)], true).unwrap().is_empty());
        assert!(First::of(&[event(FIRST_BYTES_MAX_ENDED)], true).is_none());
        assert_eq!(First::default().events().unwrap(), []);
        assert!(matches!(First("AQID".into()).events(), Err(Error::Corrupt(_))));
        assert!(matches!(First("?".into()).events(), Err(Error::Corrupt(_))));
    }
}
