//! Who is meant by a NACK: its text is all that says so.

/// Those of `names` that stand in `message` as words of their own.
///
/// Envoy writes `Error adding/updating cluster(s) a: reason, b: reason` and the like; a text that names none (a route
/// table's, often) leaves the caller with all that the response carried.
pub fn named_in<'a>(message: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    names.into_iter().filter(|name| !name.is_empty() && stands_in(message, name)).collect()
}

fn stands_in(message: &str, name: &str) -> bool {
    message.match_indices(name).any(|(at, _)| {
        let before = message[..at].chars().next_back();
        let mut after = message[at + name.len()..].chars();
        let (next, second) = (after.next(), after.next());
        // A full stop ends a sentence, or goes on with a longer name.
        let goes_on = match next {
            Some('.') => second.is_some_and(is_name),
            Some(other) => is_name(other),
            None => false,
        };
        !before.is_some_and(|before| is_name(before) || before == '.') && !goes_on
    })
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_as_a_word_only() {
        let names = ["cds_a", "cds_a_b", "lds_ingress_0.0.0.0_15000", "rds_egress_http_80"];
        let rows: [(&str, &[&str]); 6] = [
            ("Error adding/updating cluster(s) cds_a: bad", &["cds_a"]),
            ("Error adding/updating cluster(s) cds_a_b: bad, cds_a: worse", &["cds_a", "cds_a_b"]),
            (
                "Error adding/updating listener(s) lds_ingress_0.0.0.0_15000: no socket\n",
                &["lds_ingress_0.0.0.0_15000"],
            ),
            ("Duplicate entry of domain x in route rds_egress_http_80.", &["rds_egress_http_80"]),
            ("something about cds_a.local", &[]),
            ("Proto constraint validation failed", &[]),
        ];
        for (message, expected) in rows {
            assert_eq!(named_in(message, names), expected, "{message}");
        }
    }
}
