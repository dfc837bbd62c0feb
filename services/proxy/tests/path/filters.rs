//! Filters: in order, off and on by route, and before a missing route is a 404.

use selvedge_traffic::filter::{Buffer, BufferRoute};
use selvedge_traffic::{
    FilterEntry, FilterOverride, FilterSetting, HttpFilter, Route, RouteFilter, RouteSource, WeightedCluster,
};

use crate::mesh::{Mesh, cluster, forward, http, route};
use crate::upstream::Upstream;

fn buffer(request_bytes_max: u32) -> Buffer {
    Buffer { request_bytes_max }
}

fn says(setting: FilterSetting) -> Vec<FilterOverride> {
    vec![FilterOverride { filter: "buffer".into(), setting }]
}

fn of_its_own(request_bytes_max: u32) -> FilterSetting {
    FilterSetting::Config(RouteFilter::Buffer(BufferRoute::Buffer(buffer(request_bytes_max))))
}

fn mesh(upstream: &Upstream, disabled: bool) -> Mesh {
    let with = |route: Route, setting| Route { filters: says(setting), ..route };
    let mut weighted = forward("up");
    weighted.clusters =
        vec![WeightedCluster { filters: says(of_its_own(40)), ..WeightedCluster::new("up", 1) }];
    let mut http = http(vec![
        with(route("/off", forward("up")), FilterSetting::Disabled),
        with(route("/on", forward("up")), FilterSetting::Enabled),
        with(route("/own", forward("up")), of_its_own(30)),
        with(route("/not", forward("up")), FilterSetting::Config(RouteFilter::Buffer(BufferRoute::Disabled))),
        with(route("/cluster", weighted), FilterSetting::Disabled),
        route("/e", forward("up")),
    ]);
    http.filters =
        vec![FilterEntry { name: "buffer".into(), disabled, filter: HttpFilter::Buffer(buffer(20)) }];
    if let RouteSource::Inline(table) = &mut http.routes {
        table.virtual_hosts[0].filters = says(of_its_own(10));
    }
    Mesh::http(http, vec![cluster("up", &[upstream.address])])
}

fn post(mesh: &Mesh, path: &str, bytes: usize) -> u16 {
    let body = "x".repeat(bytes);
    mesh.ask(&format!("POST {path} HTTP/1.1\r\nhost: h\r\ncontent-length: {bytes}\r\n\r\n{body}")).status
}

#[test]
fn the_most_specific_setting_wins() {
    let upstream = Upstream::start();
    let mesh = mesh(&upstream, false);
    for (path, bytes, status) in [
        ("/e", 10, 200),
        ("/e", 11, 413),
        ("/off", 50, 200),
        ("/not", 50, 200),
        // Enabled says nothing about how: the virtual host does.
        ("/on", 10, 200),
        ("/on", 11, 413),
        ("/own", 30, 200),
        ("/own", 31, 413),
        ("/cluster", 40, 200),
        ("/cluster", 41, 413),
        // Without a route there is no virtual host's word either.
        ("/nowhere", 20, 404),
        ("/nowhere", 21, 413),
    ] {
        assert_eq!(post(&mesh, path, bytes), status, "{path} {bytes}");
    }
    assert_eq!(mesh.stat("http.in.no_route"), 1);
    assert_eq!(mesh.stat("http.in.downstream_rq_too_large"), 5);
}

#[test]
fn a_disabled_filter_waits_for_a_route_that_asks_for_it() {
    let upstream = Upstream::start();
    let mesh = mesh(&upstream, true);
    assert_eq!(post(&mesh, "/nowhere", 50), 404);
    assert_eq!(post(&mesh, "/off", 50), 200);
    assert_eq!(post(&mesh, "/on", 11), 413);
    assert_eq!(post(&mesh, "/e", 11), 413, "its virtual host has a configuration for it");
}

#[test]
fn a_buffered_request_has_a_length_and_a_long_one_ends_its_connection() {
    let upstream = Upstream::start();
    let mesh = mesh(&upstream, false);
    let mut client = mesh.connect();
    let chunked = "POST /e HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let answer = client.ask(chunked);
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("content-length: 5"), "{}", answer.body);
    assert!(!answer.body.contains("transfer-encoding"), "{}", answer.body);
    let answer = client.ask("POST /e HTTP/1.1\r\nhost: h\r\ncontent-length: 11\r\n\r\n01234567890");
    assert_eq!((answer.status, answer.body.as_str()), (413, "Payload Too Large"));
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(client.is_closed());
    assert_eq!(mesh.log(2)[1], "413 - request_payload_too_large POST /e HTTP/1.1 11 17 0");
}
