//! What a resource may be called.

use crate::kind::Kind;
use crate::shape::Shape;

/// The name of a mesh, node, router, route, gateway or gateway route: 1 to 255 characters.
pub const RESOURCE_NAME: Shape = Shape::string_of("ResourceName", 1, 255);

/// The name of a virtual service, usually a host name; the model sets no bound.
pub const SERVICE_NAME: Shape = Shape::string("ServiceName");

/// A twelve-digit account number.
pub const ACCOUNT_ID: Shape = Shape::string_of("AccountId", 12, 12);

/// Bytes of a virtual service's name. The model sets no bound; a host name has at most 253.
pub const SERVICE_NAME_BYTES_MAX: usize = 512;

/// Why a name is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("{kind} name must not be empty")]
    Empty { kind: Kind },
    #[error("{kind} name must not be longer than {SERVICE_NAME_BYTES_MAX} bytes")]
    TooLong { kind: Kind },
    #[error("{kind} name must not contain {character:?}")]
    Character { kind: Kind, character: char },
}

/// Checks the characters of a new resource's name.
///
/// The guide speaks of letters, digits, hyphen and underscore, but App Mesh's model carries no pattern and its clients check none,
/// so any visible ASCII character is taken, except `/`, which would make ARNs ambiguous. The name of a virtual service may be any
/// text without control characters.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn check_name(kind: Kind, name: &str) -> Result<(), NameError> {
    let is_allowed = |character: char| match kind {
        Kind::VirtualService => !character.is_control(),
        _ => character.is_ascii_graphic() && character != '/',
    };
    if name.is_empty() {
        return Err(NameError::Empty { kind });
    }
    if name.len() > SERVICE_NAME_BYTES_MAX {
        return Err(NameError::TooLong { kind });
    }
    match name.chars().find(|character| !is_allowed(*character)) {
        Some(character) => Err(NameError::Character { kind, character }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_visible_characters() {
        for (kind, name, is_fine) in [
            (Kind::Mesh, "my-mesh_1.x", true),
            (Kind::Mesh, "", false),
            (Kind::VirtualNode, "a/b", false),
            (Kind::VirtualNode, "a b", false),
            (Kind::Route, "é", false),
            (Kind::VirtualService, "a b.svc/local:80", true),
            (Kind::VirtualService, "a\u{1}b", false),
        ] {
            assert_eq!(check_name(kind, name).is_ok(), is_fine, "{kind} {name:?}");
        }
        assert!(check_name(Kind::VirtualService, &"x".repeat(513)).is_err());
    }
}
