//! Header edits of a table, its virtual hosts and their routes: who has the last word, and what values may say.

use selvedge_traffic::{HeaderEdit, HeaderEdits, Route, RouteSource};

use crate::mesh::{Mesh, cluster, forward, http, route};
use crate::upstream::Upstream;

fn overwrite(name: &str, value: &str) -> HeaderEdit {
    HeaderEdit::Overwrite { name: name.into(), value: value.into() }
}

fn mesh(upstream: &Upstream, most_specific_headers_win: bool) -> Mesh {
    let edited = Route {
        request_headers: vec![overwrite("x-who", "route")],
        response_headers: vec![overwrite("x-who", "route")],
        ..route("/e", forward("up"))
    };
    let level = |who: &str| HeaderEdits {
        request: vec![overwrite("x-who", who), overwrite(&format!("x-{who}"), "1")],
        response: vec![overwrite("x-who", who)],
    };
    let mut http = http(vec![edited]);
    if let RouteSource::Inline(table) = &mut http.routes {
        table.headers = level("table");
        table.most_specific_headers_win = most_specific_headers_win;
        table.virtual_hosts[0].headers = level("host");
    }
    Mesh::http(http, vec![cluster("up", &[upstream.address])])
}

#[test]
fn the_last_word_is_the_tables_or_the_routes() {
    let upstream = Upstream::start();
    for (most_specific, who) in [(false, "table"), (true, "route")] {
        let mesh = mesh(&upstream, most_specific);
        let answer = mesh.ask("GET /e HTTP/1.1\r\nhost: h\r\nx-who: me\r\n\r\n");
        assert_eq!(answer.header("x-who"), Some(who));
        assert!(answer.body.contains(&format!("x-who: {who}\r\n")), "{}", answer.body);
        assert!(
            answer.body.contains("x-table: 1\r\n") && answer.body.contains("x-host: 1\r\n"),
            "{}",
            answer.body
        );
        assert_eq!(mesh.ask("GET /nowhere HTTP/1.1\r\nhost: h\r\n\r\n").header("x-who"), None);
    }
}

#[test]
fn a_value_that_cannot_be_made_is_refused() {
    let upstream = Upstream::start();
    let mut config = http(vec![route("/e", forward("up"))]);
    if let RouteSource::Inline(table) = &mut config.routes {
        table.headers.request = vec![overwrite("x", "%NO_SUCH%")];
    }
    let refused = std::panic::catch_unwind(|| Mesh::http(config, vec![cluster("up", &[upstream.address])]));
    assert!(refused.is_err(), "the listener does not serve");
}
