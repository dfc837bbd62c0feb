//! One page of a list.

use selvedge_aws::page;
use selvedge_model::Value;
use serde_json::Map;
use sha2::{Digest, Sha256};

use super::Scope;

/// A token that belongs to another list.
pub(super) struct OtherList;

/// The members of `all`, which is in order, that belong on the page which the call asks for, with the token of the next.
/// `position` is a text that says where in that order a member stands; `comes_after` compares two such texts.
pub(super) fn of<T>(
    scope: &Scope<'_>,
    (limit_member, limit_default): (&str, usize),
    all: impl Iterator<Item = T>,
    position: impl Fn(&T) -> String,
    comes_after: impl Fn(&str, &str) -> bool,
) -> Result<(Vec<T>, Option<String>), OtherList> {
    let operation = scope.call.operation.name;
    let limit = scope.call.input.get(limit_member).and_then(Value::as_u64);
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(limit_default).max(1);
    // A token serves the list of the same question only.
    let mut question: Map<String, Value> = scope.call.input.clone();
    question.retain(|member, _| member != "NextToken" && member != limit_member);
    let digest = Sha256::digest(Value::Object(question).to_string());
    let list: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let after = match scope.call.text("NextToken") {
        None => None,
        Some(token) => Some(page::decode(operation, &list, token).map_err(|_| OtherList)?),
    };
    let mut rest = all.filter(|one| after.as_deref().is_none_or(|after| comes_after(&position(one), after)));
    let shown: Vec<T> = rest.by_ref().take(limit).collect();
    let next = match (shown.last(), rest.next()) {
        (Some(last), Some(_)) => Some(page::encode(operation, &list, &position(last))),
        _ => None,
    };
    Ok((shown, next))
}
