//! A provider and a browser, played: what they hold, and what they send.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use selvedge_guard::call::Answer;
use selvedge_guard::seal::Ring;
use selvedge_guard::sign_in::{
    Browser, Callback, CallbackRefusal, Entropy, Pending, Provider, Session, Settings, Standing,
    TokensRefusal, Used,
};
use selvedge_jwt::KeySet;
use serde_json::{Value, json};

pub(crate) const ISSUER: &str = "https://id.example";
pub(crate) const CLIENT: &str = "shop";
pub(crate) const ORIGIN: &str = "https://shop.example";
pub(crate) const NOW: u64 = 1_800_000_000;

pub(crate) struct Play {
    pub(crate) provider: Provider,
    settings: Settings,
    ring: Ring,
    used: Used,
    pair: EcdsaKeyPair,
    keys: KeySet,
    drawn: u8,
}

/// What a browser was told at the beginning.
pub(crate) struct Begun {
    pub(crate) location: String,
    pub(crate) set_cookie: String,
}

impl Begun {
    pub(crate) fn cookie(&self) -> String {
        self.set_cookie.split(';').next().expect("a pair").to_owned()
    }

    pub(crate) fn cookie_name(&self) -> String {
        self.cookie().split_once('=').expect("a pair").0.to_owned()
    }

    pub(crate) fn cookie_value(&self) -> String {
        self.cookie().split_once('=').expect("a pair").1.to_owned()
    }

    /// A callback's query with this state.
    pub(crate) fn query(&self, rest: &str) -> String {
        let state = self.location.split('&').find_map(|field| field.strip_prefix("state=")).expect("a state");
        format!("state={state}&{rest}")
    }
}

impl Play {
    pub(crate) fn new() -> Self {
        Self::named("staff")
    }

    pub(crate) fn named(name: &str) -> Self {
        let metadata = json!({
            "issuer": ISSUER,
            "authorization_endpoint": "https://id.example/auth",
            "token_endpoint": "https://id.example/token",
            "jwks_uri": "https://id.example/keys",
            "end_session_endpoint": "https://id.example/end",
        });
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let mut settings = Settings::new(name, ISSUER, CLIENT);
        settings.client_secret = Some("secret".into());
        let mut play = Self {
            provider: Provider::parse(metadata.to_string().as_bytes(), ISSUER).expect("a provider"),
            settings,
            ring: Ring::new(&["k".repeat(32)]).expect("a ring"),
            used: Used::default(),
            keys: KeySet::parse(r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#).expect("keys"),
            pair,
            drawn: 0,
        };
        let mut own = play.jwk();
        own["kid"] = json!("k1");
        let secret = json!({"kty": "oct", "kid": "oct", "k": B64.encode(play.shared_secret())});
        play.keys = KeySet::parse(&json!({"keys": [own, secret]}).to_string()).expect("keys");
        play
    }

    pub(crate) fn jwk(&self) -> Value {
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        json!({"kty": "EC", "crv": "P-256", "x": B64.encode(x), "y": B64.encode(y)})
    }

    /// The public key in every form in which somebody might take it for a secret.
    pub(crate) fn public_keys(&self) -> Vec<Vec<u8>> {
        let point = self.pair.public_key().as_ref().to_vec();
        vec![point[1..].to_vec(), point, self.jwk().to_string().into_bytes()]
    }

    pub(crate) fn keys(&self) -> &KeySet {
        &self.keys
    }

    pub(crate) fn shared_secret(&self) -> Vec<u8> {
        vec![7; 32]
    }

    pub(crate) fn begin(&mut self, target: &str) -> Begun {
        self.begin_at(target, NOW)
    }

    pub(crate) fn begin_at(&mut self, target: &str, now: u64) -> Begun {
        self.drawn += 1;
        let n = self.drawn;
        let entropy =
            Entropy { state: [n; 16], nonce: [n ^ 0x80; 16], verifier: [n ^ 0x40; 32], salt: [n; 12] };
        let begun = self.settings.begin(&self.provider, &self.ring, ORIGIN, target, entropy, now);
        Begun { location: begun.location, set_cookie: begun.set_cookie }
    }

    /// The cookies that are taken away so that there is room for one more sign-in, by their names.
    pub(crate) fn make_room(&self, cookies: &str, now: u64) -> Vec<String> {
        let lines = self.settings.make_room(&self.ring, browser(&[cookies.as_bytes()], true), now);
        let name = |line: String| {
            assert!(line.contains("=; Path=/; Max-Age=0"), "{line}");
            line.split('=').next().expect("a name").to_owned()
        };
        lines.into_iter().map(name).collect()
    }

    pub(crate) fn pending(&mut self, begun: &Begun) -> Pending {
        let mut used = Used::default();
        std::mem::swap(&mut used, &mut self.used);
        let iss = if self.provider.names_itself { "&iss=https%3A%2F%2Fid.example" } else { "" };
        let pending =
            self.callback(begun, &begun.query(&format!("code=c{iss}"))).expect("it is ours").pending;
        self.used = used;
        pending
    }

    pub(crate) fn callback(&mut self, begun: &Begun, query: &str) -> Result<Callback, CallbackRefusal> {
        self.callback_with(&begun.cookie(), query, NOW)
    }

    pub(crate) fn callback_with(
        &mut self,
        cookies: &str,
        query: &str,
        now: u64,
    ) -> Result<Callback, CallbackRefusal> {
        self.settings.callback(
            &self.provider,
            &self.ring,
            &mut self.used,
            query,
            browser(&[cookies.as_bytes()], true),
            now,
        )
    }

    /// The claims of a token for a sign-in, with some of them changed; `null` takes one away.
    pub(crate) fn claims(&self, begun: &Begun, changes: Value) -> Value {
        let nonce =
            begun.location.split('&').find_map(|field| field.strip_prefix("nonce=")).expect("a nonce");
        let mut claims = json!({
            "iss": ISSUER, "sub": "ann", "aud": CLIENT, "exp": NOW + 3_600, "iat": NOW, "nonce": nonce,
        });
        if let (Value::Object(claims), Value::Object(changes)) = (&mut claims, changes) {
            for (name, value) in changes {
                if value.is_null() {
                    claims.remove(&name);
                } else {
                    claims.insert(name, value);
                }
            }
        }
        claims
    }

    pub(crate) fn unsigned(&self, header: &Value, claims: &Value) -> String {
        format!("{}.{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()), B64.encode("x"))
    }

    pub(crate) fn token(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", B64.encode(signature))
    }

    pub(crate) fn with_secret(&self, header: &Value, claims: &Value, secret: &[u8]) -> String {
        let digest = match header["alg"].as_str() {
            Some("HS384") => hmac::HMAC_SHA384,
            Some("HS512") => hmac::HMAC_SHA512,
            _ => hmac::HMAC_SHA256,
        };
        let signed = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
        let tag = hmac::sign(&hmac::Key::new(digest, secret), signed.as_bytes());
        format!("{signed}.{}", B64.encode(tag))
    }

    pub(crate) fn complete(&mut self, begun: &Begun, id_token: &str) -> Result<Session, TokensRefusal> {
        let pending = self.pending(begun);
        let body = json!({
            "id_token": id_token, "access_token": "access", "refresh_token": "refresh-1", "expires_in": 300,
        });
        self.settings.complete(&self.provider, &self.keys, &pending, &answer(200, &body), NOW)
    }

    pub(crate) fn refreshed(
        &self,
        old: &Session,
        id_token: &str,
        now: u64,
    ) -> Result<Session, TokensRefusal> {
        assert!(self.settings.refresh(&self.provider, old).is_some());
        let body = json!({"id_token": id_token, "refresh_token": "refresh-2", "expires_in": 300});
        self.settings.refreshed(&self.provider, &self.keys, old, &answer(200, &body), now)
    }

    pub(crate) fn refresh_refused(&self, old: &Session, now: u64) -> TokensRefusal {
        let body = json!({"error": "invalid_grant"});
        let refused = self.settings.refreshed(&self.provider, &self.keys, old, &answer(400, &body), now);
        refused.expect_err("the provider said no")
    }

    /// The session's cookie, as a browser sends it.
    pub(crate) fn keep(&self, session: &Session) -> String {
        let lines = self.settings.keep(&self.ring, session, true, [3; 12], NOW).expect("it fits");
        lines[0].split(';').next().expect("a pair").to_owned()
    }

    pub(crate) fn standing(&self, cookies: &str, now: u64) -> Standing {
        self.settings.standing(&self.ring, browser(&[cookies.as_bytes()], true), now)
    }

    pub(crate) fn standing_over_http(&self, cookies: &str, now: u64) -> Standing {
        self.settings.standing(&self.ring, browser(&[cookies.as_bytes()], false), now)
    }

    pub(crate) fn logout_location(&self, fetch_site: Option<&str>) -> Option<String> {
        let mut claims = serde_json::Map::new();
        claims.insert("a".into(), json!(1));
        let identity = selvedge_guard::Identity {
            subject: "ann".into(),
            issuer: ISSUER.into(),
            by: selvedge_guard::identity::Means::SignIn,
            claims,
        };
        let session = Session { identity, refresh_token: None, hint: None, fresh_until: NOW, ends_at: NOW };
        let fetch_site = fetch_site.map(str::as_bytes);
        Some(self.settings.logout(Some(&self.provider), Some(&session), ORIGIN, fetch_site)?.location)
    }
}

fn answer(status: u16, body: &Value) -> Answer {
    Answer { status, headers: Vec::new(), body: body.to_string().into_bytes() }
}

fn browser<'a>(cookies: &'a [&'a [u8]], secure: bool) -> Browser<'a> {
    Browser { cookies, secure }
}
