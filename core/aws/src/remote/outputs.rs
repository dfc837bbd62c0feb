//! What the services that can be called answer, as far as a value can be held to it.
//!
//! The table is made of AWS's public models (`cargo xtask codegen`), for those services' every operation:
//!
//! ```text
//! service sqs
//! operation SendMessage SendMessageResult
//! SendMessageResult structure MessageId:String Entries!:List    a member with ! is required
//! List list Entry
//! Tags map Value 1..50                                          how many there may be
//! Class enum STANDARD|GLACIER
//! Size integer 1..10
//! ```
//!
//! Texts are those of `TestState`, for a mock that does not fit its API.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::operation;

const TABLE: &str = include_str!("outputs.txt");

/// How much of an operation's output has to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// What is required, and what is there as the API has it.
    Strict,
    /// What is there as the API has it.
    Present,
}

/// A value that is no output of its operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    #[error("Required field '{0}' is missing")]
    Missing(String),
    #[error("Field '{field}' must be {kind}")]
    Kind {
        /// As the States Language names it.
        field: String,
        /// `an array`
        kind: &'static str,
    },
    #[error("Field '{0}' is not an expected value")]
    Word(String),
    #[error("Field '{0}' is less than the minimum value")]
    Low(String),
    #[error("Field '{0}' exceeds the maximum value")]
    High(String),
    #[error("Field '{0}' is smaller than the minimum length")]
    Short(String),
    #[error("Field '{0}' exceeds the maximum length")]
    Long(String),
}

/// What an operation answers.
#[derive(Clone, Debug)]
pub struct Output {
    shapes: HashMap<&'static str, &'static str>,
    shape: &'static str,
}

impl Output {
    /// What `aws-sdk:NAME:ACTION` answers; none for what the table does not have, or for an operation that answers nothing.
    pub fn find(name: &str, action: &str) -> Option<Self> {
        let start = TABLE.find(&format!("\nservice {name}\n"))? + 1;
        let section = TABLE.get(start..)?;
        let end = section.find("\nservice ").unwrap_or(section.len());
        let lines = section.get(..end)?.lines().skip(1);
        let action = operation(action);
        let (mut shapes, mut found) = (HashMap::new(), None);
        for line in lines {
            let (name, rest) = line.split_once(' ')?;
            if name != "operation" {
                shapes.insert(name, rest);
            } else if let Some(shape) =
                rest.strip_prefix(action.as_str()).and_then(|rest| rest.strip_prefix(' '))
            {
                found = Some(shape);
            }
        }
        found.filter(|shape| !shape.is_empty()).map(|shape| Self { shapes, shape })
    }

    /// Whether a value is such an output. Members that the API does not have are anybody's.
    ///
    /// # Errors
    /// The first that does not fit, required members first.
    pub fn check(&self, value: &Map<String, Value>, fit: Fit) -> Result<(), Misfit> {
        self.structure(self.line(self.shape).1, value, fit)
    }

    /// A shape's kind, and the rest of its line.
    fn line(&self, shape: &str) -> (&'static str, &'static str) {
        let line = self.shapes.get(shape).copied().unwrap_or("any");
        line.split_once(' ').unwrap_or((line, ""))
    }

    fn structure(&self, members: &'static str, value: &Map<String, Value>, fit: Fit) -> Result<(), Misfit> {
        let members = members.split(' ').filter_map(|member| member.split_once(':'));
        let members: Vec<(String, bool, &str)> = members
            .filter_map(|(name, shape)| {
                let plain = name.trim_end_matches('!');
                Some((shown(plain)?, plain.len() < name.len(), shape))
            })
            .collect();
        if fit == Fit::Strict
            && let Some((name, ..)) =
                members.iter().find(|(name, needed, _)| *needed && !value.contains_key(name))
        {
            return Err(Misfit::Missing(name.clone()));
        }
        for (name, found) in value {
            if let Some((_, _, shape)) = members.iter().find(|(member, ..)| member == name) {
                self.value(name, shape, found, fit)?;
            }
        }
        Ok(())
    }

    fn value(&self, field: &str, shape: &str, value: &Value, fit: Fit) -> Result<(), Misfit> {
        let (kind, rest) = self.line(shape);
        let no = |kind| Err(Misfit::Kind { field: field.to_owned(), kind });
        match (kind, value) {
            ("structure", Value::Object(members)) => self.structure(rest, members, fit),
            ("map", Value::Object(members)) => {
                let (shape, counted) = rest.split_once(' ').unwrap_or((rest, ""));
                holds(field, counted, members.len())?;
                members.values().try_for_each(|value| self.value(field, shape, value, fit))
            }
            ("structure" | "map", _) => no("an object"),
            ("list", Value::Array(items)) => {
                let (shape, counted) = rest.split_once(' ').unwrap_or((rest, ""));
                holds(field, counted, items.len())?;
                items.iter().try_for_each(|item| self.value(field, shape, item, fit))
            }
            ("list", _) => no("an array"),
            ("enum", Value::String(text)) => match rest.split('|').any(|word| word == text) {
                true => Ok(()),
                false => Err(Misfit::Word(field.to_owned())),
            },
            ("string" | "blob", Value::String(text)) => holds(field, rest, text.chars().count()),
            ("timestamp", Value::String(_)) | ("boolean", Value::Bool(_)) => Ok(()),
            ("enum" | "string" | "blob" | "timestamp", _) => no("a string"),
            ("boolean", _) => no("a boolean"),
            ("integer" | "long", Value::Number(number)) if number.is_f64() => no("a number"),
            ("integer" | "long" | "float" | "double", Value::Number(number)) => {
                let number = number.as_f64().unwrap_or_default();
                let (low, high) = bounds(rest);
                match (
                    low.is_some_and(|low| number < low as f64),
                    high.is_some_and(|high| number > high as f64),
                ) {
                    (true, _) => Err(Misfit::Low(field.to_owned())),
                    (_, true) => Err(Misfit::High(field.to_owned())),
                    _ => Ok(()),
                }
            }
            ("integer" | "long" | "float" | "double", _) => no("a number"),
            _ => Ok(()),
        }
    }
}

/// A member as the States Language names it. None where that is not known: the SDK that the service uses takes names which begin
/// with several capitals (`MD5OfMessageBody`) apart in its own way.
fn shown(member: &str) -> Option<String> {
    let is_plain = member.chars().nth(1).is_none_or(|second| second.is_ascii_lowercase());
    is_plain.then(|| operation(member))
}

/// Whether a text, a list or a map is as long as it may be.
fn holds(field: &str, counted: &str, length: usize) -> Result<(), Misfit> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let (low, high) = bounds(counted);
    match (low.is_some_and(|low| length < low), high.is_some_and(|high| length > high)) {
        (true, _) => Err(Misfit::Short(field.to_owned())),
        (_, true) => Err(Misfit::Long(field.to_owned())),
        _ => Ok(()),
    }
}

/// `1..10`, of which either may be left out.
fn bounds(text: &str) -> (Option<i64>, Option<i64>) {
    let (low, high) = text.split_once("..").unwrap_or_default();
    (low.parse().ok(), high.parse().ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(name: &str, action: &str, value: Value, fit: Fit) -> String {
        let output = Output::find(name, action).unwrap();
        let value = value.as_object().unwrap();
        output.check(value, fit).map_or_else(|misfit| misfit.to_string(), |()| String::new())
    }

    #[test]
    fn a_mock_is_told_what_does_not_fit() {
        let start = json!({"ExecutionArn": "arn", "StartDate": "2026-01-01T00:00:00Z"});
        for (name, action, value, strict, present) in [
            ("sfn", "startExecution", start, "", ""),
            ("sfn", "startExecution", json!({}), "Required field 'ExecutionArn' is missing", ""),
            (
                "sfn",
                "startExecution",
                json!({"StartDate": true}),
                "Required field 'ExecutionArn' is missing",
                "Field 'StartDate' must be a string",
            ),
            ("eventbridge", "putEvents", json!({"random": 1}), "", ""),
            (
                "eventbridge",
                "putEvents",
                json!({"Entries": "x"}),
                "Field 'Entries' must be an array",
                "Field 'Entries' must be an array",
            ),
            (
                "eventbridge",
                "putEvents",
                json!({"Entries": [{"EventId": "a"}, {"EventId": []}]}),
                "Field 'EventId' must be a string",
                "Field 'EventId' must be a string",
            ),
            (
                "lambda",
                "invoke",
                json!({"StatusCode": "200"}),
                "Field 'StatusCode' must be a number",
                "Field 'StatusCode' must be a number",
            ),
            (
                "lambda",
                "getFunction",
                json!({"Configuration": {"MemorySize": 127}}),
                "Field 'MemorySize' is less than the minimum value",
                "Field 'MemorySize' is less than the minimum value",
            ),
            (
                "lambda",
                "getFunction",
                json!({"Configuration": 1}),
                "Field 'Configuration' must be an object",
                "Field 'Configuration' must be an object",
            ),
            ("dynamodb", "putItem", json!({"ConsumedCapacity": {"CapacityUnits": 1.5}}), "", ""),
            (
                "dynamodb",
                "getItem",
                json!({"Item": {"a": {"M": {"b": {"N": 1}}}}}),
                "Field 'N' must be a string",
                "Field 'N' must be a string",
            ),
            (
                "s3",
                "getObject",
                json!({"StorageClass": "Papyrus"}),
                "Field 'StorageClass' is not an expected value",
                "Field 'StorageClass' is not an expected value",
            ),
            (
                "s3",
                "getObject",
                json!({"ContentLength": 1.5}),
                "Field 'ContentLength' must be a number",
                "Field 'ContentLength' must be a number",
            ),
            (
                "s3",
                "getObject",
                json!({"DeleteMarker": "no"}),
                "Field 'DeleteMarker' must be a boolean",
                "Field 'DeleteMarker' must be a boolean",
            ),
            (
                "secretsmanager",
                "getSecretValue",
                json!({"VersionId": "short"}),
                "Field 'VersionId' is smaller than the minimum length",
                "Field 'VersionId' is smaller than the minimum length",
            ),
            (
                "sfn",
                "describeStateMachineAlias",
                json!({"RoutingConfiguration": []}),
                "Field 'RoutingConfiguration' is smaller than the minimum length",
                "Field 'RoutingConfiguration' is smaller than the minimum length",
            ),
            (
                "sfn",
                "describeStateMachineAlias",
                json!({"RoutingConfiguration": [{}, {}, {}]}),
                "Field 'RoutingConfiguration' exceeds the maximum length",
                "Field 'RoutingConfiguration' exceeds the maximum length",
            ),
            ("sqs", "sendMessage", json!({"MD5OfMessageBody": {}}), "", ""),
        ] {
            assert_eq!(told(name, action, value.clone(), Fit::Strict), strict, "{name}:{action} {value}");
            assert_eq!(told(name, action, value.clone(), Fit::Present), present, "{name}:{action} {value}");
        }
        assert!(Output::find("ec2", "describeInstances").is_none());
        assert!(Output::find("sqs", "nothing").is_none() && Output::find("sqs", "deleteMessage").is_none());
    }

    #[test]
    fn every_shape_that_is_named_is_there() {
        let mut count = 0;
        for section in TABLE.split("\nservice ").skip(1) {
            let (name, lines) = section.split_once('\n').unwrap();
            let answers = lines.lines().filter_map(|line| line.strip_prefix("operation ")?.split_once(' '));
            let mut answers = answers.filter(|(_, shape)| !shape.is_empty()).peekable();
            let output = Output::find(name, answers.peek().unwrap().0).unwrap();
            assert!(answers.all(|(_, shape)| output.line(shape).0 == "structure"), "{name}");
            for (shape, line) in &output.shapes {
                let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
                let inner: Vec<&str> = match kind {
                    "structure" => {
                        rest.split(' ').filter_map(|member| Some(member.split_once(':')?.1)).collect()
                    }
                    "list" | "map" => vec![rest.split(' ').next().unwrap()],
                    "any" | "enum" | "string" | "blob" | "timestamp" | "boolean" | "integer" | "long"
                    | "float" | "double" => vec![],
                    kind => panic!("{name}: {shape} is a {kind}"),
                };
                assert!(inner.iter().all(|inner| output.shapes.contains_key(inner)), "{name}: {shape}");
                count += 1;
            }
        }
        assert!(count > 1000);
    }
}
