//! What an edge publishes to the mesh, from either form.

mod support;

use selvedge_model::{GatewayRouteSpec, Spec, Strictness};
use selvedge_site::gateway::{Published, published};
use selvedge_site::lighttpd::{Level, Options, compile, parse};
use selvedge_site::{Compat, edge_toml};
use serde_json::{Value, json};
use support::Memory;

fn of_lighttpd(text: &str) -> Published {
    let text = format!("server.document-root = \"/srv\"\nmesh.gateway = \"shop-gw\"\n{text}\n");
    let mut files = Memory::with(&[("/lighttpd.conf", &text)]);
    let document = parse("/lighttpd.conf", &mut files, Options::default()).expect("it parses");
    let compiled = compile(&document, Compat::V1_4_69, Level::Modules);
    published(&compiled.program.unwrap_or_else(|| panic!("{:?}", compiled.diagnostics)))
}

fn of_toml(text: &str) -> Published {
    let document = edge_toml::parse("edge.toml", text).expect("it is right");
    published(&edge_toml::compile(&document).expect("it is right").0)
}

/// Names and matches, in order; every spec is one that App Mesh takes, with its rewrites off.
fn matches(published: &Published) -> Vec<(String, Value)> {
    let of = |(index, route): (usize, &selvedge_site::gateway::GatewayRoute)| {
        GatewayRouteSpec::parse(&route.spec, Strictness::Strict)
            .unwrap_or_else(|wrong| panic!("{route:?}: {wrong:?}"));
        let http = &route.spec["httpRoute"];
        let rewrite = &http["action"]["rewrite"];
        assert_eq!(rewrite["hostname"]["defaultTargetHostname"], "DISABLED", "{route:?}");
        assert_eq!(rewrite.get("prefix").is_some(), http["match"].get("prefix").is_some(), "{route:?}");
        assert!(
            route.spec["priority"].as_u64().is_some_and(|priority| priority <= index as u64 + 10),
            "{route:?}"
        );
        (route.name.clone(), http["match"].clone())
    };
    published.routes.iter().enumerate().map(of).collect()
}

#[test]
fn our_form_publishes_a_route_for_each_that_names_a_service() {
    let published = of_toml(include_str!("edge.toml"));
    assert_eq!(published.gateway.as_deref(), Some("shop-gw"));
    let last = published.routes.last().expect("there are some");
    // The listener that redirects is the first route, so that this one is the fifth.
    assert_eq!(
        (&*last.name, &last.spec),
        (
            "shop-edge-5",
            &json!({
                "priority": 4,
                "httpRoute": {
                    "match": { "prefix": "/api/", "hostname": { "exact": "shop.example.com" } },
                    "action": {
                        "target": { "virtualService": { "virtualServiceName": "orders.shop.local" } },
                        "rewrite": {
                            "hostname": { "defaultTargetHostname": "DISABLED" },
                            "prefix": { "defaultPrefix": "DISABLED" },
                        },
                    },
                },
            })
        )
    );
    assert_eq!(matches(&published).len(), 2);
}

#[test]
fn several_hosts_and_methods_are_several_routes() {
    let published = of_toml(
        "[edge]\nname = \"e\"\ngateway = \"g\"\n[[listen]]\naddress = \":80\"\n[[site]]\nhost = [\"a.example\", \"*.b.example\"]\n\
         [[site.route]]\npath = \"/x/{id}\"\nmethod = [\"GET\", \"HEAD\"]\nheader = { x-kind = \"new\" }\nservice = \"s\"\n",
    );
    let header = json!([{ "name": "x-kind", "match": { "exact": "new" } }]);
    let rule = |hostname: Value, method: &str| json!({ "path": { "regex": "/x/([^/]+)" }, "headers": header, "hostname": hostname, "method": method });
    assert_eq!(
        matches(&published),
        [
            ("e-1".to_owned(), rule(json!({ "exact": "a.example" }), "GET")),
            ("e-1-2".to_owned(), rule(json!({ "exact": "a.example" }), "HEAD")),
            ("e-1-3".to_owned(), rule(json!({ "suffix": ".b.example" }), "GET")),
            ("e-1-4".to_owned(), rule(json!({ "suffix": ".b.example" }), "HEAD")),
        ]
    );
}

#[test]
fn later_and_inner_blocks_of_lighttpds_come_first() {
    let published = of_lighttpd(
        "mesh.service = \"all\"\n\
         $HTTP[\"host\"] == \"shop.example:8443\" {\n  mesh.service = \"shop\"\n\
           $HTTP[\"url\"] =^ \"/api/\" { mesh.service = \"api\" }\n\
           else $HTTP[\"url\"] == \"/health\" { mesh.service = \"health\" }\n\
           else $HTTP[\"url\"] =~ \"^/(a|b)/\" { mesh.service = \"letters\" }\n}\n\
         $REQUEST_HEADER[\"X-Beta\"] != \"no\" { $HTTP[\"request-method\"] == \"POST\" { mesh.service = \"beta\" } }\n",
    );
    let host = json!({ "exact": "shop.example" });
    assert_eq!(
        matches(&published),
        [
            (
                "shop-gw-6".to_owned(),
                json!({ "method": "POST", "headers": [{ "name": "x-beta", "match": { "exact": "no" }, "invert": true }], "prefix": "/" })
            ),
            ("shop-gw-2".to_owned(), json!({ "prefix": "/api/", "hostname": host })),
            ("shop-gw-3".to_owned(), json!({ "path": { "exact": "/health" }, "hostname": host })),
            ("shop-gw-4".to_owned(), json!({ "path": { "regex": "(?:/(a|b)/).*" }, "hostname": host })),
            ("shop-gw-1".to_owned(), json!({ "hostname": host, "prefix": "/" })),
            ("shop-gw-0".to_owned(), json!({ "prefix": "/" })),
        ]
    );
    let priorities: Vec<u64> =
        published.routes.iter().filter_map(|route| route.spec["priority"].as_u64()).collect();
    assert_eq!(priorities, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn what_has_no_equal_in_the_mesh_is_told_and_stays_with_the_edge() {
    for (condition, what) in [
        ("$HTTP[\"remoteip\"] == \"10.0.0.0/8\"", "remoteip"),
        ("$HTTP[\"host\"] =~ \"^(a|b)\\.example$\"", "host"),
        ("$HTTP[\"url\"] != \"/a\"", "url"),
        ("$HTTP[\"scheme\"] == \"https\"", "scheme"),
    ] {
        let published = of_lighttpd(&format!("{condition} {{ mesh.service = \"s\" }}"));
        // The gateway reaches the service all the same, by its name alone, after every other route.
        let [route] = published.routes.as_slice() else { panic!("{condition}: {:?}", published.routes) };
        assert!(route.name.ends_with("-name-1") && route.spec["priority"] == 1000, "{route:?}");
        let header = json!([{ "name": "x-selvedge-service", "match": { "exact": "s" } }]);
        assert_eq!(route.spec["httpRoute"]["match"]["headers"], header, "{condition}");
        assert!(published.diagnostics[0].message.contains(what), "{:?}", published.diagnostics);
    }
    assert!(published(&selvedge_site::Program::default()).gateway.is_none());
}
