//! `--query`: a JMESPath expression applied to what a command prints.
//!
//! The evaluator keeps objects sorted; the AWS command line prints them in the order of the answer, or of the expression's
//! own `{a: …, b: …}`. That order is put back afterwards, by the set of names that an object has.

use std::collections::{BTreeMap, HashMap};

use jmespath::ast::Ast;
use jmespath::{Context, DEFAULT_RUNTIME, Rcvar, Variable, interpret};
use serde_json::{Map, Value};

/// A parsed expression.
pub(crate) struct Query {
    expression: jmespath::Expression<'static>,
}

/// Why an expression could not be parsed or applied.
#[derive(Debug, thiserror::Error)]
#[error("Bad value for --query {expression}: {reason}")]
pub(crate) struct Error {
    expression: String,
    reason: String,
}

/// The names of an object, sorted, and the order in which they are shown.
type Orders = HashMap<Vec<String>, Vec<String>>;

impl Query {
    /// Parses an expression.
    ///
    /// # Errors
    /// When it is not JMESPath.
    pub(crate) fn parse(expression: &str) -> Result<Self, Error> {
        jmespath::compile(expression)
            .map(|expression| Self { expression })
            .map_err(|error| Error { expression: expression.to_owned(), reason: error.reason.to_string() })
    }

    /// Applies the expression to a document.
    ///
    /// # Errors
    /// When a function is unknown or was given the wrong type.
    pub(crate) fn apply(&self, document: &Value) -> Result<Value, Error> {
        // Not `Expression::search`: it goes through serde, where a number would lose its digits.
        let mut context = Context::new(self.expression.as_str(), &DEFAULT_RUNTIME);
        let input = Rcvar::new(to_variable(document));
        let found = interpret(&input, self.expression.as_ast(), &mut context).map_err(|error| Error {
            expression: self.expression.as_str().to_owned(),
            reason: error.reason.to_string(),
        })?;
        let mut orders = Orders::new();
        orders_of_document(document, &mut orders);
        orders_of_expression(self.expression.as_ast(), &mut orders);
        Ok(from_variable(&found, &orders))
    }
}

fn to_variable(value: &Value) -> Variable {
    match value {
        Value::Null => Variable::Null,
        Value::Bool(value) => Variable::Bool(*value),
        Value::Number(number) => Variable::Number(number.clone()),
        Value::String(text) => Variable::String(text.clone()),
        Value::Array(elements) => {
            Variable::Array(elements.iter().map(|value| Rcvar::new(to_variable(value))).collect())
        }
        Value::Object(object) => {
            let members = object.iter().map(|(key, value)| (key.clone(), Rcvar::new(to_variable(value))));
            Variable::Object(members.collect())
        }
    }
}

fn from_variable(variable: &Variable, orders: &Orders) -> Value {
    match variable {
        Variable::Null | Variable::Expref(_) => Value::Null,
        Variable::Bool(value) => Value::Bool(*value),
        Variable::Number(number) => Value::Number(number.clone()),
        Variable::String(text) => Value::String(text.clone()),
        Variable::Array(elements) => {
            Value::Array(elements.iter().map(|value| from_variable(value, orders)).collect())
        }
        Variable::Object(object) => Value::Object(ordered(object, orders)),
    }
}

fn ordered(object: &BTreeMap<String, Rcvar>, orders: &Orders) -> Map<String, Value> {
    let sorted: Vec<String> = object.keys().cloned().collect();
    let order = orders.get(&sorted).unwrap_or(&sorted);
    order.iter().filter_map(|key| Some((key.clone(), from_variable(object.get(key)?, orders)))).collect()
}

fn remember(order: Vec<String>, orders: &mut Orders) {
    let mut sorted = order.clone();
    sorted.sort();
    orders.insert(sorted, order);
}

fn orders_of_document(value: &Value, orders: &mut Orders) {
    match value {
        Value::Array(elements) => elements.iter().for_each(|value| orders_of_document(value, orders)),
        Value::Object(object) => {
            remember(object.keys().cloned().collect(), orders);
            object.values().for_each(|value| orders_of_document(value, orders));
        }
        _ => {}
    }
}

fn orders_of_expression(ast: &Ast, orders: &mut Orders) {
    match ast {
        Ast::MultiHash { elements, .. } => {
            remember(elements.iter().map(|pair| pair.key.clone()).collect(), orders);
            elements.iter().for_each(|pair| orders_of_expression(&pair.value, orders));
        }
        Ast::MultiList { elements, .. } => elements.iter().for_each(|ast| orders_of_expression(ast, orders)),
        Ast::Function { args, .. } => args.iter().for_each(|ast| orders_of_expression(ast, orders)),
        Ast::Comparison { lhs, rhs, .. }
        | Ast::And { lhs, rhs, .. }
        | Ast::Or { lhs, rhs, .. }
        | Ast::Projection { lhs, rhs, .. }
        | Ast::Subexpr { lhs, rhs, .. } => {
            [lhs, rhs].into_iter().for_each(|ast| orders_of_expression(ast, orders))
        }
        Ast::Condition { predicate, then, .. } => {
            [predicate, then].into_iter().for_each(|ast| orders_of_expression(ast, orders))
        }
        Ast::Expref { ast, .. } => orders_of_expression(ast, orders),
        Ast::Flatten { node, .. } | Ast::Not { node, .. } | Ast::ObjectValues { node, .. } => {
            orders_of_expression(node, orders)
        }
        Ast::Field { .. }
        | Ast::Identity { .. }
        | Ast::Index { .. }
        | Ast::Literal { .. }
        | Ast::Slice { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(document: &str, query: &str, expected: &str) {
        let document: Value = serde_json::from_str(document).expect("JSON");
        let found = Query::parse(query).expect("JMESPath").apply(&document).expect("applies");
        assert_eq!(found.to_string(), expected, "{query}");
    }

    #[test]
    fn members_keep_the_order_of_the_answer_and_numbers_their_digits() {
        check(r#"{"mesh":{"z":1563809909.282,"a":"x"}}"#, "mesh", r#"{"z":1563809909.282,"a":"x"}"#);
        check(
            r#"{"l":[{"z":1,"a":2},{"z":3,"a":4}]}"#,
            "l[].{to: z, from: a}",
            r#"[{"to":1,"from":2},{"to":3,"from":4}]"#,
        );
        check(r#"{"l":[{"n":"b"},{"n":"a"}]}"#, "sort(l[].n)", r#"["a","b"]"#);
        check(r#"{"l":[{"n":"b","w":1},{"n":"a","w":80}]}"#, "l[?w>`50`].n | [0]", r#""a""#);
        check(r#"{"a":1}"#, "missing", "null");
    }

    #[test]
    fn a_bad_expression_is_named() {
        let error = Query::parse("a[").err().expect("unfinished");
        assert!(error.to_string().starts_with("Bad value for --query a["), "{error}");
    }
}
