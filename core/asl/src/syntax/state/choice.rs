//! Choice.

use serde_json::Value;

use super::handler;
use crate::condition::{Condition, NESTING_MAX, Operator};
use crate::payload::inside;
use crate::syntax::field::Fields;
use crate::syntax::{ChoiceRule, ChoiceTest, Kind};

pub(super) fn read(fields: &mut Fields<'_, '_, '_>) -> Kind {
    let default = fields.text("Default").map(Box::from);
    let mut rules = Vec::new();
    let choices = fields.need("Choices").map(|choices| choices.as_array().map_or(&[][..], Vec::as_slice));
    if choices.is_some_and(<[Value]>::is_empty) {
        fields.fault("Choices", "an array with at least one rule is expected");
    }
    let (mut variables, mut uses_context) = (Vec::new(), false);
    for (index, choice) in choices.unwrap_or_default().iter().enumerate() {
        let pointer = format!("{}/Choices/{index}", fields.pointer);
        let Some(mut inner) = Fields::new(choice, pointer, fields.findings, fields.language) else {
            continue;
        };
        inner.text("Comment");
        let next = inner.need_text("Next").map(Box::<str>::from);
        let assign = handler::assign(&mut inner);
        let output = if inner.is_json_ata() { inner.payload("Output") } else { None };
        let test = if inner.is_json_ata() {
            expression(&mut inner)
        } else {
            rule(&mut inner, 0).map(ChoiceTest::Condition)
        };
        let (read, context) = inner.finish();
        variables.extend(read);
        uses_context |= context;
        if let (Some(test), Some(next)) = (test, next) {
            rules.push(ChoiceRule { test, next, assign, output });
        }
    }
    fields.variables.extend(variables);
    fields.uses_context |= uses_context;
    Kind::Choice { rules, default }
}

fn expression(fields: &mut Fields<'_, '_, '_>) -> Option<ChoiceTest> {
    match fields.need("Condition")? {
        Value::Bool(constant) => Some(ChoiceTest::Constant(*constant)),
        Value::String(text) if inside(text).is_some() => {
            fields.expression("Condition", inside(text)?).map(ChoiceTest::Expression)
        }
        _ => {
            fields.fault("Condition", "true, false or an expression in {% %} is expected");
            None
        }
    }
}

/// A rule, or one within it.
fn rule(fields: &mut Fields<'_, '_, '_>, depth: usize) -> Option<Condition> {
    if depth > NESTING_MAX {
        let pointer = fields.pointer.clone();
        fields
            .findings
            .schema(&pointer, format!("conditions are nested more than {NESTING_MAX} levels deep"));
        return None;
    }
    for (name, is_and) in [("And", true), ("Or", false)] {
        if let Some(value) = fields.take(name) {
            let parts = value.as_array().map_or(&[][..], Vec::as_slice);
            if parts.is_empty() {
                fields.fault(name, "an array with at least one condition is expected");
            }
            let mut conditions = Vec::with_capacity(parts.len());
            for (index, part) in parts.iter().enumerate() {
                conditions.extend(within(fields, part, &format!("{name}/{index}"), depth));
            }
            return Some(if is_and { Condition::And(conditions) } else { Condition::Or(conditions) });
        }
    }
    if let Some(value) = fields.take("Not") {
        return within(fields, value, "Not", depth).map(|part| Condition::Not(Box::new(part)));
    }
    test(fields)
}

fn within(fields: &mut Fields<'_, '_, '_>, value: &Value, place: &str, depth: usize) -> Option<Condition> {
    let pointer = format!("{}/{place}", fields.pointer);
    let mut inner = Fields::new(value, pointer, fields.findings, fields.language)?;
    let condition = rule(&mut inner, depth + 1);
    let (variables, uses_context) = inner.finish();
    fields.variables.extend(variables);
    fields.uses_context |= uses_context;
    condition
}

const OPERATORS: &[&str] = &[
    "StringEquals",
    "StringEqualsPath",
    "StringLessThan",
    "StringLessThanPath",
    "StringGreaterThan",
    "StringGreaterThanPath",
    "StringLessThanEquals",
    "StringLessThanEqualsPath",
    "StringGreaterThanEquals",
    "StringGreaterThanEqualsPath",
    "StringMatches",
    "NumericEquals",
    "NumericEqualsPath",
    "NumericLessThan",
    "NumericLessThanPath",
    "NumericGreaterThan",
    "NumericGreaterThanPath",
    "NumericLessThanEquals",
    "NumericLessThanEqualsPath",
    "NumericGreaterThanEquals",
    "NumericGreaterThanEqualsPath",
    "BooleanEquals",
    "BooleanEqualsPath",
    "TimestampEquals",
    "TimestampEqualsPath",
    "TimestampLessThan",
    "TimestampLessThanPath",
    "TimestampGreaterThan",
    "TimestampGreaterThanPath",
    "TimestampLessThanEquals",
    "TimestampLessThanEqualsPath",
    "TimestampGreaterThanEquals",
    "TimestampGreaterThanEqualsPath",
    "IsNull",
    "IsPresent",
    "IsNumeric",
    "IsString",
    "IsBoolean",
    "IsTimestamp",
];

fn test(fields: &mut Fields<'_, '_, '_>) -> Option<Condition> {
    let variable = fields.need_text("Variable").and_then(|text| fields.parse_path("Variable", text, false));
    let given: Vec<&'static str> = OPERATORS.iter().copied().filter(|name| fields.has(name)).collect();
    let [name] = given[..] else {
        let pointer = fields.pointer.clone();
        fields.findings.schema(&pointer, "exactly one comparison is required");
        for name in given {
            fields.take(name);
        }
        return None;
    };
    let operand = fields.take(name)?;
    let operator = Operator::parse(name, operand)?;
    match operator {
        Ok(operator) => {
            if let Operator::Compare(_, _, crate::condition::Operand::Path(path)) = &operator {
                fields.note(path);
            }
            let condition = Condition::Test { variable: variable?, operator };
            fields.uses_context |= condition.uses_context();
            Some(condition)
        }
        Err(message) => {
            fields.fault(name, message);
            None
        }
    }
}
