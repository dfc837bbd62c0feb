//! External authorization.

use std::time::Duration;

use selvedge_traffic::filter::{AuthzBody, AuthzHttp, AuthzService, ExtAuthz, ExtAuthzRoute};
use selvedge_traffic::matching::TextMatch;
use selvedge_traffic::{
    FilterEntry, FilterOverride, FilterSetting, HttpConnection, HttpFilter, Route, RouteFilter,
};

use crate::mesh::{cluster, forward, http, route};
use crate::planes::Planes;
use crate::service::{Service, field, number};
use crate::upstream::{Upstream, nobody};

fn authz(service: AuthzService) -> ExtAuthz {
    ExtAuthz {
        service,
        failure_mode_allow: false,
        failure_mode_allow_header: true,
        body: None,
        clear_route_cache: false,
        status_on_error: 403,
        metadata_namespaces: Vec::new(),
        enabled: None,
        deny_at_disable: false,
        stat_prefix: String::new(),
        allowed_headers: Vec::new(),
        disallowed_headers: Vec::new(),
    }
}

fn grpc() -> AuthzService {
    AuthzService::Grpc { cluster: "authz".into(), authority: String::new(), timeout: Duration::from_secs(5) }
}

fn connection(authz: ExtAuthz) -> HttpConnection {
    let says = |setting| {
        vec![FilterOverride {
            filter: "authz".into(),
            setting: FilterSetting::Config(RouteFilter::ExtAuthz(setting)),
        }]
    };
    let context = vec![("tier".to_owned(), "let-in".to_owned())];
    let mut http = http(vec![
        Route { filters: says(ExtAuthzRoute::Disabled), ..route("/e/free", forward("up")) },
        Route {
            filters: says(ExtAuthzRoute::Settings { context, without_body: false, body: None }),
            ..route("/e/context", forward("up"))
        },
        route("/e", forward("up")),
    ]);
    http.filters = vec![FilterEntry {
        name: "authz".into(),
        disabled: false,
        filter: HttpFilter::ExtAuthz(Box::new(authz)),
    }];
    http
}

/// `HeaderValueOption`
fn header(name: &str, value: &str, append: Option<bool>) -> Vec<u8> {
    let mut option = field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat());
    if let Some(append) = append {
        option.extend(field(2, &if append { number(1, 1) } else { Vec::new() }));
    }
    option
}

/// Lets in who says so, in headers, context or body.
fn check(message: &[u8]) -> Option<Vec<u8>> {
    let says = |text: &str| message.windows(text.len()).any(|window| window == text.as_bytes());
    if says("let-in") {
        let ok = [
            field(2, &header("x-user", "ann", None)),
            field(2, &header("x-list", "b", Some(true))),
            field(5, b"x-secret"),
            field(6, &header("x-for-client", "yes", None)),
        ];
        return Some([field(1, &[]), field(3, &ok.concat())].concat());
    }
    if says("silent") {
        return None;
    }
    let denied = [
        field(1, &number(1, 401)),
        field(2, &header("x-why", "no ticket", None)),
        field(2, &header("content-type", "text/html", None)),
        field(3, b"<p>no</p>"),
    ];
    let bare = says("bare");
    Some([field(1, &number(1, 7)), if bare { Vec::new() } else { field(2, &denied.concat()) }].concat())
}

#[test]
fn a_grpc_service_decides_as_under_envoy() {
    let service = Service::grpc(|path, message| {
        assert_eq!(path, "/envoy.service.auth.v3.Authorization/Check");
        check(message)
    });
    let upstream = Upstream::start();
    let authz = ExtAuthz {
        body: Some(AuthzBody { bytes_max: 20, allow_partial: false, as_bytes: false }),
        ..authz(grpc())
    };
    let clusters = [cluster("up", &[upstream.address]), service.cluster("authz")];
    let planes = Planes::new(&connection(authz), &clusters);
    let allowed = planes.get("/e", "x-ticket: let-in\r\nx-secret: 1\r\nx-user: root\r\nx-list: a\r\n");
    assert_eq!((allowed.status, allowed.header("x-for-client")), (200, Some("yes")));
    assert!(allowed.body.contains("x-user: ann") && !allowed.body.contains("root"), "{}", allowed.body);
    assert!(!allowed.body.contains("x-secret"), "{}", allowed.body);
    let denied = planes.get("/e", "");
    assert_eq!((denied.status, denied.body.as_str()), (401, "<p>no</p>"));
    assert_eq!(planes.get("/e", "x-ticket: bare\r\n").status, 403);
    assert_eq!(planes.get("/e/context", "").status, 200, "the route's words reach the service");
    assert_eq!(planes.get("/e/free", "").status, 200);
    assert_eq!(planes.get("/nowhere", "").status, 404);
    for (body, status) in
        [("please let-in", 200), ("something else", 401), ("more than twenty bytes, let-in", 413)]
    {
        let length = body.len();
        let request = format!("POST /e HTTP/1.1\r\nhost: h\r\ncontent-length: {length}\r\n\r\n{body}");
        assert_eq!(planes.ask(&request).status, status, "{body}");
    }
    let log = planes.log(9);
    assert_eq!(log[1], "401 UAEX ext_authz_denied GET /e HTTP/1.1 0 9 0");
    planes.stats(&[
        ("http.in.ext_authz.ok", 3),
        ("http.in.ext_authz.denied", 3),
        ("cluster.up.ext_authz.ok", 3),
    ]);
}

#[test]
fn an_http_service_decides_as_under_envoy() {
    let service = Upstream::start();
    let upstream = Upstream::start();
    let matches = |text: &str| vec![TextMatch::exact(text)];
    let http = AuthzHttp {
        uri: "http://authz".into(),
        cluster: "authz".into(),
        timeout: Duration::from_secs(5),
        path_prefix: "/check".into(),
        allowed_headers: matches("x-ticket"),
        headers_to_add: vec![("x-from".into(), "proxy".into())],
        upstream_headers: matches("x-user"),
        upstream_headers_to_append: Vec::new(),
        client_headers: Vec::new(),
        client_headers_on_success: Vec::new(),
    };
    let authz = authz(AuthzService::Http(Box::new(http)));
    let clusters = [cluster("up", &[upstream.address]), cluster("authz", &[service.address])];
    let planes = Planes::new(&connection(authz), &clusters);
    assert_eq!(planes.get("/e", "x-ticket: 1\r\n").status, 200);
    let denied = planes.get("/e/denied", "");
    assert_eq!((denied.status, denied.body.as_str()), (403, "refused"));
    assert_eq!(planes.get("/e/always-fail", "").status, 403, "a service in trouble is an error");
    let log = planes.log(3);
    assert_eq!(log[2], "403 UAEX ext_authz_error GET /e/always-fail HTTP/1.1 0 0 0");
    planes.stats(&[("http.in.ext_authz.denied", 1), ("http.in.ext_authz.error", 1)]);
}

#[test]
fn a_service_that_does_not_answer_is_treated_as_under_envoy() {
    for (allow, status, shown) in
        [(false, 503, "503 UAEX ext_authz_error"), (true, 200, "200 - via_upstream")]
    {
        let silent = Service::grpc(|_, _| None);
        let upstream = Upstream::start();
        let service = AuthzService::Grpc {
            cluster: "authz".into(),
            authority: String::new(),
            timeout: Duration::from_millis(100),
        };
        let authz = ExtAuthz { failure_mode_allow: allow, status_on_error: 503, ..authz(service) };
        let clusters = [cluster("up", &[upstream.address]), silent.cluster("authz")];
        let planes = Planes::new(&connection(authz), &clusters);
        let answer = planes.get("/e", "");
        assert_eq!(answer.status, status);
        assert!(planes.log(1)[0].starts_with(shown), "{:?}", planes.log(1));
        planes.stats(&[("http.in.ext_authz.error", 1)]);
        if allow {
            assert!(answer.body.contains("x-envoy-auth-failure-mode-allowed: true"), "{}", answer.body);
            planes.stats(&[("http.in.ext_authz.failure_mode_allowed", 1)]);
        }
    }
    let upstream = Upstream::start();
    let clusters = [cluster("up", &[upstream.address]), cluster("authz", &[nobody()])];
    let planes = Planes::new(&connection(authz(grpc())), &clusters);
    assert_eq!(planes.get("/e", "").status, 403);
}
