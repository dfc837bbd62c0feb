//! Pages of lists.

use selvedge_aws::operations::stepfunctions::INVALID_TOKEN;
use selvedge_aws::page;
use selvedge_model::Value;
use selvedge_store::{Document, Error as StoreError, Read};
use serde_json::Map;

use super::{Failed, Scope};

/// Elements of a page when the caller names no limit.
const PAGE_DEFAULT: u64 = 100;
const PAGE_MAX: u64 = 1000;

/// One page of the documents below `prefix` that `show` has something to say about.
pub(super) fn page(
    scope: &Scope<'_>,
    view: &dyn Read,
    member: &str,
    prefix: &str,
    mut show: impl FnMut(&Document) -> Result<Option<Value>, StoreError>,
) -> Result<Map<String, Value>, Failed> {
    let limit = match scope.number("maxResults") {
        None | Some(0) => PAGE_DEFAULT,
        Some(limit) => limit.min(PAGE_MAX),
    };
    let limit = usize::try_from(limit).expect("a page is small");
    let operation = scope.call.operation.name;
    let mut after = match scope.call.text("nextToken") {
        None => None,
        Some(token) => {
            let invalid = |_| INVALID_TOKEN.because(format!("Invalid Token: '{}'", excerpt(token)));
            Some(page::decode(operation, prefix, token).map_err(invalid)?)
        }
    };
    let mut shown = Vec::new();
    let mut more = false;
    'pages: loop {
        let found = view.scan(prefix, after.as_deref(), selvedge_store::PAGE_MAX)?;
        let is_last = found.len() < selvedge_store::PAGE_MAX;
        for document in &found {
            let Some(element) = show(document)? else {
                after = Some(document.key.clone());
                continue;
            };
            if shown.len() == limit {
                more = true;
                break 'pages;
            }
            shown.push(element);
            after = Some(document.key.clone());
        }
        if is_last {
            break;
        }
    }
    let mut output = Map::new();
    output.insert(member.to_owned(), Value::Array(shown));
    if let Some(after) = after.filter(|_| more) {
        output.insert("nextToken".into(), page::encode(operation, prefix, &after).into());
    }
    Ok(output)
}

/// Whether there are as many documents below `prefix` as there may be.
pub(super) fn is_full(view: &dyn Read, prefix: &str, most: usize) -> Result<bool, StoreError> {
    let (mut count, mut after) = (0, None);
    loop {
        let found = view.scan(prefix, after.as_deref(), selvedge_store::PAGE_MAX)?;
        count += found.len();
        match found.last() {
            Some(last) if count < most => after = Some(last.key.clone()),
            _ => return Ok(count >= most),
        }
    }
}

fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
}
