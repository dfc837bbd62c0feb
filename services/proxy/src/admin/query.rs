//! The parameters of a command.

use percent_encoding::percent_decode_str;

/// A request has no more than this many parameters; the rest is ignored.
const PARAMETERS_MAX: usize = 64;

/// Parameters in order, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    pairs: Vec<(String, String)>,
    /// The request's Accept header.
    accept: String,
}

impl Query {
    pub(super) fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).take(PARAMETERS_MAX);
        let pairs = pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(k, v)| (decode(k), decode(v)))
            .collect();
        Self { pairs, accept: String::new() }
    }

    /// With what the client's Accept header says.
    #[must_use]
    pub(super) fn accepting(mut self, accept: &str) -> Self {
        accept.clone_into(&mut self.accept);
        self
    }

    /// What `judge` says of the Accept header.
    pub(super) fn accepts(&self, judge: impl FnOnce(&str) -> bool) -> bool {
        judge(&self.accept)
    }

    /// All parameters, in order.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of the first parameter of that name; one without a value is empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.pairs().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(super) fn wants_json(&self) -> bool {
        self.get("format") == Some("json")
    }
}

fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_may_stand_without_a_value() {
        let query = Query::parse("usedonly&filter=upstream_rq%5F.%2A&format=json&&x=a+b");
        assert!(query.has("usedonly") && query.wants_json());
        assert_eq!(query.get("filter"), Some("upstream_rq_.*"));
        assert_eq!(query.get("x"), Some("a b"));
        assert_eq!(query.get("none"), None);
    }
}
