//! A value that is computed when a state runs: a payload template in JSONPath mode, JSON with expressions in JSONata mode.

use selvedge_query::{Expression, ExpressionError, Template, TemplateError};
use serde_json::{Map, Value};

use crate::json::escape;

/// Something to fill in.
#[derive(Clone, Debug)]
pub enum Payload {
    /// JSONPath mode.
    Template(Template),
    /// JSONata mode.
    Expressions(Node),
}

/// JSON in which texts in `{% %}` are expressions.
#[derive(Clone, Debug)]
pub enum Node {
    /// Nothing to compute.
    Constant(Value),
    /// Members.
    Object(Vec<(Box<str>, Self)>),
    /// Items.
    Array(Vec<Self>),
    /// `{% … %}`
    Expression(Box<Expression>),
}

/// What is wrong with a payload, and where below it.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    Template(TemplateError),
    Expression(String, ExpressionError),
}

/// The expression inside of `{% %}`, when `text` is one.
pub(crate) fn inside(text: &str) -> Option<&str> {
    text.strip_prefix("{%")?.strip_suffix("%}")
}

impl Payload {
    pub(crate) fn template(value: &Value) -> Result<Self, Fault> {
        Template::parse(value).map(Self::Template).map_err(Fault::Template)
    }

    pub(crate) fn expressions(value: &Value) -> Result<Self, Fault> {
        let mut at = String::new();
        node(value, &mut at).map(Self::Expressions).map_err(|error| Fault::Expression(at, error))
    }

    /// Whether it names the context object: it is dear to make, so nobody makes it in vain.
    pub(crate) fn uses_context(&self) -> bool {
        match self {
            Self::Template(template) => {
                let mut found = false;
                template.for_each_path(&mut |path| found |= *path.root() == selvedge_query::Root::Context);
                found
            }
            Self::Expressions(node) => node.uses_context(),
        }
    }
}

impl Node {
    fn uses_context(&self) -> bool {
        match self {
            Self::Constant(_) => false,
            Self::Object(members) => members.iter().any(|(_, member)| member.uses_context()),
            Self::Array(items) => items.iter().any(Self::uses_context),
            Self::Expression(expression) => names_context(expression),
        }
    }

    /// Computes each expression by `evaluate`, which is told its place; where one selects nothing, the member or item is an
    /// error of `evaluate`'s. `at` is the place of this node: a field, and what is below it after slashes.
    pub(crate) fn fill<E>(
        &self,
        at: &mut String,
        evaluate: &mut dyn FnMut(&str, &Expression) -> Result<Value, E>,
    ) -> Result<Value, E> {
        let length = at.len();
        Ok(match self {
            Self::Constant(value) => value.clone(),
            Self::Object(members) => {
                let mut filled = Map::new();
                for (name, member) in members {
                    at.push('/');
                    at.push_str(name);
                    filled.insert(name.to_string(), member.fill(at, evaluate)?);
                    at.truncate(length);
                }
                Value::Object(filled)
            }
            Self::Array(items) => {
                let mut filled = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    at.push_str(&format!("[{index}]"));
                    filled.push(item.fill(at, evaluate)?);
                    at.truncate(length);
                }
                Value::Array(filled)
            }
            Self::Expression(expression) => evaluate(at, expression)?,
        })
    }
}

/// Whether an expression may see the context: unless each `$states` in it goes on with another member.
pub(crate) fn names_context(expression: &Expression) -> bool {
    const OTHERS: [&str; 3] = [".input", ".result", ".errorOutput"];
    let text = expression.to_string();
    text.split("$states").skip(1).any(|rest| !OTHERS.iter().any(|other| rest.starts_with(other)))
}

/// The place of a failed parse is what is left in `at`.
fn node(value: &Value, at: &mut String) -> Result<Node, ExpressionError> {
    match value {
        Value::String(text) => match inside(text) {
            Some(expression) => Ok(Node::Expression(Box::new(Expression::parse(expression)?))),
            None => Ok(Node::Constant(value.clone())),
        },
        Value::Object(members) => {
            let mut nodes = Vec::with_capacity(members.len());
            for (name, member) in members {
                let length = at.len();
                at.push('/');
                at.push_str(&escape(name));
                nodes.push((name.as_str().into(), node(member, at)?));
                at.truncate(length);
            }
            if nodes.iter().all(|(_, node)| matches!(node, Node::Constant(_))) {
                return Ok(Node::Constant(value.clone()));
            }
            Ok(Node::Object(nodes))
        }
        Value::Array(items) => {
            let mut nodes = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                let length = at.len();
                at.push_str(&format!("/{index}"));
                nodes.push(node(item, at)?);
                at.truncate(length);
            }
            if nodes.iter().all(|node| matches!(node, Node::Constant(_))) {
                return Ok(Node::Constant(value.clone()));
            }
            Ok(Node::Array(nodes))
        }
        constant => Ok(Node::Constant(constant.clone())),
    }
}
