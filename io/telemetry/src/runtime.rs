//! Values that an operator sets while the process runs (Envoy's admin layer of the runtime).

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// So many values can be set.
pub const KEYS_MAX: usize = 1000;
/// A key and its value together have at most so many bytes.
pub const ENTRY_BYTES_MAX: usize = 4096;

/// A cheap handle to the values.
#[derive(Clone, Debug, Default)]
pub struct Runtime(Arc<RwLock<BTreeMap<String, String>>>);

/// Values that are not taken; none of them is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeRefused {
    #[error("a value is longer than {ENTRY_BYTES_MAX} bytes")]
    TooLong,
    #[error("there would be more than {KEYS_MAX} values")]
    TooMany,
}

impl Runtime {
    /// Sets all or none; an empty value takes its key away.
    ///
    /// # Errors
    /// See [`RuntimeRefused`].
    pub fn modify<'a>(&self, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Result<(), RuntimeRefused> {
        let mut values = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = values.clone();
        for (key, value) in pairs {
            if key.len() + value.len() > ENTRY_BYTES_MAX {
                return Err(RuntimeRefused::TooLong);
            }
            if value.is_empty() {
                next.remove(key);
            } else {
                next.insert(key.to_owned(), value.to_owned());
            }
        }
        if next.len() > KEYS_MAX {
            return Err(RuntimeRefused::TooMany);
        }
        *values = next;
        Ok(())
    }

    /// All values by key.
    pub fn values(&self) -> BTreeMap<String, String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The number that is set for `key`, if one is.
    pub fn number(&self, key: &str) -> Option<f64> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(key)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_set_and_taken_away() {
        let runtime = Runtime::default();
        assert_eq!(runtime.modify([("a.b", "50"), ("c", "x")].into_iter()), Ok(()));
        assert_eq!((runtime.number("a.b"), runtime.number("c")), (Some(50.0), None));
        assert_eq!(runtime.modify([("a.b", "")].into_iter()), Ok(()));
        assert_eq!(runtime.values().len(), 1);
    }

    #[test]
    fn values_are_bounded_and_none_is_taken_of_too_many() {
        let runtime = Runtime::default();
        let keys: Vec<String> = (0..=KEYS_MAX).map(|n| format!("k{n}")).collect();
        let all = keys.iter().map(|key| (key.as_str(), "1"));
        assert_eq!(runtime.modify(all), Err(RuntimeRefused::TooMany));
        assert!(runtime.values().is_empty());
        let long = "x".repeat(ENTRY_BYTES_MAX);
        assert_eq!(runtime.modify([("k", long.as_str())].into_iter()), Err(RuntimeRefused::TooLong));
    }
}
