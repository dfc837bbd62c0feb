//! Task tokens: who holds one may answer for its task, once.
//!
//! A token is sealed, and says whose it is to the engine alone: nothing has to be remembered to find its task, before a restart or
//! after it, and nobody makes one up. What is sealed is not enough to answer: the execution holds the same text as long as the task is
//! under way. So a token whose task has ended is told from one that never was, however long ago that was.
//!
//! | key | document |
//! |---|---|
//! | `token-key` | what tokens are sealed with |
//! | `late/N/E/00…7` | tasks that the step with that last event ended before they were answered: one late result of each is kept |

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use selvedge_asl::{Entropy, TaskId, TokenSource};
use selvedge_store::{Error as StoreError, Store};
use serde::{Deserialize, Serialize};

use super::LiveKey;

const KEY: &str = "token-key";
const KEY_BYTES: usize = 32;
/// Before the nonce, so that another form can be told from this one.
const FORM: u8 = 1;

/// Seals and opens tokens.
#[derive(Clone)]
pub(super) struct Tokens(Arc<LessSafeKey>);

/// The tokens of one execution.
pub(super) struct TokensOf {
    tokens: Tokens,
    key: LiveKey,
}

/// What a token is for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) key: LiveKey,
    pub(super) task: TaskId,
    pub(super) state: String,
}

#[derive(Serialize, Deserialize)]
struct Sealed<'a> {
    machine: &'a str,
    name: &'a str,
    task: u64,
    state: &'a str,
}

impl Tokens {
    /// With the store's key, which is made by whoever comes first.
    pub(super) fn of_store(store: &dyn Store, draw: impl Fn() -> u64) -> Result<Self, StoreError> {
        let found = store.snapshot()?.get(KEY)?;
        let mut key = match found {
            Some(found) => found.value.to_vec(),
            None => (0..KEY_BYTES / 8).flat_map(|_| draw().to_be_bytes()).collect(),
        };
        store.transact(&mut |tx| {
            match tx.get(KEY)? {
                Some(found) => key = found.value.to_vec(),
                None => tx.put(KEY, key.clone().into())?,
            }
            Ok(())
        })?;
        let key = UnboundKey::new(&AES_256_GCM, &key)
            .map_err(|_| StoreError::Corrupt("the key of task tokens has another length".to_owned()))?;
        Ok(Self(Arc::new(LessSafeKey::new(key))))
    }

    pub(super) fn of(&self, key: LiveKey) -> Arc<dyn TokenSource> {
        Arc::new(TokensOf { tokens: self.clone(), key })
    }

    fn seal(&self, asked: &Sealed<'_>, entropy: &mut dyn Entropy) -> String {
        let mut nonce = [0; NONCE_LEN];
        let drawn = [entropy.draw().to_be_bytes(), entropy.draw().to_be_bytes()].concat();
        nonce.copy_from_slice(&drawn[..NONCE_LEN]);
        let mut sealed = postcard::to_allocvec(asked).expect("texts and numbers have a form");
        let tag =
            self.0.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed);
        let tag = tag.expect("a token is much shorter than what the cipher takes");
        let bytes = [&[FORM], nonce.as_slice(), &sealed, tag.as_ref()].concat();
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What a token is for; none for a text that was not sealed here.
    pub(super) fn open(&self, token: &str) -> Option<Asked> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (form, rest) = bytes.split_first()?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN).filter(|_| *form == FORM)?;
        let (nonce, mut sealed) = (Nonce::try_assume_unique_for_key(nonce).ok()?, sealed.to_vec());
        let opened = self.0.open_in_place(nonce, Aad::empty(), &mut sealed).ok()?;
        let Sealed { machine, name, task, state } = postcard::from_bytes(opened).ok()?;
        Some(Asked { key: LiveKey::new(machine, name), task: TaskId(task), state: state.to_owned() })
    }
}

impl TokenSource for TokensOf {
    fn token(&self, task: TaskId, state: &str, entropy: &mut dyn Entropy) -> String {
        let sealed = Sealed { machine: &self.key.machine, name: &self.key.name, task: task.0, state };
        self.tokens.seal(&sealed, entropy)
    }
}

impl fmt::Debug for TokensOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokensOf").field(&self.key).finish_non_exhaustive()
    }
}

/// Whether two tokens are the same, in a time that does not tell where they differ.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(one.as_bytes(), other.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use selvedge_store::memory::Memory;

    use super::*;

    #[test]
    fn a_token_says_whose_it_is_to_its_store_alone() {
        let (store, mut drawn) = (Memory::new(), 0);
        let tokens = Tokens::of_store(&store, || 7).unwrap();
        let mut entropy = || {
            drawn += 1;
            drawn
        };
        let token = tokens.of(LiveKey::new("m:l", "e")).token(TaskId(5), "Ask ⚑", &mut entropy);
        let again = tokens.of(LiveKey::new("m:l", "e")).token(TaskId(5), "Ask ⚑", &mut entropy);
        assert_ne!(token, again, "each has chance of its own");
        let asked = Asked { key: LiveKey::new("m:l", "e"), task: TaskId(5), state: "Ask ⚑".to_owned() };
        assert_eq!(tokens.open(&token), Some(asked.clone()));
        // The key is the store's: another worker opens it.
        assert_eq!(Tokens::of_store(&store, || 8).unwrap().open(&token), Some(asked));
        assert_eq!(Tokens::of_store(&Memory::new(), || 8).unwrap().open(&token), None);
        for text in ["", "AQ", &token[1..], &token[..token.len() - 4], &"A".repeat(2048), "ä"] {
            assert_eq!(tokens.open(text), None, "{text}");
        }
        let mut bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert_eq!(tokens.open(&URL_SAFE_NO_PAD.encode(&bytes)), None, "byte {at}");
            bytes[at] ^= 1;
        }
    }
}
