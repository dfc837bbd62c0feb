//! TOML with the place of every key and value.

use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::Diagnostic;
use crate::place::Place;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) place: Place,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Text(Arc<str>),
    Integer(i64),
    Switch(bool),
    List(Vec<Node>),
    /// In the order of the file.
    Table(Vec<(Arc<str>, Place, Node)>),
    /// What the form has no use for.
    Other(&'static str),
}

impl Node {
    pub(super) fn parse(text: &str, file: u32) -> Result<Self, Diagnostic> {
        let place = |offset: usize| Place { file, offset: u32::try_from(offset).unwrap_or(u32::MAX) };
        match DeTable::parse(text) {
            Ok(table) => {
                let span = table.span();
                Ok(Self { kind: Self::table(table.get_ref(), file), place: place(span.start) })
            }
            Err(error) => {
                let at = error.span().map(|span| place(span.start));
                let (message, hint) = super::syntax::told(text, error.span(), error.message());
                let finding = Diagnostic::error(at, message);
                Err(match hint {
                    Some(hint) => finding.with_hint(hint),
                    None => finding,
                })
            }
        }
    }

    fn table(table: &DeTable<'_>, file: u32) -> Kind {
        let place = |offset: usize| Place { file, offset: u32::try_from(offset).unwrap_or(u32::MAX) };
        let mut entries: Vec<(Arc<str>, Place, Self)> = table
            .iter()
            .map(|(key, value)| (Arc::from(&**key.get_ref()), place(key.span().start), Self::of(value, file)))
            .collect();
        entries.sort_by_key(|(_, place, _)| *place);
        Kind::Table(entries)
    }

    fn of(value: &Spanned<DeValue<'_>>, file: u32) -> Self {
        let place = Place { file, offset: u32::try_from(value.span().start).unwrap_or(u32::MAX) };
        let kind = match value.get_ref() {
            DeValue::String(text) => Kind::Text(Arc::from(&**text)),
            DeValue::Integer(number) => {
                match i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()) {
                    Ok(number) => Kind::Integer(number),
                    Err(_) => Kind::Other("a number that is too large"),
                }
            }
            DeValue::Boolean(switch) => Kind::Switch(*switch),
            DeValue::Array(list) => Kind::List(list.iter().map(|value| Self::of(value, file)).collect()),
            DeValue::Table(table) => Self::table(table, file),
            DeValue::Float(_) => Kind::Other("a number with a fraction"),
            DeValue::Datetime(_) => Kind::Other("a date"),
        };
        Self { kind, place }
    }

    /// The value under `key` of a table.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|(found, ..)| **found == *key).map(|(.., node)| node)
    }

    /// Keys and values of a table; none of anything else.
    pub(super) fn entries(&self) -> &[(Arc<str>, Place, Self)] {
        match &self.kind {
            Kind::Table(entries) => entries,
            _ => &[],
        }
    }

    /// The values of a list; a single value is a list of one.
    pub(super) fn items(&self) -> &[Self] {
        match &self.kind {
            Kind::List(items) => items,
            _ => std::slice::from_ref(self),
        }
    }

    pub(super) fn text(&self) -> Option<&Arc<str>> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn integer(&self) -> Option<i64> {
        match self.kind {
            Kind::Integer(number) => Some(number),
            _ => None,
        }
    }

    pub(super) fn switch(&self) -> Option<bool> {
        match self.kind {
            Kind::Switch(switch) => Some(switch),
            _ => None,
        }
    }

    /// For a person.
    pub(super) fn shown(&self) -> &'static str {
        match self.kind {
            Kind::Text(_) => "text",
            Kind::Integer(_) => "a number",
            Kind::Switch(_) => "true or false",
            Kind::List(_) => "a list",
            Kind::Table(_) => "a table",
            Kind::Other(what) => what,
        }
    }
}
