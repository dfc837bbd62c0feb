//! JSON Web Tokens: read ([`Token`]), and checked against the keys of whoever issued them ([`KeySet`]).
//!
//! RFC 7515 (signatures), 7517 (keys), 7518 and 8037 (algorithms), 7519 (claims), with the advice of RFC 8725: which
//! algorithms a key is good for follows from the key, never from the token; `none` is no algorithm; a key's name is a
//! text to compare and nothing else.

mod algorithm;
mod keys;
mod refusal;
mod token;

pub use algorithm::Algorithm;
pub use keys::{KEYS_BYTES_MAX, KEYS_MAX, KeySet};
pub use refusal::Refusal;
pub use token::{TOKEN_BYTES_MAX, Token};
