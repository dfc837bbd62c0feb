//! What is judged of a connection before it is served.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use selvedge_traffic::access::{Permission, Policy, Principal, Rules, RulesAction};
use selvedge_traffic::matching::Cidr;
use selvedge_traffic::rate_limit::TokenBucket;
use selvedge_traffic::*;

use crate::apps::App;
use crate::planes::{Plane, both_listening, listener, until};
use crate::{check_equal, cluster, endpoint, group};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";

fn guarded(stat_prefix: &str, filters: Vec<NetworkFilter>) -> Listener {
    let proxy = TcpProxy::to(stat_prefix, vec![WeightedCluster::new("up", 1)]);
    let mut listener = listener(Network::Tcp(proxy));
    listener.default_chain.as_mut().expect("a chain").filters = filters;
    listener
}

fn rbac(action: RulesAction, block: [u8; 4]) -> NetworkFilter {
    let policy = Policy {
        name: "p".to_owned(),
        permissions: vec![Permission::Any],
        principals: vec![Principal::SourceIp(Cidr::new(block.into(), 8).expect("a block"))],
    };
    NetworkFilter::Rbac(Box::new(NetworkRbac {
        stat_prefix: "guard".to_owned(),
        rules: Some(Rules { action, policies: vec![policy] }),
        shadow_rules: None,
        shadow_rules_stat_prefix: String::new(),
    }))
}

/// Whether an application answers there.
fn is_served(plane: &Plane, port: usize) -> bool {
    !plane.say(port, REQUEST).is_empty()
}

#[test]
fn connections_are_judged_by_network_number_and_rate() {
    let app = App::start();
    let clusters = [cluster("up", vec![group(vec![endpoint(&app)])])];
    let limit = |delay| {
        NetworkFilter::ConnectionLimit(ConnectionLimit {
            stat_prefix: "most".to_owned(),
            connections_max: 1,
            delay,
        })
    };
    let bucket = TokenBucket { tokens_max: 2, tokens_per_fill: 1, fill_interval: Duration::from_secs(3600) };
    let rate = NetworkFilter::RateLimit(ConnectionRateLimit { stat_prefix: "rate".to_owned(), bucket });
    let listeners = [
        guarded("a", vec![rbac(RulesAction::Allow, [127, 0, 0, 0])]),
        guarded("b", vec![rbac(RulesAction::Allow, [10, 0, 0, 0])]),
        guarded("c", vec![rbac(RulesAction::Deny, [127, 0, 0, 0])]),
        guarded("d", vec![rbac(RulesAction::Deny, [10, 0, 0, 0])]),
        guarded("e", vec![limit(None)]),
        guarded("f", vec![rate]),
    ];
    let Some(planes) = both_listening(&listeners, &clusters) else { return };
    let served: Vec<bool> =
        (0..4).map(|at| check_equal(&planes, "access", |plane| is_served(plane, at))).collect();
    assert_eq!(served, [true, false, false, true]);

    let one_at_a_time = check_equal(&planes, "a limit", |plane| {
        // The probe of the listener may not have been let go yet.
        let mut first = until("a free place", || {
            let mut first = TcpStream::connect(plane.ports[4]).expect("it listens");
            first.set_read_timeout(Some(Duration::from_millis(300))).expect("a bound");
            let open = first.read(&mut [0]).is_err_and(|error| {
                matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
            });
            open.then_some(first)
        });
        let second = is_served(plane, 4);
        first.set_read_timeout(Some(Duration::from_secs(20))).expect("a bound");
        first.write_all(REQUEST).expect("it is open");
        let mut answer = [0; 12];
        first.read_exact(&mut answer).expect("an answer");
        drop(first);
        let again = until("a free place", || is_served(plane, 4).then_some(true));
        (second, String::from_utf8_lossy(&answer).into_owned(), again)
    });
    assert_eq!(one_at_a_time, (false, "HTTP/1.1 200".to_owned(), true));

    // A token went to whoever asked whether it listens.
    let served = check_equal(&planes, "a rate", |plane| [(); 3].map(|()| is_served(plane, 5)));
    assert_eq!(served, [true, false, false]);
    let counted = check_equal(&planes, "counts", |plane| plane.stat("local_rate_limit.rate.rate_limited"));
    assert_eq!(counted, 2);
    for plane in &planes {
        assert!(plane.stat("connection_limit.most.limited_connections") > 0, "{}", plane.name);
        assert!(plane.stat("guard.rbac.denied") >= 2, "{}", plane.name);
        assert!(plane.stat("guard.rbac.allowed") >= 2, "{}", plane.name);
    }
}
