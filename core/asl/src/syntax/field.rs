//! Reading the fields of an object, each once, and telling what is wrong with them.

use std::collections::BTreeSet;

use selvedge_query::{Expression, Path};
use serde_json::{Map, Value};

use super::{Number, QueryLanguage, ScopeId};
use crate::Payload;
use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::json::{Places, escape, line_and_column};
use crate::payload::{Fault, inside};

/// Everything found so far, and where places are looked up.
pub(super) struct Findings<'t> {
    pub(super) text: &'t str,
    pub(super) places: Places,
    pub(super) diagnostics: Vec<Diagnostic>,
    /// Where states are being read.
    pub(super) scope: Option<ScopeId>,
    /// What is being read runs as an express execution.
    pub(super) is_express: bool,
    /// Variables that are assigned: where, and the place.
    pub(super) assigned: Vec<(ScopeId, Box<str>, String)>,
}

/// The most findings that one definition is told.
const FINDINGS_MAX: usize = 1000;

impl Findings<'_> {
    pub(super) fn add(&mut self, severity: Severity, code: Code, pointer: &str, message: impl Into<String>) {
        if self.diagnostics.len() >= FINDINGS_MAX {
            return;
        }
        let place = line_and_column(self.text, self.places.offset(pointer));
        let location = if pointer.is_empty() { "/".to_owned() } else { pointer.to_owned() };
        self.diagnostics.push(Diagnostic { severity, code, message: message.into(), location, place });
    }

    pub(super) fn schema(&mut self, pointer: &str, message: impl Into<String>) {
        self.add(Severity::Error, Code::Schema, pointer, message);
    }
}

/// An object that is being read.
pub(super) struct Fields<'v, 'f, 't> {
    members: &'v Map<String, Value>,
    pub(super) pointer: String,
    read: BTreeSet<&'v str>,
    pub(super) findings: &'f mut Findings<'t>,
    pub(super) language: QueryLanguage,
    /// The variables that have been read.
    pub(super) variables: BTreeSet<Box<str>>,
    /// Something names the context object.
    pub(super) uses_context: bool,
}

impl<'v, 'f, 't> Fields<'v, 'f, 't> {
    pub(super) fn new(
        value: &'v Value,
        pointer: String,
        findings: &'f mut Findings<'t>,
        language: QueryLanguage,
    ) -> Option<Self> {
        match value {
            Value::Object(members) => Some(Self {
                members,
                pointer,
                read: BTreeSet::new(),
                findings,
                language,
                variables: BTreeSet::new(),
                uses_context: false,
            }),
            _ => {
                findings.schema(&pointer, "an object is expected");
                None
            }
        }
    }

    pub(super) fn at(&self, name: &str) -> String {
        format!("{}/{}", self.pointer, escape(name))
    }

    pub(super) fn fault(&mut self, name: &str, message: impl Into<String>) {
        let at = self.at(name);
        self.findings.schema(&at, message);
    }

    pub(super) fn is_json_ata(&self) -> bool {
        self.language == QueryLanguage::JsonAta
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    pub(super) fn take(&mut self, name: &'static str) -> Option<&'v Value> {
        let value = self.members.get(name)?;
        self.read.insert(name);
        Some(value)
    }

    /// A field that has to be there.
    pub(super) fn need(&mut self, name: &'static str) -> Option<&'v Value> {
        let value = self.take(name);
        if value.is_none() {
            let pointer = self.pointer.clone();
            self.findings.schema(&pointer, format!("These fields are required: [{name}]"));
        }
        value
    }

    /// A text that has to be there.
    pub(super) fn need_text(&mut self, name: &'static str) -> Option<&'v str> {
        self.need(name)?;
        self.text(name)
    }

    pub(super) fn text(&mut self, name: &'static str) -> Option<&'v str> {
        let value = self.take(name)?;
        if !value.is_string() {
            self.fault(name, "a text is expected");
        }
        value.as_str()
    }

    pub(super) fn flag(&mut self, name: &'static str) -> Option<bool> {
        let value = self.take(name)?;
        if !value.is_boolean() {
            self.fault(name, "true or false is expected");
        }
        value.as_bool()
    }

    pub(super) fn number(&mut self, name: &'static str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let value = self.take(name)?;
        let number = value.as_u64().filter(|number| range.contains(number));
        if number.is_none() {
            self.fault(name, format!("an integer from {} to {} is expected", range.start(), range.end()));
        }
        number
    }

    /// A path; `Some(None)` where null is written.
    pub(super) fn path(&mut self, name: &'static str, is_reference: bool) -> Option<Option<Path>> {
        let value = self.take(name)?;
        let text = match value {
            Value::Null => return Some(None),
            Value::String(text) => text,
            _ => {
                self.fault(name, "a path is expected");
                return None;
            }
        };
        self.parse_path(name, text, is_reference).map(Some)
    }

    /// A path that finds something: null is none.
    pub(super) fn locator(&mut self, name: &'static str) -> Option<Path> {
        let path = self.path(name, false)?;
        if path.is_none() {
            self.fault(name, "a path is expected");
        }
        path
    }

    pub(super) fn parse_path(&mut self, name: &str, text: &str, is_reference: bool) -> Option<Path> {
        let parsed = if is_reference { Path::parse_reference(text) } else { Path::parse(text) };
        match parsed {
            Ok(path) => {
                self.note(&path);
                Some(path)
            }
            Err(error) => {
                let at = self.at(name);
                self.findings.add(
                    Severity::Error,
                    Code::InvalidPath,
                    &at,
                    format!("the value is no valid path: {error}"),
                );
                None
            }
        }
    }

    pub(super) fn note(&mut self, path: &Path) {
        match path.root() {
            selvedge_query::Root::Context => self.uses_context = true,
            selvedge_query::Root::Variable(name) => {
                self.variables.insert(name.clone());
            }
            selvedge_query::Root::Input => {}
        }
    }

    /// A payload in the state's language.
    pub(super) fn payload(&mut self, name: &'static str) -> Option<Payload> {
        let value = self.take(name)?;
        self.payload_of(name, value)
    }

    pub(super) fn payload_of(&mut self, name: &str, value: &Value) -> Option<Payload> {
        // A path alone is no template: it would be passed on as a text.
        if !self.is_json_ata() && !value.is_object() {
            self.fault(name, "an object is expected");
            return None;
        }
        let parsed = if self.is_json_ata() { Payload::expressions(value) } else { Payload::template(value) };
        match parsed {
            Ok(payload) => {
                self.uses_context |= payload.uses_context();
                self.note_payload(&payload);
                let at = self.at(name);
                self.doubt(&at, value);
                Some(payload)
            }
            Err(Fault::Template(error)) => {
                let at = format!("{}{}", self.at(name), error.pointer);
                self.findings.add(Severity::Error, Code::InvalidPath, &at, error.to_string());
                None
            }
            Err(Fault::Expression(pointer, error)) => {
                let at = format!("{}{pointer}", self.at(name));
                self.findings.add(Severity::Error, Code::InvalidExpression, &at, error.to_string());
                None
            }
        }
    }

    /// Warns of texts that look like something to compute, and are none.
    fn doubt(&mut self, at: &str, value: &Value) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    let at = format!("{at}/{}", escape(name));
                    match member.as_str() {
                        Some(text) => self.doubt_text(&at, name, text),
                        None => self.doubt(&at, member),
                    }
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    let at = format!("{at}/{index}");
                    match item.as_str() {
                        Some(text) => self.doubt_text(&at, "", text),
                        None => self.doubt(&at, item),
                    }
                }
            }
            Value::String(text) => self.doubt_text(at, "", text),
            _ => {}
        }
    }

    fn doubt_text(&mut self, at: &str, name: &str, text: &str) {
        let is_path = || ["$.", "$$.", "$["].iter().any(|start| text.starts_with(start));
        let is_call = || text.starts_with("States.") && text.ends_with(')');
        let problem = if self.is_json_ata() {
            if inside(text).is_none() && inside(text.trim()).is_some() {
                "this is a text, and no expression: nothing stands before {% and after %}"
            } else if name.ends_with(".$") && is_path() {
                "this is a text: a state in JSONata computes what stands in {% %}"
            } else {
                return;
            }
        } else if !name.ends_with(".$") && !name.ends_with("Path") && (is_path() || is_call()) {
            "this is a text: a path or a function is computed where the field's name ends in '.$'"
        } else {
            return;
        };
        self.findings.add(Severity::Warning, Code::NotComputed, at, problem);
    }

    fn note_payload(&mut self, payload: &Payload) {
        match payload {
            Payload::Template(template) => {
                let mut names = Vec::new();
                template.for_each_path(&mut |path| {
                    if let selvedge_query::Root::Variable(name) = path.root() {
                        names.push(name.clone());
                    }
                });
                self.variables.extend(names);
            }
            Payload::Expressions(node) => self.note_node(node),
        }
    }

    fn note_node(&mut self, node: &crate::payload::Node) {
        use crate::payload::Node;
        match node {
            Node::Constant(_) => {}
            Node::Object(members) => members.iter().for_each(|(_, member)| self.note_node(member)),
            Node::Array(items) => items.iter().for_each(|item| self.note_node(item)),
            Node::Expression(expression) => self.note_expression(expression),
        }
    }

    pub(super) fn note_expression(&mut self, expression: &Expression) {
        self.uses_context |= crate::payload::names_context(expression);
        self.variables.extend(expression.free_names());
    }

    /// `{% … %}` in JSONata mode.
    pub(super) fn expression(&mut self, name: &str, text: &str) -> Option<Box<Expression>> {
        match Expression::parse(text) {
            Ok(expression) => {
                self.note_expression(&expression);
                Some(Box::new(expression))
            }
            Err(error) => {
                let at = self.at(name);
                self.findings.add(Severity::Error, Code::InvalidExpression, &at, error.to_string());
                None
            }
        }
    }

    /// `name` or, in JSONPath mode, `name` + `Path`: exclusive.
    pub(super) fn number_or_path(
        &mut self,
        name: &'static str,
        path_name: &'static str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Option<Number> {
        match self.computed(name, path_name) {
            Some(computed) => computed,
            None => self.number(name, range).map(Number::Constant),
        }
    }

    /// The same for a share of a hundred, which need not be whole.
    pub(super) fn percentage_or_path(
        &mut self,
        name: &'static str,
        path_name: &'static str,
    ) -> Option<Number<f64>> {
        if let Some(computed) = self.computed(name, path_name) {
            return computed;
        }
        let share = self.take(name)?.as_f64().filter(|share| (0.0..=100.0).contains(share));
        if share.is_none() {
            self.fault(name, "a number from 0 to 100 is expected");
        }
        share.map(Number::Constant)
    }

    /// A number that is found when the state runs; none where it is written down, or not given at all.
    fn computed<T>(&mut self, name: &'static str, path_name: &'static str) -> Option<Option<Number<T>>> {
        if self.has(path_name) && !self.is_json_ata() {
            if self.has(name) {
                self.fault(path_name, format!("only one of {name} and {path_name} can be given"));
            }
            self.take(name);
            return Some(self.locator(path_name).map(Number::Path));
        }
        if self.is_json_ata()
            && let Some(text) = self.members.get(name).and_then(Value::as_str).and_then(inside)
        {
            self.take(name);
            return Some(self.expression(name, text).map(Number::Expression));
        }
        None
    }

    /// Refuses fields of the other language.
    pub(super) fn refuse(&mut self, names: &[&'static str], language: &str) {
        for name in names {
            if self.take(name).is_some() {
                self.fault(
                    name,
                    format!(
                        "the field '{name}' is not supported in a state with the query language {language}"
                    ),
                );
            }
        }
    }

    /// Tells of every field that nobody read, and gives back what was seen.
    pub(super) fn finish(mut self) -> (BTreeSet<Box<str>>, bool) {
        let unknown: Vec<&String> =
            self.members.keys().filter(|name| !self.read.contains(name.as_str())).collect();
        for name in unknown {
            self.fault(name, format!("the field '{name}' is not supported here"));
        }
        (self.variables, self.uses_context)
    }
}
