//! Access rules on requests: who is let in, what the rest is told, what is counted.

use selvedge_traffic::access::{Permission, Policy, Principal, Rules, RulesAction};
use selvedge_traffic::filter::Rbac;
use selvedge_traffic::matching::{Cidr, HeaderCondition, HeaderMatch, TextMatch};
use selvedge_traffic::{FilterEntry, FilterOverride, FilterSetting, HttpFilter, Route, RouteFilter};

use crate::mesh::{Mesh, cluster, forward, http, route};
use crate::upstream::Upstream;

fn policy(name: &str, permission: Permission, principal: Principal) -> Policy {
    Policy { name: name.into(), permissions: vec![permission], principals: vec![principal] }
}

fn header(name: &str, value: &str) -> HeaderMatch {
    HeaderMatch { name: name.into(), condition: HeaderCondition::Exact(value.into()), invert: false }
}

fn rbac(action: RulesAction, policies: Vec<Policy>) -> Rbac {
    Rbac { rules: Some(Rules { action, policies }), ..Rbac::default() }
}

fn mesh(upstream: &Upstream, rbac: Rbac) -> Mesh {
    let open = Route {
        filters: vec![FilterOverride {
            filter: "rbac".into(),
            setting: FilterSetting::Config(RouteFilter::Rbac(None)),
        }],
        ..route("/open", forward("up"))
    };
    let mut http = http(vec![open, route("/e", forward("up"))]);
    http.filters = vec![FilterEntry { name: "rbac".into(), disabled: false, filter: HttpFilter::Rbac(rbac) }];
    Mesh::http(http, vec![cluster("up", &[upstream.address])])
}

fn ask(mesh: &Mesh, path: &str, headers: &str) -> (u16, String) {
    let answer = mesh.ask(&format!("GET {path} HTTP/1.1\r\nhost: h\r\n{headers}\r\n"));
    (answer.status, answer.body)
}

#[test]
fn who_matches_no_policy_is_refused_and_counted() {
    let upstream = Upstream::start();
    let admins = policy(
        "the admins",
        Permission::UrlPath(TextMatch::prefix("/e")),
        Principal::Header(header("x-role", "admin")),
    );
    let rules = rbac(RulesAction::Allow, vec![admins]);
    let mesh = mesh(&upstream, rules);
    let denied = (403, "RBAC: access denied".to_owned());
    assert_eq!(ask(&mesh, "/e", ""), denied);
    assert_eq!(ask(&mesh, "/e", "x-role: user\r\n"), denied);
    assert_eq!(ask(&mesh, "/e", "x-role: admin\r\n").0, 200);
    assert_eq!(ask(&mesh, "/nowhere", ""), denied, "before a missing route is a 404");
    assert_eq!(ask(&mesh, "/open", "").0, 200, "its route lets everybody in");
    assert_eq!(mesh.log(1)[0], "403 - rbac_access_denied_matched_policy[none] GET /e HTTP/1.1 0 19 0");
    assert_eq!((mesh.stat("http.in.rbac.allowed"), mesh.stat("http.in.rbac.denied")), (1, 3));
    assert_eq!(upstream.requests(), 2);
}

/// A list of values that a condition sees as one text hides the one that matters.
#[test]
fn every_line_of_a_repeated_header_is_judged_alone() {
    let upstream = Upstream::start();
    let guests = policy("no guests", Permission::Any, Principal::Header(header("x-role", "guest")));
    let mesh = mesh(&upstream, rbac(RulesAction::Deny, vec![guests]));
    for (headers, status) in [
        ("x-role: guest\r\n", 403),
        ("x-role: admin\r\nx-role: guest\r\n", 403),
        ("x-role: guest\r\nx-role: admin\r\n", 403),
        ("x-role: admin\r\n", 200),
        ("", 200),
    ] {
        assert_eq!(ask(&mesh, "/e", headers).0, status, "{headers:?}");
    }
    assert!(mesh.log(1)[0].contains("rbac_access_denied_matched_policy[no_guests]"));
}

#[test]
fn shadow_rules_count_and_refuse_nobody() {
    let upstream = Upstream::start();
    let deny = |principal| Rules {
        action: RulesAction::Deny,
        policies: vec![policy("p", Permission::Any, principal)],
    };
    let here = Cidr::new("127.0.0.0".parse().unwrap(), 8).unwrap();
    let rules = Rbac {
        shadow_rules: Some(deny(Principal::DirectRemoteIp(here))),
        shadow_rules_stat_prefix: "trial".into(),
        ..Rbac::default()
    };
    let mesh = mesh(&upstream, rules);
    assert_eq!(ask(&mesh, "/e", "").0, 200);
    assert_eq!(mesh.stat("http.in.rbac.trial.shadow_denied"), 1);
    assert_eq!(mesh.stat("http.in.rbac.denied"), 0);
}

#[test]
fn the_client_is_who_the_last_trusted_proxy_says() {
    let upstream = Upstream::start();
    let inside = Cidr::new("10.0.0.0".parse().unwrap(), 8).unwrap();
    let only = policy("inside", Permission::Any, Principal::RemoteIp(inside));
    let mesh = mesh(&upstream, rbac(RulesAction::Allow, vec![only]));
    assert_eq!(ask(&mesh, "/e", "").0, 403);
    assert_eq!(ask(&mesh, "/e", "x-forwarded-for: 10.1.1.1\r\n").0, 200);
    assert_eq!(ask(&mesh, "/e", "x-forwarded-for: 10.1.1.1, 9.9.9.9\r\n").0, 403, "the last one counts");
}

#[test]
fn a_grpc_call_is_refused_in_grpcs_words() {
    let upstream = Upstream::start();
    let mesh = mesh(&upstream, rbac(RulesAction::Allow, Vec::new()));
    let answer = mesh
        .ask("POST /e HTTP/1.1\r\nhost: h\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n");
    assert_eq!((answer.status, answer.header("grpc-status")), (200, Some("7")));
    assert_eq!(answer.header("grpc-message"), Some("RBAC: access denied"));
}
