//! Lists that span several answers: `--max-items`, `--page-size`, `--starting-token`, `--no-paginate`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use selvedge_aws::{Operation, Pagination};
use selvedge_client::Client;
use serde_json::{Map, Value, json};

use crate::exit::Failure;

/// What the caller asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Limits {
    /// Elements to answer in all.
    pub(super) items_max: Option<usize>,
    /// Elements to ask for in one call.
    pub(super) page_size: Option<u32>,
    /// Where an earlier call was cut off.
    pub(super) starting_token: Option<String>,
}

/// What a list came to.
#[derive(Debug)]
pub(super) struct Listed {
    /// The elements, page by page.
    pub(super) pages: Vec<Vec<Value>>,
    /// Where to go on, when `items_max` cut the list off.
    pub(super) resume: Option<String>,
}

/// A place in a list: the token of a page, and how many of its elements were answered before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Place {
    token: Option<String>,
    skip: usize,
}

/// Calls `operation` until its list ends or `limits` cut it off.
///
/// # Errors
/// When a call fails or the starting token is none of ours.
pub(super) async fn list(
    client: &Client,
    operation: &Operation,
    pagination: Pagination,
    input: &Map<String, Value>,
    limits: &Limits,
) -> Result<Listed, Failure> {
    let mut place = limits.starting_token.as_deref().map(Place::decode).transpose()?.unwrap_or_default();
    let mut input = input.clone();
    if let Some(size) = limits.page_size {
        input.insert(pagination.limit.to_owned(), size.into());
    }
    let mut listed = Listed { pages: Vec::new(), resume: None };
    let mut left = limits.items_max.unwrap_or(usize::MAX);
    loop {
        if let Some(token) = &place.token {
            input.insert(pagination.input_token.to_owned(), json!(token));
        }
        let mut answer = super::arrange::arrange(client.call(operation, &input).await?, operation.output);
        let next = answer[pagination.output_token].as_str().map(str::to_owned);
        let mut page = match answer[pagination.result].take() {
            Value::Array(elements) => elements,
            _ => Vec::new(),
        };
        page.drain(..place.skip.min(page.len()));
        if page.len() > left {
            page.truncate(left);
            listed.pages.push(page);
            listed.resume = Some(Place { skip: place.skip + left, ..place }.encode());
            return Ok(listed);
        }
        left -= page.len();
        listed.pages.push(page);
        match next {
            None => return Ok(listed),
            Some(token) if Some(&token) == place.token.as_ref() => {
                return Err(Failure::Other(anyhow::anyhow!(
                    "the server answered the same page token twice: {token}"
                )));
            }
            Some(token) => place = Place { token: Some(token), skip: 0 },
        }
        if left == 0 {
            listed.resume = Some(place.encode());
            return Ok(listed);
        }
    }
}

impl Listed {
    /// The whole list as one answer.
    pub(super) fn document(self, result: &str) -> Value {
        let mut document =
            Map::from_iter([(result.to_owned(), Value::Array(self.pages.into_iter().flatten().collect()))]);
        if let Some(token) = self.resume {
            document.insert("NextToken".to_owned(), token.into());
        }
        Value::Object(document)
    }
}

impl Place {
    /// The AWS command line's own token, so that one of its lists can be continued here and the other way round.
    fn encode(&self) -> String {
        let skip =
            if self.skip > 0 { format!(", \"boto_truncate_amount\": {}", self.skip) } else { String::new() };
        BASE64.encode(format!("{{\"nextToken\": {}{skip}}}", json!(self.token)))
    }

    fn decode(text: &str) -> Result<Self, Failure> {
        let bad = || Failure::Usage(format!("Bad starting token: {text}"));
        let bytes = BASE64.decode(text).map_err(|_| bad())?;
        let token: Value = serde_json::from_slice(&bytes).map_err(|_| bad())?;
        let skip = match token.get("boto_truncate_amount") {
            None => 0,
            Some(skip) => skip.as_u64().and_then(|skip| usize::try_from(skip).ok()).ok_or_else(bad)?,
        };
        let token =
            token.as_object().ok_or_else(bad)?.get("nextToken").and_then(Value::as_str).map(str::to_owned);
        Ok(Self { token, skip })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_its_token() {
        for place in
            [Place::default(), Place { token: Some("p2".into()), skip: 0 }, Place { token: None, skip: 3 }]
        {
            assert_eq!(Place::decode(&place.encode()).expect("our own"), place);
        }
        // As botocore writes it.
        let token = BASE64.encode(r#"{"nextToken": null, "boto_truncate_amount": 2}"#);
        assert_eq!(Place::decode(&token).expect("botocore's"), Place { token: None, skip: 2 });
    }

    #[test]
    fn a_foreign_token_is_refused() {
        for token in ["", "xyz!", "bnVsbA==", "eyJib3RvX3RydW5jYXRlX2Ftb3VudCI6LTF9"] {
            assert!(Place::decode(token).is_err(), "{token}");
        }
    }
}
