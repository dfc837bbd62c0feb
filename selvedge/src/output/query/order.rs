//! The order of members that JMESPath's functions forget.

use std::collections::HashMap;

use jmespath::ast::Ast;
use serde_json::Value;

/// For each set of names that an object of the document, or of the expression, has: the order in which it has them.
#[derive(Debug, Default)]
pub(super) struct Orders(HashMap<Vec<String>, Vec<String>>);

impl Orders {
    /// Learns from a document and from the `{a: …, b: …}` of an expression.
    pub(super) fn of(document: &Value, ast: &Ast) -> Self {
        let mut orders = Self::default();
        orders.learn(document);
        orders.learn_from(ast);
        orders
    }

    /// Sorted names in the order in which they were met; as they are when they were not.
    pub(super) fn restore(&self, sorted: Vec<String>) -> Vec<String> {
        self.0.get(&sorted).cloned().unwrap_or(sorted)
    }

    fn remember(&mut self, order: Vec<String>) {
        let mut sorted = order.clone();
        sorted.sort();
        self.0.insert(sorted, order);
    }

    fn learn(&mut self, value: &Value) {
        match value {
            Value::Array(elements) => elements.iter().for_each(|value| self.learn(value)),
            Value::Object(object) => {
                self.remember(object.keys().cloned().collect());
                object.values().for_each(|value| self.learn(value));
            }
            _ => {}
        }
    }

    fn learn_from(&mut self, ast: &Ast) {
        match ast {
            Ast::MultiHash { elements, .. } => {
                self.remember(elements.iter().map(|pair| pair.key.clone()).collect());
                elements.iter().for_each(|pair| self.learn_from(&pair.value));
            }
            Ast::MultiList { elements, .. } => elements.iter().for_each(|ast| self.learn_from(ast)),
            Ast::Function { args, .. } => args.iter().for_each(|ast| self.learn_from(ast)),
            Ast::Comparison { lhs, rhs, .. }
            | Ast::And { lhs, rhs, .. }
            | Ast::Or { lhs, rhs, .. }
            | Ast::Projection { lhs, rhs, .. }
            | Ast::Subexpr { lhs, rhs, .. } => [lhs, rhs].into_iter().for_each(|ast| self.learn_from(ast)),
            Ast::Condition { predicate, then, .. } => {
                [predicate, then].into_iter().for_each(|ast| self.learn_from(ast));
            }
            Ast::Expref { ast, .. } => self.learn_from(ast),
            Ast::Flatten { node, .. } | Ast::Not { node, .. } | Ast::ObjectValues { node, .. } => {
                self.learn_from(node)
            }
            Ast::Field { .. }
            | Ast::Identity { .. }
            | Ast::Index { .. }
            | Ast::Literal { .. }
            | Ast::Slice { .. } => {}
        }
    }
}
