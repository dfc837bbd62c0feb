//! What an authority says when it says no (RFC 8555 §6.7), in plain words, and what can be done about it.

use instant_acme::Problem;

const NAMESPACE: &str = "urn:ietf:params:acme:error:";

/// A refusal's type without its namespace.
pub(crate) fn kind(problem: &Problem) -> Option<&str> {
    problem.r#type.as_deref()?.strip_prefix(NAMESPACE)
}

/// A refusal in words: what it means, then what the authority said itself.
pub(crate) fn words(problem: &Problem) -> String {
    let meaning = kind(problem).and_then(meaning);
    let mut text = meaning.map_or_else(String::new, |meaning| format!("{meaning}; "));
    text.push_str("it says: ");
    match (&problem.detail, &problem.r#type, problem.status) {
        (Some(detail), ..) => text.push_str(detail),
        (None, Some(kind), _) => text.push_str(kind),
        (None, None, Some(status)) => text.push_str(&format!("status {status}")),
        (None, None, None) => text.push_str("nothing"),
    }
    for part in &problem.subproblems {
        text.push_str(&format!("; {part}"));
    }
    text
}

fn meaning(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "rateLimited" => "it has had too many orders or failures of these names or this account",
        "accountDoesNotExist" => "it does not know our account",
        "externalAccountRequired" => {
            "it wants an account bound to one that you have with it: set eab-id and eab-key-file"
        }
        "userActionRequired" => "somebody has to agree to its new terms",
        "unsupportedContact" | "invalidContact" => "it does not take the contact",
        "rejectedIdentifier" | "unsupportedIdentifier" => "it does not issue for one of the names",
        "badCSR" | "badPublicKey" => "it does not take this key or this request",
        "invalidProfile" => "it has no such profile",
        "caa" => "a CAA record of the domain names other authorities",
        "dns" => "it does not find the name in the DNS",
        "connection" => "it cannot connect to the address that the DNS has for the name",
        "tls" => "it reached the name, and no handshake for its challenge came about",
        "unauthorized" | "incorrectResponse" => "what it was shown is not what it asked for",
        "badNonce" => "it keeps refusing the numbers that it gave out",
        "serverInternal" => "it has a fault of its own",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> Problem {
        serde_json::from_str(text).expect("a problem")
    }

    #[test]
    fn refusals_are_said_in_words() {
        let limited = problem(
            r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many certificates (5) already issued","status":429}"#,
        );
        assert_eq!(kind(&limited), Some("rateLimited"));
        let text = words(&limited);
        assert!(text.starts_with("it has had too many"), "{text}");
        assert!(text.ends_with("it says: too many certificates (5) already issued"), "{text}");
        assert_eq!(words(&problem(r#"{"type":"about:blank"}"#)), "it says: about:blank");
        assert_eq!(words(&problem(r#"{"status":503}"#)), "it says: status 503");
        assert_eq!(words(&problem("{}")), "it says: nothing");
    }
}
