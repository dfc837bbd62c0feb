//! Who a caller is, and how services behind the edge are told.
//!
//! Headers that tell it are ours alone: every header under one of our names is taken off a request before anything else
//! happens to it, whoever sent it, in whichever spelling a program behind might read it as.

use std::fmt::Write;

use serde_json::{Map, Value};

/// Headers that begin so are never taken from outside.
pub const PREFIX: &str = "x-selvedge-";
/// The header that names the subject.
pub const SUBJECT: &str = "x-selvedge-subject";
/// The header that names who vouches for it.
pub const ISSUER: &str = "x-selvedge-issuer";
/// The longest value that is passed on in a header.
pub const VALUE_BYTES_MAX: usize = 4096;

/// A caller who has been recognised.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// Never empty; unique within the issuer.
    pub subject: String,
    /// Whose word it is: an issuer's URL, an authority's name, a realm.
    pub issuer: String,
    pub by: Means,
    /// What else was said.
    pub claims: Map<String, Value>,
}

/// How a caller was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    SignIn,
    Bearer,
    Certificate,
    Password,
    Forwarded,
}

/// Which claims go into which headers, besides subject and issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// Header (lower case) and claim.
    of_claims: Vec<(String, String)>,
}

/// A header that cannot carry a claim.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderInvalid {
    #[error("{0:?} is no name of a header: letters, digits and hyphens are")]
    Name(String),
    #[error("the header {0:?} has a meaning of its own and cannot carry a claim")]
    Reserved(String),
}

/// What a claim must not overwrite.
const RESERVED: &[&str] = &[
    "host",
    "connection",
    "content-length",
    "content-type",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "cookie",
    SUBJECT,
    ISSUER,
];

impl Identity {
    /// Issuer and subject in one text, by which clients can be told apart.
    pub fn name(&self) -> String {
        format!("{} {}", self.issuer, self.subject)
    }

    /// A claim by its path, with dots between the steps; a claim whose own name has dots comes first.
    pub fn claim(&self, path: &str) -> Option<&Value> {
        if let Some(value) = self.claims.get(path) {
            return Some(value);
        }
        let mut steps = path.split('.');
        let mut value = self.claims.get(steps.next()?)?;
        for step in steps {
            value = value.as_object()?.get(step)?;
        }
        Some(value)
    }
}

impl Means {
    /// The word for it in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SignIn => "sign-in",
            Self::Bearer => "bearer",
            Self::Certificate => "certificate",
            Self::Password => "password",
            Self::Forwarded => "forward-auth",
        }
    }
}

impl Headers {
    /// From pairs of header and claim.
    ///
    /// # Errors
    /// When a header's name is none, or has a meaning of its own.
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, HeaderInvalid> {
        let mut of_claims = Vec::new();
        for (header, claim) in pairs {
            let name = header.to_ascii_lowercase();
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
                return Err(HeaderInvalid::Name(header.to_owned()));
            }
            if RESERVED.contains(&name.as_str()) {
                return Err(HeaderInvalid::Reserved(header.to_owned()));
            }
            of_claims.push((name, claim.to_owned()));
        }
        Ok(Self { of_claims })
    }

    /// Whether a header that came from outside is taken off: ours by name, or by what a program makes of the name that reads
    /// whatever is neither letter nor digit, and upper and lower case, as the same (CGI does).
    pub fn is_ours(&self, name: &str) -> bool {
        begins_alike(name, PREFIX) || self.of_claims.iter().any(|(own, _)| is_alike(name, own))
    }

    /// The headers that tell services who asks.
    pub fn of(&self, identity: &Identity) -> Vec<(String, String)> {
        let mut headers = vec![
            (SUBJECT.to_owned(), visible(&identity.subject)),
            (ISSUER.to_owned(), visible(&identity.issuer)),
        ];
        for (header, claim) in &self.of_claims {
            if let Some(value) = identity.claim(claim).and_then(plain) {
                headers.push((header.clone(), visible(&value)));
            }
        }
        headers.retain(|(_, value)| value.len() <= VALUE_BYTES_MAX);
        headers
    }
}

/// Whether a header's name is `own` (lower case, with hyphens) for whoever reads all that is neither letter nor digit as one:
/// CGI makes `HTTP_X_USER` of `x-user`, `x_user` and `x.user`.
pub fn is_alike(name: &str, own: &str) -> bool {
    name.len() == own.len() && begins_alike(name, own)
}

/// Whether a header's name begins so, for the same readers.
pub fn begins_alike(name: &str, own: &str) -> bool {
    let alike = |(a, b): (u8, u8)| a.to_ascii_lowercase() == b || b == b'-' && !a.is_ascii_alphanumeric();
    name.len() >= own.len() && name.bytes().zip(own.bytes()).all(alike)
}

/// A text, a number, a truth, or a list of them with commas between; commas within are escaped like whatever is not ASCII.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Array(list) => {
            let texts: Option<Vec<String>> =
                list.iter().map(|value| Some(plain(value)?.replace(',', "%2C"))).collect();
            texts.map(|texts| texts.join(","))
        }
        Value::Null | Value::Object(_) => None,
    }
}

/// What may stand in a header: visible ASCII and single spaces within; all else as `%XX` of its UTF-8.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() {
            out.push(char::from(byte));
        } else {
            // Writing into a String does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(claims: Value) -> Identity {
        let Value::Object(claims) = claims else { panic!("an object") };
        Identity { subject: "ann".into(), issuer: "https://id.example".into(), by: Means::SignIn, claims }
    }

    #[test]
    fn what_comes_under_our_names_is_taken_off_in_every_spelling() {
        let headers =
            Headers::new([("X-User", "preferred_username"), ("x-groups", "groups")]).expect("headers");
        for name in [
            "x-selvedge-subject",
            "X-Selvedge-Subject",
            "x_selvedge_subject",
            "x-selvedge_anything",
            "X_SELVEDGE-issuer",
            "x-user",
            "X_User",
            "x.user",
            "X.Selvedge!Subject",
            "x_groups",
        ] {
            assert!(headers.is_ours(name), "{name}");
        }
        for name in ["x-selvedge", "x-users", "xx-user", "user", "x", ""] {
            assert!(!headers.is_ours(name), "{name}");
        }
    }

    #[test]
    fn claims_become_headers_that_cannot_break_out() {
        let headers = Headers::new([
            ("x-user", "name"),
            ("x-groups", "groups"),
            ("x-team", "org.team"),
            ("x-no", "org"),
        ])
        .expect("headers");
        let told = headers.of(&identity(serde_json::json!({
            "name": "Ann\r\nx-admin: 1 é",
            "groups": ["a,b", "c", 7, true],
            "org": {"team": "t"},
        })));
        let told: Vec<(&str, &str)> = told.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(
            told,
            [
                (SUBJECT, "ann"),
                (ISSUER, "https://id.example"),
                ("x-user", "Ann%0D%0Ax-admin:%201%20%C3%A9"),
                ("x-groups", "a%2Cb,c,7,true"),
                ("x-team", "t"),
            ]
        );
    }

    #[test]
    fn a_claim_cannot_take_a_header_that_means_something() {
        for name in ["Host", "content-length", "x-selvedge-subject", "cookie", "Transfer-Encoding"] {
            assert!(matches!(Headers::new([(name, "c")]), Err(HeaderInvalid::Reserved(_))), "{name}");
        }
        for name in ["", "a b", "a_b", "a\r\nb"] {
            assert!(matches!(Headers::new([(name, "c")]), Err(HeaderInvalid::Name(_))), "{name}");
        }
        let long = identity(serde_json::json!({"name": "n".repeat(VALUE_BYTES_MAX + 1)}));
        assert_eq!(Headers::new([("x-user", "name")]).expect("a header").of(&long).len(), 2);
    }
}
