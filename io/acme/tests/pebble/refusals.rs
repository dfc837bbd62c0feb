//! What becomes of certificates when the authority says no, or nothing. Time is an argument: days pass in no time.

use selvedge_acme::{Challenge, External, Keeper, KeyType, Settings, Tended};
use serde_json::{Value, json};

use crate::authority::{Authority, Responder};
use crate::gateway::{Gateway, refusal};
use crate::{World, check, kept, now};

const HOUR: u64 = 3600;

/// A keeper whose authority is behind a gateway, and a certificate that is wanted.
fn behind(world: &World) -> (Gateway, Keeper, Settings) {
    let gateway = Gateway::before(&world.authority);
    let settings = Settings {
        directory: gateway.directory.clone(),
        ..world.settings(Challenge::Http01, &["a.example"])
    };
    let keeper = world.keeper_of(&gateway.directory);
    (gateway, keeper, settings)
}

async fn tend(keeper: &Keeper, settings: &Settings, moment: u64) -> Tended {
    keeper.tend(settings, moment, 0).await.expect("it can be ordered")
}

fn failed(tended: &Tended) -> (u64, u32, &str) {
    match tended {
        Tended::Failed { until, failures, reason } => (*until, *failures, reason),
        other => panic!("{other:?}"),
    }
}

fn is_new_order(path: &str) -> bool {
    path == "/order-plz"
}

#[tokio::test]
async fn an_authority_that_has_had_enough_is_left_alone_for_as_long_as_it_says() {
    let world = World::new();
    let (gateway, keeper, settings) = behind(&world);
    let _responder = Responder::http(world.authority.http_port, keeper.proofs());
    gateway.say(|path, _| is_new_order(path).then(|| refusal(429, "rateLimited", Some("7200")))?);
    let moment = now();
    let first = tend(&keeper, &settings, moment).await;
    let (until, failures, reason) = failed(&first);
    assert_eq!((until, failures), (moment + 2 * HOUR, 1));
    assert!(reason.contains("too many orders") && reason.contains("a test says so"), "{reason}");
    gateway.take_seen();
    for wait in [1, 60, HOUR, 2 * HOUR - 1] {
        assert_eq!(failed(&tend(&keeper, &settings, moment + wait).await).0, until);
    }
    assert_eq!(gateway.take_seen(), [], "it hears nothing of us");
    gateway.say(|path, _| is_new_order(path).then(|| refusal(429, "rateLimited", None))?);
    let second = tend(&keeper, &settings, until).await;
    assert_eq!(failed(&second).0, until + 120, "without a word of it, as after any failure");
    gateway.be_quiet();
    assert!(matches!(tend(&keeper, &settings, until + 120).await, Tended::Issued { .. }));
}

#[tokio::test]
async fn an_account_that_the_authority_lost_is_opened_anew() {
    let world = World::new();
    let (gateway, keeper, settings) = behind(&world);
    let _responder = Responder::http(world.authority.http_port, keeper.proofs());
    assert!(matches!(tend(&keeper, &settings, now()).await, Tended::Issued { .. }));
    let due = kept(&keeper, &settings).await.due_at();
    let mut refused = false;
    gateway.say(move |path, _| {
        (is_new_order(path) && !std::mem::replace(&mut refused, true))
            .then(|| refusal(400, "accountDoesNotExist", None))?
    });
    gateway.take_seen();
    assert!(matches!(tend(&keeper, &settings, due).await, Tended::Issued { .. }));
    let opened = gateway.take_seen().iter().filter(|(path, _)| path == "/sign-me-up").count();
    assert_eq!(opened, 1, "another account");
    assert_eq!(world.count("acme/account/"), 1, "in the place of the one before");
    // One that the authority never keeps is no reason to go round in circles.
    gateway.say(|path, _| is_new_order(path).then(|| refusal(400, "accountDoesNotExist", None))?);
    let due = kept(&keeper, &settings).await.due_at();
    let outcome = tend(&keeper, &settings, due).await;
    assert!(failed(&outcome).2.contains("does not know our account"), "{outcome:?}");
    let opened = gateway.take_seen().iter().filter(|(path, _)| path == "/sign-me-up").count();
    assert_eq!(opened, 1, "once a turn");
}

#[tokio::test]
async fn while_an_authority_is_away_for_days_the_certificate_in_force_stays() {
    let world = World::new();
    let (gateway, keeper, settings) = behind(&world);
    let _responder = Responder::http(world.authority.http_port, keeper.proofs());
    assert!(matches!(tend(&keeper, &settings, now()).await, Tended::Issued { .. }));
    let first = kept(&keeper, &settings).await;
    gateway.say(|_, _| Some((503, None, "away".into())));
    // Away while nothing is due is no trouble.
    let asked = first.ask_at;
    assert!(asked < first.due_at());
    assert!(matches!(tend(&keeper, &settings, asked).await, Tended::Good { until } if until > asked));
    assert_eq!(keeper.trouble(&settings).await.expect("the store is there"), None);
    let (mut moment, mut attempts) = (first.due_at(), 0);
    gateway.take_seen();
    while moment < first.due_at() + 3 * 24 * HOUR {
        let outcome = tend(&keeper, &settings, moment).await;
        let (until, failures, _) = failed(&outcome);
        attempts += 1;
        assert_eq!(failures, attempts);
        assert!(until >= moment + 60 && until <= moment + 24 * HOUR, "{until} after {moment}");
        moment = until;
    }
    let calls = gateway.take_seen().len();
    assert!(attempts < 20 && calls <= 2 * attempts as usize, "{calls} calls in {attempts} attempts");
    assert_eq!(kept(&keeper, &settings).await.chain, first.chain, "what is in force stays");
    gateway.be_quiet();
    assert!(matches!(tend(&keeper, &settings, moment).await, Tended::Issued { .. }));
    assert_eq!(keeper.trouble(&settings).await.expect("the store is there"), None);
}

#[tokio::test]
async fn refusals_on_the_way_end_the_order_with_a_reason() {
    let world = World::new();
    let (gateway, keeper, settings) = behind(&world);
    let _responder = Responder::http(world.authority.http_port, keeper.proofs());
    let mut moment = now();
    type Row = (&'static str, &'static str, u16, &'static str);
    let rows: [Row; 4] = [
        ("/order-plz", "rejectedIdentifier", 403, "does not issue for one of the names"),
        ("/finalize-order/", "badCSR", 403, "does not take this key"),
        ("/order-plz", "badNonce", 400, "keeps refusing the numbers"),
        ("/authZ/", "serverInternal", 500, "a fault of its own"),
    ];
    for (place, kind, status, words) in rows {
        gateway.say(move |path, _| path.starts_with(place).then(|| refusal(status, kind, None))?);
        gateway.take_seen();
        let outcome = tend(&keeper, &settings, moment).await;
        let (until, _, reason) = failed(&outcome);
        assert!(reason.contains(words), "{kind}: {reason}");
        let calls = gateway.take_seen().len();
        assert!(calls < 40, "{kind}: {calls} calls");
        assert_eq!(world.count("acme/http-01/"), 0, "{kind}: nothing is left behind");
        moment = until;
    }
    // The order and its authorizations are over before we have begun.
    for status in ["invalid", "expired", "deactivated"] {
        gateway.say(move |path, _| {
            let body = json!({ "status": status, "identifier": { "type": "dns", "value": "a.example" }, "challenges": [] });
            path.starts_with("/authZ/").then(|| (200, None, body.to_string()))
        });
        let outcome = tend(&keeper, &settings, moment).await;
        let (until, _, reason) = failed(&outcome);
        assert!(reason.contains(&format!("a.example: the authorization is {status}")), "{reason}");
        moment = until;
    }
    gateway.be_quiet();
    assert!(matches!(tend(&keeper, &settings, moment).await, Tended::Issued { .. }));
}

/// The authority states wishes, as this version of Pebble does not. It does not say either that it heard what an order replaces,
/// and then a plain order follows.
fn with_wishes(gateway: &Gateway, start: u64) {
    let directory = gateway.directory.clone();
    gateway.say(move |path, _| {
        let base = directory.trim_end_matches("/dir");
        match path {
            "/dir" => Some((
                200,
                None,
                json!({
                    "newNonce": format!("{base}/nonce-plz"), "newAccount": format!("{base}/sign-me-up"),
                    "newOrder": format!("{base}/order-plz"), "revokeCert": format!("{base}/revoke-cert"),
                    "keyChange": format!("{base}/rollover-account-key"), "renewalInfo": format!("{base}/wish"),
                })
                .to_string(),
            )),
            path if path.starts_with("/wish/") => {
                let moment = |seconds: u64| {
                    let seconds = i64::try_from(seconds).expect("in this age");
                    x509_parser::time::ASN1Time::from_timestamp(seconds).expect("a time").to_datetime()
                };
                let text = |seconds| {
                    let date = moment(seconds);
                    format!("{}T{:02}:{:02}:{:02}Z", date.date(), date.hour(), date.minute(), date.second())
                };
                let window = json!({ "suggestedWindow": { "start": text(start), "end": text(start + 60) } });
                Some((200, Some("21600".into()), window.to_string()))
            }
            _ => None,
        }
    });
}

#[tokio::test]
async fn a_window_that_moves_moves_the_renewal_and_the_order_says_what_it_replaces() {
    let world = World::new();
    let (gateway, keeper, settings) = behind(&world);
    let _responder = Responder::http(world.authority.http_port, keeper.proofs());
    let moment = now();
    let late = moment + 400 * 24 * HOUR;
    with_wishes(&gateway, late);
    let issued = tend(&keeper, &settings, moment).await;
    let asked_again = issued.until();
    assert!(matches!(issued, Tended::Issued { .. }), "{issued:?}");
    // The library turns the wait into a moment by a clock of its own.
    assert!((moment + 5 * HOUR..=moment + 6 * HOUR).contains(&asked_again), "when it said: {asked_again}");
    assert_eq!(kept(&keeper, &settings).await.due_at(), late, "as the authority wishes");
    // It has changed its mind: it is asked again when it said, and the certificate is due at once.
    with_wishes(&gateway, moment + HOUR);
    gateway.take_seen();
    let before = tend(&keeper, &settings, asked_again - 1).await;
    assert!(matches!(before, Tended::Good { .. }), "{before:?}");
    assert_eq!(gateway.take_seen(), []);
    let renewed = tend(&keeper, &settings, asked_again).await;
    assert!(matches!(renewed, Tended::Issued { .. }), "{renewed:?}");
    let seen = gateway.take_seen();
    let asked = seen.iter().find_map(|(path, _)| path.strip_prefix("/wish/")).expect("it was asked");
    let replaces: Vec<&Value> =
        seen.iter().filter(|(path, _)| is_new_order(path)).map(|(_, order)| &order["replaces"]).collect();
    assert_eq!(
        replaces.first().and_then(|replaces| replaces.as_str()),
        Some(asked),
        "what is replaced is said"
    );
}

#[tokio::test]
async fn kinds_of_keys_and_profiles_are_as_they_are_wanted() {
    let world = World::new();
    let keeper = world.keeper();
    let _responder = Responder::http(world.authority.http_port, keeper.proofs());
    for (key, algorithm) in
        [(KeyType::EcP384, "1.2.840.10045.2.1"), (KeyType::Rsa2048, "1.2.840.113549.1.1.1")]
    {
        let settings =
            Settings { key, ..world.settings(Challenge::Http01, &["a.example", "b.example", "c.example"]) };
        assert!(matches!(tend(&keeper, &settings, now()).await, Tended::Issued { .. }), "{key:?}");
        let certificate = kept(&keeper, &settings).await;
        check(&certificate, &["a.example", "b.example", "c.example"]);
        let pem = x509_parser::pem::parse_x509_pem(certificate.chain.as_bytes()).expect("PEM").1;
        let read = pem.parse_x509().expect("a certificate");
        assert_eq!(read.public_key().algorithm.algorithm.to_id_string(), algorithm, "{key:?}");
    }
    assert_eq!(world.count("acme/certificate/"), 2, "each is a certificate of its own");
    let settings =
        Settings { profile: Some("none-such".into()), ..world.settings(Challenge::Http01, &["a.example"]) };
    let outcome = tend(&keeper, &settings, now()).await;
    assert!(failed(&outcome).2.contains("no profile \"none-such\""), "{outcome:?}");
}

#[tokio::test]
async fn an_account_is_bound_to_one_elsewhere_where_the_authority_wants_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = [7; 32];
    let world = World::with(folder, |folder| Authority::start_bound(folder, "kid-1", &key));
    let keeper = world.keeper();
    let _responder = Responder::http(world.authority.http_port, keeper.proofs());
    let without = world.settings(Challenge::Http01, &["a.example"]);
    let moment = now();
    let outcome = tend(&keeper, &without, moment).await;
    assert!(failed(&outcome).2.contains("eab-id"), "it says what to do: {outcome:?}");
    let external = |key: &[u8]| Some(External { id: "kid-1".into(), key: key.to_vec() });
    let wrong = Settings { external: external(&[8; 32]), ..without.clone() };
    let outcome = tend(&keeper, &wrong, moment + HOUR).await;
    failed(&outcome);
    let bound = Settings { external: external(&key), ..without };
    assert!(matches!(tend(&keeper, &bound, moment + 2 * HOUR).await, Tended::Issued { .. }));
}

#[tokio::test]
async fn a_replica_that_dies_in_mid_order_leaves_nothing_that_lasts() {
    let world = World::new();
    let (gateway, dying, settings) = behind(&world);
    let other = world.keeper_of(&gateway.directory);
    let _responder = Responder::http(world.authority.http_port, other.proofs());
    let moment = now();
    let mut reached = tokio::sync::mpsc::unbounded_channel();
    let sender = reached.0.clone();
    // The order hangs in its last step, until its replica is gone.
    let (hold, held) = std::sync::mpsc::channel::<()>();
    gateway.say(move |path, _| {
        if path.starts_with("/finalize-order/") {
            let _ = sender.send(());
            let _ = held.recv();
        }
        None
    });
    {
        let mut order = std::pin::pin!(dying.tend(&settings, moment, 0));
        tokio::select! {
            outcome = &mut order => panic!("{outcome:?}"),
            _ = reached.1.recv() => {}
        }
        // Dropped here, as by a kill: no destructor of ours has anything to do with the store.
    }
    drop(hold);
    gateway.be_quiet();
    assert_eq!(world.count("acme/http-01/"), 1, "it had shown something");
    let soon = tend(&other, &settings, moment + 1).await;
    assert!(matches!(soon, Tended::Elsewhere { until } if until <= moment + 6), "{soon:?}");
    let lease = selvedge_acme::LEASE.as_secs();
    let later = tend(&other, &settings, moment + lease + 1).await;
    assert!(matches!(later, Tended::Issued { .. }), "{later:?}");
    assert_eq!(world.count("acme/http-01/"), 0, "what the dead one showed is gone");
}
