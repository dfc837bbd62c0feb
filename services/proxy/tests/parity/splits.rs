//! Splits whose shares a request keeps, and what each share does to headers.

use std::collections::BTreeSet;

use selvedge_traffic::hash::HashCookie;
use selvedge_traffic::*;

use crate::apps::App;
use crate::planes::both;
use crate::{check_equal, cluster, endpoint, group, header, http};

fn split(by: SplitBy, hash: Vec<HashSource>) -> Forward {
    let share = |name: &str, weight| {
        let edit = |header: &str| HeaderEdit::Overwrite { name: header.to_owned(), value: name.to_owned() };
        let headers = HeaderEdits {
            request: vec![edit("x-share"), HeaderEdit::Remove { name: "x-secret".to_owned() }],
            response: vec![edit("x-share"), edit("x-both")],
        };
        WeightedCluster { headers, ..WeightedCluster::new(name, weight) }
    };
    let hash = hash.into_iter().map(|source| HashPolicy { source, terminal: false }).collect();
    let clusters = vec![share("one", 30), share("two", 50), share("three", 20)];
    Forward { split_by: by, hash, ..Forward::to(clusters) }
}

#[test]
fn a_request_keeps_its_share_and_each_share_its_headers() {
    let app = App::start();
    let clusters = ["one", "two", "three"].map(|name| cluster(name, vec![group(vec![endpoint(&app)])]));
    let cookie = HashSource::Cookie(HashCookie { name: "sticky".to_owned(), ..HashCookie::default() });
    let routes = vec![
        ("/header/", split(SplitBy::Header("x-number".to_owned()), Vec::new())),
        ("/hash/", split(SplitBy::Hash, vec![header("x-user")])),
        ("/cookie/", split(SplitBy::Hash, vec![cookie])),
    ];
    let mut http = http(routes);
    if let RouteSource::Inline(table) = &mut http.routes {
        for route in &mut table.virtual_hosts[0].routes {
            // The route's edits come after those of the share.
            route.response_headers =
                vec![HeaderEdit::Overwrite { name: "x-both".to_owned(), value: "route".to_owned() }];
        }
    }
    let Some(planes) = both(&http, &clusters) else { return };
    let mut shares = BTreeSet::new();
    for number in (0..12).chain([29, 30, 79, 80, 99, 100, 129, 130, u64::MAX]) {
        for (path, line) in [
            ("/header/echo", format!("x-number: {number}")),
            ("/hash/echo", format!("x-user: user-{number}")),
            ("/cookie/echo", format!("cookie: a=b; sticky=s{number}")),
        ] {
            let seen = check_equal(&planes, &format!("{path} {line}"), |plane| {
                let answer = plane.get(path, &[&line, "x-secret: s", "x-share: client"]);
                let told: Vec<String> =
                    answer.body.lines().filter(|line| line.starts_with("x-s")).map(str::to_owned).collect();
                let of = |name: &str| answer.header(name).map(str::to_owned);
                (answer.status, told, of("x-share"), of("x-both"))
            });
            assert_eq!(seen.1.len(), 1, "the client's own word is replaced: {seen:?}");
            shares.insert((path, seen.2));
        }
    }
    assert_eq!(shares.len(), 9, "each split has all of its shares: {shares:?}");
    // Without a number, or with a broken one, chance decides, and does so for everybody.
    for line in ["x-number: many", "x-other: 1"] {
        for plane in &planes {
            let found: BTreeSet<Option<String>> = (0..40)
                .map(|_| plane.get("/header/echo", &[line]).header("x-share").map(str::to_owned))
                .collect();
            assert!(found.len() > 1, "{} {line}: {found:?}", plane.name);
        }
    }
}
