//! What a configuration's expressions are worth: text, numbers, lists.

use std::sync::Arc;

/// A value, as lighttpd's configuration has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `"text"`.
    Text(Arc<str>),
    /// `42`.
    Integer(i64),
    /// `( "a", "k" => "v" )`.
    List(List),
}

/// Values in the order in which they were written; some have keys, and no key occurs twice, in whichever case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    entries: Vec<(Option<Arc<str>>, Value)>,
}

/// Two values that cannot become one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// A list has no sum with text or a number.
    #[error("data type mismatch, cannot merge")]
    Types,
    /// Both lists have the key, with different values.
    #[error("Duplicate array-key '{0}'")]
    DuplicateKey(Arc<str>),
}

// === impl Value ===

impl Value {
    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&Arc<str>> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The list, if it is one.
    pub fn as_list(&self) -> Option<&List> {
        match self {
            Self::List(list) => Some(list),
            _ => None,
        }
    }

    /// What `self + other` is: text grows, numbers add up, lists merge.
    ///
    /// # Errors
    /// When a list meets something else, or a key stands in both lists with different values.
    pub fn plus(self, other: &Self) -> Result<Self, Mismatch> {
        match (self, other) {
            (Self::Text(left), Self::Text(right)) => Ok(Self::Text(format!("{left}{right}").into())),
            (Self::Text(left), Self::Integer(right)) => Ok(Self::Text(format!("{left}{right}").into())),
            (Self::Integer(left), Self::Text(right)) => Ok(Self::Text(format!("{left}{right}").into())),
            (Self::Integer(left), Self::Integer(right)) => Ok(Self::Integer(left.wrapping_add(*right))),
            (Self::List(mut left), Self::List(right)) => {
                for (key, value) in &right.entries {
                    match key.as_ref().and_then(|key| left.get(key).map(|found| (key, found))) {
                        None => left.entries.push((key.clone(), value.clone())),
                        Some((_, found)) if found == value && !matches!(value, Self::List(_)) => {}
                        Some((key, _)) => return Err(Mismatch::DuplicateKey(key.clone())),
                    }
                }
                Ok(Self::List(left))
            }
            _ => Err(Mismatch::Types),
        }
    }
}

// === impl List ===

impl List {
    /// How many values there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keys and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Option<&Arc<str>>, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_ref(), value))
    }

    /// The value under `key`, in whichever case it was written.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let is_named =
            |found: &Option<Arc<str>>| found.as_deref().is_some_and(|it| it.eq_ignore_ascii_case(key));
        self.entries.iter().find(|(found, _)| is_named(found)).map(|(_, value)| value)
    }

    /// Adds a value.
    ///
    /// # Errors
    /// The key, when it is there already.
    pub fn push(&mut self, key: Option<Arc<str>>, value: Value) -> Result<(), Arc<str>> {
        if let Some(key) = &key
            && self.get(key).is_some()
        {
            return Err(key.clone());
        }
        self.entries.push((key, value));
        Ok(())
    }

    /// Whether every value is text without a key: `( "a", "b" )`.
    pub(crate) fn is_plain(&self) -> bool {
        self.entries.iter().all(|(key, value)| key.is_none() && matches!(value, Value::Text(_)))
    }

    /// Whether every value has a key.
    pub(crate) fn is_keyed(&self) -> bool {
        self.entries.iter().all(|(key, _)| key.is_some())
    }
}

impl FromIterator<(Option<Arc<str>>, Value)> for List {
    fn from_iter<I: IntoIterator<Item = (Option<Arc<str>>, Value)>>(entries: I) -> Self {
        Self { entries: entries.into_iter().collect() }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(Option<&str>, Value)]) -> Value {
        Value::List(entries.iter().map(|(key, value)| (key.map(Into::into), value.clone())).collect())
    }

    #[test]
    fn values_add_up_as_their_kinds_do() {
        let rows = [
            ("a".into(), "b".into(), Some("ab".into())),
            ("a".into(), Value::Integer(7), Some("a7".into())),
            (Value::Integer(7), "a".into(), Some("7a".into())),
            (Value::Integer(7), Value::Integer(8), Some(Value::Integer(15))),
            ("a".into(), list(&[]), None),
            (
                list(&[(None, "a".into())]),
                list(&[(None, "a".into())]),
                Some(list(&[(None, "a".into()), (None, "a".into())])),
            ),
            (
                list(&[(Some("k"), "a".into())]),
                list(&[(Some("k"), "a".into())]),
                Some(list(&[(Some("k"), "a".into())])),
            ),
            (list(&[(Some("k"), "a".into())]), list(&[(Some("k"), "b".into())]), None),
            (list(&[(Some("k"), "a".into())]), list(&[(Some("K"), "b".into())]), None),
            (list(&[(Some("k"), list(&[]))]), list(&[(Some("k"), list(&[]))]), None),
        ];
        for (left, right, sum) in rows {
            assert_eq!(left.clone().plus(&right).ok(), sum, "{left:?} + {right:?}");
        }
    }
}
