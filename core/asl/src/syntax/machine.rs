//! The machine around its states: scopes, transitions, names.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::field::{Fields, Findings};
use super::state;
use super::{
    Branch, DEFINITION_BYTES_MAX, Definition, Flow, Kind, MachineType, NAME_CHARACTERS_MAX, QueryLanguage,
    ScopeId, State,
};
use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::json::{self, Places};

/// How deep Parallel and Map states nest.
const SCOPE_DEPTH_MAX: usize = 40;
/// The longest time that a machine gives its executions, in seconds.
const TIMEOUT_SECONDS_MAX: u64 = 99_999_999;

/// Reads the definition of a standard machine. Everything that is wrong with it is told at once; there is a definition only where
/// nothing is an error.
pub fn parse(text: &str) -> (Option<Definition>, Vec<Diagnostic>) {
    parse_as(MachineType::Standard, text)
}

/// [`parse`] for a machine of that type: an express one waits for nobody, and has no children.
pub fn parse_as(kind: MachineType, text: &str) -> (Option<Definition>, Vec<Diagnostic>) {
    let mut findings = Findings {
        text,
        places: Places::default(),
        diagnostics: Vec::new(),
        scope: None,
        is_express: kind == MachineType::Express,
        assigned: Vec::new(),
    };
    if text.len() > DEFINITION_BYTES_MAX {
        findings.schema("", format!("the definition has more than {DEFINITION_BYTES_MAX} bytes"));
        return (None, findings.diagnostics);
    }
    let value = match json::read(text) {
        Ok((value, places)) => {
            findings.places = places;
            value
        }
        Err(error) => {
            let place = (error.line, error.column);
            let location = format!("[Line: {}, Column: {}]", place.0, place.1);
            let message = error.message;
            let code = Code::InvalidJson;
            findings.diagnostics.push(Diagnostic {
                severity: Severity::Error,
                code,
                message,
                location,
                place,
            });
            return (None, findings.diagnostics);
        }
    };
    let mut machine = Machine {
        findings,
        scopes: Vec::new(),
        names: BTreeSet::new(),
        references: BTreeMap::new(),
        around: Vec::new(),
        apart: BTreeSet::new(),
        language: QueryLanguage::JsonPath,
        depth: 0,
    };
    let definition = machine.definition(&value);
    machine.shadows();
    let is_sound = machine.findings.diagnostics.iter().all(|found| found.severity < Severity::Error);
    (definition.filter(|_| is_sound), machine.findings.diagnostics)
}

/// The machine that is being read.
pub(super) struct Machine<'t> {
    pub(super) findings: Findings<'t>,
    scopes: Vec<Branch>,
    names: BTreeSet<Box<str>>,
    references: BTreeMap<Box<str>, Vec<Box<str>>>,
    /// The scope around each.
    around: Vec<Option<ScopeId>>,
    /// Scopes that are executions of their own, and see nothing of what is around them.
    pub(super) apart: BTreeSet<ScopeId>,
    /// The machine's own.
    pub(super) language: QueryLanguage,
    depth: usize,
}

impl Machine<'_> {
    fn definition(&mut self, value: &Value) -> Option<Definition> {
        let mut fields = Fields::new(value, String::new(), &mut self.findings, QueryLanguage::JsonPath)?;
        let comment = fields.text("Comment").map(Box::from);
        let timeout_seconds = fields.number("TimeoutSeconds", 1..=TIMEOUT_SECONDS_MAX);
        if fields.text("Version").is_some_and(|version| version != "1.0") {
            fields.fault("Version", "the only version is \"1.0\"");
        }
        let language = state::language(&mut fields, QueryLanguage::JsonPath);
        for name in ["StartAt", "States"] {
            let _ = fields.has(name).then(|| fields.take(name));
        }
        fields.finish();
        self.language = language;
        let top = self.scope(value, "", language)?;
        debug_assert_eq!(top, ScopeId::TOP);
        Some(Definition {
            comment,
            timeout_seconds,
            scopes: std::mem::take(&mut self.scopes),
            variable_references: std::mem::take(&mut self.references),
        })
    }

    /// Reads `StartAt` and `States` of the object at `pointer`.
    pub(super) fn scope(&mut self, value: &Value, pointer: &str, language: QueryLanguage) -> Option<ScopeId> {
        self.depth += 1;
        if self.depth > SCOPE_DEPTH_MAX {
            self.findings
                .schema(pointer, format!("states are nested more than {SCOPE_DEPTH_MAX} levels deep"));
            self.depth -= 1;
            return None;
        }
        let id = ScopeId(u32::try_from(self.scopes.len()).expect("a definition has fewer scopes than bytes"));
        self.scopes.push(Branch { start_at: "".into(), states: BTreeMap::new() });
        let around = self.findings.scope.replace(id);
        self.around.push(around);
        let start_at = value.get("StartAt").and_then(Value::as_str).map(Box::<str>::from);
        let states = value.get("States").and_then(Value::as_object);
        let missing: Vec<&str> =
            [("States", value.get("States").is_none()), ("StartAt", value.get("StartAt").is_none())]
                .into_iter()
                .filter_map(|(name, is_missing)| is_missing.then_some(name))
                .collect();
        if !missing.is_empty() {
            self.findings.schema(pointer, format!("These fields are required: [{}]", missing.join(", ")));
        } else if start_at.is_none() {
            self.findings.schema(&format!("{pointer}/StartAt"), "the name of a state is expected");
        }
        if value.get("States").is_some() && states.is_none_or(serde_json::Map::is_empty) {
            self.findings
                .schema(&format!("{pointer}/States"), "an object with at least one state is expected");
        }
        for (name, state) in states.into_iter().flatten() {
            let at = format!("{pointer}/States/{}", json::escape(name));
            self.name(name, &at);
            if let Some(state) = state::read(self, name, state, &at, language) {
                self.scopes[id.0 as usize].states.insert(state.name.clone(), state);
            }
        }
        if let (Some(start_at), Some(states)) = (start_at, states) {
            if !states.contains_key(&*start_at) {
                let message = nowhere("StartAt", &start_at);
                self.findings.add(
                    Severity::Error,
                    Code::MissingTarget,
                    &format!("{pointer}/StartAt"),
                    message,
                );
            }
            self.scopes[id.0 as usize].start_at = start_at;
            self.transitions(id, pointer, states);
        }
        self.depth -= 1;
        self.findings.scope = around;
        Some(id)
    }

    /// A variable belongs to one scope: what is within reads it, and assigns no other of its name.
    fn shadows(&mut self) {
        let assigned = std::mem::take(&mut self.findings.assigned);
        let names: BTreeSet<(ScopeId, &str)> =
            assigned.iter().map(|(scope, name, _)| (*scope, &**name)).collect();
        for (scope, name, at) in &assigned {
            let mut inner = *scope;
            let is_outer = std::iter::from_fn(|| {
                let outer = self.around[inner.0 as usize].filter(|_| !self.apart.contains(&inner))?;
                inner = outer;
                Some(outer)
            })
            .any(|outer| names.contains(&(outer, name)));
            if is_outer {
                let message = format!(
                    "the variable '{name}' is assigned in an outer scope, and cannot be assigned in an inner one"
                );
                self.findings.schema(at, message);
            }
        }
    }

    fn name(&mut self, name: &str, at: &str) {
        if name.is_empty() || name.chars().count() > NAME_CHARACTERS_MAX {
            self.findings.schema(at, format!("a state's name has 1 to {NAME_CHARACTERS_MAX} characters"));
        }
        if !self.names.insert(name.into()) {
            self.findings.schema(at, format!("the name '{name}' is used by another state of this machine"));
        }
    }

    pub(super) fn references(&mut self, state: &str, variables: BTreeSet<Box<str>>) {
        if !variables.is_empty() {
            self.references.insert(state.into(), variables.into_iter().collect());
        }
    }

    /// Every target exists, and every state is somebody's target.
    fn transitions(&mut self, id: ScopeId, pointer: &str, states: &serde_json::Map<String, Value>) {
        let scope = &self.scopes[id.0 as usize];
        let mut edges: Vec<(&str, String, &str)> = Vec::new();
        for state in scope.states.values() {
            let at = format!("{pointer}/States/{}", json::escape(&state.name));
            targets(state, &at, &mut edges);
        }
        let mut lost = Vec::new();
        let mut graph: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (from, place, target) in edges {
            if states.contains_key(target) {
                graph.entry(from).or_default().push(target);
            } else {
                let field = place.rsplit('/').next().unwrap_or_default();
                let message = nowhere(field, target);
                lost.push((place, message));
            }
        }
        let mut reached: BTreeSet<&str> = BTreeSet::new();
        let mut pending = vec![&*scope.start_at];
        while let Some(name) = pending.pop() {
            if reached.insert(name) {
                pending.extend(graph.get(name).into_iter().flatten());
            }
        }
        let lonely: Vec<String> =
            states.keys().filter(|name| !reached.contains(name.as_str())).cloned().collect();
        for (place, message) in lost {
            self.findings.add(Severity::Error, Code::MissingTarget, &place, message);
        }
        for name in lonely {
            let at = format!("{pointer}/States/{}", json::escape(&name));
            self.findings.add(
                Severity::Error,
                Code::Unreachable,
                &at,
                format!("State \"{name}\" is not reachable."),
            );
        }
    }
}

/// A transition leads nowhere, in the service's words.
fn nowhere(field: &str, target: &str) -> String {
    format!("Missing '{field}' target: {target}")
}

/// Where a state may go, with the place that says so.
fn targets<'s>(state: &'s State, at: &str, edges: &mut Vec<(&'s str, String, &'s str)>) {
    let mut edge = |place: String, target: &'s str| edges.push((&state.name, place, target));
    if let Some(Flow::Next(next)) = &state.next {
        edge(format!("{at}/Next"), next);
    }
    for (index, catcher) in state.catch.iter().enumerate() {
        edge(format!("{at}/Catch/{index}/Next"), &catcher.next);
    }
    if let Kind::Choice { rules, default } = &state.kind {
        for (index, rule) in rules.iter().enumerate() {
            edge(format!("{at}/Choices/{index}/Next"), &rule.next);
        }
        if let Some(default) = default {
            edge(format!("{at}/Default"), default);
        }
    }
}
