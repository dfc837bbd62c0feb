//! The compiled table against a reference that knows no index.

use std::sync::Arc;

use proptest::prelude::*;
use selvedge_traffic::matching::header::Pattern;
use selvedge_traffic::matching::{HeaderCondition, HeaderMatch, PathMatch, PlainRequest, RouteMatch, Target};
use selvedge_traffic::{
    Action, CompiledRoutes, DecisionResult, DirectResponse, NoRoute, Route, RouteTable, VirtualHost,
};

fn domain() -> impl Strategy<Value = String> {
    let known = vec!["*", "a.b", "*.b", "*.a.b", "*-x.b", "a.*", "a.b.*", "A.B:80", "a.b:80", "b"];
    prop::sample::select(known).prop_map(String::from)
}

fn authority() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "a.b", "A.b", "x.b", "x.a.b", "y-x.b", "a.c", "a.b.c", "a.b:80", "b", ".b", "", "[::1]:80",
    ])
    .prop_map(String::from)
}

fn path() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["/", "/a", "/a/b", "/ab", "/é", "*", "", "/a?k=1", "/a#?k=1", "/?k"])
        .prop_map(String::from)
}

fn condition() -> impl Strategy<Value = PathMatch> {
    prop_oneof![
        path().prop_map(PathMatch::Prefix),
        path().prop_map(PathMatch::Exact),
        prop::sample::select(vec!["/a.*", "/[ab]", ".*"])
            .prop_map(|text| PathMatch::Regex(Pattern::new(text).expect("valid"))),
    ]
}

fn route() -> impl Strategy<Value = Route> {
    (condition(), any::<Option<bool>>()).prop_map(|(path, header)| {
        let header = header.map(|invert| HeaderMatch {
            name: "x-a".to_owned(),
            condition: HeaderCondition::Exact("1".to_owned()),
            invert,
        });
        let matches = RouteMatch { path, headers: header.into_iter().collect(), ..RouteMatch::any() };
        Route::new("r", matches, Action::Respond(DirectResponse { status: 200, body: String::new() }))
    })
}

fn table() -> impl Strategy<Value = RouteTable> {
    let host = (prop::collection::vec(domain(), 0..3), prop::collection::vec(route(), 0..4));
    (prop::collection::vec(host, 0..4), any::<bool>()).prop_map(|(hosts, ignore_port)| RouteTable {
        name: "t".to_owned(),
        virtual_hosts: hosts
            .into_iter()
            .enumerate()
            .map(|(index, (domains, routes))| VirtualHost {
                name: index.to_string(),
                domains,
                routes,
                ..VirtualHost::default()
            })
            .collect(),
        ignore_port_in_host_matching: ignore_port,
        ..RouteTable::default()
    })
}

/// How well a domain fits: exact, then the longest suffix, then the longest prefix, then the star.
fn fit(domain: &str, name: &str) -> Option<(u8, usize)> {
    let (domain, name) = (domain.to_ascii_lowercase(), name.to_ascii_lowercase());
    let longer = |part: &str| name.len() > part.len();
    if domain == "*" {
        return Some((0, 0));
    }
    if domain == name {
        return Some((3, 0));
    }
    if let Some(suffix) = domain.strip_prefix('*') {
        return (longer(suffix) && name.ends_with(suffix)).then_some((2, suffix.len()));
    }
    let prefix = domain.strip_suffix('*')?;
    (longer(prefix) && name.starts_with(prefix)).then_some((1, prefix.len()))
}

fn reference<'a>(table: &'a RouteTable, request: &PlainRequest) -> Option<&'a VirtualHost> {
    let port = request.authority.rfind(':').filter(|_| table.ignore_port_in_host_matching);
    let name = port.map_or(request.authority.as_str(), |port| &request.authority[..port]);
    let best = |host: &&VirtualHost| host.domains.iter().filter_map(|domain| fit(domain, name)).max();
    table.virtual_hosts.iter().filter(|host| best(host).is_some()).max_by_key(best)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_index_finds_what_a_search_finds(
        table in table(), authority in authority(), path in path(), header in any::<Option<bool>>(),
    ) {
        let Ok(compiled) = CompiledRoutes::new(Arc::new(table.clone())) else { return Ok(()) };
        let mut request = PlainRequest::new("GET", &authority, &path);
        if let Some(one) = header {
            request = request.with_header("x-a", if one { "1" } else { "2" });
        }
        let host = reference(&table, &request);
        let target = Target::parse(&path);
        let route = host.and_then(|host| host.routes.iter().find(|route| route.matches.check(&request, &target).is_ok()));
        match compiled.find(&request) {
            Ok(matched) => {
                prop_assert_eq!(Some(&matched.virtual_host.name), host.map(|host| &host.name));
                prop_assert_eq!(route, Some(matched.route));
            }
            Err(NoRoute::VirtualHost) => prop_assert!(host.is_none()),
            Err(NoRoute::Route(name)) => {
                prop_assert_eq!(Some(name), host.map(|host| host.name.as_str()));
                prop_assert!(route.is_none());
            }
        }
        let told = compiled.explain(&request);
        prop_assert_eq!(told.virtual_host.as_ref(), host.map(|host| &host.name));
        prop_assert_eq!(matches!(told.result, DecisionResult::Respond { .. }), route.is_some());
    }
}
