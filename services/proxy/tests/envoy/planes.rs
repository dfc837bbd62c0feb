//! The same in both planes.

use selvedge_traffic::{Cluster, HttpConnection};

use crate::envoy::Envoy;
use crate::mesh::{Answer, Mesh};

/// What both log of a request.
pub(crate) const LOG: &str = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL% %BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_REQUEST_ATTEMPT_COUNT%\n";

/// What nobody could predict.
const CHANGING: [&str; 4] = ["date", "x-request-id", "x-envoy-upstream-service-time", "x-ratelimit-reset"];

/// Our proxy and, if there is one, an Envoy.
pub(crate) struct Planes {
    ours: Mesh,
    envoy: Option<Envoy>,
}

#[derive(Debug, PartialEq, Eq)]
struct Seen {
    status: u16,
    headers: Vec<String>,
    body: Vec<String>,
}

impl Planes {
    /// Each plane has clusters of its own, so that what applications count is not shared.
    pub(crate) fn new(http: &HttpConnection, clusters: &[Cluster]) -> Self {
        let envoy = Envoy::start(http.clone(), clusters.to_vec());
        if envoy.is_none() {
            eprintln!("no Envoy here: our proxy is on its own");
        }
        Self { envoy, ours: Mesh::http(http.clone(), clusters.to_vec()) }
    }

    /// Sends a request to each, and holds ours to Envoy's answer.
    pub(crate) fn ask(&self, request: &str) -> Answer {
        let ours = self.ours.ask(request);
        if let Some(envoy) = &self.envoy {
            let theirs = envoy.connect().ask(request);
            assert_eq!(seen(&ours), seen(&theirs), "ours, Envoy's: {request:?}");
        }
        ours
    }

    pub(crate) fn get(&self, path: &str, headers: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: h\r\n{headers}\r\n"))
    }

    /// Holds our log to Envoy's, and returns it.
    pub(crate) fn log(&self, lines: usize) -> Vec<String> {
        let ours = self.ours.log(lines);
        if let Some(envoy) = &self.envoy {
            assert_eq!(ours, envoy.log(lines), "ours, Envoy's");
        }
        ours
    }

    /// Holds our statistics to Envoy's.
    pub(crate) fn stats(&self, expected: &[(&str, i64)]) {
        for (name, value) in expected {
            self.ours.await_stat(name, *value);
            if let Some(envoy) = &self.envoy {
                assert_eq!(envoy.stat(name), *value, "Envoy's {name}");
            }
        }
    }
}

fn seen(answer: &Answer) -> Seen {
    let changes = |line: &&str| !CHANGING.iter().any(|name| line.to_ascii_lowercase().starts_with(name));
    let mut headers: Vec<String> = answer.head.lines().skip(1).filter(changes).map(str::to_owned).collect();
    // What an application echoes is as long as its request's id and order of headers make it.
    let mut body: Vec<String> = answer.body.lines().filter(changes).map(str::to_owned).collect();
    headers.sort();
    body.sort();
    Seen { status: answer.status, headers, body }
}
