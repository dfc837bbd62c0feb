//! What decides which share of a split a request belongs to.

use serde::Serialize;

use crate::matching::RequestView;

/// What the share is drawn by (Envoy's `random_value_specifier`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub enum SplitBy {
    /// Each request anew.
    #[default]
    Chance,
    /// The number in that header (lower case); a request without one is left to chance.
    Header(String),
    /// The route's hash, so that who comes again stays where he was; a request without one is left to chance.
    Hash,
}

impl SplitBy {
    /// The number that decides, of a request whose hash is `hash`.
    pub fn number(&self, request: &impl RequestView, hash: Option<u64>, random: u64) -> u64 {
        let said = match self {
            Self::Chance => None,
            Self::Hash => hash,
            Self::Header(name) => request.first_value(name).and_then(|value| value.trim_ascii().parse().ok()),
        };
        said.unwrap_or(random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matching::PlainRequest;

    #[test]
    fn a_header_or_a_hash_decides_and_chance_where_there_is_none() {
        let plain = PlainRequest::new("GET", "h", "/");
        let header = |value: &str| plain.clone().with_header("x-share", value);
        let by_header = SplitBy::Header("x-share".to_owned());
        for (by, request, hash, number) in [
            (&SplitBy::Chance, header("5"), Some(6), 7),
            (&by_header, header("5"), Some(6), 5),
            (&by_header, header("five"), Some(6), 7),
            (&by_header, plain.clone(), Some(6), 7),
            (&SplitBy::Hash, header("5"), Some(6), 6),
            (&SplitBy::Hash, header("5"), None, 7),
        ] {
            assert_eq!(by.number(&request, hash, 7), number, "{by:?} {request:?}");
        }
    }
}
