//! Filters: `[?(@.price < 10 && @.kind in ['a','b'])]`.

use std::cmp::Ordering;

use regex::Regex;
use serde_json::Value;

use super::evaluate::Visits;
use super::{Path, PathError};
use crate::budget::bytes_within;

/// So many bytes of a value that is compared cost as much as a look at another one.
const BYTES_A_VISIT: usize = 1024;

/// A condition on one item.
#[derive(Clone, Debug)]
pub(super) enum Filter {
    Or(Vec<Self>),
    And(Vec<Self>),
    Not(Box<Self>),
    /// A path alone: it selects something.
    Exists(Operand),
    Compare(Operand, Operator, Operand),
    Matches(Operand, Regex),
}

#[derive(Clone, Debug)]
pub(super) enum Operand {
    Literal(Value),
    /// `@…`
    Item(Path),
    /// `$…`
    Root(Path),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
    SubsetOf,
    AnyOf,
    NoneOf,
    Size,
    Empty,
}

impl Filter {
    /// What it looks at counts as if the path had looked at it.
    pub(super) fn accepts(&self, item: &Value, root: &Value, visits: &mut Visits) -> Result<bool, PathError> {
        Ok(match self {
            Self::Or(parts) => {
                for part in parts {
                    if part.accepts(item, root, visits)? {
                        return Ok(true);
                    }
                }
                false
            }
            Self::And(parts) => {
                for part in parts {
                    if !part.accepts(item, root, visits)? {
                        return Ok(false);
                    }
                }
                true
            }
            Self::Not(part) => !part.accepts(item, root, visits)?,
            Self::Exists(operand) => match operand.value(item, root, visits)? {
                Some(Value::Array(items)) => operand.is_definite() || !items.is_empty(),
                found => found.is_some(),
            },
            Self::Matches(operand, expression) => match operand.value(item, root, visits)? {
                Some(Value::String(text)) => expression.is_match(&text),
                _ => false,
            },
            Self::Compare(left, operator, right) => {
                let (left, right) = (left.value(item, root, visits)?, right.value(item, root, visits)?);
                let (left, right) = (left.as_ref(), right.as_ref());
                if matches!(operator, Operator::SubsetOf | Operator::AnyOf | Operator::NoneOf) {
                    visits.add(items(left).len().saturating_mul(items(right).len()))?;
                }
                operator.holds(left, right)
            }
        })
    }
}

impl Operand {
    fn value(&self, item: &Value, root: &Value, visits: &mut Visits) -> Result<Option<Value>, PathError> {
        visits.add(1)?;
        let selected = match self {
            Self::Literal(value) => return Ok(Some(value.clone())),
            Self::Item(path) => path.select_within(item, visits),
            Self::Root(path) => path.select_within(root, visits),
        };
        match selected {
            Ok(value) => {
                visits.add(bytes_within(&value, usize::MAX).unwrap_or(usize::MAX) / BYTES_A_VISIT)?;
                Ok(Some(value))
            }
            Err(PathError::TooMuch) => Err(PathError::TooMuch),
            Err(_) => Ok(None),
        }
    }

    fn is_definite(&self) -> bool {
        match self {
            Self::Literal(_) => true,
            Self::Item(path) | Self::Root(path) => path.is_definite(),
        }
    }
}

impl Operator {
    fn holds(self, left: Option<&Value>, right: Option<&Value>) -> bool {
        match self {
            Self::Equal => equal(left, right),
            Self::NotEqual => !equal(left, right),
            Self::Less => order(left, right) == Some(Ordering::Less),
            Self::LessOrEqual => order(left, right).is_some_and(Ordering::is_le),
            Self::Greater => order(left, right) == Some(Ordering::Greater),
            Self::GreaterOrEqual => order(left, right).is_some_and(Ordering::is_ge),
            Self::In => items(right).iter().any(|item| equal(left, Some(item))),
            Self::NotIn => !items(right).iter().any(|item| equal(left, Some(item))),
            Self::SubsetOf => items(left).iter().all(|item| items(right).contains(item)),
            Self::AnyOf => items(left).iter().any(|item| items(right).contains(item)),
            Self::NoneOf => !items(left).iter().any(|item| items(right).contains(item)),
            Self::Size => size(left).is_some() && size(left) == right.and_then(Value::as_u64),
            Self::Empty => right
                .and_then(Value::as_bool)
                .is_some_and(|empty| size(left).is_some_and(|size| (size == 0) == empty)),
        }
    }
}

fn equal(left: Option<&Value>, right: Option<&Value>) -> bool {
    match (left, right) {
        (Some(Value::Number(left)), Some(Value::Number(right))) => left.as_f64() == right.as_f64(),
        (left, right) => left == right,
    }
}

fn order(left: Option<&Value>, right: Option<&Value>) -> Option<Ordering> {
    match (left?, right?) {
        (Value::Number(left), Value::Number(right)) => left.as_f64()?.partial_cmp(&right.as_f64()?),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn size(value: Option<&Value>) -> Option<u64> {
    let size = match value? {
        Value::Array(items) => items.len(),
        Value::String(text) => text.chars().count(),
        Value::Object(members) => members.len(),
        _ => return None,
    };
    u64::try_from(size).ok()
}
