//! Values: expressions are worked out as they are read.

use std::sync::Arc;

use super::super::token::{Kind, Token, Tokenizer};
use super::{NESTING_MAX, Parsed, Parser, VALUE_BYTES_MAX, qualified, unexpected};
use crate::diagnostic::{Diagnostic, did_you_mean};
use crate::place::Place;
use crate::value::{List, Mismatch, Value};

impl Parser<'_> {
    pub(super) fn variable(&self, key: &str) -> Option<&Value> {
        let mut block = Some(self.current);
        while let Some(number) = block {
            if let Some(value) = self.blocks[number].value(key) {
                return Some(value);
            }
            block = self.blocks[number].parent;
        }
        None
    }

    pub(super) fn expression(&mut self, tokens: &mut Tokenizer<'_>, depth: usize) -> Parsed<Value> {
        let mut sum = self.value(tokens, depth)?;
        loop {
            let token = tokens.next()?;
            if token.kind != Kind::Plus {
                tokens.give_back(token);
                return Ok(sum);
            }
            let first = self.past_line_end(tokens, begins_value)?;
            tokens.give_back(first);
            let next = self.value(tokens, depth)?;
            sum = add(sum, &next, token.place)?;
        }
    }

    fn value(&mut self, tokens: &mut Tokenizer<'_>, depth: usize) -> Parsed<Value> {
        let token = tokens.next()?;
        let place = token.place;
        match token.kind {
            Kind::Text(text) => Ok(Value::Text(text.into())),
            Kind::Integer(digits) => digits
                .parse()
                .map(Value::Integer)
                .map_err(|_| Diagnostic::error(place, format!("error parsing number: '{digits}'"))),
            Kind::Name(name) => self.named_value(&name, place),
            Kind::LeftParenthesis => self.list(tokens, place, depth + 1).map(Value::List),
            other => Err(unexpected(&Token { kind: other, place }, "a value")),
        }
    }

    fn named_value(&self, name: &str, place: Place) -> Parsed<Value> {
        let key = qualified(name);
        if let Some(name) = key.strip_prefix("env.") {
            let value = self.files.environment(name).map(|value| Value::Text(value.into()));
            return value.ok_or_else(|| Diagnostic::error(place, format!("Undefined env variable: {name}")));
        }
        self.variable(&key).cloned().ok_or_else(|| {
            let found = Diagnostic::error(place, format!("Undefined config variable: {key}"));
            match name {
                "true" | "on" | "enable" | "yes" => found.with_hint("write \"enable\", in quotes"),
                "false" | "off" | "disable" | "no" => found.with_hint("write \"disable\", in quotes"),
                _ => {
                    let known = self.blocks.iter().flat_map(|block| block.values.keys().map(|key| &**key));
                    match did_you_mean(&key, known) {
                        Some(guess) => found.with_hint(format!("did you mean {guess}?")),
                        None => found,
                    }
                }
            }
        })
    }

    /// What follows `(`.
    fn list(&mut self, tokens: &mut Tokenizer<'_>, place: Place, depth: usize) -> Parsed<List> {
        if depth > NESTING_MAX {
            return Err(Diagnostic::error(place, format!("lists are nested more than {NESTING_MAX} deep")));
        }
        let mut list = List::default();
        loop {
            let token = tokens.next()?;
            match token.kind {
                Kind::RightParenthesis => return Ok(list),
                Kind::Comma => {
                    if list.is_empty() {
                        self.ignore(&token);
                    }
                    continue;
                }
                _ => {}
            }
            let place = token.place;
            tokens.give_back(token);
            let value = self.expression(tokens, depth)?;
            let after = tokens.next()?;
            let (key, value) = if after.kind == Kind::Arrow {
                let key = key_of(value, place)?;
                (Some(key), self.expression(tokens, depth)?)
            } else {
                tokens.give_back(after);
                (None, value)
            };
            list.push(key, value).map_err(|key| {
                let message = format!("duplicate array-key: {key}. Please get rid of the duplicate entry.");
                Diagnostic::error(place, message)
            })?;
            loop {
                let after = tokens.next()?;
                match after.kind {
                    Kind::Comma => break,
                    Kind::RightParenthesis => return Ok(list),
                    Kind::Text(_) | Kind::Integer(_) | Kind::Name(_) | Kind::Arrow => self.ignore(&after),
                    _ => return Err(unexpected(&after, ", or )")),
                }
            }
        }
    }

    /// An expression that is text or a number, as text.
    pub(super) fn key_text(&mut self, tokens: &mut Tokenizer<'_>) -> Parsed<String> {
        let token = tokens.next()?;
        let place = token.place;
        tokens.give_back(token);
        let value = self.expression(tokens, 0)?;
        Ok(key_of(value, place)?.to_string())
    }
}

/// Whether a value begins so, and nothing else does.
pub(super) fn begins_value(kind: &Kind) -> bool {
    matches!(kind, Kind::Text(_) | Kind::Integer(_) | Kind::LeftParenthesis)
}

fn key_of(value: Value, place: Place) -> Parsed<Arc<str>> {
    match value {
        Value::Text(text) => Ok(text),
        Value::Integer(number) => Ok(number.to_string().into()),
        Value::List(_) => Err(Diagnostic::error(place, "operand must be string")),
    }
}

pub(super) fn add(left: Value, right: &Value, place: Place) -> Parsed<Value> {
    let sum = left.plus(right).map_err(|error| {
        let found = Diagnostic::error(place, error.to_string());
        match error {
            Mismatch::Types => found.with_hint("text and numbers can be added, and lists to lists"),
            Mismatch::DuplicateKey(_) => found.with_hint("both lists have this key, with different values"),
        }
    })?;
    if bytes_of(&sum) > VALUE_BYTES_MAX {
        return Err(Diagnostic::error(place, format!("the value is larger than {VALUE_BYTES_MAX} bytes")));
    }
    Ok(sum)
}

fn bytes_of(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Integer(_) => 8,
        Value::List(list) => {
            list.iter().map(|(key, value)| 16 + key.map_or(0, |key| key.len()) + bytes_of(value)).sum()
        }
    }
}
