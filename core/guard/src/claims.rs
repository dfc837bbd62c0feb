//! Rules on what is known of a caller.

use std::fmt;

use serde_json::Value;

use crate::Identity;

/// Rules of one route.
pub const RULES_MAX: usize = 64;
/// Values of one rule.
pub const VALUES_MAX: usize = 256;

/// All of them have to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

/// A claim, and what it has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// With dots between the steps; `sub` and `iss` are the identity's own.
    pub claim: String,
    /// One of these, or anything at all where there is none. In a list it is enough that one of its elements fits. `*` at one
    /// end of a value stands for any text: `*@example.com`, `team-*`.
    pub one_of: Vec<String>,
}

/// The rule that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the claim {0:?} is missing")]
    Missing(String),
    #[error("the claim {0:?} has none of the values that are let in")]
    Value(String),
    /// An address that nobody has shown to be theirs says nothing of them.
    #[error("the claim \"email\" counts only with \"email_verified\"")]
    EmailUnverified,
}

/// Rules that are none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RulesInvalid {
    #[error("there are more than {RULES_MAX} rules")]
    TooMany,
    #[error("the rule on {0:?} has more than {VALUES_MAX} values")]
    TooManyValues(String),
    #[error("a rule names no claim")]
    Unnamed,
    #[error("{0:?}: an asterisk stands at the beginning or at the end, with some text beside it")]
    Asterisk(String),
}

impl Rules {
    /// Checks and keeps them.
    ///
    /// # Errors
    /// When there are too many, or one is none.
    pub fn new(rules: Vec<Rule>) -> Result<Self, RulesInvalid> {
        if rules.len() > RULES_MAX {
            return Err(RulesInvalid::TooMany);
        }
        for rule in &rules {
            if rule.claim.is_empty() {
                return Err(RulesInvalid::Unnamed);
            }
            if rule.one_of.len() > VALUES_MAX {
                return Err(RulesInvalid::TooManyValues(rule.claim.clone()));
            }
            let is_wrong = |value: &&String| {
                let asterisks = value.matches('*').count();
                asterisks > 1
                    || asterisks == 1
                        && (value.len() == 1 || !value.starts_with('*') && !value.ends_with('*'))
            };
            if let Some(value) = rule.one_of.iter().find(is_wrong) {
                return Err(RulesInvalid::Asterisk(value.clone()));
            }
        }
        Ok(Self(rules))
    }

    /// Whether a caller is let in.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn check(&self, identity: &Identity) -> Result<(), Refusal> {
        self.0.iter().try_for_each(|rule| rule.check(identity))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Rule {
    fn check(&self, identity: &Identity) -> Result<(), Refusal> {
        let fits = match self.claim.as_str() {
            "sub" => self.fits_text(&identity.subject),
            "iss" => self.fits_text(&identity.issuer),
            path => match identity.claim(path) {
                None | Some(Value::Null) => return Err(Refusal::Missing(self.claim.clone())),
                Some(_)
                    if path == "email" && identity.claim("email_verified") != Some(&Value::Bool(true)) =>
                {
                    return Err(Refusal::EmailUnverified);
                }
                Some(value) => self.fits(value),
            },
        };
        if fits { Ok(()) } else { Err(Refusal::Value(self.claim.clone())) }
    }

    fn fits(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.fits_text(text),
            Value::Number(number) => self.fits_text(&number.to_string()),
            Value::Bool(truth) => self.fits_text(if *truth { "true" } else { "false" }),
            Value::Array(list) => list.iter().any(|value| !value.is_array() && self.fits(value)),
            Value::Null => false,
            Value::Object(_) => self.one_of.is_empty(),
        }
    }

    fn fits_text(&self, text: &str) -> bool {
        let fits = |wanted: &String| match (wanted.strip_prefix('*'), wanted.strip_suffix('*')) {
            (Some(end), _) => text.ends_with(end),
            (_, Some(start)) => text.starts_with(start),
            _ => text == wanted,
        };
        self.one_of.is_empty() || self.one_of.iter().any(fits)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.one_of.as_slice() {
            [] => write!(f, "{} is there", self.claim),
            values => write!(f, "{} is one of {}", self.claim, values.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Means;

    fn rules(rules: &[(&str, &[&str])]) -> Result<Rules, RulesInvalid> {
        let rule = |(claim, values): &(&str, &[&str])| Rule {
            claim: (*claim).to_owned(),
            one_of: values.iter().map(|value| (*value).to_owned()).collect(),
        };
        Rules::new(rules.iter().map(rule).collect())
    }

    fn ann(claims: Value) -> Identity {
        let Value::Object(claims) = claims else { panic!("an object") };
        Identity { subject: "ann".into(), issuer: "https://id.example".into(), by: Means::SignIn, claims }
    }

    #[test]
    fn who_is_let_in() {
        let known = ann(serde_json::json!({
            "groups": ["dev", "ops"], "level": 3, "admin": true, "realm": {"roles": ["a"]}, "nothing": null,
            "email": "ann@example.com", "email_verified": true, "https://claims.example/team": "t",
        }));
        let check = |claim: &str, values: &[&str]| rules(&[(claim, values)]).expect("rules").check(&known);
        for (claim, values) in [
            ("groups", &["ops"][..]),
            ("groups", &["x", "dev"]),
            ("groups", &[]),
            ("level", &["3"]),
            ("admin", &["true"]),
            ("realm.roles", &["a"]),
            ("realm", &[]),
            ("email", &["*@example.com"]),
            ("sub", &["an*"]),
            ("iss", &["https://id.example"]),
            ("https://claims.example/team", &["t"]),
        ] {
            assert_eq!(check(claim, values), Ok(()), "{claim} {values:?}");
        }
        for (claim, values) in [
            ("groups", &["op"][..]),
            ("groups", &["dev,ops"]),
            ("email", &["*@xample.com"]),
            ("email", &["*@example.co"]),
            ("sub", &["Ann"]),
            ("realm", &["roles"]),
            ("level", &["3.0"]),
        ] {
            assert_eq!(check(claim, values), Err(Refusal::Value(claim.into())), "{claim} {values:?}");
        }
        for claim in ["group", "nothing", "realm.role", "groups.0"] {
            assert_eq!(check(claim, &[]), Err(Refusal::Missing(claim.into())), "{claim}");
        }
    }

    #[test]
    fn an_address_that_nobody_verified_says_nothing() {
        for claims in [
            serde_json::json!({"email": "ann@example.com"}),
            serde_json::json!({"email": "ann@example.com", "email_verified": false}),
            serde_json::json!({"email": "ann@example.com", "email_verified": "true"}),
        ] {
            let rules = rules(&[("email", &["*@example.com"])]).expect("rules");
            assert_eq!(rules.check(&ann(claims)), Err(Refusal::EmailUnverified));
        }
    }

    #[test]
    fn every_rule_has_to_hold_and_none_lets_all_in() {
        let known = ann(serde_json::json!({"a": "1", "b": "2"}));
        assert_eq!(
            rules(&[("a", &["1"]), ("b", &["3"])]).expect("rules").check(&known),
            Err(Refusal::Value("b".into()))
        );
        assert_eq!(rules(&[]).expect("rules").check(&known), Ok(()));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        assert_eq!(rules(&[("", &["a"])]), Err(RulesInvalid::Unnamed));
        for value in ["*", "a*b", "*a*", "**"] {
            assert_eq!(rules(&[("a", &[value])]), Err(RulesInvalid::Asterisk(value.into())));
        }
        let rule = Rule { claim: "a".into(), one_of: vec!["v".into(); VALUES_MAX + 1] };
        assert_eq!(Rules::new(vec![rule]), Err(RulesInvalid::TooManyValues("a".into())));
        let rule = Rule { claim: "a".into(), one_of: Vec::new() };
        assert_eq!(Rules::new(vec![rule; RULES_MAX + 1]), Err(RulesInvalid::TooMany));
    }
}
