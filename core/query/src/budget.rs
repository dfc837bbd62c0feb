//! What the fields of one state may use together: a single path or expression has bounds of its own, and a definition may
//! have a hundred thousand of them.

use std::time::{Duration, Instant};

use serde_json::Value;

/// The time that the fields of one state may take, in milliseconds.
pub const STATE_TIME_MAX: u64 = 2000;

/// A clock that runs: the only thing here that reads one, since nobody can tell from outside how long an expression takes.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

/// What one state's fields may use.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    bytes: usize,
    watch: Stopwatch,
}

/// How much more one field may make.
pub(crate) struct Allowance<'b> {
    left: usize,
    budget: &'b Budget,
}

/// A budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Overspent {
    /// A field makes more than so many bytes.
    #[error("the field has more than {0} bytes")]
    Bytes(usize),
    /// The fields take longer than [`STATE_TIME_MAX`].
    #[error("the fields of the state take more than {STATE_TIME_MAX} ms")]
    Time,
}

impl Stopwatch {
    /// Starts it.
    #[expect(
        clippy::disallowed_methods,
        reason = "how long an expression takes is no argument that anybody could give"
    )]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Whether more than `ms` milliseconds have passed.
    #[expect(clippy::disallowed_methods, reason = "as above")]
    pub fn is_past(&self, ms: u64) -> bool {
        self.0.elapsed() > Duration::from_millis(ms)
    }
}

impl Budget {
    /// One whose time runs from here on, for fields of at most about `bytes` bytes each.
    pub fn start(bytes: usize) -> Self {
        Self { bytes, watch: Stopwatch::start() }
    }

    /// Whether there is time left.
    ///
    /// # Errors
    /// [`Overspent::Time`].
    pub fn check(&self) -> Result<(), Overspent> {
        if self.watch.is_past(STATE_TIME_MAX) { Err(Overspent::Time) } else { Ok(()) }
    }

    /// What a field that is made of several values may have.
    pub(crate) fn field(&self) -> Allowance<'_> {
        Allowance { left: self.bytes, budget: self }
    }

    /// Whether values that were computed one by one are too much together: `sum` is what they have, and grows by this one.
    ///
    /// # Errors
    /// [`Overspent`].
    pub fn add(&self, sum: &mut usize, value: &Value) -> Result<(), Overspent> {
        let mut allowance = Allowance { left: self.bytes.saturating_sub(*sum), budget: self };
        allowance.charge(value)?;
        *sum = self.bytes - allowance.left;
        Ok(())
    }
}

impl Allowance<'_> {
    /// Another one for a part of the same field.
    pub(crate) fn afresh(&self) -> Self {
        self.budget.field()
    }

    pub(crate) fn charge(&mut self, value: &Value) -> Result<(), Overspent> {
        self.budget.check()?;
        let bytes = bytes_within(value, self.left).ok_or(Overspent::Bytes(self.budget.bytes))?;
        self.left -= bytes;
        Ok(())
    }
}

/// About how many bytes a value's JSON has – escapes are not counted – unless that is more than `most`.
pub fn bytes_within(value: &Value, most: usize) -> Option<usize> {
    let mut sum = 0;
    // A stack of its own: a value may be nested deeper than ours allows.
    let mut pending = vec![value];
    while let Some(value) = pending.pop() {
        sum += match value {
            Value::String(text) => text.len() + 2,
            Value::Array(items) => {
                pending.extend(items);
                items.len() + 2
            }
            Value::Object(members) => {
                pending.extend(members.values());
                members.keys().map(|name| name.len() + 4).sum::<usize>() + 2
            }
            _ => 4,
        };
        if sum > most {
            return None;
        }
    }
    Some(sum)
}

/// Whether a value nests at most `levels` deep; one that is no array and no object has none.
pub fn nests_within(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels > 0 && items.iter().all(|item| nests_within(item, levels - 1)),
        Value::Object(members) => {
            levels > 0 && members.values().all(|member| nests_within(member, levels - 1))
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn levels_and_bytes_are_counted() {
        let value = json!({"a": [[], 1], "b": {}});
        assert!(nests_within(&value, 3) && !nests_within(&value, 2));
        assert!(nests_within(&json!("text"), 0) && !nests_within(&json!([]), 0));
        let bytes = bytes_within(&value, usize::MAX).unwrap();
        assert!(bytes.abs_diff(value.to_string().len()) < 10, "{bytes}");
        assert_eq!((bytes_within(&value, bytes), bytes_within(&value, bytes - 1)), (Some(bytes), None));
    }

    #[test]
    fn what_is_added_up_is_bounded_together() {
        let budget = Budget::start(10);
        let mut sum = 0;
        assert_eq!(budget.add(&mut sum, &json!("1234")), Ok(()));
        assert_eq!((sum, budget.add(&mut sum, &json!("12345"))), (6, Err(Overspent::Bytes(10))));
    }
}
