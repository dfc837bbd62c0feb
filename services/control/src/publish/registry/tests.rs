//! Endpoints through connections, crashes and other replicas.

use super::*;

fn place(port: u16) -> Place {
    Place { mesh: "m".into(), node: "n".into(), spot: Spot::Port(([127, 0, 0, 1], port).into()) }
}

fn ports(registry: &Registry) -> Vec<u16> {
    registry.places("m", "n").map(|(place, _)| place.address(0).port()).collect()
}

fn held(owner: &str, epoch: u64) -> Option<Held> {
    Some(Held { owner: Some(owner.into()), epoch, locality: Locality::default() })
}

/// Does what the registry asks for, as a store would that tells of its changes at once.
fn settle(registry: &mut Registry, now: Instant) -> usize {
    let now = now + GATHER;
    let writes = registry.poll_write(now);
    for write in &writes {
        match write.clone() {
            Write::Register { place, replica, epoch, .. } => {
                registry.handle_document(
                    now,
                    place,
                    Some(Held { owner: Some(replica), epoch, locality: Locality::default() }),
                );
            }
            Write::Remove { place, epoch, given_up, .. } => {
                let epoch = epoch + u64::from(given_up);
                registry.handle_document(
                    now,
                    place,
                    Some(Held { owner: None, epoch, locality: Locality::default() }),
                );
            }
            Write::Sweep { place, .. } => registry.handle_document(now, place, None),
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
    registry.connect(now, &place(1), &Locality::default());
    registry.connect(now, &place(2), &Locality::default());
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
    registry.connect(now, &place(1), &Locality::default());
    settle(&mut registry, now);
    while registry.poll_changed().is_some() {}
    registry.disconnect(now, &place(1), false);
    assert_eq!(ports(&registry), [1]);
    assert_eq!(registry.poll_changed(), None, "nobody notices");
    registry.connect(now, &place(1), &Locality::default());
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
    registry.handle_document(now, place(1), held("old", 1));
    registry.handle_document(now, place(2), held("old", 1));
    assert_eq!(ports(&registry), [1, 2], "before any proxy is back");
    registry.connect(now, &place(1), &Locality::default());
    settle(&mut registry, now);
    let later = now + DEAD_AFTER;
    registry.handle_timeout(later);
    assert_eq!(ports(&registry), [1], "the other never came back");
    let writes = registry.poll_write(later + GATHER);
    assert!(writes.contains(&Write::Remove {
        place: place(2),
        owner: "old".into(),
        epoch: 1,
        given_up: true
    }));
    assert!(writes.contains(&Write::Forget { replica: "old".into() }));
    assert_eq!(ports(&registry), [1]);
}

#[test]
fn another_replica_that_lives_answers_for_its_own() {
    let mut now = Instant::now();
    let mut registry = Registry::new("here");
    registry.handle_document(now, place(1), held("there", 1));
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
    registry.handle_document(now, place(1), held("there", 1));
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
    registry.connect(now, &place(1), &Locality::default());
    settle(&mut registry, now);
    registry.handle_document(now, place(1), held("there", 2));
    registry.disconnect(now, &place(1), false);
    registry.handle_timeout(now + GRACE);
    assert_eq!(ports(&registry), [1]);
    assert_eq!(settle(&mut registry, now + GRACE), 0);
}

#[test]
fn a_write_that_failed_is_asked_for_again() {
    let now = Instant::now();
    let mut registry = Registry::new("here");
    registry.connect(now, &place(1), &Locality::default());
    assert!(registry.poll_write(now + GATHER).iter().any(|write| matches!(write, Write::Register { .. })));
    assert!(registry.poll_write(now + GATHER).is_empty());
    let later = now + GATHER + WRITE_AGAIN;
    registry.handle_timeout(later);
    assert!(!registry.poll_write(later + GATHER).is_empty());
}

#[test]
fn a_session_that_was_outbid_is_not_believed_until_it_is_proven() {
    let now = Instant::now();
    let mut registry = Registry::new("here");
    registry.connect(now, &place(1), &Locality::default());
    settle(&mut registry, now);
    // The sidecar connects to another replica; this one's stream is dead, but nobody has told it yet.
    let later = now + BEAT;
    registry.handle_beat(later, "there".into());
    registry.handle_document(later, place(1), held("there", 2));
    assert_eq!(ports(&registry), [1], "the other vouches for it");
    let fights = |write: &Write| matches!(write, Write::Register { .. } | Write::Remove { .. });
    assert!(!registry.poll_write(later + GATHER).iter().any(fights), "and this one does not fight for it");
    // It says goodbye there.
    registry.handle_document(
        later,
        place(1),
        Some(Held { owner: None, epoch: 2, locality: Locality::default() }),
    );
    assert_eq!(ports(&registry), [] as [u16; 0], "the dead stream does not bring it back");
    let later = later + PROVEN_AFTER;
    registry.handle_timeout(later - Duration::from_millis(1));
    assert_eq!(ports(&registry), [] as [u16; 0]);
    registry.handle_timeout(later);
    assert_eq!(ports(&registry), [1], "a stream that is still there is not dead");
    let register = Write::Register {
        place: place(1),
        replica: "here".into(),
        epoch: 3,
        seen: 0,
        locality: Locality::default(),
    };
    assert!(registry.poll_write(later + GATHER).contains(&register));
}

#[test]
fn a_stream_that_has_just_connected_outbids_what_was_on_its_way() {
    let now = Instant::now();
    let mut registry = Registry::new("here");
    registry.connect(now, &place(1), &Locality::default());
    registry.handle_document(now, place(1), held("there", 1));
    let register = |epoch| Write::Register {
        place: place(1),
        replica: "here".into(),
        epoch,
        seen: 0,
        locality: Locality::default(),
    };
    assert!(registry.poll_write(now + GATHER).contains(&register(2)));
    registry.handle_document(now, place(1), held("there", 3));
    assert!(!registry.poll_write(now + 2 * GATHER).contains(&register(4)), "once");
}

#[test]
fn a_first_claim_that_came_too_late_is_proven_like_any_other() {
    let now = Instant::now();
    let mut registry = Registry::new("here");
    registry.handle_position(7);
    registry.connect(now, &place(1), &Locality::default());
    registry.handle_position(9);
    let register = |seen| Write::Register {
        place: place(1),
        replica: "here".into(),
        epoch: 1,
        seen,
        locality: Locality::default(),
    };
    assert!(registry.poll_write(now + GATHER).contains(&register(7)), "what was known when it connected");
    while registry.poll_changed().is_some() {}
    registry.handle_refusal(now, &place(1));
    assert_eq!(ports(&registry), [] as [u16; 0], "nobody is sent there meanwhile");
    assert_eq!(registry.poll_changed(), Some(("m".into(), "n".into())));
    let later = now + PROVEN_AFTER;
    registry.handle_timeout(later - Duration::from_millis(1));
    assert!(!registry.poll_write(later).contains(&register(9)));
    registry.handle_timeout(later);
    assert_eq!(ports(&registry), [1]);
    assert!(registry.poll_write(later + GATHER).contains(&register(9)));
    // A refusal of a place that a document speaks of changes nothing: the document does.
    registry.handle_document(later, place(1), held("here", 1));
    registry.handle_refusal(later, &place(1));
    assert_eq!(ports(&registry), [1]);
}

#[test]
fn claims_from_before_the_store_was_read_are_not_late() {
    let now = Instant::now();
    let mut registry = Registry::new("here");
    registry.connect(now, &place(1), &Locality::default());
    registry.handle_position(5);
    let register = Write::Register {
        place: place(1),
        replica: "here".into(),
        epoch: 1,
        seen: 5,
        locality: Locality::default(),
    };
    assert!(registry.poll_write(now + GATHER).contains(&register));
}

#[test]
fn epochs_of_endpoints_that_are_gone_are_forgotten_in_time() {
    let now = Instant::now();
    let mut registry = Registry::new("here");
    registry.connect(now, &place(1), &Locality::default());
    settle(&mut registry, now);
    let now = now + 2 * GATHER;
    registry.disconnect(now, &place(1), true);
    settle(&mut registry, now);
    let sweep = |port| Write::Sweep { place: place(port), epoch: 1 };
    let later = now + GATHER + GONE_KEPT;
    registry.handle_timeout(later - Duration::from_millis(1));
    assert!(!registry.poll_write(later).contains(&sweep(1)));
    registry.handle_timeout(later);
    assert_eq!(registry.poll_write(later + GATHER), [sweep(1)]);
    for port in 0..=u16::try_from(GONE_MAX).expect("a port") {
        registry.handle_document(
            later,
            place(port),
            Some(Held { owner: None, epoch: 1, locality: Locality::default() }),
        );
    }
    assert_eq!(registry.poll_write(later + 2 * GATHER), [sweep(0)], "or when there are too many");
}

#[test]
fn where_an_instance_stands_outlives_its_control_plane() {
    let now = Instant::now();
    let west = Locality { region: "r".into(), zone: "west".into(), sub_zone: String::new() };
    let mut first = Registry::new("first");
    first.connect(now, &place(1), &west);
    assert_eq!(
        first.places("m", "n").map(|(_, locality)| locality.clone()).collect::<Vec<_>>(),
        std::slice::from_ref(&west)
    );
    let store = selvedge_store::memory::Memory::new();
    write(&store, &first.poll_write(now + GATHER)).expect("written");
    let key = format!("{ENDPOINTS_PREFIX}m/n/127.0.0.1:1");
    let store: &dyn selvedge_store::Store = &store;
    let view = store.snapshot().expect("readable");
    let stored = view.get(&key).expect("readable").expect("a document");
    let document = document::held(&stored.value).expect("somebody holds it");
    let mut second = Registry::new("second");
    second.handle_document(now, place(1), Some(document));
    assert_eq!(second.places("m", "n").map(|(_, locality)| locality.clone()).collect::<Vec<_>>(), [west]);
    let east = Locality { zone: "east".into(), ..Locality::default() };
    second.connect(now, &place(1), &east);
    assert_eq!(second.places("m", "n").map(|(_, locality)| locality.clone()).collect::<Vec<_>>(), [east]);
}
