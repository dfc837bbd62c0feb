//! `policy:evaluate`: a decision over an identity, an action and a resource.
//!
//! Nothing is allowed that no rule allows, and what one rule denies no other can allow.

use std::sync::Arc;

use selvedge_asl::Failure;
use serde_json::{Value, json};

use super::{Call, unfit};
use crate::Engine;
use crate::audit;

/// Rules of a policy.
pub(crate) const RULES_MAX: usize = 256;

/// What is decided about.
struct Question<'v> {
    subject: &'v str,
    groups: Vec<&'v str>,
    identity: &'v Value,
    action: &'v str,
    resource: &'v str,
    now_ms: i64,
}

/// A decision, with the rule that made it.
struct Decision {
    is_allowed: bool,
    rule: Option<String>,
    reason: String,
}

pub(super) async fn evaluate(engine: &Arc<Engine>, call: &Call) -> Result<Value, Failure> {
    let parameters = call.parameters();
    let rules =
        parameters["Policy"]["Rules"].as_array().ok_or_else(|| unfit("Policy.Rules: a list is expected"))?;
    if rules.len() > RULES_MAX {
        return Err(unfit(format!("Policy.Rules: there are more than {RULES_MAX}")));
    }
    let identity = &parameters["Identity"];
    let text = |value: &'_ Value| value.as_str().unwrap_or_default().to_owned();
    let subject = identity["sub"].as_str().or_else(|| identity["Subject"].as_str()).unwrap_or_default();
    let groups = identity.get("groups").or_else(|| identity.get("Groups"));
    let groups = groups.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let (action, resource) = (text(&parameters["Action"]), text(&parameters["Resource"]));
    let question =
        Question { subject, groups, identity, action: &action, resource: &resource, now_ms: engine.now_ms() };
    let decision = decide(rules, &question)?;
    let shown = json!({
        "Decision": if decision.is_allowed { "ALLOW" } else { "DENY" },
        "Rule": decision.rule,
        "Reason": decision.reason,
        "Subject": subject,
        "Action": action,
        "Resource": resource,
    });
    if decision.is_allowed {
        return Ok(shown);
    }
    audit::note_first(engine, "PolicyDenied", subject, &call.identity.arn, shown.clone()).await;
    match parameters.get("OnDeny").map(Value::as_str) {
        None | Some(Some("FAIL")) => Err(Failure::new("Policy.Denied", shown.to_string())),
        Some(Some("RETURN")) => Ok(shown),
        Some(_) => Err(unfit("OnDeny: it has to be FAIL or RETURN")),
    }
}

fn decide(rules: &[Value], question: &Question<'_>) -> Result<Decision, Failure> {
    let mut allowed: Option<Decision> = None;
    for (index, rule) in rules.iter().enumerate() {
        let at = format!("Policy.Rules[{index}]");
        let members = rule.as_object().ok_or_else(|| unfit(format!("{at}: an object is expected")))?;
        let known =
            ["Id", "Effect", "Subjects", "Groups", "Actions", "Resources", "Claims", "MaxAuthAgeSeconds"];
        if let Some(unknown) = members.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(unfit(format!(
                "{at}.{unknown}: there is no such member; there is {}",
                known.join(", ")
            )));
        }
        let is_allow = match rule["Effect"].as_str() {
            Some("ALLOW") => true,
            Some("DENY") => false,
            _ => return Err(unfit(format!("{at}.Effect: it has to be ALLOW or DENY"))),
        };
        if !applies(rule, &at, question)? {
            continue;
        }
        let id = rule["Id"].as_str().map_or_else(|| index.to_string(), str::to_owned);
        let effect = if is_allow { "allows" } else { "denies" };
        let decision =
            Decision { is_allowed: is_allow, reason: format!("rule {id} {effect} it"), rule: Some(id) };
        if !is_allow {
            return Ok(decision);
        }
        allowed.get_or_insert(decision);
    }
    Ok(allowed.unwrap_or_else(|| Decision {
        is_allowed: false,
        rule: None,
        reason: "no rule allows it".into(),
    }))
}

/// Each condition that a rule has must hold.
fn applies(rule: &Value, at: &str, question: &Question<'_>) -> Result<bool, Failure> {
    let list = |member: &str| -> Result<Option<Vec<&str>>, Failure> {
        let Some(found) = rule.get(member) else { return Ok(None) };
        let items = found.as_array().and_then(|items| items.iter().map(Value::as_str).collect());
        items.map(Some).ok_or_else(|| unfit(format!("{at}.{member}: a list of texts is expected")))
    };
    let any = |patterns: &[&str], text: &str| patterns.iter().any(|pattern| matches(pattern, text));
    let holds = list("Subjects")?
        .is_none_or(|found| !question.subject.is_empty() && any(&found, question.subject))
        && list("Groups")?.is_none_or(|found| question.groups.iter().any(|group| any(&found, group)))
        && list("Actions")?.is_none_or(|found| any(&found, question.action))
        && list("Resources")?.is_none_or(|found| any(&found, question.resource));
    if !holds {
        return Ok(false);
    }
    if let Some(claims) = rule.get("Claims") {
        let claims =
            claims.as_object().ok_or_else(|| unfit(format!("{at}.Claims: an object is expected")))?;
        let is_met = |(name, wanted): (&String, &Value)| {
            let found = &question.identity[name.as_str()];
            found == wanted || found.as_array().is_some_and(|found| found.contains(wanted))
        };
        if !claims.iter().all(is_met) {
            return Ok(false);
        }
    }
    if let Some(seconds) = rule.get("MaxAuthAgeSeconds") {
        let seconds =
            seconds.as_i64().ok_or_else(|| unfit(format!("{at}.MaxAuthAgeSeconds: a number is expected")))?;
        let Some(signed_in) = question.identity["auth_time"].as_i64() else { return Ok(false) };
        if question.now_ms / 1000 - signed_in > seconds {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `*` is any text, also none.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(rules: Value, identity: &Value) -> (bool, Option<String>) {
        let groups = identity["groups"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let subject = identity["sub"].as_str().unwrap_or_default();
        let question = Question {
            subject,
            groups,
            identity,
            action: "order:refund",
            resource: "orders/7",
            now_ms: 1_000_000_000,
        };
        let decision = decide(rules.as_array().unwrap(), &question).unwrap();
        (decision.is_allowed, decision.rule)
    }

    #[test]
    fn nothing_is_allowed_that_no_rule_allows_and_a_denial_counts_most() {
        let ada = json!({ "sub": "ada", "groups": ["finance"], "acr": "high", "auth_time": 999_990 });
        let allow = json!({ "Id": "a", "Effect": "ALLOW", "Groups": ["fin*"], "Actions": ["order:*"], "Resources": ["orders/*"] });
        assert_eq!(ask(json!([]), &ada), (false, None));
        assert_eq!(ask(json!([allow]), &ada), (true, Some("a".into())));
        assert_eq!(ask(json!([allow]), &json!({ "sub": "bob" })), (false, None));
        assert_eq!(
            ask(json!([allow, { "Id": "d", "Effect": "DENY", "Subjects": ["ada"] }]), &ada),
            (false, Some("d".into()))
        );
        for (rule, expected) in [
            (json!({ "Effect": "ALLOW", "Claims": { "acr": "high" } }), true),
            (json!({ "Effect": "ALLOW", "Claims": { "acr": "low" } }), false),
            (json!({ "Effect": "ALLOW", "MaxAuthAgeSeconds": 60 }), true),
            (json!({ "Effect": "ALLOW", "MaxAuthAgeSeconds": 5 }), false),
            (json!({ "Effect": "ALLOW", "Actions": ["order:read"] }), false),
            (json!({ "Effect": "ALLOW", "Subjects": ["*"] }), true),
        ] {
            assert_eq!(ask(json!([rule]), &ada).0, expected, "{rule}");
        }
        // Nobody is not somebody.
        assert!(!ask(json!([{ "Effect": "ALLOW", "Subjects": ["*"] }]), &json!({})).0);
        assert!(!ask(json!([{ "Effect": "ALLOW", "MaxAuthAgeSeconds": 60 }]), &json!({ "sub": "x" })).0);
    }

    #[test]
    fn a_policy_that_is_not_understood_decides_nothing() {
        let identity = json!({ "sub": "ada" });
        let question = Question {
            subject: "ada",
            groups: vec![],
            identity: &identity,
            action: "",
            resource: "",
            now_ms: 0,
        };
        for rule in [
            json!("ALLOW"),
            json!({ "Effect": "allow" }),
            json!({ "Effect": "ALLOW", "Subject": ["ada"] }),
            json!({ "Effect": "ALLOW", "Subjects": "ada" }),
        ] {
            assert!(decide(std::slice::from_ref(&rule), &question).is_err(), "{rule}");
        }
    }

    #[test]
    fn patterns_match_whole_texts() {
        for (pattern, text, expected) in [
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "abcd", false),
            ("*", "", true),
            ("a", "ab", false),
            ("a*b*a", "aba", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
