//! Responses that come before the response, and what a client waits for.

use selvedge_traffic::HttpConnection;

use crate::apps::Raw;
use crate::planes::{Plane, both};
use crate::{check_equal, cluster, endpoint_at, group, http, to};

/// What came: of each head the status, and the headers that an application set.
fn heads(bytes: &[u8]) -> Vec<(String, Vec<String>)> {
    let text = String::from_utf8_lossy(bytes);
    let heads = text.split("\r\n\r\n").filter(|head| head.starts_with("HTTP/1.1 "));
    heads
        .map(|head| {
            let mut lines = head.lines();
            let status = lines.next().unwrap_or_default().chars().skip(9).take(3).collect();
            let mut set: Vec<String> = lines
                .filter(|line| line.starts_with("link") || line.starts_with("x-"))
                .map(str::to_owned)
                .collect();
            set.retain(|line| !line.starts_with("x-envoy"));
            set.sort();
            (status, set)
        })
        .collect()
}

/// Early hints before each answer, and `100` before the answer to whoever asked for it.
fn application(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    if body.len() < length.unwrap_or(0) {
        return None;
    }
    let mut answer = String::new();
    if head.contains("expect: 100-continue") {
        answer.push_str("HTTP/1.1 100 Continue\r\nx-from: app\r\n\r\n");
    }
    if head.starts_with("get /hints") || head.starts_with("post /hints") {
        answer.push_str("HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n");
        if head.contains(" /hints/many ") {
            answer.push_str("HTTP/1.1 103 Early Hints\r\nlink: </b.css>\r\n\r\n");
        }
    }
    answer.push_str("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-end: yes\r\nconnection: close\r\n\r\nok");
    Some(answer.into_bytes())
}

fn seen(planes: &[Plane; 2], request: &str) -> Vec<(String, Vec<String>)> {
    check_equal(planes, request, |plane| heads(&plane.say(0, request.as_bytes())))
}

fn statuses(heads: &[(String, Vec<String>)]) -> Vec<&str> {
    heads.iter().map(|(status, _)| status.as_str()).collect()
}

const HINTS: &str = "GET /hints HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
const MANY: &str = "GET /hints/many HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
const EXPECT: &str =
    "POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\nab";
const UNKNOWN: &str =
    "POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 2\r\nexpect: the-moon\r\n\r\nab";

#[test]
fn what_comes_before_an_answer_is_passed_on_as_envoy_does() {
    let app = Raw::start(application);
    let clusters = [cluster("up", vec![group(vec![endpoint_at(app.address)])])];
    let passing = HttpConnection { proxy_100_continue: true, ..http(vec![("/", to("up"))]) };
    let Some(planes) = both(&passing, &clusters) else { return };
    let hints = seen(&planes, HINTS);
    assert_eq!(statuses(&hints), ["103", "200"]);
    assert_eq!(
        (hints[0].1.as_slice(), hints[1].1.as_slice()),
        (&["link: </a.css>".to_owned()][..], &["x-end: yes".to_owned()][..])
    );
    let expected = seen(&planes, EXPECT);
    assert_eq!(statuses(&expected), ["100", "200"]);
    // An Envoy passes on the first only; RFC 9110 §15.2 has a proxy pass on all of them, and so does ours.
    let [envoy, ours] = planes.each_ref().map(|plane| heads(&plane.say(0, MANY.as_bytes())));
    assert_eq!(statuses(&envoy), ["103", "200"]);
    assert_eq!(statuses(&ours), ["103", "103", "200"]);
    seen(&planes, UNKNOWN);
    drop(planes);

    // Without the option the proxy says itself that a body may come.
    let Some(planes) = both(&http(vec![("/", to("up"))]), &clusters) else { return };
    seen(&planes, HINTS);
    let answered = seen(&planes, EXPECT);
    assert_eq!(answered.first().map(|(status, _)| status.as_str()), Some("100"));
    assert!(answered[0].1.is_empty(), "it is the proxy's own");
    seen(&planes, UNKNOWN);
}
