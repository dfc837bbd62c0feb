//! Sign-in against a provider that is played here, key by key: each way in which it is attacked has a test of its own.

mod play;

use play::{CLIENT, ISSUER, NOW, Play};
use selvedge_guard::bearer;
use selvedge_guard::sign_in::{CallbackRefusal, Standing, TokensRefusal, UNDER_WAY_MAX};
use serde_json::{Value, json};

fn refused(play: &mut Play, claims: Value) -> TokensRefusal {
    let begun = play.begin("/orders");
    let claims = play.claims(&begun, claims);
    let token = play.token(&json!({"alg": "ES256", "kid": "k1"}), &claims);
    play.complete(&begun, &token).expect_err("no session comes of it")
}

#[test]
fn a_whole_sign_in_makes_a_session_and_leads_back() {
    let mut play = Play::new();
    let begun = play.begin("/orders?x=1");
    assert!(begun.location.starts_with("https://id.example/auth?response_type=code&client_id=shop&"));
    for part in ["code_challenge_method=S256", "scope=openid", "redirect_uri=https%3A%2F%2Fshop.example"] {
        assert!(begun.location.contains(part), "{part} in {}", begun.location);
    }
    assert!(begun.set_cookie.starts_with("__Host-selvedge-staff-wait-"), "{}", begun.set_cookie);
    assert!(begun.set_cookie.contains("; HttpOnly; SameSite=Lax; Secure"), "{}", begun.set_cookie);

    let claims = play.claims(&begun, json!({"groups": ["dev"]}));
    let token = play.token(&json!({"alg": "ES256", "kid": "k1"}), &claims);
    let session = play.complete(&begun, &token).expect("a session");
    assert_eq!(session.identity.subject, "ann");
    assert_eq!(session.identity.claim("groups"), Some(&json!(["dev"])));
    assert_eq!(session.identity.claim("nonce"), None, "what is of the protocol is not kept");
    assert_eq!(play.pending(&begun).return_to.as_str(), "/orders?x=1");

    let cookies = play.keep(&session);
    assert_eq!(play.standing(&cookies, NOW), Standing::Fresh(Box::new(session.clone())));
    assert_eq!(play.standing(&cookies, NOW + 300), Standing::Stale(Box::new(session.clone())));
    assert_eq!(play.standing(&cookies, session.ends_at), Standing::None);
}

#[test]
fn the_verifier_goes_to_the_token_endpoint_and_nowhere_else() {
    let mut play = Play::new();
    let begun = play.begin("/");
    let callback = play.callback(&begun, &begun.query("code=c")).expect("it is ours");
    let body = String::from_utf8(callback.call.body).expect("a form");
    let verifier =
        body.split('&').find_map(|field| field.strip_prefix("code_verifier=")).expect("a verifier");
    assert_eq!(verifier.len(), 43, "32 random bytes");
    assert!(!begun.location.contains(verifier) && !begun.set_cookie.contains(verifier));
    assert_eq!(callback.call.url, "https://id.example/token");
    assert!(
        callback
            .call
            .headers
            .iter()
            .any(|(name, value)| name == "authorization" && value.starts_with("Basic "))
    );
}

#[test]
fn a_token_without_signature_is_refused() {
    let mut play = Play::new();
    let begun = play.begin("/");
    let claims = play.claims(&begun, json!({}));
    for algorithm in ["none", "None", "NONE", "nOnE", ""] {
        let token = play.unsigned(&json!({"alg": algorithm}), &claims);
        let refused = play.complete(&begun, &token).expect_err("nobody signed it");
        assert!(matches!(refused, TokensRefusal::IdToken(_)), "{algorithm}: {refused}");
    }
    let token = play.token(&json!({"alg": "ES256"}), &claims);
    let bare = token.rsplit_once('.').map(|(signed, _)| format!("{signed}.")).expect("three parts");
    assert!(matches!(play.complete(&begun, &bare), Err(TokensRefusal::IdToken(_))));
}

#[test]
fn a_public_key_is_no_shared_secret() {
    let mut play = Play::new();
    let begun = play.begin("/");
    let claims = play.claims(&begun, json!({}));
    for algorithm in ["HS256", "HS384", "HS512"] {
        for secret in play.public_keys() {
            let token = play.with_secret(&json!({"alg": algorithm, "kid": "k1"}), &claims, &secret);
            let refused = play.complete(&begun, &token).expect_err("anybody could have made it");
            assert_eq!(refused, TokensRefusal::IdToken(bearer::Refusal::Symmetric), "{algorithm}");
        }
    }
    let secret = play.shared_secret();
    let token = play.with_secret(&json!({"alg": "HS256", "kid": "oct"}), &claims, &secret);
    assert!(play.complete(&begun, &token).is_err(), "not even with a secret that stands among the keys");
}

#[test]
fn the_name_of_a_key_is_only_compared() {
    let mut play = Play::new();
    let begun = play.begin("/");
    let claims = play.claims(&begun, json!({}));
    for kid in ["../../../../dev/null", "k1' OR '1'='1", "http://127.0.0.1/keys", "k1\u{0}", "K1", ""] {
        let token = play.token(&json!({"alg": "ES256", "kid": kid}), &claims);
        let refused = play.complete(&begun, &token).expect_err("no key has that name");
        assert!(matches!(refused, TokensRefusal::IdToken(bearer::Refusal::Token(_))), "{kid}: {refused}");
    }
    for header in
        [json!({"alg": "ES256", "kid": ["k1"]}), json!({"alg": "ES256", "kid": "k1", "crit": ["b64"]})]
    {
        let token = play.token(&header, &claims);
        assert!(play.complete(&begun, &token).is_err(), "{header}");
    }
    let stranger = Play::new();
    for header in [
        json!({"alg": "ES256", "jwk": stranger.jwk()}),
        json!({"alg": "ES256", "kid": "k1", "jku": "https://evil.example/keys", "jwk": stranger.jwk()}),
    ] {
        let token = stranger.token(&header, &claims);
        let refused = play.complete(&begun, &token).expect_err("a token does not bring its own key");
        assert!(matches!(refused, TokensRefusal::IdToken(bearer::Refusal::Token(_))), "{header}: {refused}");
    }
}

#[test]
fn a_token_for_another_audience_is_refused() {
    let mut play = Play::new();
    for audience in
        [json!("other"), json!([]), json!(["other"]), json!("Shop"), json!(["shop", "other"]), Value::Null]
    {
        let found = refused(&mut play, json!({"aud": audience}));
        assert!(matches!(found, TokensRefusal::Audience | TokensRefusal::IdToken(_)), "{audience}: {found}");
    }
    assert_eq!(refused(&mut play, json!({"azp": "other"})), TokensRefusal::Audience);
    assert_eq!(
        refused(&mut play, json!({"aud": [CLIENT, "other"], "azp": "other"})),
        TokensRefusal::Audience
    );
}

#[test]
fn a_token_of_another_issuer_is_refused() {
    let mut play = Play::new();
    for issuer in
        ["https://id.example/", "https://ID.example", "http://id.example", "https://evil.example", ""]
    {
        assert_eq!(refused(&mut play, json!({"iss": issuer})), TokensRefusal::Issuer, "{issuer}");
    }
}

#[test]
fn a_token_of_another_sign_in_is_refused() {
    let mut play = Play::new();
    let other = play.begin("/");
    for nonce in [json!("x"), json!(""), Value::Null, json!(play.pending(&other).nonce)] {
        assert_eq!(refused(&mut play, json!({"nonce": nonce})), TokensRefusal::Nonce, "{nonce}");
    }
}

#[test]
fn a_token_out_of_its_time_is_refused() {
    let mut play = Play::new();
    for claims in [
        json!({"exp": NOW - 61}),
        json!({"exp": null}),
        json!({"exp": "never"}),
        json!({"nbf": NOW + 61}),
        json!({"iat": NOW + 61}),
        json!({"sub": ""}),
    ] {
        let found = refused(&mut play, claims.clone());
        assert!(matches!(found, TokensRefusal::IdToken(_)), "{claims}: {found}");
    }
    assert_eq!(refused(&mut play, json!({"sub": "s".repeat(256)})), TokensRefusal::Subject);
    assert_eq!(refused(&mut play, json!({"at_hash": "AAAA"})), TokensRefusal::AccessToken);
}

#[test]
fn a_callback_without_state_is_refused() {
    let mut play = Play::new();
    let begun = play.begin("/");
    for (query, refusal) in [
        ("code=c", CallbackRefusal::StateMissing),
        ("code=c&state=", CallbackRefusal::StateMissing),
        ("code=c&state=forged", CallbackRefusal::StateUnknown),
        ("", CallbackRefusal::StateMissing),
    ] {
        assert_eq!(play.callback(&begun, query).err(), Some(refusal), "{query}");
    }
    let twice = begun.query("code=c&state=other");
    assert_eq!(play.callback(&begun, &twice).err(), Some(CallbackRefusal::Query));
    assert_eq!(play.callback(&begun, &begun.query("")).err(), Some(CallbackRefusal::CodeMissing));
}

#[test]
fn a_state_of_another_browser_is_refused() {
    let mut play = Play::new();
    let (attackers, victims) = (play.begin("/"), play.begin("/"));
    let query = attackers.query("code=of-the-attacker");
    let found = play.callback_with(&victims.cookie(), &query, NOW).err();
    assert_eq!(found, Some(CallbackRefusal::StateUnknown), "nobody is signed in as somebody else");
    assert_eq!(play.callback_with("", &query, NOW).err(), Some(CallbackRefusal::StateUnknown));
    let renamed = format!("{}={}", attackers.cookie_name(), victims.cookie_value());
    assert_eq!(play.callback_with(&renamed, &query, NOW).err(), Some(CallbackRefusal::StateUnknown));
    let late = play.callback_with(&attackers.cookie(), &query, NOW + 601).err();
    assert_eq!(late, Some(CallbackRefusal::StateUnknown));
}

#[test]
fn a_code_is_taken_once() {
    let mut play = Play::new();
    let begun = play.begin("/");
    assert!(play.callback(&begun, &begun.query("code=c")).is_ok());
    assert_eq!(play.callback(&begun, &begun.query("code=c")).err(), Some(CallbackRefusal::Replayed));
    assert_eq!(play.callback(&begun, &begun.query("code=d")).err(), Some(CallbackRefusal::Replayed));
}

#[test]
fn a_callback_of_another_provider_is_refused() {
    let mut play = Play::new();
    let begun = play.begin("/");
    let query = begun.query("code=c&iss=https%3A%2F%2Fevil.example");
    assert_eq!(play.callback(&begun, &query).err(), Some(CallbackRefusal::MixUp));
    play.provider.names_itself = true;
    assert_eq!(play.callback(&begun, &begun.query("code=c")).err(), Some(CallbackRefusal::MixUp));
    let query = begun.query(&format!("code=c&iss={}", ISSUER.replace(':', "%3A").replace('/', "%2F")));
    assert!(play.callback(&begun, &query).is_ok());
}

#[test]
fn a_return_leads_to_no_other_site() {
    let mut play = Play::new();
    for target in ["//evil.example/", "/\\evil.example", "https://evil.example", "/\t/evil.example"] {
        let begun = play.begin(target);
        assert_eq!(play.pending(&begun).return_to.as_str(), "/", "{target:?}");
    }
    assert_eq!(play.logout_location(Some("cross-site")), None, "another site signs nobody out");
}

/// A page that reloads itself, or many windows, would bring so many cookies that no server takes the requests any more.
#[test]
fn a_browser_has_a_few_sign_ins_under_way_and_the_oldest_make_room() {
    let mut play = Play::new();
    let begun: Vec<_> = (0..UNDER_WAY_MAX as u64 + 2).map(|age| play.begin_at("/", NOW - age)).collect();
    let jar = |count: usize| begun[..count].iter().map(|one| one.cookie()).collect::<Vec<_>>().join("; ");
    assert_eq!(play.make_room(&jar(UNDER_WAY_MAX - 1), NOW), [""; 0], "there is room for one more");
    assert_eq!(
        play.make_room(&jar(UNDER_WAY_MAX), NOW),
        [begun[UNDER_WAY_MAX - 1].cookie_name()],
        "the oldest"
    );
    assert_eq!(play.make_room(&jar(UNDER_WAY_MAX + 2), NOW).len(), 3);
    let strange =
        format!("{}; __Host-selvedge-staff-wait-x=y; selvedge-staff=z; other=1", jar(UNDER_WAY_MAX - 1));
    assert_eq!(
        play.make_room(&strange, NOW),
        ["__Host-selvedge-staff-wait-x"],
        "what is none of ours goes first"
    );
}

#[test]
fn a_changed_cookie_is_no_cookie() {
    let mut play = Play::new();
    let begun = play.begin("/");
    let claims = play.claims(&begun, json!({}));
    let token = play.token(&json!({"alg": "ES256", "kid": "k1"}), &claims);
    let session = play.complete(&begun, &token).expect("a session");
    let cookie = play.keep(&session);
    let (name, value) = cookie.split_once('=').expect("a pair");
    for index in 0..value.len() {
        let mut changed = value.as_bytes().to_vec();
        changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).expect("ASCII");
        if changed != value {
            assert_eq!(play.standing(&format!("{name}={changed}"), NOW), Standing::None, "{index}");
        }
    }
    let waits = begun.cookie_value();
    assert_eq!(play.standing(&format!("{name}={waits}"), NOW), Standing::None, "one purpose is not another");
    let other = Play::named("others");
    assert_eq!(
        other.standing(&cookie.replace("staff", "others"), NOW),
        Standing::None,
        "nor one provider another"
    );
    assert_eq!(play.standing(&format!("{cookie}; {cookie}"), NOW), Standing::None, "two are none");
    assert_eq!(play.standing_over_http(&cookie, NOW), Standing::None, "the name belongs to TLS");
}

#[test]
fn a_refreshed_session_stays_the_same_persons_and_ends_in_time() {
    let mut play = Play::new();
    let begun = play.begin("/");
    let claims = play.claims(&begun, json!({}));
    let token = play.token(&json!({"alg": "ES256", "kid": "k1"}), &claims);
    let session = play.complete(&begun, &token).expect("a session");
    let later = NOW + 3_600;
    let renewed = |claims: Value| {
        let mut claims = play.claims(&begun, claims);
        claims["exp"] = json!(later + 300);
        play.token(&json!({"alg": "ES256", "kid": "k1"}), &claims)
    };
    let same = play.refreshed(&session, &renewed(json!({})), later).expect("a session");
    assert_eq!(same.ends_at, session.ends_at, "no refresh prolongs it");
    assert_eq!(same.refresh_token.as_deref(), Some("refresh-2"));
    let other = play.refreshed(&session, &renewed(json!({"sub": "eve"})), later);
    assert_eq!(other.err(), Some(TokensRefusal::OtherSubject));
    assert!(matches!(play.refresh_refused(&session, later), TokensRefusal::Provider { status: 400, .. }));
}

#[test]
fn a_bearer_is_believed_for_this_service_alone() {
    let mut play = Play::new();
    let begun = play.begin("/");
    let accept = bearer::Accept { issuer: ISSUER.into(), audiences: vec![CLIENT.into(), "api".into()] };
    let check = |play: &Play, changes: Value| {
        let claims = play.claims(&begun, changes);
        accept.check(&play.token(&json!({"alg": "ES256", "kid": "k1"}), &claims), play.keys(), NOW)
    };
    let identity = check(&play, json!({"aud": ["other", "api"], "scope": "read"})).expect("it is believed");
    assert_eq!((identity.subject.as_str(), identity.claim("scope")), ("ann", Some(&json!("read"))));
    assert_eq!(check(&play, json!({"aud": "other"})), Err(bearer::Refusal::Audience));
    assert_eq!(check(&play, json!({"aud": null})), Err(bearer::Refusal::Audience));
    assert_eq!(check(&play, json!({"iss": "https://id.example/"})), Err(bearer::Refusal::Issuer));
    assert_eq!(check(&play, json!({"exp": null})), Err(bearer::Refusal::Incomplete));
    assert_eq!(check(&play, json!({"sub": null})), Err(bearer::Refusal::Incomplete));
    assert_eq!(check(&play, json!({"iat": NOW + 3_600})), Err(bearer::Refusal::FromTheFuture));
    assert!(matches!(check(&play, json!({"exp": NOW - 61})), Err(bearer::Refusal::Token(_))));
    let claims = play.claims(&begun, json!({}));
    let secret = play.shared_secret();
    let shared = play.with_secret(&json!({"alg": "HS256", "kid": "oct"}), &claims, &secret);
    assert_eq!(accept.check(&shared, play.keys(), NOW), Err(bearer::Refusal::Symmetric));
    let unsigned = play.unsigned(&json!({"alg": "none"}), &claims);
    assert!(matches!(accept.check(&unsigned, play.keys(), NOW), Err(bearer::Refusal::Token(_))));
    let stranger = Play::new();
    assert!(
        matches!(
            check(&stranger, json!({})).and_then(|_| {
                let claims = play.claims(&begun, json!({}));
                accept.check(
                    &stranger.token(&json!({"alg": "ES256", "kid": "k1"}), &claims),
                    play.keys(),
                    NOW,
                )
            }),
            Err(bearer::Refusal::Token(_))
        ),
        "signed by somebody else"
    );
}

#[test]
fn what_a_provider_says_in_refusing_is_not_repeated_as_it_came() {
    let mut play = Play::new();
    let begun = play.begin("/");
    let query = begun.query("error=access_denied%3Cscript%3E&error_description=x");
    let found = play.callback(&begun, &query).err();
    assert_eq!(found, Some(CallbackRefusal::Provider("access_deniedscript".into())));
}

#[test]
fn whoever_leaves_is_sent_to_the_provider_with_a_way_back() {
    let play = Play::new();
    let location = play.logout_location(Some("same-origin")).expect("they leave");
    assert!(location.starts_with("https://id.example/end?client_id=shop&"), "{location}");
    assert!(location.contains("post_logout_redirect_uri=https%3A%2F%2Fshop.example%2F"), "{location}");
}
