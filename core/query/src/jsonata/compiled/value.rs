//! The values of a program: JSON where it lies, and what was made of it.

use std::rc::Rc;

use serde_json::{Map, Number, Value};

use super::super::{BYTES_MAX, value::number};
use super::GaveUp;

/// How deep the values nest that a program makes, above the JSON that they hold: they are walked by recursion.
pub(in super::super) const VALUE_DEPTH_MAX: u8 = 64;
/// Objects up to this size are searched member by member, which is faster than to hash a name.
const SCANNED_MEMBERS: usize = 8;

/// A value. Cloning copies no text and no items.
#[derive(Clone, Debug)]
pub(super) enum Val<'a> {
    Undefined,
    Null,
    Boolean(bool),
    Number(f64),
    Text(Text<'a>),
    /// An array of JSON.
    Items(&'a [Value]),
    /// An object of JSON.
    Members(&'a Map<String, Value>),
    List(List<'a>),
    Object(Rc<Object<'a>>),
}

/// An object that was made: its members in their order, each name once.
#[derive(Clone, Debug)]
pub(super) struct Object<'a> {
    pub(super) members: Vec<(Text<'a>, Val<'a>)>,
    depth: u8,
}

#[derive(Clone, Debug)]
pub(super) enum Text<'a> {
    Lent(&'a str),
    Made(Rc<str>),
}

/// An array that was made, with what decides whether it stays one.
#[derive(Clone, Debug)]
pub(super) struct List<'a> {
    pub(super) items: Rc<Vec<Val<'a>>>,
    /// The result of a query: one item stands for itself, none for nothing.
    pub(super) is_sequence: bool,
    /// Made by a constructor that is a step of a path: its items stay together.
    pub(super) is_whole: bool,
    /// One item does not stand for itself.
    pub(super) is_kept: bool,
    depth: u8,
}

/// The items of either kind of array, or a value as the only one.
#[derive(Clone, Copy)]
pub(super) enum Items<'v, 'a> {
    Json(&'a [Value]),
    Made(&'v [Val<'a>]),
}

// === impl Text ===

impl Text<'_> {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Lent(text) => text,
            Self::Made(text) => text,
        }
    }
}

// === impl List ===

impl<'a> List<'a> {
    /// # Errors
    /// [`GaveUp`] past [`VALUE_DEPTH_MAX`].
    pub(super) fn plain(items: Vec<Val<'a>>) -> Result<Self, GaveUp> {
        let depth = deeper(items.iter())?;
        Ok(Self { items: Rc::new(items), is_sequence: false, is_whole: false, is_kept: false, depth })
    }

    /// # Errors
    /// [`GaveUp`] past [`VALUE_DEPTH_MAX`].
    pub(super) fn sequence(items: Vec<Val<'a>>) -> Result<Self, GaveUp> {
        Ok(Self { is_sequence: true, ..Self::plain(items)? })
    }

    /// A new sequence of the same items.
    pub(super) fn fresh(&self) -> Self {
        Self { is_sequence: true, is_whole: false, is_kept: false, ..self.clone() }
    }
}

/// The depth of what holds these.
fn deeper<'v, 'a: 'v>(values: impl Iterator<Item = &'v Val<'a>>) -> Result<u8, GaveUp> {
    let depths = values.map(|value| match value {
        Val::List(list) => list.depth,
        Val::Object(object) => object.depth,
        _ => 0,
    });
    let depth = depths.max().unwrap_or_default() + 1;
    if depth > VALUE_DEPTH_MAX { Err(GaveUp) } else { Ok(depth) }
}

// === impl Items ===

impl<'v, 'a> Items<'v, 'a> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Json(items) => items.len(),
            Self::Made(items) => items.len(),
        }
    }

    pub(super) fn at(&self, index: usize) -> Option<Val<'a>> {
        match self {
            Self::Json(items) => items.get(index).map(Val::of),
            Self::Made(items) => items.get(index).cloned(),
        }
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Val<'a>> + 'v
    where
        'a: 'v,
    {
        (0..self.len()).filter_map(move |index| self.at(index))
    }
}

// === impl Val ===

impl<'a> Val<'a> {
    pub(super) fn of(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Boolean(*value),
            Value::Number(number) => Self::Number(read(number)),
            Value::String(text) => Self::Text(Text::Lent(text)),
            Value::Array(items) => Self::Items(items),
            Value::Object(members) => Self::Members(members),
        }
    }

    pub(super) fn made(text: impl Into<Rc<str>>) -> Self {
        Self::Text(Text::Made(text.into()))
    }

    pub(super) fn list(items: Vec<Self>) -> Result<Self, GaveUp> {
        List::plain(items).map(Self::List)
    }

    pub(super) fn sequence(items: Vec<Self>) -> Result<Self, GaveUp> {
        List::sequence(items).map(Self::List)
    }

    pub(super) fn nothing() -> Self {
        Self::List(List {
            items: Rc::default(),
            is_sequence: true,
            is_whole: false,
            is_kept: false,
            depth: 1,
        })
    }

    pub(super) fn object(members: Vec<(Text<'a>, Self)>) -> Result<Self, GaveUp> {
        let depth = deeper(members.iter().map(|(_, value)| value))?;
        Ok(Self::Object(Rc::new(Object { members, depth })))
    }

    pub(super) fn is_undefined(&self) -> bool {
        matches!(self, Self::Undefined)
    }

    pub(super) fn is_array(&self) -> bool {
        matches!(self, Self::Items(_) | Self::List(_))
    }

    /// The items of an array.
    pub(super) fn items(&self) -> Option<Items<'_, 'a>> {
        match self {
            Self::Items(items) => Some(Items::Json(items)),
            Self::List(list) => Some(Items::Made(&list.items)),
            _ => None,
        }
    }

    /// The items of an array, or this as the only one.
    pub(super) fn items_or_self(&self) -> Items<'_, 'a> {
        self.items().unwrap_or_else(|| Items::Made(std::slice::from_ref(self)))
    }

    /// A sequence of one item is that item, and one of none is nothing.
    pub(super) fn unwrapped(self) -> Self {
        match &self {
            Self::List(list) if list.is_sequence => match list.items.as_slice() {
                [] => Self::Undefined,
                [item] if !list.is_kept => item.clone(),
                _ => self,
            },
            _ => self,
        }
    }

    /// A member of an object; nothing of anything else, an array included.
    pub(super) fn member(&self, name: &str) -> Self {
        match self {
            Self::Members(members) => member_of(members, name),
            Self::Object(object) => {
                let found = object.members.iter().find(|(known, _)| known.as_str() == name);
                found.map_or(Self::Undefined, |(_, value)| value.clone())
            }
            _ => Self::Undefined,
        }
    }

    /// Whether it counts as true: an array does that holds something true; looks at as many values as `visits` allows.
    ///
    /// # Errors
    /// [`GaveUp`] when it has looked at more.
    pub(super) fn is_true(&self, visits: &mut usize) -> Result<bool, GaveUp> {
        let mut any = |items: Items<'_, 'a>| {
            *visits = visits.checked_sub(items.len()).ok_or(GaveUp)?;
            for item in items.iter() {
                if item.is_true(visits)? {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        Ok(match self {
            Self::Undefined | Self::Null => false,
            Self::Boolean(value) => *value,
            Self::Number(number) => *number != 0.0,
            Self::Text(text) => !text.as_str().is_empty(),
            Self::Items(items) => any(Items::Json(items))?,
            Self::List(list) => any(Items::Made(&list.items))?,
            Self::Members(members) => !members.is_empty(),
            Self::Object(object) => !object.members.is_empty(),
        })
    }

    /// By value; what is undefined equals nothing.
    pub(super) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Boolean(one), Self::Boolean(two)) => one == two,
            (Self::Number(one), Self::Number(two)) => one == two,
            (Self::Text(one), Self::Text(two)) => one.as_str() == two.as_str(),
            (Self::Items(_) | Self::List(_), Self::Items(_) | Self::List(_)) => {
                let (one, two) = (self.items_or_self(), other.items_or_self());
                one.len() == two.len() && one.iter().zip(two.iter()).all(|(one, two)| one.equals(&two))
            }
            (Self::Members(_) | Self::Object(_), Self::Members(_) | Self::Object(_)) => {
                let mut is_equal = self.length() == other.length();
                self.for_each_member(&mut |name, value| {
                    is_equal = is_equal && value.equals(&other.member(name));
                });
                is_equal
            }
            _ => false,
        }
    }

    /// Members of an object.
    pub(super) fn length(&self) -> usize {
        match self {
            Self::Members(members) => members.len(),
            Self::Object(object) => object.members.len(),
            _ => 0,
        }
    }

    /// Calls `f` for each member of an object, in their order.
    pub(super) fn for_each_member(&self, f: &mut dyn FnMut(&str, Self)) {
        match self {
            Self::Members(members) => members.iter().for_each(|(name, value)| f(name, Val::of(value))),
            Self::Object(object) => {
                object.members.iter().for_each(|(name, value)| f(name.as_str(), value.clone()));
            }
            _ => {}
        }
    }

    /// About how many bytes its JSON has, added to `sum`, as [`super::super::value::size`] counts them.
    ///
    /// # Errors
    /// [`GaveUp`] past [`BYTES_MAX`].
    pub(super) fn measure(&self, sum: &mut usize) -> Result<(), GaveUp> {
        *sum += match self {
            Self::Text(text) => text.as_str().len() + 2,
            Self::Items(items) => items.len() + 2,
            Self::List(list) => list.items.len() + 2,
            Self::Members(members) => members.keys().map(|name| name.len() + 4).sum::<usize>() + 2,
            Self::Object(object) => {
                object.members.iter().map(|(name, _)| name.as_str().len() + 4).sum::<usize>() + 2
            }
            Self::Undefined | Self::Null | Self::Boolean(_) | Self::Number(_) => 4,
        };
        if *sum > BYTES_MAX {
            return Err(GaveUp);
        }
        match self {
            Self::Items(items) => items.iter().try_for_each(|item| Val::of(item).measure(sum)),
            Self::List(list) => list.items.iter().try_for_each(|item| item.measure(sum)),
            Self::Members(members) => members.values().try_for_each(|value| Val::of(value).measure(sum)),
            Self::Object(object) => object.members.iter().try_for_each(|(_, value)| value.measure(sum)),
            _ => Ok(()),
        }
    }
}

/// A member of an object of JSON.
pub(super) fn member_of<'a>(members: &'a Map<String, Value>, name: &str) -> Val<'a> {
    let found = if members.len() <= SCANNED_MEMBERS {
        members.iter().find(|(known, _)| known.as_str() == name).map(|(_, value)| value)
    } else {
        members.get(name)
    };
    found.map_or(Val::Undefined, Val::of)
}

/// A number as the library reads it.
fn read(number: &Number) -> f64 {
    let text = number.as_str().as_bytes();
    // Up to fifteen digits are exact, and need no parser.
    if text.len() <= 15 && text.iter().all(u8::is_ascii_digit) {
        return text.iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0')) as f64;
    }
    number.as_f64().unwrap_or_default()
}

/// The value as JSON; none for what is undefined.
///
/// # Errors
/// [`GaveUp`] past [`BYTES_MAX`].
pub(super) fn json(value: &Val<'_>) -> Result<Option<Value>, GaveUp> {
    if value.is_undefined() {
        return Ok(None);
    }
    value.measure(&mut 0)?;
    convert(value).map(Some)
}

fn convert(value: &Val<'_>) -> Result<Value, GaveUp> {
    Ok(match value {
        Val::Undefined | Val::Null => Value::Null,
        Val::Boolean(value) => Value::Bool(*value),
        Val::Number(value) => Value::Number(number(*value).map_err(|_| GaveUp)?),
        Val::Text(text) => Value::String(text.as_str().to_owned()),
        Val::Items(items) => Value::Array(items.iter().map(copy).collect::<Result<_, _>>()?),
        Val::List(list) => Value::Array(list.items.iter().map(convert).collect::<Result<_, _>>()?),
        Val::Members(members) => Value::Object(copies(members)?),
        Val::Object(object) => {
            let mut made = Map::with_capacity(object.members.len());
            for (name, value) in &object.members {
                made.insert(name.as_str().to_owned(), convert(value)?);
            }
            Value::Object(made)
        }
    })
}

/// JSON as it was, but for its numbers, which the language writes in its own way.
fn copy(value: &Value) -> Result<Value, GaveUp> {
    Ok(match value {
        Value::Number(found) => Value::Number(number(read(found)).map_err(|_| GaveUp)?),
        Value::Array(items) => Value::Array(items.iter().map(copy).collect::<Result<_, _>>()?),
        Value::Object(members) => Value::Object(copies(members)?),
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    })
}

fn copies(members: &Map<String, Value>) -> Result<Map<String, Value>, GaveUp> {
    members.iter().map(|(name, value)| Ok((name.clone(), copy(value)?))).collect()
}
