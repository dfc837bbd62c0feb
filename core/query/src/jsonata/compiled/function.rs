//! The built-in functions that a program calls by itself, for arguments of the kinds that they are made for.

use jsonata_core::functions::{numeric, string};
use jsonata_core::value::JValue;

use super::run::Run;
use super::value::{Items, List, Text, Val};
use super::{GaveUp, Node, text};
use crate::jsonata::function::instant;

/// Members of an object that is merged, before the library is asked, which finds names by their hash.
const MERGED_MEMBERS_MAX: usize = 64;
/// Items of an array without repetitions; each is compared with all before it.
const DISTINCT_ITEMS_MAX: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Abs,
    Append,
    Average,
    Boolean,
    Ceil,
    Contains,
    Count,
    Distinct,
    Exists,
    Floor,
    Join,
    Keys,
    Length,
    Lookup,
    Lowercase,
    Max,
    Merge,
    Millis,
    Min,
    Not,
    Now,
    Number,
    Reverse,
    Round,
    Split,
    String,
    Substring,
    SubstringAfter,
    SubstringBefore,
    Sum,
    Trim,
    Type,
    Uppercase,
}

/// A function's name, and the fewest and most arguments that are given to it here. The library fills a first one that is
/// left out with the context.
const FUNCTIONS: &[(&str, Function, usize, usize)] = &[
    ("abs", Function::Abs, 1, 1),
    ("append", Function::Append, 2, 2),
    ("average", Function::Average, 1, 1),
    ("boolean", Function::Boolean, 1, 1),
    ("ceil", Function::Ceil, 1, 1),
    ("contains", Function::Contains, 2, 2),
    ("count", Function::Count, 1, 1),
    ("distinct", Function::Distinct, 1, 1),
    ("exists", Function::Exists, 1, 1),
    ("floor", Function::Floor, 1, 1),
    (super::super::guard::JOIN, Function::Join, 1, 2),
    ("keys", Function::Keys, 1, 1),
    ("length", Function::Length, 1, 1),
    ("lookup", Function::Lookup, 2, 2),
    ("lowercase", Function::Lowercase, 1, 1),
    ("max", Function::Max, 1, 1),
    ("merge", Function::Merge, 1, 1),
    ("millis", Function::Millis, 0, 0),
    ("min", Function::Min, 1, 1),
    ("not", Function::Not, 1, 1),
    ("now", Function::Now, 0, 0),
    ("number", Function::Number, 1, 1),
    ("reverse", Function::Reverse, 1, 1),
    ("round", Function::Round, 1, 2),
    ("split", Function::Split, 2, 2),
    ("string", Function::String, 1, 1),
    ("substring", Function::Substring, 2, 3),
    ("substringAfter", Function::SubstringAfter, 2, 2),
    ("substringBefore", Function::SubstringBefore, 2, 2),
    ("sum", Function::Sum, 1, 1),
    ("trim", Function::Trim, 1, 1),
    ("type", Function::Type, 1, 1),
    ("uppercase", Function::Uppercase, 1, 1),
];

impl Function {
    /// The function that a call with so many arguments calls.
    pub(super) fn called(name: &str, arguments: usize) -> Option<Self> {
        let (_, function, fewest, most) = FUNCTIONS.iter().find(|(known, ..)| *known == name)?;
        (*fewest..=*most).contains(&arguments).then_some(*function)
    }
}

impl<'a> Run<'a> {
    pub(super) fn call(
        &mut self,
        function: Function,
        arguments: &'a [Node],
        context: &Val<'a>,
    ) -> Result<Val<'a>, GaveUp> {
        let mut given = [Val::Undefined, Val::Undefined, Val::Undefined];
        for (argument, place) in arguments.iter().zip(&mut given) {
            *place = self.evaluate(argument, context)?;
            if let Val::Text(text) = place {
                self.spend_text(text.as_str().len())?;
            }
        }
        match &given[..arguments.len()] {
            [] => match function {
                Function::Millis => Ok(Val::Number(self.now_ms as f64)),
                Function::Now => Ok(Val::made(instant(self.now_ms))),
                _ => Err(GaveUp),
            },
            [value] => self.of_one(function, value),
            [Val::Undefined, _] if function == Function::Append => Ok(given[1].clone()),
            [_, Val::Undefined] if function == Function::Append => Ok(given[0].clone()),
            [one, two] if function == Function::Append => {
                let (one, two) = (one.items_or_self(), two.items_or_self());
                self.spend(one.len() + two.len())?;
                self.fits(one.len() + two.len())?;
                Val::list(one.iter().chain(two.iter()).collect())
            }
            [Val::Members(_) | Val::Object(_), Val::Text(name)] if function == Function::Lookup => {
                Ok(given[0].member(name.as_str()))
            }
            [items, Val::Text(separator)] if function == Function::Join => {
                self.join(items, separator.as_str())
            }
            [Val::Number(number), Val::Number(digits)] if function == Function::Round => {
                text::made(numeric::round(*number, Some(*digits as i32))).and_then(finite)
            }
            [Val::Text(one), Val::Text(two)] => of_texts(self, function, one, two),
            [Val::Text(whole), Val::Number(start)] if function == Function::Substring => {
                text::made(string::substring(whole.as_str(), place(*start)?, None))
            }
            [Val::Text(whole), Val::Number(start), Val::Number(length)] => {
                text::made(string::substring(whole.as_str(), place(*start)?, Some(place(*length)?)))
            }
            _ => Err(GaveUp),
        }
    }

    fn of_one(&mut self, function: Function, value: &Val<'a>) -> Result<Val<'a>, GaveUp> {
        match (function, value) {
            (Function::Exists, value) => Ok(Val::Boolean(!value.is_undefined())),
            (Function::Count, Val::Undefined) => Ok(Val::Number(0.0)),
            (Function::Keys, Val::Members(_) | Val::Object(_)) => {
                let mut names = Vec::new();
                value.for_each_member(&mut |name, _| names.push(Val::made(name)));
                self.spend(names.len())?;
                self.fits(names.len())?;
                Val::sequence(names)
            }
            (
                Function::Keys | Function::Reverse | Function::Merge | Function::Distinct,
                Val::Undefined | Val::Null,
            ) => Err(GaveUp),
            (_, Val::Undefined) => Ok(Val::Undefined),
            (Function::Count, Val::Null) => Err(GaveUp),
            (Function::Count, value) => Ok(Val::Number(value.items_or_self().len() as f64)),
            (Function::Sum | Function::Max | Function::Min | Function::Average, value) => {
                self.spend(value.items_or_self().len())?;
                aggregate(function, value.items_or_self())
            }
            (Function::Boolean, value) => Ok(Val::Boolean(self.is_true(value)?)),
            (Function::Not, value) => Ok(Val::Boolean(!self.is_true(value)?)),
            (Function::String, value) => {
                let mut bytes = 0;
                value.measure(&mut bytes)?;
                self.spend_text(bytes)?;
                text::of(value).map(Val::Text)
            }
            (Function::Join, value) => self.join(value, ""),
            (Function::Type, value) => Ok(Val::Text(Text::Lent(kind(value)))),
            (Function::Number, Val::Number(_)) => Ok(value.clone()),
            (Function::Number, Val::Text(digits)) => {
                text::made(numeric::number(&JValue::string(digits.as_str())))
            }
            (Function::Abs, Val::Number(number)) => Ok(Val::Number(number.abs())),
            (Function::Ceil, Val::Number(number)) => Ok(Val::Number(number.ceil())),
            (Function::Floor, Val::Number(number)) => Ok(Val::Number(number.floor())),
            (Function::Round, Val::Number(number)) => {
                text::made(numeric::round(*number, None)).and_then(finite)
            }
            (Function::Length, Val::Text(text)) => text::made(string::length(text.as_str())),
            (Function::Lowercase, Val::Text(text)) => text::made(string::lowercase(text.as_str())),
            (Function::Trim, Val::Text(text)) => text::made(string::trim(text.as_str())),
            (Function::Uppercase, Val::Text(text)) => text::made(string::uppercase(text.as_str())),
            (Function::Reverse, Val::Items(_) | Val::List(_)) => {
                let mut items: Vec<Val<'a>> = value.items_or_self().iter().collect();
                self.spend(items.len())?;
                items.reverse();
                Val::list(items)
            }
            (Function::Distinct, value) => self.distinct(value),
            (Function::Merge, value) => self.merge(value),
            _ => Err(GaveUp),
        }
    }

    fn join(&mut self, value: &Val<'a>, separator: &str) -> Result<Val<'a>, GaveUp> {
        let items = match value {
            Val::Undefined | Val::Text(_) => return Ok(value.clone()),
            value => value.items().ok_or(GaveUp)?,
        };
        self.spend(items.len())?;
        let mut joined = String::new();
        for (index, item) in items.iter().enumerate() {
            let Val::Text(text) = item else { return Err(GaveUp) };
            if index > 0 {
                joined.push_str(separator);
            }
            joined.push_str(text.as_str());
            if joined.len() > super::super::BYTES_MAX {
                return Err(GaveUp);
            }
        }
        self.spend_text(joined.len())?;
        Ok(Val::made(joined))
    }

    fn distinct(&mut self, value: &Val<'a>) -> Result<Val<'a>, GaveUp> {
        let Some(items) = value.items().filter(|items| items.len() > 1) else { return Ok(value.clone()) };
        if items.len() > DISTINCT_ITEMS_MAX {
            return Err(GaveUp);
        }
        let mut kept: Vec<Val<'a>> = Vec::new();
        for item in items.iter() {
            for _ in 0..kept.len() {
                self.spend_comparison(&item)?;
            }
            self.spend(kept.len())?;
            if !kept.iter().any(|known| known.equals(&item)) {
                kept.push(item);
            }
        }
        match value {
            Val::List(List { is_sequence: true, .. }) => Val::sequence(kept),
            _ => Val::list(kept),
        }
    }

    fn merge(&mut self, value: &Val<'a>) -> Result<Val<'a>, GaveUp> {
        let Some(items) = value.items() else {
            let is_object = matches!(value, Val::Members(_) | Val::Object(_));
            return if is_object { Ok(value.clone()) } else { Err(GaveUp) };
        };
        let mut members: Vec<(Text<'a>, Val<'a>)> = Vec::new();
        for item in items.iter() {
            if item.length() > MERGED_MEMBERS_MAX {
                return Err(GaveUp);
            }
            match &item {
                Val::Members(more) => {
                    for (name, value) in more.iter() {
                        put(&mut members, Text::Lent(name), Val::of(value));
                    }
                }
                Val::Object(more) => {
                    for (name, value) in &more.members {
                        put(&mut members, name.clone(), value.clone());
                    }
                }
                _ => return Err(GaveUp),
            }
            if members.len() > MERGED_MEMBERS_MAX {
                return Err(GaveUp);
            }
            self.spend(members.len() + 1)?;
        }
        Val::object(members)
    }
}

/// The last one of a name counts, in the place of the first.
fn put<'a>(members: &mut Vec<(Text<'a>, Val<'a>)>, name: Text<'a>, value: Val<'a>) {
    match members.iter_mut().find(|(known, _)| known.as_str() == name.as_str()) {
        Some((_, place)) => *place = value,
        None => members.push((name, value)),
    }
}

fn of_texts<'a>(
    run: &mut Run<'a>,
    function: Function,
    one: &Text<'a>,
    two: &Text<'a>,
) -> Result<Val<'a>, GaveUp> {
    let (whole, part) = (one.as_str(), two.as_str());
    match function {
        Function::Contains => Ok(Val::Boolean(whole.contains(part))),
        Function::SubstringBefore => text::made(string::substring_before(whole, part)),
        Function::SubstringAfter => text::made(string::substring_after(whole, part)),
        Function::Split if !part.is_empty() => {
            let pieces: Vec<Val<'a>> = match one {
                Text::Lent(whole) => whole.split(part).map(|piece| Val::Text(Text::Lent(piece))).collect(),
                Text::Made(whole) => whole.split(part).map(Val::made).collect(),
            };
            run.spend(pieces.len())?;
            run.fits(pieces.len())?;
            Val::list(pieces)
        }
        _ => Err(GaveUp),
    }
}

fn aggregate<'a>(function: Function, items: Items<'_, 'a>) -> Result<Val<'a>, GaveUp> {
    let (mut sum, mut most, mut least) = (0.0, f64::NEG_INFINITY, f64::INFINITY);
    for item in items.iter() {
        let Val::Number(number) = item else { return Err(GaveUp) };
        sum += number;
        most = if number > most { number } else { most };
        least = if number < least { number } else { least };
    }
    let count = items.len();
    finite(Val::Number(match function {
        Function::Sum => sum,
        _ if count == 0 => return Ok(Val::Undefined),
        Function::Max => most,
        Function::Min => least,
        _ => sum / count as f64,
    }))
}

/// A place in a text. The library adds to it without a look at what a number can hold.
fn place(number: f64) -> Result<i64, GaveUp> {
    if number.abs() <= super::super::BYTES_MAX as f64 { Ok(number as i64) } else { Err(GaveUp) }
}

/// What is out of range fails somewhere later, in one of several ways.
fn finite(value: Val<'_>) -> Result<Val<'_>, GaveUp> {
    match value {
        Val::Number(number) if !number.is_finite() => Err(GaveUp),
        value => Ok(value),
    }
}

fn kind(value: &Val<'_>) -> &'static str {
    match value {
        Val::Undefined => "undefined",
        Val::Null => "null",
        Val::Boolean(_) => "boolean",
        Val::Number(_) => "number",
        Val::Text(_) => "string",
        Val::Items(_) | Val::List(_) => "array",
        Val::Members(_) | Val::Object(_) => "object",
    }
}
