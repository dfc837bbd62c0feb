//! How long a real Envoy and ours wait before each try.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use selvedge_traffic::*;

use crate::apps::Raw;
use crate::planes::both;
use crate::{cluster, endpoint_at, group, http, ms, to};

const BASE: Duration = ms(400);
const MAX: Duration = ms(600);
const RETRIES: usize = 3;
/// Requests of each plane. The mean of so many draws lies within a fifth of the bound of its half, but for one run in ten
/// million.
const REQUESTS: usize = 64;

/// When each request, by its path, was tried.
static TRIES: Mutex<BTreeMap<String, Vec<Instant>>> = Mutex::new(BTreeMap::new());

fn refuses(bytes: &[u8]) -> Option<Vec<u8>> {
    bytes.ends_with(b"\r\n\r\n").then(|| {
        let head = String::from_utf8_lossy(bytes);
        let path = head.split(' ').nth(1).expect("a path").to_owned();
        TRIES.lock().expect("no panic").entry(path).or_default().push(Instant::now());
        b"HTTP/1.1 503 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec()
    })
}

/// Envoy's documentation says something else; the bounds are those that were measured: before the nth further try, any time
/// from none to the base, doubled each time, as far as the maximum.
#[test]
fn the_wait_before_a_try_is_drawn_from_none_to_a_bound_that_doubles() {
    let app = Raw::start(refuses);
    let policy = RetryPolicy {
        on: RetryOn::FIVE_XX,
        retries_max: RETRIES as u32,
        backoff: RetryBackoff { base: BASE, max: MAX },
        ..RetryPolicy::default()
    };
    let up = Cluster {
        circuit_breakers: CircuitBreakers {
            default: Thresholds { retries_max: REQUESTS as u32, ..Thresholds::default() },
            ..CircuitBreakers::default()
        },
        ..cluster("up", vec![group(vec![endpoint_at(app.address)])])
    };
    let forward = Forward { retry: Some(policy.into()), ..to("up") };
    let Some(planes) = both(&http(vec![("/", forward)]), &[up]) else { return };
    for plane in &planes {
        std::thread::scope(|scope| {
            for request in 0..REQUESTS {
                scope.spawn(move || {
                    let answer = plane.get(&format!("/{}/{request}", plane.name), &[]);
                    assert_eq!(answer.status, 503, "{}", plane.name);
                });
            }
        });
        let prefix = format!("/{}/", plane.name);
        let tries: Vec<Vec<Instant>> = {
            let all = TRIES.lock().expect("no panic");
            all.iter().filter(|(path, _)| path.starts_with(&prefix)).map(|(_, tries)| tries.clone()).collect()
        };
        assert_eq!(tries.len(), REQUESTS, "{}", plane.name);
        assert!(tries.iter().all(|tries| tries.len() == RETRIES + 1), "{}: tries", plane.name);
        for (nth, bound) in [(1, BASE), (2, MAX), (3, MAX)] {
            let mut waits: Vec<Duration> = tries.iter().map(|tries| tries[nth] - tries[nth - 1]).collect();
            waits.sort();
            // A machine that is busy makes waits longer, all of them alike: the median tells more than the mean.
            let (least, median) = (waits[0], waits[REQUESTS / 2]);
            let what = format!("{}: wait {nth} of {bound:?}: {least:?} … {median:?}", plane.name);
            assert!(least < bound / 4, "{what}");
            assert!(median > bound / 4 && median < bound * 3 / 4 + ms(100), "{what}");
        }
        let counted = plane.stat("cluster.up.upstream_rq_retry_backoff_exponential");
        assert_eq!(counted, (REQUESTS * RETRIES) as u64, "{}", plane.name);
    }
}
