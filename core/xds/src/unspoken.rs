//! What a resource says and nobody here would hear: fields that Envoy has and Selvedge does not speak, found in the bytes
//! because the generated types leave them out.
//!
//! A control plane that sets one expects something of it. It is told by a NACK with the field's path, unless the field is
//! among those [accepted](ACCEPTED) for a reason.

mod accepted;

use selvedge_xds_proto::schema::{Field, Message};

use crate::wire;

pub use accepted::ACCEPTED;

/// Messages in messages, those in an `Any` included.
const DEPTH_MAX: usize = 100;
const ANY: &str = "google.protobuf.Any";

/// The path of the first field in a message of this name that is neither spoken nor accepted.
pub(crate) fn find(message: &str, bytes: &[u8]) -> Option<String> {
    Message::named(message).and_then(|message| walk(message, bytes, DEPTH_MAX))
}

fn walk(message: Message, bytes: &[u8], depth: usize) -> Option<String> {
    for (at, (number, content)) in wire::parts(bytes).enumerate() {
        let Some(field) = message.field(number) else {
            return Some(format!("field {number} of {}", message.name()));
        };
        if !field.is_spoken() {
            if is_accepted(message, field) {
                continue;
            }
            return Some(field.name().to_owned());
        }
        let (Some(inner), Some(content)) = (field.message(), content.bytes()) else { continue };
        if let Some(found) = enter(inner, content, depth) {
            return Some(format!("{}{}.{found}", field.name(), place(field, bytes, at, content)));
        }
    }
    None
}

fn enter(inner: Message, content: &[u8], depth: usize) -> Option<String> {
    let Some(depth) = depth.checked_sub(1) else { return Some("more than can be looked through".to_owned()) };
    if inner.name() == ANY {
        let (name, content) = wire::any(content);
        // One that is not known is no field of anybody's: the decoder judges extensions.
        let inner = Message::named(name).filter(|inner| inner.fields().any(Field::is_spoken))?;
        return walk(inner, content, depth);
    }
    if inner.name().starts_with("google.protobuf.") {
        return None;
    }
    walk(inner, content, depth)
}

/// Which of several it is.
fn place(field: Field, bytes: &[u8], at: usize, content: &[u8]) -> String {
    if field.is_map() {
        return format!("[{:?}]", wire::text(content, 1));
    }
    if !field.is_repeated() {
        return String::new();
    }
    let before = wire::parts(bytes).take(at).filter(|(number, _)| *number == field.number()).count();
    format!("[{before}]")
}

fn is_accepted(message: Message, field: Field) -> bool {
    ACCEPTED.iter().any(|accepted| accepted.message == message.name() && accepted.field == field.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_accepted_is_there_and_not_spoken() {
        for accepted in ACCEPTED {
            let message = Message::named(accepted.message);
            let message = message.unwrap_or_else(|| panic!("{} is no message", accepted.message));
            let field = message.fields().find(|field| field.name() == accepted.field);
            let field = field.unwrap_or_else(|| panic!("{} has no {}", accepted.message, accepted.field));
            assert!(accepted.why.len() > 10, "{}.{}: why?", accepted.message, field.name());
        }
    }

    #[test]
    fn no_depth_is_too_much() {
        // not_id in not_id in …: field 8 of a principal is a principal.
        let mut bytes = vec![];
        for _ in 0..DEPTH_MAX * 2 {
            let mut outer = vec![0x42];
            prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
            outer.append(&mut bytes);
            bytes = outer;
        }
        let found = find("envoy.config.rbac.v3.Principal", &bytes).expect("it ends somewhere");
        assert!(found.ends_with("more than can be looked through"), "{found}");
    }
}
