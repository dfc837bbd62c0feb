//! Tokens that say where a page of a list ended.
//!
//! A token is opaque to callers and bound to the operation and the list that it came from, so that it cannot be used to walk
//! another. It holds no secret: whoever makes one up only chooses where a list of their own begins.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

/// Bytes that a token may have: the position is a name, and so is what the list belongs to.
pub const TOKEN_BYTES_MAX: usize = 8192;

/// A token that this list did not give out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the nextToken is not one of this list")]
pub struct InvalidToken;

/// The token for a page of `list` by `operation` that ended at `position`.
pub fn encode(operation: &str, list: &str, position: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("1\n{operation}\n{list}\n{position}"))
}

/// The position that a token stands for.
///
/// # Errors
/// It belongs to another list or operation, or is none of ours.
pub fn decode(operation: &str, list: &str, token: &str) -> Result<String, InvalidToken> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(InvalidToken);
    }
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|_| InvalidToken)?;
    let text = String::from_utf8(bytes).map_err(|_| InvalidToken)?;
    let position = text.strip_prefix(&format!("1\n{operation}\n{list}\n"));
    position.map(str::to_owned).ok_or(InvalidToken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_serves_the_list_it_came_from_and_no_other() {
        let token = encode("ListRoutes", "m/r", "route-2");
        assert_eq!(decode("ListRoutes", "m/r", &token).as_deref(), Ok("route-2"));
        for (operation, list, token) in [
            ("ListVirtualNodes", "m/r", token.as_str()),
            ("ListRoutes", "m/other", &token),
            ("ListRoutes", "m/r", "!"),
            ("ListRoutes", "m/r", ""),
            ("ListRoutes", "m/r", &"A".repeat(TOKEN_BYTES_MAX + 1)),
        ] {
            assert_eq!(decode(operation, list, token), Err(InvalidToken));
        }
    }
}
