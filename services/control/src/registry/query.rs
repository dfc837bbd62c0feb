//! What lists have in common: filters and pages.

use selvedge_aws::page;
use selvedge_model::Value;
use serde_json::Map;
use sha2::{Digest, Sha256};

use super::failure::{Failure, invalid};
use super::perform::Scope;
use selvedge_aws::operations::servicediscovery::LIST_PAGE_MAX;

/// One filter of a list.
pub(super) struct Filter<'a> {
    pub(super) name: &'a str,
    condition: &'a str,
    values: Vec<&'a str>,
}

/// The filters of a call.
///
/// # Errors
/// When a condition does not have the values that it needs.
pub(super) fn filters<'a>(scope: &Scope<'a>) -> Result<Vec<Filter<'a>>, Failure> {
    let given = scope.call.input.get("Filters").and_then(Value::as_array).into_iter().flatten();
    given.enumerate().map(|(index, filter)| Filter::read(index, filter)).collect()
}

impl<'a> Filter<'a> {
    fn read(index: usize, filter: &'a Value) -> Result<Self, Failure> {
        let text = |member: &str| filter.get(member).and_then(Value::as_str);
        let name = text("Name").unwrap_or_default();
        let condition = text("Condition").unwrap_or(if name == "UPDATE_DATE" { "BETWEEN" } else { "EQ" });
        let values = filter.get("Values").and_then(Value::as_array).into_iter().flatten();
        let values: Vec<&str> = values.filter_map(Value::as_str).collect();
        let needed = match condition {
            "EQ" | "BEGINS_WITH" if values.len() != 1 => "takes one value",
            "BETWEEN" if values.len() != 2 => "takes two values",
            "BETWEEN" if name != "UPDATE_DATE" => "is for UPDATE_DATE alone",
            "IN" if values.is_empty() => "takes at least one value",
            _ if name == "UPDATE_DATE" && condition != "BETWEEN" => "is not for UPDATE_DATE",
            _ => return Ok(Self { name, condition, values }),
        };
        Err(invalid(format!("Filters[{index}].Condition: {condition} {needed}")))
    }

    /// Whether a text fits.
    pub(super) fn fits(&self, text: &str) -> bool {
        match self.condition {
            "BEGINS_WITH" => self.values.iter().any(|value| text.starts_with(value)),
            _ => self.values.contains(&text),
        }
    }

    /// Whether a time, in milliseconds, lies between two that are given in seconds or milliseconds.
    pub(super) fn fits_time(&self, millis: u64) -> bool {
        /// Nobody means the year 5138 by a number of seconds.
        const SECONDS_MAX: f64 = 1e11;
        let bounds = self.values.iter().map(|value| {
            let number: f64 = value.parse().unwrap_or(f64::NAN);
            if number < SECONDS_MAX { number * 1000.0 } else { number }
        });
        let bounds: Vec<f64> = bounds.collect();
        matches!(bounds[..], [from, until] if from <= millis as f64 && millis as f64 <= until)
    }
}

/// One page of a list that is ordered by identifier, as the operation's output.
///
/// # Errors
/// When the token belongs to another list.
pub(super) fn page<T>(
    scope: &Scope<'_>,
    all: impl Iterator<Item = T>,
    id: impl Fn(&T) -> &str,
    show: impl Fn(&T) -> Value,
    result: &str,
) -> Result<Map<String, Value>, Failure> {
    let operation = scope.call.operation.name;
    let limit = scope.call.input.get("MaxResults").and_then(Value::as_u64);
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(LIST_PAGE_MAX);
    // A token serves the list of the same question only.
    let mut question = scope.call.input.clone();
    question.retain(|member, _| !matches!(member.as_str(), "NextToken" | "MaxResults"));
    let digest = Sha256::digest(Value::Object(question).to_string());
    let list: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let after = match scope.call.text("NextToken") {
        None => None,
        Some(token) => {
            let position = page::decode(operation, &list, token);
            Some(position.map_err(|_| invalid("NextToken: is not one of this list"))?)
        }
    };
    let mut rest = all.filter(|one| after.as_deref().is_none_or(|after| id(one) > after));
    let shown: Vec<T> = rest.by_ref().take(limit).collect();
    let mut output = Map::new();
    output.insert(result.to_owned(), shown.iter().map(show).collect());
    if let (Some(last), Some(_)) = (shown.last(), rest.next()) {
        output.insert("NextToken".to_owned(), page::encode(operation, &list, id(last)).into());
    }
    Ok(output)
}
