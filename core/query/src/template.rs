//! Payload templates: an object whose keys in `.$` are computed from a path or an intrinsic function.

use serde_json::{Map, Value};

use crate::budget::Allowance;
use crate::{Budget, Entropy, Failure, Intrinsic, IntrinsicError, Path, PathError, Scope};

/// How deep a template nests.
pub const TEMPLATE_DEPTH_MAX: usize = 100;

/// A template, ready to be filled in.
#[derive(Clone, Debug)]
pub struct Template(Node);

#[derive(Clone, Debug)]
enum Node {
    Constant(Value),
    Object(Vec<(Box<str>, Self)>),
    Array(Vec<Self>),
    Path(Path),
    Intrinsic(Intrinsic),
}

/// What is wrong with a template, and where: a JSON pointer below the template.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{fault}")]
pub struct TemplateError {
    /// `/a/b.$`
    pub pointer: String,
    /// What is wrong there.
    pub fault: Fault,
}

/// A field that could not be computed when a template was filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Unfilled {
    /// Where it stands, from the template down: `address.$`, with the names around it before it.
    pub place: Vec<String>,
    /// The path or function, as it was written.
    pub text: String,
    /// What went wrong.
    pub failure: Failure,
}

/// What can be wrong with a field of a template.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Fault {
    /// A key in `.$` has something else than a string.
    #[error(
        "the value of a field whose name ends in '.$' must be a string with a path or an intrinsic function"
    )]
    NotText,
    /// `a` and `a.$` in one object.
    #[error("the field '{0}' is there twice, with and without '.$'")]
    Twice(Box<str>),
    /// The path does not parse.
    #[error("{0}")]
    Path(#[from] PathError),
    /// The function does not parse.
    #[error("{0}")]
    Intrinsic(#[from] IntrinsicError),
    /// Deeper than [`TEMPLATE_DEPTH_MAX`].
    #[error("the template is nested more than {TEMPLATE_DEPTH_MAX} levels deep")]
    TooDeep,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// The first field that cannot be filled in, with its place.
    pub fn parse(value: &Value) -> Result<Self, TemplateError> {
        let mut at = Vec::new();
        node(value, &mut at).map(Self).map_err(|fault| TemplateError { pointer: pointer(&at), fault })
    }

    /// Fills it in, within `budget`.
    ///
    /// # Errors
    /// The first field whose value cannot be computed, with its place.
    pub fn fill(
        &self,
        scope: &Scope<'_>,
        entropy: &mut dyn Entropy,
        budget: &Budget,
    ) -> Result<Value, Box<Unfilled>> {
        fill(&self.0, scope, entropy, &mut budget.field()).map_err(|mut unfilled| {
            unfilled.place.reverse();
            unfilled
        })
    }

    /// Calls `f` for every path in it, those in functions included.
    pub fn for_each_path<'t>(&'t self, f: &mut dyn FnMut(&'t Path)) {
        walk(&self.0, f);
    }
}

/// The place of a failed parse is what is left in `at`.
fn node(value: &Value, at: &mut Vec<String>) -> Result<Node, Fault> {
    if at.len() > TEMPLATE_DEPTH_MAX {
        return Err(Fault::TooDeep);
    }
    match value {
        Value::Object(members) => {
            let mut fields = Vec::with_capacity(members.len());
            for (key, member) in members {
                at.push(key.clone());
                let (name, field) = match key.strip_suffix(".$") {
                    Some(name) if members.contains_key(name) => return Err(Fault::Twice(name.into())),
                    Some(name) => (name, computed(member.as_str().ok_or(Fault::NotText)?)?),
                    None => (key.as_str(), node(member, at)?),
                };
                fields.push((name.into(), field));
                at.pop();
            }
            if fields.iter().all(|(_, field)| matches!(field, Node::Constant(_))) {
                return Ok(Node::Constant(value.clone()));
            }
            Ok(Node::Object(fields))
        }
        Value::Array(items) => {
            let mut nodes = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                at.push(index.to_string());
                nodes.push(node(item, at)?);
                at.pop();
            }
            if nodes.iter().all(|item| matches!(item, Node::Constant(_))) {
                return Ok(Node::Constant(value.clone()));
            }
            Ok(Node::Array(nodes))
        }
        constant => Ok(Node::Constant(constant.clone())),
    }
}

fn computed(text: &str) -> Result<Node, Fault> {
    if text.starts_with('$') {
        return Ok(Node::Path(Path::parse(text)?));
    }
    Ok(Node::Intrinsic(Intrinsic::parse(text)?))
}

/// The place of what could not be computed is told from the inside out.
fn fill(
    node: &Node,
    scope: &Scope<'_>,
    entropy: &mut dyn Entropy,
    allowance: &mut Allowance<'_>,
) -> Result<Value, Box<Unfilled>> {
    let unfilled = |text: String, failure| Box::new(Unfilled { place: Vec::new(), text, failure });
    Ok(match node {
        Node::Constant(value) => value.clone(),
        Node::Object(fields) => {
            let mut members = Map::new();
            for (name, field) in fields {
                let filled = fill(field, scope, entropy, allowance).map_err(|mut unfilled| {
                    let is_computed = matches!(field, Node::Path(_) | Node::Intrinsic(_));
                    unfilled.place.push(if is_computed { format!("{name}.$") } else { name.to_string() });
                    unfilled
                })?;
                members.insert(name.to_string(), filled);
            }
            Value::Object(members)
        }
        Node::Array(items) => {
            let mut filled = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                filled.push(fill(item, scope, entropy, allowance).map_err(|mut unfilled| {
                    unfilled.place.push(index.to_string());
                    unfilled
                })?);
            }
            Value::Array(filled)
        }
        Node::Path(path) => {
            let value = path.evaluate(scope).map_err(|error| {
                unfilled(path.to_string(), Failure::Path { path: path.to_string(), error })
            })?;
            allowance.charge(&value).map_err(|spent| unfilled(path.to_string(), spent.into()))?;
            value
        }
        Node::Intrinsic(intrinsic) => intrinsic
            .evaluate_within(scope, entropy, allowance)
            .map_err(|failure| unfilled(intrinsic.to_string(), failure))?,
    })
}

fn walk<'t>(node: &'t Node, f: &mut dyn FnMut(&'t Path)) {
    match node {
        Node::Constant(_) => {}
        Node::Object(fields) => fields.iter().for_each(|(_, field)| walk(field, f)),
        Node::Array(items) => items.iter().for_each(|item| walk(item, f)),
        Node::Path(path) => f(path),
        Node::Intrinsic(intrinsic) => intrinsic.for_each_path(f),
    }
}

/// RFC 6901.
fn pointer(at: &[String]) -> String {
    at.iter().map(|token| format!("/{}", token.replace('~', "~0").replace('/', "~1"))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(template: &Value, expected: &Value) {
        let template = Template::parse(template).unwrap();
        let input = json!({"a": {"b": 1}, "list": [1, 2]});
        let variables = json!({"who": "me"}).as_object().unwrap().clone();
        let context = json!({"Execution": {"Name": "n"}});
        let scope = Scope { input: &input, context: &context, variables: &variables };
        assert_eq!(&template.fill(&scope, &mut || 1, &Budget::start(1000)).unwrap(), expected);
    }

    #[test]
    fn computed_fields_lose_their_suffix_wherever_they_stand() {
        check(
            &json!({"flag": true, "b.$": "$.a.b", "deep": [{"n.$": "$$.Execution.Name"}], "who.$": "$who",
                    "all.$": "States.ArrayLength($.list)"}),
            &json!({"flag": true, "b": 1, "deep": [{"n": "n"}], "who": "me", "all": 2}),
        );
        check(&json!(3), &json!(3));
    }

    #[test]
    fn a_fault_says_where() {
        let fault = |template: Value| Template::parse(&template).unwrap_err();
        assert_eq!(fault(json!({"x": [{"a.$": 1}]})).pointer, "/x/0/a.$");
        assert!(matches!(fault(json!({"a": 1, "a.$": "$"})).fault, Fault::Twice(_)));
        assert!(matches!(fault(json!({"a.$": "$.["})).fault, Fault::Path(_)));
        assert!(matches!(fault(json!({"a.$": "nothing"})).fault, Fault::Intrinsic(_)));
        let mut deep = json!(1);
        for _ in 0..=TEMPLATE_DEPTH_MAX + 1 {
            deep = json!({"x": deep});
        }
        assert_eq!(fault(deep).fault, Fault::TooDeep);
    }

    #[test]
    fn a_missing_value_names_the_path_and_the_field() {
        let template = json!({"a": [1, {"x.$": "$.no.where"}], "b.$": "States.Array($.gone)"});
        let unfilled = |template: &Value, input: Value| {
            let scope = Scope { input: &input, context: &Value::Null, variables: &() };
            *Template::parse(template).unwrap().fill(&scope, &mut || 0, &Budget::start(1000)).unwrap_err()
        };
        let found = unfilled(&template, json!({}));
        assert_eq!((found.place.join("/"), &*found.text), ("a/1/x.$".into(), "$.no.where"));
        assert_eq!(found.failure.to_string(), "Invalid path '$.no.where' : Missing property in path $['no']");
        let found = unfilled(&template, json!({"no": {"where": 1}}));
        assert_eq!((found.place.join("/"), &*found.text), ("b.$".into(), "States.Array($.gone)"));
        assert!(matches!(found.failure, Failure::Path { path, .. } if path == "$.gone"));
    }
}
