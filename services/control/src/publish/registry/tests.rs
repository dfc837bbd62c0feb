//! Endpoints through connections, crashes and other replicas.

use super::*;

fn place(port: u16) -> Place {
    Place { mesh: "m".into(), node: "n".into(), spot: Spot::Port(([127, 0, 0, 1], port).into()) }
}

fn ports(registry: &Registry) -> Vec<u16> {
    registry.places("m", "n").map(|place| place.address(0).port()).collect()
}

/// Does what the registry asks for, as a store would that tells of its changes at once.
fn settle(registry: &mut Registry, now: Instant) -> usize {
    let now = now + GATHER;
    let writes = registry.poll_write(now);
    for write in &writes {
        match write.clone() {
            Write::Register { place, replica } => registry.handle_document(now, place, Some(replica)),
            Write::Remove { place, .. } => registry.handle_document(now, place, None),
            Write::Beat { replica, .. } => registry.handle_beat(now, replica),
            Write::Forget { .. } => {}
        }
    }
    writes.len()
}

#[test]
fn a_connected_sidecar_is_an_endpoint_until_it_says_goodbye() {
    let now = Instant::now();
    let mut registry = Registry::new("here");
    registry.connect(now, &place(1));
    registry.connect(now, &place(2));
    assert_eq!(ports(&registry), [1, 2]);
    assert_eq!(registry.poll_changed(), Some(("m".into(), "n".into())));
    settle(&mut registry, now);
    let later = now + Duration::from_secs(1);
    registry.disconnect(later, &place(1), true);
    assert_eq!(ports(&registry), [2], "at once");
    assert_eq!(settle(&mut registry, later), 1, "its document goes");
}

#[test]
fn a_broken_stream_leaves_the_endpoint_for_a_while() {
    let now = Instant::now();
    let mut registry = Registry::new("here");
    registry.connect(now, &place(1));
    settle(&mut registry, now);
    while registry.poll_changed().is_some() {}
    registry.disconnect(now, &place(1), false);
    assert_eq!(ports(&registry), [1]);
    assert_eq!(registry.poll_changed(), None, "nobody notices");
    registry.connect(now, &place(1));
    registry.handle_timeout(now + GRACE);
    assert_eq!(ports(&registry), [1], "it came back");
    registry.disconnect(now, &place(1), false);
    registry.handle_timeout(now + GRACE);
    assert_eq!(ports(&registry), [] as [u16; 0]);
}

#[test]
fn a_new_replica_serves_what_its_predecessor_knew_and_then_forgets_it() {
    let now = Instant::now();
    let mut registry = Registry::new("new");
    registry.handle_document(now, place(1), Some("old".into()));
    registry.handle_document(now, place(2), Some("old".into()));
    assert_eq!(ports(&registry), [1, 2], "before any proxy is back");
    registry.connect(now, &place(1));
    settle(&mut registry, now);
    let later = now + DEAD_AFTER;
    registry.handle_timeout(later);
    assert_eq!(ports(&registry), [1], "the other never came back");
    let writes = registry.poll_write(later + GATHER);
    assert!(writes.contains(&Write::Remove { place: place(2), owner: "old".into() }));
    assert!(writes.contains(&Write::Forget { replica: "old".into() }));
    assert_eq!(ports(&registry), [1]);
}

#[test]
fn another_replica_that_lives_answers_for_its_own() {
    let mut now = Instant::now();
    let mut registry = Registry::new("here");
    registry.handle_document(now, place(1), Some("there".into()));
    for _ in 0..10 {
        now += BEAT;
        registry.handle_beat(now, "there".into());
        registry.handle_timeout(now);
        assert_eq!(ports(&registry), [1]);
        assert_eq!(settle(&mut registry, now), 0);
    }
}

#[test]
fn a_replica_that_was_given_up_too_early_brings_its_endpoints_back() {
    let now = Instant::now();
    let mut registry = Registry::new("here");
    registry.handle_document(now, place(1), Some("there".into()));
    registry.handle_timeout(now + DEAD_AFTER);
    assert_eq!(ports(&registry), [] as [u16; 0]);
    while registry.poll_changed().is_some() {}
    registry.handle_beat(now + DEAD_AFTER, "there".into());
    assert_eq!(ports(&registry), [1]);
    assert_eq!(registry.poll_changed(), Some(("m".into(), "n".into())), "and whoever uses them is told");
    registry.handle_beat(now + DEAD_AFTER + BEAT, "there".into());
    assert_eq!(registry.poll_changed(), None);
}

#[test]
fn a_sidecar_that_moved_to_another_replica_is_not_taken_down_by_the_first() {
    let now = Instant::now();
    let mut registry = Registry::new("here");
    registry.connect(now, &place(1));
    settle(&mut registry, now);
    registry.handle_document(now, place(1), Some("there".into()));
    registry.disconnect(now, &place(1), false);
    registry.handle_timeout(now + GRACE);
    assert_eq!(ports(&registry), [1]);
    assert_eq!(settle(&mut registry, now + GRACE), 0);
}

#[test]
fn a_write_that_failed_is_asked_for_again() {
    let now = Instant::now();
    let mut registry = Registry::new("here");
    registry.connect(now, &place(1));
    assert!(registry.poll_write(now + GATHER).iter().any(|write| matches!(write, Write::Register { .. })));
    assert!(registry.poll_write(now + GATHER).is_empty());
    let later = now + GATHER + WRITE_AGAIN;
    registry.handle_timeout(later);
    assert!(!registry.poll_write(later + GATHER).is_empty());
}
