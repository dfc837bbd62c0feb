//! JSON Web Tokens.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use selvedge_traffic::access::{Permission, Policy, Principal, Rules, RulesAction};
use selvedge_traffic::filter::{
    Jwt, JwtHeader, JwtKeys, JwtProvider, JwtRoute, JwtRule, Rbac, Requirement, RuleRequirement,
};
use selvedge_traffic::matching::{RouteMatch, TextMatch};
use selvedge_traffic::{
    Cluster, FilterEntry, FilterOverride, FilterSetting, HttpConnection, HttpFilter, MetadataMatch, Route,
    RouteFilter, ValueMatch,
};
use serde_json::{Value, json};

use crate::mesh::{cluster, forward, http, route};
use crate::planes::Planes;
use crate::upstream::{Upstream, nobody};

const SECRET: &[u8] = b"a secret of more than thirty-two bytes";

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn signed(header: &Value, claims: &Value) -> String {
    let unsigned = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), unsigned.as_bytes());
    format!("{unsigned}.{}", B64.encode(tag))
}

fn token(claims: &Value) -> String {
    signed(&json!({"alg": "HS256", "kid": "k"}), claims)
}

fn jwks() -> String {
    json!({"keys": [{"kty": "oct", "alg": "HS256", "kid": "k", "k": B64.encode(SECRET)}]}).to_string()
}

fn provider(name: &str, issuer: &str) -> JwtProvider {
    JwtProvider {
        name: name.into(),
        issuer: issuer.into(),
        audiences: Vec::new(),
        subjects: None,
        require_expiration: false,
        lifetime_max: None,
        keys: JwtKeys::Inline(jwks()),
        forward: false,
        from_headers: Vec::new(),
        from_params: Vec::new(),
        from_cookies: Vec::new(),
        forward_payload_header: String::new(),
        pad_forward_payload_header: false,
        claim_to_headers: Vec::new(),
        payload_in_metadata: String::new(),
        header_in_metadata: String::new(),
        failed_status_in_metadata: String::new(),
        clear_route_cache: false,
        clock_skew: Duration::from_secs(60),
    }
}

fn rule(prefix: &str, requires: RuleRequirement) -> JwtRule {
    JwtRule { matches: RouteMatch::prefix(prefix), requires }
}

fn entry(name: &str, filter: HttpFilter) -> FilterEntry {
    FilterEntry { name: name.into(), disabled: false, filter }
}

fn mesh(
    jwt: Jwt,
    more: Vec<FilterEntry>,
    upstream: &Upstream,
    others: Vec<Cluster>,
) -> (HttpConnection, Vec<Cluster>) {
    let named = |setting| {
        vec![FilterOverride {
            filter: "jwt".into(),
            setting: FilterSetting::Config(RouteFilter::Jwt(setting)),
        }]
    };
    let mut http = http(vec![
        Route { filters: named(JwtRoute::Nothing), ..route("/e/free", forward("up")) },
        Route { filters: named(JwtRoute::Named("b".into())), ..route("/e/named", forward("up")) },
        Route { filters: named(JwtRoute::Named("nobody".into())), ..route("/e/wrong", forward("up")) },
        route("/e", forward("up")),
    ]);
    http.filters = vec![entry("jwt", HttpFilter::Jwt(Box::new(jwt)))];
    http.filters.extend(more);
    let mut clusters = vec![cluster("up", &[upstream.address])];
    clusters.extend(others);
    (http, clusters)
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

#[test]
fn tokens_are_judged_as_envoy_judges_them() {
    let a = JwtProvider {
        audiences: vec!["https://one/".into(), "two".into()],
        claim_to_headers: vec![("x-sub".into(), "sub".into()), ("x-age".into(), "deep.age".into())],
        forward_payload_header: "x-payload".into(),
        payload_in_metadata: "claims".into(),
        ..provider("a", "me")
    };
    let b = JwtProvider {
        from_headers: vec![JwtHeader { name: "x-token".into(), prefix: "T ".into() }],
        from_params: vec!["tok".into()],
        from_cookies: vec!["jar".into()],
        forward: true,
        ..provider("b", "you")
    };
    let is = |name: &str| Requirement::Provider(name.into());
    let jwt = Jwt {
        providers: vec![a, b],
        rules: vec![
            rule("/e/any", RuleRequirement::Is(Requirement::Any(vec![is("a"), is("b")]))),
            rule("/e/all", RuleRequirement::Is(Requirement::All(vec![is("a"), is("b")]))),
            rule("/e/maybe", RuleRequirement::Is(Requirement::Any(vec![is("a"), Requirement::AllowMissing]))),
            rule("/e/whatever", RuleRequirement::Is(Requirement::AllowMissingOrFailed)),
            rule("/e/open", RuleRequirement::Nothing),
            rule("/e/b", RuleRequirement::Is(is("b"))),
            rule("/e/admin", RuleRequirement::Is(is("a"))),
            rule("/e/a", RuleRequirement::Is(is("a"))),
        ],
        requirements: vec![("b".into(), is("b"))],
        ..Jwt::default()
    };
    let claim = MetadataMatch {
        namespace: "envoy.filters.http.jwt_authn".into(),
        path: vec!["claims".into(), "sub".into()],
        value: ValueMatch::Text(TextMatch::exact("root")),
        invert: false,
    };
    let policy = |name: &str, permission, principal| Policy {
        name: name.into(),
        permissions: vec![permission],
        principals: vec![principal],
    };
    let admin = || Permission::UrlPath(TextMatch::prefix("/e/admin"));
    let rbac = Rbac {
        rules: Some(Rules {
            action: RulesAction::Allow,
            policies: vec![
                policy("1", Permission::Not(Box::new(admin())), Principal::Any),
                policy("2", admin(), Principal::Metadata(claim)),
            ],
        }),
        ..Rbac::default()
    };
    let upstream = Upstream::start();
    let (http, clusters) = mesh(jwt, vec![entry("rbac", HttpFilter::Rbac(rbac))], &upstream, Vec::new());
    let planes = Planes::new(&http, &clusters);
    let soon = now() + 600;
    let claims = json!({"iss": "me", "sub": "ann", "aud": ["two"], "exp": soon, "deep": {"age": 7}});
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        bearer(&token(&claims))
    };
    let good = bearer(&token(&claims));
    let yours = token(&json!({"iss": "you", "sub": "bob"}));
    let alg = |alg: &str| bearer(&signed(&json!({"alg": alg, "kid": "k"}), &claims));
    let kid = |kid: Value| bearer(&signed(&json!({"alg": "HS256", "kid": kid}), &claims));
    let (unsigned, tag) = good.trim_end().rsplit_once('.').unwrap();
    let other = if tag.starts_with('A') { "B" } else { "A" };
    let forged = format!("{unsigned}.{other}{}", &tag[1..]);
    let rows: Vec<(&str, String, u16)> = vec![
        ("/e/a", String::new(), 401),
        ("/e/a", good.clone(), 200),
        ("/e/a?access_token=x.y.z", String::new(), 401),
        ("/e/a", bearer("nonsense"), 401),
        ("/e/a", bearer("a.b.c"), 401),
        ("/e/a", bearer("!!.b.c"), 401),
        ("/e/a", format!("{forged}\r\n"), 401),
        ("/e/a", alg("none"), 401),
        ("/e/a", alg("HS512"), 401),
        ("/e/a", alg("RS256"), 401),
        ("/e/a", kid(json!("../../etc/passwd")), 401),
        ("/e/a", kid(json!(7)), 401),
        ("/e/a", with("iss", json!("somebody")), 401),
        ("/e/a", with("iss", json!(5)), 401),
        ("/e/a", with("aud", json!("three")), 403),
        ("/e/a", with("aud", json!("http://one")), 200),
        ("/e/a", with("exp", json!(now() - 30)), 200),
        ("/e/a", with("exp", json!(now() - 100)), 401),
        ("/e/a", with("nbf", json!(now() + 100)), 401),
        ("/e/a", "authorization: Basic abc\r\n".into(), 401),
        ("/e/b", format!("x-token: T {yours}\r\n"), 200),
        ("/e/b", format!("x-token: {yours}\r\n"), 401),
        ("/e/b", format!("cookie: jar={yours}; other=1\r\n"), 200),
        ("/e/b", bearer(&yours), 401),
        ("/e/any", format!("x-token: T {yours}\r\n"), 200),
        ("/e/any", good.clone(), 200),
        ("/e/any", String::new(), 401),
        ("/e/all", good.clone(), 401),
        ("/e/all", format!("{good}x-token: T {yours}\r\n"), 200),
        ("/e/maybe", String::new(), 200),
        ("/e/maybe", with("exp", json!(1)), 401),
        ("/e/whatever", with("exp", json!(1)), 200),
        ("/e/open", String::new(), 200),
        ("/e/free", String::new(), 200),
        ("/e/named", String::new(), 401),
        ("/e/named", format!("x-token: T {yours}\r\n"), 200),
        ("/e/wrong", good.clone(), 403),
        ("/e/admin", good.clone(), 403),
        ("/e/admin", with("sub", json!("root")), 200),
        // What a stranger says a token says counts for nothing.
        ("/e/a", format!("{good}x-sub: root\r\nx-payload: forged\r\n"), 200),
        ("/nowhere", String::new(), 404),
    ];
    let count = rows.len();
    for (path, headers, status) in rows {
        assert_eq!(planes.get(path, &headers).status, status, "{path} {headers:?}");
    }
    let by_param = planes.get(&format!("/e/b?tok={yours}"), "");
    assert_eq!(by_param.status, 200);
    let log = planes.log(count + 1);
    assert!(
        log[0].starts_with("401 - jwt_authn_access_denied{Jwt_is_missing} GET /e/a HTTP/1.1"),
        "{}",
        log[0]
    );
}

#[test]
fn remote_keys_are_fetched_and_a_provider_without_keys_lets_nobody_in() {
    for (with_keys, status) in [(true, 200), (false, 401)] {
        let service = Upstream::answering(jwks());
        let address = if with_keys { service.address } else { nobody() };
        let remote = JwtProvider {
            keys: JwtKeys::Remote {
                uri: "http://issuer/keys".into(),
                cluster: "issuer".into(),
                timeout: Duration::from_secs(5),
                cache: Duration::from_secs(600),
                refetch: Duration::from_secs(1),
                ahead: false,
            },
            ..provider("a", "me")
        };
        let jwt = Jwt {
            providers: vec![remote],
            rules: vec![rule("/", RuleRequirement::Is(Requirement::Provider("a".into())))],
            ..Jwt::default()
        };
        let upstream = Upstream::start();
        let (http, clusters) = mesh(jwt, Vec::new(), &upstream, vec![cluster("issuer", &[address])]);
        let planes = Planes::new(&http, &clusters);
        let good = bearer(&token(&json!({"iss": "me", "exp": now() + 600})));
        for _ in 0..3 {
            assert_eq!(planes.get("/e", &good).status, status);
        }
        let expected =
            if with_keys { ("http.in.jwt_authn.allowed", 3) } else { ("http.in.jwt_authn.denied", 3) };
        planes.stats(&[expected]);
        if with_keys {
            planes.stats(&[("http.in.jwt_authn.jwks_fetch_success", 1)]);
            assert!(service.requests() <= 2, "each plane asks once");
        }
    }
}
