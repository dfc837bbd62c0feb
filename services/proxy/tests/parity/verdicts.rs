//! Odd resources, and whether a real Envoy and ours take them.

use std::time::Duration;

use selvedge_traffic::hash::HashCookie;
use selvedge_traffic::matching::{
    HeaderCondition, HeaderMatch, PathMatch, QueryCondition, QueryMatch, RouteMatch,
};
use selvedge_traffic::*;

use crate::apps::App;
use crate::planes::{Plane, both, listener, until};
use crate::{cluster, group, hashed, http, ms, to};

fn verdict(plane: &mut Plane, resource: &Resource) -> bool {
    let name = resource.name().to_owned();
    let before = plane.rejected();
    plane.publish_also(resource.clone());
    let taken = until(&format!("{} judges {name}", plane.name), || plane.verdict(resource, &before));
    plane.withdraw_last();
    taken
}

/// What refusals name it by.
fn name(what: &str) -> String {
    let letters = what.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' });
    letters.collect()
}

fn odd_listener(what: &str, table: RouteTable) -> (String, Resource) {
    let routes = RouteSource::Inline(table);
    let manager = HttpConnection { routes, ..http(Vec::new()) };
    let mut odd = listener(Network::Http(Box::new(manager)));
    odd.name = name(what);
    odd.address = crate::ports::free();
    (what.to_owned(), Resource::Listener(odd))
}

fn host(name: &str, domains: &[&str], routes: Vec<Route>) -> VirtualHost {
    let domains = domains.iter().map(|domain| (*domain).to_owned()).collect();
    VirtualHost { name: name.to_owned(), domains, routes, ..VirtualHost::default() }
}

fn table(virtual_hosts: Vec<VirtualHost>) -> RouteTable {
    RouteTable { name: "r".to_owned(), virtual_hosts, ..RouteTable::default() }
}

fn of_route(what: &str, route: Route) -> (String, Resource) {
    odd_listener(what, table(vec![host("v", &["*"], vec![route])]))
}

fn of_forward(what: &str, forward: Forward) -> (String, Resource) {
    of_route(what, Route::new("r", RouteMatch::prefix("/"), Action::Forward(forward)))
}

fn of_edit(what: &str, edit: HeaderEdit) -> (String, Resource) {
    let route = Route::new("r", RouteMatch::prefix("/"), Action::Forward(to("up")));
    of_route(what, Route { request_headers: vec![edit], ..route })
}

fn of_match(what: &str, matches: RouteMatch) -> (String, Resource) {
    of_route(what, Route::new("r", matches, Action::Forward(to("up"))))
}

fn routes() -> Vec<(String, Resource)> {
    let weighted = |weights: &[u32]| {
        // A table within a listener may name no cluster that is not there.
        Forward::to(weights.iter().map(|weight| WeightedCluster::new("up", *weight)).collect())
    };
    let edit =
        |name: &str, value: &str| HeaderEdit::Append { name: name.to_owned(), value: value.to_owned() };
    let header = |name: &str, condition| HeaderMatch { name: name.to_owned(), condition, invert: false };
    let headed = |header| RouteMatch { headers: vec![header], ..RouteMatch::any() };
    let retried = |policy: RetryPolicy| Forward { retry: Some(policy.into()), ..to("up") };
    let backoff = |base, max| RetryPolicy {
        backoff: RetryBackoff { base: ms(base), max: ms(max) },
        ..RetryPolicy::default()
    };
    let direct = |status, length: usize| {
        let answer = DirectResponse { status, body: "x".repeat(length) };
        Route::new("r", RouteMatch::prefix("/"), Action::Respond(answer))
    };
    let redirect = |redirect| Route::new("r", RouteMatch::prefix("/"), Action::Redirect(redirect));
    let cookie = |name: &str| {
        let cookie = HashCookie { name: name.to_owned(), ..HashCookie::default() };
        hashed("up", vec![(HashSource::Cookie(cookie), false)])
    };
    let mirror = |name: &str, numerator| Mirror {
        cluster: name.to_owned(),
        share: Fraction { numerator, denominator: fraction::Denominator::Hundred },
        keeps_host: false,
    };
    vec![
        odd_listener("no virtual host", table(Vec::new())),
        odd_listener("a host without routes", table(vec![host("v", &["*"], Vec::new())])),
        odd_listener("a host without domains", table(vec![host("v", &[], Vec::new())])),
        odd_listener("a host without a name", table(vec![host("", &["*"], Vec::new())])),
        odd_listener("an empty domain", table(vec![host("v", &[""], Vec::new())])),
        odd_listener("a domain with stars at both ends", table(vec![host("v", &["*a*"], Vec::new())])),
        odd_listener("a domain with a star in it", table(vec![host("v", &["a*b"], Vec::new())])),
        odd_listener(
            "two hosts of one name",
            table(vec![host("v", &["a"], Vec::new()), host("v", &["b"], Vec::new())]),
        ),
        odd_listener(
            "a domain twice",
            table(vec![host("v", &["a"], Vec::new()), host("w", &["a"], Vec::new())]),
        ),
        odd_listener("a domain twice, in capitals", table(vec![host("v", &["a", "A"], Vec::new())])),
        odd_listener(
            "two hosts for all",
            table(vec![host("v", &["*"], Vec::new()), host("w", &["*"], Vec::new())]),
        ),
        of_forward("weights that are nothing", weighted(&[0, 0])),
        of_forward("a weight that is nothing", weighted(&[0, 1])),
        of_forward("weights beyond a word", weighted(&[u32::MAX, 1])),
        of_forward("the greatest weights", weighted(&[u32::MAX - 1, 1])),
        of_forward("a cluster without a name", to("")),
        of_forward("a mirror without a name", Forward { mirrors: vec![mirror("", 100)], ..to("up") }),
        of_forward("more copies than requests", Forward { mirrors: vec![mirror("up", 200)], ..to("up") }),
        of_forward(
            "a time-out of ages",
            Forward { timeout: Some(Duration::from_secs(315_000_000_000)), ..to("up") },
        ),
        of_forward(
            "retries without end",
            retried(RetryPolicy { retries_max: u32::MAX, ..RetryPolicy::default() }),
        ),
        of_forward("no base of a wait", retried(backoff(0, 10))),
        of_forward("no greatest wait", retried(backoff(10, 0))),
        of_forward("a base above the greatest wait", retried(backoff(20, 10))),
        of_forward("a cookie without a name", cookie("")),
        of_forward(
            "a hashed header without a name",
            hashed("up", vec![(HashSource::Header(String::new()), false)]),
        ),
        of_forward(
            "a host with a line end",
            Forward { host_rewrite: Some(HostRewrite::Literal("a\nb".to_owned())), ..to("up") },
        ),
        of_forward(
            "a rewrite with a line end",
            Forward { path_rewrite: Some(PathRewrite::Prefix("/a\r\nb".to_owned())), ..to("up") },
        ),
        of_forward(
            "limits without actions",
            Forward { rate_limits: vec![RateLimit { stage: 0, actions: Vec::new() }], ..to("up") },
        ),
        of_forward(
            "limits of a late stage",
            Forward {
                rate_limits: vec![RateLimit {
                    stage: 11,
                    actions: vec![rate_limit::RateLimitAction::RemoteAddress],
                }],
                ..to("up")
            },
        ),
        of_edit("a header without a name", edit("", "v")),
        of_edit("a header with a blank in its name", edit("a b", "v")),
        of_edit("a header with a line end in its name", edit("a\nb", "v")),
        of_edit("a header with a line end in its value", edit("a", "v\nw")),
        of_edit("a header with a zero in its value", edit("a", "v\0w")),
        of_edit("a header that is none", edit(":path", "/v")),
        of_edit("a host header", edit("host", "v")),
        of_edit("an unknown operator", edit("a", "%NOTHING%")),
        of_edit("an operator that does not end", edit("a", "%PROTOCOL")),
        of_edit("a percent sign alone", edit("a", "100%")),
        of_edit("a percent sign that is escaped", edit("a", "100%%")),
        of_edit("taking a header that is none", HeaderEdit::Remove { name: ":path".to_owned() }),
        of_edit("taking the host header", HeaderEdit::Remove { name: "host".to_owned() }),
        of_edit("taking a header without a name", HeaderEdit::Remove { name: String::new() }),
        of_match("a condition on a header without a name", headed(header("", HeaderCondition::Present))),
        of_match("a condition on a header with a blank", headed(header("a b", HeaderCondition::Present))),
        of_match(
            "a header with an empty beginning",
            headed(header("a", HeaderCondition::Prefix(String::new()))),
        ),
        of_match("a header with an empty end", headed(header("a", HeaderCondition::Suffix(String::new())))),
        of_match(
            "a header that holds nothing",
            headed(header("a", HeaderCondition::Contains(String::new()))),
        ),
        of_match("a header that is nothing", headed(header("a", HeaderCondition::Exact(String::new())))),
        of_match(
            "a range that ends before it begins",
            headed(header("a", HeaderCondition::Range { start: 9, end: 1 })),
        ),
        of_match(
            "a parameter without a name",
            RouteMatch {
                query: vec![QueryMatch { name: String::new(), condition: QueryCondition::Present }],
                ..RouteMatch::any()
            },
        ),
        of_match("an empty prefix", RouteMatch::prefix("")),
        of_match("a prefix without a slash", RouteMatch::prefix("a")),
        of_match("an empty path", RouteMatch { path: PathMatch::Exact(String::new()), ..RouteMatch::any() }),
        of_route("an answer of status 42", direct(42, 0)),
        of_route("an answer of status 100", direct(100, 0)),
        of_route("an answer of status 204", direct(204, 0)),
        of_route("an answer of status 599", direct(599, 0)),
        of_route("an answer of status 600", direct(600, 0)),
        of_route("an answer of 4096 bytes", direct(200, 4096)),
        of_route("an answer of 4097 bytes", direct(200, 4097)),
        of_route(
            "a redirection with a line end",
            redirect(Redirect { status: 301, host: Some("a\nb".to_owned()), ..Redirect::default() }),
        ),
        of_route(
            "a redirection to a path with a line end",
            redirect(Redirect { status: 301, path: Some("/a\nb".to_owned()), ..Redirect::default() }),
        ),
    ]
}

fn compare(resources: &[(String, Resource)]) {
    let app = App::start();
    let up = cluster("up", vec![group(vec![crate::endpoint(&app)])]);
    let Some(mut planes) = both(&http(vec![("/", to("up"))]), &[up]) else { return };
    let mut differ = Vec::new();
    for (what, resource) in resources {
        let [envoy, ours] = planes.each_mut().map(|plane| verdict(plane, resource));
        if envoy != ours {
            differ.push(format!("{what}: Envoy {}, ours {}", said(envoy), said(ours)));
        }
    }
    // Whoever puts an Envoy in our place must not lose what we took.
    assert!(differ.is_empty(), "{} verdicts differ:\n{}", differ.len(), differ.join("\n"));
    for plane in &planes {
        assert_eq!(plane.get("/", &[]).status, 200, "{}: what is in force stays so", plane.name);
    }
}

fn said(taken: bool) -> &'static str {
    if taken { "takes it" } else { "refuses it" }
}

#[test]
fn odd_routes_are_taken_or_refused_alike() {
    compare(&routes());
}
