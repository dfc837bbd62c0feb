//! Who asks, by a token that somebody trusted has signed.

use super::{Rules, ServiceAddress, Span};
use crate::shape::{Bounds, Shape};
use crate::structure::{Shaped, enumeration, structure};
use crate::violation::Violations;

const NAME: Shape = Shape::string_of("Name", 1, 128);
const TEXT: Shape = Shape::string_of("Text", 1, 1024);
const KEYS: Shape = Shape::string_of("KeySet", 2, 32 * 1024);
const PREFIX: Shape = Shape::string_of("PathPrefix", 1, 1024);
const AUDIENCES: Shape = Shape::list("Audiences", &TEXT, Bounds::between(0, 16));
const PROVIDERS: Shape = Shape::list("Providers", TokenProvider::SHAPE, Bounds::between(1, 8));
const RULES: Shape = Shape::list("AuthenticationRules", AuthenticationRule::SHAPE, Bounds::between(0, 32));
const CLAIMS: Shape = Shape::list("Claims", ClaimHeader::SHAPE, Bounds::between(0, 16));
const NAMES: Shape = Shape::list("Names", &NAME, Bounds::between(0, 8));

structure! {
    /// Who asks, by a JSON Web Token, where requests come in.
    pub struct Authentication {
        /// Who issues tokens.
        many providers "providers": TokenProvider => &PROVIDERS,
        /// What requests need, by path; the first that fits holds. A request that none fits needs a token of any provider.
        many rules "rules": AuthenticationRule => &RULES,
    }
}

structure! {
    /// Somebody who issues tokens, and how they are checked.
    pub struct TokenProvider {
        /// What rules call it.
        required name "name": String => &NAME,
        /// The issuer that tokens must name.
        required issuer "issuer": String => &TEXT,
        /// One of them must be a token's audience; any will do unless told otherwise.
        many audiences "audiences": String => &AUDIENCES,
        /// The keys: a JSON Web Key Set.
        optional keys "keys": String => &KEYS,
        /// In their place, where each proxy fetches them.
        optional remote_keys "remoteKeys": RemoteKeys,
        /// A header that holds the token after `Bearer `; `authorization` unless told otherwise.
        optional header "header": String => &NAME,
        /// A cookie that holds the token, besides.
        optional cookie "cookie": String => &NAME,
        /// The token goes on to the application.
        optional forward "forward": bool,
        /// Claims that go on to the application in headers of their own.
        many claims "claims": ClaimHeader => &CLAIMS,
        /// How far clocks may differ; 1 m unless told otherwise.
        optional clock_skew "clockSkew": Span,
    }
}

structure! {
    /// Keys that each proxy fetches.
    pub struct RemoteKeys {
        /// Where they are: `http://` or `https://`, a host, and a path.
        required url "url": String => &TEXT,
        /// Whom to ask, if not the host of the URL: a node of the mesh, or authorities of one's own.
        optional service "service": ServiceAddress,
        /// How long it may take; 1 s unless told otherwise.
        optional timeout "timeout": Span,
        /// How long they are used; 10 m unless told otherwise.
        optional cache "cache": Span,
        /// How long after a failure they are fetched again; 1 s unless told otherwise.
        optional retry_after "retryAfter": Span,
    }
}

impl RemoteKeys {
    /// Whether TLS is spoken, the host, and the port of the URL; `None` if it is no such URL.
    pub fn place(&self) -> Option<(bool, &str, u16)> {
        let (tls, rest) = match self.url.split_once("://")? {
            ("https", rest) => (true, rest),
            ("http", rest) => (false, rest),
            _ => return None,
        };
        let (authority, path) = rest.split_at(rest.find('/')?);
        let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
        if !path.bytes().all(is_plain) {
            return None;
        }
        let port = if tls { 443 } else { 80 };
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']')?;
                let port = rest.strip_prefix(':').map_or(Some(port), |port| port.parse().ok())?;
                (host, port)
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, port.parse().ok()?),
                None => (authority, port),
            },
        };
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        (!host.is_empty() && host.bytes().all(is_host) && port != 0).then_some((tls, host, port))
    }
}

structure! {
    /// A claim in a header.
    pub struct ClaimHeader {
        /// The claim; dots lead into objects.
        required claim "claim": String => &NAME,
        /// The header.
        required header "header": String => &NAME,
    }
}

structure! {
    /// What the requests of a path need.
    pub struct AuthenticationRule {
        /// What the path begins with.
        required prefix "prefix": String => &PREFIX,
        /// Whether a token is needed.
        required token "token": TokenNeed,
        /// Whose; anybody's unless told otherwise.
        many providers "providers": String => &NAMES,
    }
}

enumeration! {
    /// Whether a token is needed.
    pub enum TokenNeed {
        /// A good one.
        Required "required",
        /// None, or a good one.
        Optional "optional",
        /// Tokens are not looked at.
        None "none",
    }
}

impl Rules for Authentication {
    fn check(&self, found: &mut Violations) {
        for (index, provider) in self.providers.iter().enumerate() {
            let at = |member: &str| format!("spec.providers[{index}].{member}");
            if self.providers[..index].iter().any(|other| other.name == provider.name) {
                found.rule(at("name"), "another provider has that name");
            }
            match (&provider.keys, &provider.remote_keys) {
                (Some(_), Some(_)) => {
                    found.rule(at("remoteKeys"), "it takes the place of keys: give one of them")
                }
                (None, None) => found.rule(at("keys"), "there are no keys: give keys or remoteKeys"),
                (Some(keys), None) => check_keys(&at("keys"), keys, found),
                (None, Some(remote)) => {
                    if remote.place().is_none() {
                        let text = "it must be http:// or https://, a host, and a path";
                        found.rule(at("remoteKeys.url"), text);
                    }
                }
            }
            if let Some(header) = &provider.header {
                super::headers::check_name(&at("header"), header, found);
            }
            for (place, claim) in provider.claims.iter().enumerate() {
                super::headers::check_name(&at(&format!("claims[{place}].header")), &claim.header, found);
            }
        }
        for (index, rule) in self.rules.iter().enumerate() {
            if !rule.prefix.starts_with('/') {
                found.rule(format!("spec.rules[{index}].prefix"), "it must begin with /");
            }
            if rule.token == TokenNeed::None && !rule.providers.is_empty() {
                found.rule(format!("spec.rules[{index}].providers"), "no token is looked at");
            }
            for (place, name) in rule.providers.iter().enumerate() {
                if !self.providers.iter().any(|provider| provider.name == *name) {
                    let text = format!("there is no provider {name}");
                    found.rule(format!("spec.rules[{index}].providers[{place}]"), text);
                }
            }
        }
    }
}

fn check_keys(path: &str, keys: &str, found: &mut Violations) {
    let keys: Option<serde_json::Value> = serde_json::from_str(keys).ok();
    let keys = keys.as_ref().and_then(|set| set.get("keys")).and_then(serde_json::Value::as_array);
    if keys.is_none_or(Vec::is_empty) {
        found.rule(path, "it is no JSON Web Key Set: an object whose member keys has keys");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_fetched_from_a_host() {
        for (url, place) in [
            ("https://login.example/keys", Some((true, "login.example", 443))),
            ("http://login.example:8080/a/b?c=d", Some((false, "login.example", 8080))),
            ("https://[2001:db8::1]/", Some((true, "2001:db8::1", 443))),
            ("https://[2001:db8::1]:8443/", Some((true, "2001:db8::1", 8443))),
            ("https://login.example", None),
            ("https:///keys", None),
            ("ftp://login.example/keys", None),
            ("https://user@login.example/keys", None),
            ("https://login.example:0/keys", None),
            ("https://login.example:x/keys", None),
            ("https://login.example/a b", None),
            ("login.example/keys", None),
        ] {
            let keys = RemoteKeys {
                url: url.to_owned(),
                service: None,
                timeout: None,
                cache: None,
                retry_after: None,
            };
            assert_eq!(keys.place(), place, "{url}");
        }
    }
}
