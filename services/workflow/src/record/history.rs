//! Events as they are stored: one after the other, in postcard's form, after a byte that says so.

use selvedge_asl::Event;
use selvedge_store::{Document, Error};

/// What a document in this form begins with; one of JSON begins with `[`.
const FORM: u8 = 1;

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
    let Some((&FORM, mut rest)) = document.value.split_first() else {
        return super::decode(document);
    };
    let mut events = Vec::new();
    while !rest.is_empty() {
        let (event, after) = postcard::take_from_bytes(rest).map_err(|error| corrupt(error.to_string()))?;
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
        bytes.truncate(bytes.len() - 1);
        assert!(matches!(decode(&document(bytes)), Err(Error::Corrupt(_))));
    }
}
