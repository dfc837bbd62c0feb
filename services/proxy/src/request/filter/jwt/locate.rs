//! Where a request carries its tokens.

use selvedge_http::head::RequestHead;
use selvedge_traffic::filter::JwtProvider;
use selvedge_traffic::matching::Target;

/// Tokens that are looked at in one request.
const TOKENS_MAX: usize = 8;

/// A token and where it was.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) token: String,
    /// The header to take it out of.
    pub(super) header: Option<String>,
}

/// The tokens in the places where a provider's may be.
pub(super) fn of_provider(head: &RequestHead, provider: &JwtProvider) -> Vec<Found> {
    let mut found = Vec::new();
    let text = |value| std::str::from_utf8(value).ok();
    let nowhere = provider.from_headers.is_empty()
        && provider.from_params.is_empty()
        && provider.from_cookies.is_empty();
    if nowhere {
        for value in head.fields.all_named("authorization").filter_map(text) {
            if let Some(token) = value.strip_prefix("Bearer ") {
                let header = Some("authorization".to_owned());
                found.push(Found { token: extracted(token), header });
            }
        }
    }
    for place in &provider.from_headers {
        for value in head.fields.all_named(&place.name).filter_map(text) {
            if let Some(at) = value.find(&place.prefix) {
                let token = extracted(&value[at + place.prefix.len()..]);
                found.push(Found { token, header: Some(place.name.clone()) });
            }
        }
    }
    let target = Target::parse(head.path());
    let usual = ["access_token".to_owned()];
    let params = if nowhere { &usual[..] } else { &provider.from_params };
    for param in params {
        if let Some(token) = target.parameter(param) {
            found.push(Found { token: token.to_owned(), header: None });
        }
    }
    for name in &provider.from_cookies {
        if let Some(token) = cookie(head, name) {
            found.push(Found { token, header: None });
        }
    }
    found.truncate(TOKENS_MAX);
    found
}

/// The first stretch of characters that a token may have, as Envoy takes it.
fn extracted(text: &str) -> String {
    let is_of_token =
        |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
    let start = text.find(is_of_token).unwrap_or(text.len());
    text[start..].split(|character| !is_of_token(character)).next().unwrap_or_default().to_owned()
}

fn cookie(head: &RequestHead, name: &str) -> Option<String> {
    let lines = head.fields.all_named("cookie").filter_map(|value| std::str::from_utf8(value).ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(own, _)| *own == name).map(|(_, value)| value.trim_matches('"').to_owned())
}
