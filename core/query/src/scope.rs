//! What an expression can see.

use serde_json::Value;

/// The values of the names that a state's fields may use.
pub struct Scope<'a> {
    /// `$`: the state's input, or its result, as the field has it.
    pub input: &'a Value,
    /// `$$`: the context object.
    pub context: &'a Value,
    /// `$name`.
    pub variables: &'a dyn Variables,
}

/// Values by the names that were assigned.
pub trait Variables {
    /// The value of `name` in the innermost scope that has it.
    fn variable(&self, name: &str) -> Option<&Value>;
    /// Calls `f` for each visible name once.
    fn for_each<'a>(&'a self, f: &mut dyn FnMut(&'a str, &'a Value));
}

impl Variables for () {
    fn variable(&self, _: &str) -> Option<&Value> {
        None
    }

    fn for_each<'a>(&'a self, _: &mut dyn FnMut(&'a str, &'a Value)) {}
}

impl Variables for serde_json::Map<String, Value> {
    fn variable(&self, name: &str) -> Option<&Value> {
        self.get(name)
    }

    fn for_each<'a>(&'a self, f: &mut dyn FnMut(&'a str, &'a Value)) {
        for (name, value) in self {
            f(name, value);
        }
    }
}

impl<'a> Scope<'a> {
    /// The same names over another input.
    #[must_use]
    pub fn with_input(&self, input: &'a Value) -> Self {
        Self { input, context: self.context, variables: self.variables }
    }
}
