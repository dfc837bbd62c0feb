//! Access rules.

use selvedge_traffic::access::{Permission, Policy, Principal, Rules, RulesAction};
use selvedge_traffic::filter::{Buffer, Rbac};
use selvedge_traffic::matching::{Cidr, HeaderCondition, HeaderMatch, TextCondition, TextMatch};
use selvedge_traffic::{FilterEntry, FilterOverride, FilterSetting, HttpFilter, Route, RouteFilter};

use crate::mesh::{cluster, forward, http, route};
use crate::planes::Planes;
use crate::upstream::Upstream;

fn policy(name: &str, permissions: Vec<Permission>, principals: Vec<Principal>) -> Policy {
    Policy { name: name.into(), permissions, principals }
}

fn header(name: &str, condition: HeaderCondition, invert: bool) -> HeaderMatch {
    HeaderMatch { name: name.into(), condition, invert }
}

fn entry(name: &str, filter: HttpFilter) -> FilterEntry {
    FilterEntry { name: name.into(), disabled: false, filter }
}

#[test]
fn access_rules_decide_as_envoys_do() {
    let exact = |text: &str| HeaderCondition::Exact(text.into());
    let allow = Rules {
        action: RulesAction::Allow,
        policies: vec![
            policy(
                "by path",
                vec![
                    Permission::UrlPath(TextMatch {
                        condition: TextCondition::Prefix("/E/Open".into()),
                        ignore_case: true,
                    }),
                    Permission::All(vec![
                        Permission::Header(header(":method", exact("POST"), false)),
                        Permission::Not(Box::new(Permission::UrlPath(TextMatch::prefix("/e/secret")))),
                    ]),
                ],
                vec![Principal::Any],
            ),
            policy(
                "by role",
                vec![Permission::Any],
                vec![
                    Principal::Header(header("x-role", exact("admin"), false)),
                    Principal::All(vec![
                        Principal::DirectRemoteIp(Cidr::new("127.0.0.0".parse().unwrap(), 8).unwrap()),
                        Principal::Header(header("x-two", exact("a"), true)),
                    ]),
                ],
            ),
            policy(
                "tls only",
                vec![Permission::ServerName(TextMatch::exact("never"))],
                vec![Principal::Authenticated(None)],
            ),
        ],
    };
    let shadow = Rules {
        action: RulesAction::Deny,
        policies: vec![policy(
            "ten",
            vec![Permission::Any],
            vec![Principal::RemoteIp(Cidr::new("10.0.0.0".parse().unwrap(), 8).unwrap())],
        )],
    };
    let rbac = Rbac {
        rules: Some(allow),
        shadow_rules: Some(shadow),
        shadow_rules_stat_prefix: "try_".into(),
        ..Rbac::default()
    };
    let deny = Rules {
        action: RulesAction::Deny,
        policies: vec![policy(
            "no guests",
            vec![Permission::Any],
            vec![Principal::Header(header("x-role", exact("guest"), false))],
        )],
    };
    let of_route = |rbac| {
        vec![FilterOverride {
            filter: "rbac".into(),
            setting: FilterSetting::Config(RouteFilter::Rbac(rbac)),
        }]
    };
    let routes = vec![
        Route { filters: of_route(None), ..route("/e/free", forward("up")) },
        Route {
            filters: of_route(Some(Rbac { rules: Some(deny), ..Rbac::default() })),
            ..route("/e/deny", forward("up"))
        },
        Route {
            filters: vec![FilterOverride { filter: "rbac".into(), setting: FilterSetting::Disabled }],
            ..route("/e/off", forward("up"))
        },
        route("/e", forward("up")),
    ];
    let mut http = http(routes);
    http.filters = vec![
        entry("buffer", HttpFilter::Buffer(Buffer { request_bytes_max: 10 })),
        entry("rbac", HttpFilter::Rbac(rbac)),
    ];
    let upstream = Upstream::start();
    let planes = Planes::new(&http, &[cluster("up", &[upstream.address])]);
    for (path, headers, status) in [
        ("/e/x", "", 403),
        ("/e/open", "", 200),
        ("/e/OPEN/x?a=1", "", 200),
        ("/e/x", "x-role: admin\r\n", 200),
        ("/e/x", "x-role: user\r\nx-role: admin\r\n", 200),
        ("/e/x", "x-two: b\r\n", 200),
        ("/e/x", "x-two: a\r\n", 403),
        ("/e/x", "x-two: b\r\nx-two: a\r\n", 403),
        ("/e/x", "x-role: admin\r\nx-forwarded-for: 10.1.1.1\r\n", 200),
        ("/e/free", "", 200),
        ("/e/off", "", 200),
        ("/e/deny", "", 200),
        ("/e/deny", "x-role: guest\r\n", 403),
        ("/e/deny", "x-role: admin\r\nx-role: guest\r\n", 403),
        ("/nowhere", "", 403),
        ("/nowhere", "x-role: admin\r\n", 404),
        ("/e/x", "content-type: application/grpc\r\n", 200),
    ] {
        assert_eq!(planes.get(path, headers).status, status, "{path} {headers:?}");
    }
    for (path, body, status) in
        [("/e/x", "short", 200), ("/e/secret", "short", 403), ("/e/x", "longer than ten", 413)]
    {
        let length = body.len();
        let request = format!("POST {path} HTTP/1.1\r\nhost: h\r\ncontent-length: {length}\r\n\r\n{body}");
        assert_eq!(planes.ask(&request).status, status, "{path}");
    }
    let log = planes.log(20);
    assert_eq!(log[0], "403 - rbac_access_denied_matched_policy[none] GET /e/x HTTP/1.1 0 19 0");
    assert_eq!(log[12], "403 - rbac_access_denied_matched_policy[no_guests] GET /e/deny HTTP/1.1 0 19 0");
    planes.stats(&[
        ("http.in.rbac.allowed", 9),
        ("http.in.rbac.denied", 8),
        ("http.in.rbac.try_.shadow_denied", 1),
        ("http.in.no_route", 1),
    ]);
}
