//! In which order routes are tried.

use std::cmp::Reverse;

use selvedge_traffic::matching::{PathMatch, RouteMatch};

/// The priority of a route without one: after all that have one (0 to 1000).
const PRIORITY_NONE: u32 = 1001;

/// The place of a route among its siblings, the smallest first: by priority, then the longest path, exact before
/// prefix, then the most conditions. What App Mesh leaves open the name decides, so that the order never changes by
/// itself.
pub(crate) fn rank(priority: Option<u32>, matches: &RouteMatch, name: &str) -> impl Ord + use<> {
    let (length, kind) = match &matches.path {
        PathMatch::Exact(path) => (path.len(), 0),
        PathMatch::Prefix(path) => (path.len(), 1),
        PathMatch::Regex(pattern) => (pattern.as_str().len(), 2),
        PathMatch::Connect => (0, 3),
    };
    let conditions = matches.headers.len() + matches.query.len();
    (priority.unwrap_or(PRIORITY_NONE), Reverse(length), kind, Reverse(conditions), name.to_owned())
}

#[cfg(test)]
mod tests {
    use selvedge_traffic::matching::{QueryCondition, QueryMatch};

    use super::*;

    #[test]
    fn priority_then_length_then_conditions_then_name() {
        let prefix = RouteMatch::prefix;
        let exact = |path: &str| RouteMatch { path: PathMatch::Exact(path.to_owned()), ..RouteMatch::any() };
        let condition = QueryMatch { name: "k".into(), condition: QueryCondition::Present };
        let narrower = RouteMatch { query: vec![condition], ..prefix("/") };
        let mut routes = [
            (None, prefix("/"), "z"),
            (None, prefix("/"), "a"),
            (None, narrower, "n"),
            (None, prefix("/api"), "api"),
            (None, exact("/api"), "exact"),
            (Some(1000), prefix("/"), "last"),
            (Some(0), prefix("/"), "first"),
        ];
        routes.sort_by_key(|(priority, matches, name)| rank(*priority, matches, name));
        assert_eq!(routes.map(|(_, _, name)| name), ["first", "last", "exact", "api", "n", "a", "z"]);
    }
}
