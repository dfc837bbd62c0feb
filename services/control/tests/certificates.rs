//! AWS Certificate Manager's words over a store, called without a socket: what is issued, kept, renewed and given out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::Request;
use selvedge_control::api::{Api, Channel, Hosts, Readiness, Surroundings};
use selvedge_control::certificates::{Certificates, REVOKED_MAX, forget, renew, renew_lists};
use selvedge_control::operations::Settings;
use selvedge_identity::{Certificate, Key, pem};
use selvedge_model::Timestamp;
use selvedge_store::memory::Memory;
use selvedge_store::{Store, Vault};
use serde_json::{Value, json};

const DAY: u64 = 24 * 60 * 60 * 1000;

/// Time moves when a test says so; identifiers count up.
#[derive(Default)]
struct Still {
    millis: AtomicU64,
    uuids: AtomicU64,
}

impl Surroundings for Still {
    fn now(&self) -> Timestamp {
        Timestamp(1_700_000_000_000 + self.millis.load(Ordering::Relaxed))
    }

    fn uuid(&self) -> String {
        format!("00000000-0000-4000-8000-{:012}", self.uuids.fetch_add(1, Ordering::Relaxed))
    }
}

struct World {
    api: Api,
    store: Arc<Memory>,
    time: Arc<Still>,
    office: Arc<Certificates>,
}

impl World {
    fn new(vault: Vault) -> Self {
        let (store, time) = (Arc::new(Memory::new()), Arc::new(Still::default()));
        let shared: Arc<dyn Store> = store.clone();
        let life = Duration::from_secs(90 * 24 * 60 * 60);
        let office = Certificates::new(shared.clone(), Settings::default(), time.clone(), vault, life);
        let api = Api::new(shared, Settings::default(), time.clone(), Readiness::default(), Hosts::default())
            .with_service(office.acm())
            .with_service(office.pca());
        Self { api, store, time, office }
    }

    fn send(&self, target: &str, body: &Value, channel: Channel) -> (u16, Value) {
        let mut request = Request::builder().method("POST").uri("/").header("host", "localhost");
        request = request.header("x-amz-target", target).header("content-type", "application/x-amz-json-1.1");
        let mut request = request.body(Bytes::from(body.to_string())).expect("a request");
        request.extensions_mut().insert(channel);
        let answer = self.api.handle(&request);
        (answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap_or(Value::Null))
    }

    fn ok(&self, operation: &str, body: Value) -> Value {
        let target = format!("CertificateManager.{operation}");
        let (status, answer) = self.send(&target, &body, Channel::Private);
        assert_eq!(status, 200, "{operation} {body}: {answer}");
        answer
    }

    fn refused(&self, operation: &str, body: Value) -> (String, String) {
        let target = format!("CertificateManager.{operation}");
        let (status, answer) = self.send(&target, &body, Channel::Private);
        assert_eq!(status, 400, "{operation}: {answer}");
        let text = |member: &str| answer[member].as_str().unwrap_or_default().to_owned();
        (text("__type"), text("message"))
    }

    /// A call of AWS Private CA: its answer, or its error's code and message.
    fn pca(&self, operation: &str, body: Value) -> Result<Value, (String, String)> {
        let (status, answer) = self.send(&format!("ACMPrivateCA.{operation}"), &body, Channel::Private);
        let text = |member: &str| answer[member].as_str().unwrap_or_default().to_owned();
        if status == 200 { Ok(answer) } else { Err((text("__type"), text("message"))) }
    }

    fn authority(&self) -> String {
        let configuration = json!({ "KeyAlgorithm": "EC_prime256v1", "SigningAlgorithm": "SHA256WITHECDSA",
            "Subject": { "CommonName": "a root" } });
        let asked =
            json!({ "CertificateAuthorityType": "ROOT", "CertificateAuthorityConfiguration": configuration });
        let made = self.pca("CreateCertificateAuthority", asked).expect("made");
        made["CertificateAuthorityArn"].as_str().expect("an ARN").to_owned()
    }

    fn requested_of(&self, authority: &str) -> String {
        let asked = json!({ "DomainName": "web.shop.local", "KeyAlgorithm": "EC_prime256v1", "CertificateAuthorityArn": authority });
        self.ok("RequestCertificate", asked)["CertificateArn"].as_str().expect("an ARN").to_owned()
    }

    fn serial(&self, arn: &str) -> String {
        let shown = self.ok("DescribeCertificate", json!({ "CertificateArn": arn }));
        shown["Certificate"]["Serial"].as_str().expect("a number").to_owned()
    }

    fn revoke(&self, authority: &str, serial: &str) -> Result<Value, (String, String)> {
        let asked = json!({ "CertificateAuthorityArn": authority, "CertificateSerial": serial,
            "RevocationReason": "KEY_COMPROMISE" });
        self.pca("RevokeCertificate", asked)
    }

    /// The document of what the only authority took back.
    fn revocations(&self) -> Value {
        let view = self.store.snapshot().expect("a view");
        let [document] = &*view.scan("acm-pca/revocations/", None, 2).expect("a page") else {
            panic!("one list")
        };
        serde_json::from_slice(&document.value).expect("JSON")
    }

    fn documents(&self, prefix: &str) -> usize {
        self.store.snapshot().expect("a view").scan(prefix, None, 100).expect("a page").len()
    }

    fn request(&self, domain: &str) -> String {
        let asked = json!({ "DomainName": domain, "KeyAlgorithm": "EC_prime256v1" });
        self.ok("RequestCertificate", asked)["CertificateArn"].as_str().expect("an ARN").to_owned()
    }

    fn facts(&self, arn: &str) -> Certificate {
        let shown = self.ok("GetCertificate", json!({ "CertificateArn": arn }));
        let text = shown["Certificate"].as_str().expect("PEM");
        Certificate::read(&pem::section("CERTIFICATE", text).expect("PEM")).expect("a certificate")
    }

    fn pass(&self, millis: u64) -> u64 {
        self.time.millis.fetch_add(millis, Ordering::Relaxed);
        self.time.now().0
    }
}

fn vault() -> Vault {
    Vault::new(&[9; 32]).expect("a key")
}

#[test]
fn what_is_requested_is_issued_at_once_and_its_key_leaves_behind_the_passphrase() {
    let world = World::new(vault());
    let arn = world.request("web.shop.local");
    let facts = world.facts(&arn);
    assert_eq!(facts.names.dns, ["web.shop.local"]);
    let asked = json!({ "CertificateArn": arn, "Passphrase": BASE64_STANDARD.encode("four words of it") });
    let exported = world.ok("ExportCertificate", asked.clone());
    let text = exported["PrivateKey"].as_str().expect("PEM");
    let key = Key::of_encrypted(text, b"four words of it").expect("the key");
    assert!(key.fits(&facts.der));
    let chain = exported["CertificateChain"].as_str().expect("PEM");
    let root = Certificate::read(&pem::section("CERTIFICATE", chain).expect("PEM")).expect("a certificate");
    assert_eq!(root.subject, facts.issuer);
    let (status, answer) = world.send("CertificateManager.ExportCertificate", &asked, Channel::Open);
    assert_eq!(status, 400);
    assert!(answer["message"].as_str().is_some_and(|text| text.contains("loopback")), "{answer}");
}

#[test]
fn a_private_key_is_in_no_byte_of_the_store_and_in_no_answer() {
    let world = World::new(vault());
    let arn = world.request("web.shop.local");
    let asked = json!({ "CertificateArn": arn, "Passphrase": BASE64_STANDARD.encode("four words of it") });
    let exported = world.ok("ExportCertificate", asked);
    let key = Key::of_encrypted(exported["PrivateKey"].as_str().expect("PEM"), b"four words of it");
    let key = key.expect("the key");
    // The number that is the secret: the octet string of RFC 5915 in PKCS#8.
    let secret = key.pkcs8().windows(2).position(|pair| pair == [0x04, 0x20]).expect("a secret");
    let secret = &key.pkcs8()[secret + 2..secret + 34];
    let forms = [secret.to_vec(), BASE64_STANDARD.encode(key.pkcs8()).into_bytes()];
    let mut seen = 0;
    for document in world.store.snapshot().expect("a view").scan_all("").expect("all") {
        seen += 1;
        for form in &forms {
            let holds = document.value.windows(form.len()).any(|window| window == form);
            assert!(!holds, "{} holds the key", document.key);
        }
    }
    assert!(seen >= 3, "{seen} documents were looked at");
    let shown = world.ok("DescribeCertificate", json!({ "CertificateArn": arn })).to_string();
    assert!(!shown.contains("PRIVATE") || !shown.contains("BEGIN"), "{shown}");
    let other = World::new(Vault::default());
    let (status, answer) = other.send(
        "CertificateManager.RequestCertificate",
        &json!({ "DomainName": "web.shop.local", "KeyAlgorithm": "EC_prime256v1" }),
        Channel::Private,
    );
    assert_eq!(status, 500, "{answer}");
    assert!(answer["message"].as_str().is_some_and(|text| text.contains("--secrets-key-file")), "{answer}");
}

#[test]
fn certificates_are_renewed_at_two_thirds_of_their_life_with_a_new_key_and_the_same_arn() {
    let world = World::new(vault());
    let (one, other) = (world.request("one.shop.local"), world.request("other.shop.local"));
    let before = world.facts(&one);
    let now = world.pass(53 * DAY);
    assert_eq!(renew(&world.office, now).expect("looked at"), 0, "before six tenths of ninety days");
    let now = world.pass(8 * DAY);
    assert_eq!(renew(&world.office, now).expect("looked at"), 2, "after two thirds");
    assert_eq!(renew(&world.office, now).expect("looked at"), 0, "once");
    let after = world.facts(&one);
    assert_ne!(before.der, after.der);
    assert_eq!((&after.names, &after.issuer), (&before.names, &before.issuer));
    assert!(after.not_before > before.not_before + 60 * 86_400);
    let described = world.ok("DescribeCertificate", json!({ "CertificateArn": other }));
    assert_eq!(described["Certificate"]["RenewalSummary"]["RenewalStatus"], "SUCCESS");
    let by_hand = world.facts(&other);
    world.ok("RenewCertificate", json!({ "CertificateArn": other }));
    assert_ne!(world.facts(&other).der, by_hand.der, "renewed because somebody said so");
}

#[test]
fn a_request_with_the_same_token_is_answered_with_the_same_certificate_for_an_hour() {
    let world = World::new(vault());
    let asked =
        json!({ "DomainName": "web.shop.local", "KeyAlgorithm": "EC_prime256v1", "IdempotencyToken": "t1" });
    let first = world.ok("RequestCertificate", asked.clone());
    assert_eq!(world.ok("RequestCertificate", asked.clone()), first);
    world.pass(2 * 60 * 60 * 1000);
    assert_ne!(world.ok("RequestCertificate", asked), first);
}

#[test]
fn bad_input_is_refused_by_name_and_changes_nothing() {
    let world = World::new(vault());
    let arn = world.request("web.shop.local");
    let revision = world.store.snapshot().expect("a view").revision();
    let stranger = "arn:aws:acm:us-east-1:123456789012:certificate/none";
    for (operation, body, code, told) in [
        ("RequestCertificate", json!({ "DomainName": "nolabel" }), "ValidationException", "DomainName"),
        (
            "RequestCertificate",
            json!({ "DomainName": "a.io", "KeyAlgorithm": "RSA_1024" }),
            "InvalidParameterException",
            "RSA_1024",
        ),
        (
            "RequestCertificate",
            json!({ "DomainName": "a.io", "ManagedBy": "CLOUDFRONT" }),
            "InvalidParameterException",
            "ManagedBy",
        ),
        (
            "RequestCertificate",
            json!({ "DomainName": "a.io", "KeyAlgorithm": "EC_prime256v1",
                    "CertificateAuthorityArn": "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/none" }),
            "InvalidParameterException",
            "no authority",
        ),
        (
            "RequestCertificate",
            json!({ "DomainName": "a.io", "Tags": [{ "Key": "aws:x" }] }),
            "InvalidTagException",
            "Tags[0].Key",
        ),
        ("DescribeCertificate", json!({ "CertificateArn": stranger }), "ResourceNotFoundException", "none"),
        ("DeleteCertificate", json!({ "CertificateArn": stranger }), "ResourceNotFoundException", "none"),
        (
            "ExportCertificate",
            json!({ "CertificateArn": arn, "Passphrase": "YWI=" }),
            "ValidationException",
            "Passphrase",
        ),
        (
            "PutAccountConfiguration",
            json!({ "IdempotencyToken": "a" }),
            "ValidationException",
            "ExpiryEvents",
        ),
        ("ListCertificates", json!({ "NextToken": "x" }), "InvalidArgsException", "NextToken"),
    ] {
        let (found, message) = world.refused(operation, body.clone());
        assert_eq!(found, code, "{operation} {body}: {message}");
        assert!(message.contains(told), "{operation} {body}: {message}");
    }
    assert_eq!(world.store.snapshot().expect("a view").revision(), revision, "nothing was changed");
}

#[test]
fn an_imported_certificate_has_to_fit_its_key_and_its_chain() {
    let world = World::new(vault());
    let arn = world.request("web.shop.local");
    let asked = json!({ "CertificateArn": arn, "Passphrase": BASE64_STANDARD.encode("passphrase") });
    let exported = world.ok("ExportCertificate", asked);
    let key =
        Key::of_encrypted(exported["PrivateKey"].as_str().expect("PEM"), b"passphrase").expect("the key");
    let other = Key::of_encrypted(
        world.ok(
            "ExportCertificate",
            json!({ "CertificateArn": world.request("x.shop.local"), "Passphrase": BASE64_STANDARD.encode("pass") }),
        )["PrivateKey"]
            .as_str()
            .expect("PEM"),
        b"pass",
    )
    .expect("the key");
    let elsewhere = World::new(vault());
    let strangers = elsewhere.request("web.shop.local");
    let stranger = elsewhere.ok("GetCertificate", json!({ "CertificateArn": strangers }));
    let stranger = stranger["CertificateChain"].as_str().expect("PEM").to_owned();
    let blob = |text: &str| BASE64_STANDARD.encode(text);
    let (leaf, chain) =
        (exported["Certificate"].as_str().expect("PEM"), exported["CertificateChain"].as_str().expect("PEM"));
    let good =
        json!({ "Certificate": blob(leaf), "PrivateKey": blob(&key.pem()), "CertificateChain": blob(chain) });
    let with = |member: &str, value: Value| {
        let mut changed = good.clone();
        changed[member] = value;
        changed
    };
    for (body, told) in [
        (with("PrivateKey", blob(&other.pem()).into()), "not the key"),
        (with("PrivateKey", blob("nothing").into()), "PrivateKey"),
        (with("Certificate", blob(chain).into()), "not the key"),
        (with("Certificate", blob(&leaf.repeat(2)).into()), "CertificateChain"),
        (with("CertificateChain", blob(leaf).into()), "may not sign others"),
        (with("CertificateChain", blob(&stranger).into()), "does not lead"),
        (with("CertificateChain", blob("nothing").into()), "CertificateChain"),
        (with("CertificateChain", blob(&chain.repeat(11)).into()), "at most 10"),
        (with("CertificateArn", arn.into()), "issued here"),
    ] {
        let (code, message) = world.refused("ImportCertificate", body);
        assert_eq!(code, "ValidationException", "{message}");
        assert!(message.contains(told), "{message}");
    }
    let imported = world.ok("ImportCertificate", good.clone())["CertificateArn"].clone();
    let again = world.ok("ImportCertificate", with("CertificateArn", imported.clone()));
    assert_eq!(again["CertificateArn"], imported, "in its place");
    let described = world.ok("DescribeCertificate", json!({ "CertificateArn": imported }));
    assert_eq!(described["Certificate"]["Type"], "IMPORTED");
    assert_eq!(described["Certificate"]["DomainName"], "web.shop.local");
    let now = world.pass(89 * DAY);
    renew(&world.office, now).expect("looked at");
    let described = world.ok("DescribeCertificate", json!({ "CertificateArn": imported }));
    assert_eq!(described["Certificate"]["RenewalEligibility"], "INELIGIBLE");
    world.pass(3 * DAY);
    let described = world.ok("DescribeCertificate", json!({ "CertificateArn": imported }));
    assert_eq!(described["Certificate"]["Status"], "EXPIRED");
}

#[test]
fn what_a_certificate_was_before_its_renewal_can_be_taken_back_once_and_nothing_else() {
    let world = World::new(vault());
    let authority = world.authority();
    assert_eq!(
        (world.revocations()["number"].as_u64(), &world.revocations()["is_in_force"]),
        (Some(1), &json!(false))
    );
    let arn = world.requested_of(&authority);
    let former = world.serial(&arn);
    world.ok("RenewCertificate", json!({ "CertificateArn": arn }));
    assert_ne!(world.serial(&arn), former);
    let code =
        |result: Result<Value, (String, String)>| result.map_err(|(code, _)| code).err().unwrap_or_default();
    assert_eq!(code(world.revoke(&authority, "0a:1b")), "ResourceNotFoundException");
    assert_eq!(code(world.revoke(&authority, "0a:1")), "InvalidArgsException");
    assert_eq!(world.revocations()["number"], 1, "what is refused signs nothing");
    world.revoke(&authority, &former).expect("taken back");
    assert_eq!(code(world.revoke(&authority, &former.to_uppercase())), "RequestAlreadyProcessedException");
    let after = world.revocations();
    assert_eq!((after["number"].as_u64(), &after["is_in_force"]), (Some(2), &json!(true)));
    assert_eq!(after["revoked"][0]["serial"], former.replace(':', ""));
    // Another authority did not sign it.
    let other = world.authority();
    assert_eq!(code(world.revoke(&other, &world.serial(&arn))), "ResourceNotFoundException");
}

#[test]
fn an_authority_does_not_take_itself_back() {
    let world = World::new(vault());
    let authority = world.authority();
    let shown = world
        .pca("DescribeCertificateAuthority", json!({ "CertificateAuthorityArn": authority }))
        .expect("shown");
    let own = shown["CertificateAuthority"]["Serial"].as_str().expect("a number");
    assert_eq!(world.revoke(&authority, own).expect_err("refused").0, "InvalidRequestException");
}

#[test]
fn a_list_has_a_bound_and_what_has_ended_makes_room() {
    let world = World::new(vault());
    let authority = world.authority();
    let arn = world.requested_of(&authority);
    world.revoke(&authority, &world.serial(&arn)).expect("taken back");
    let mut full = world.revocations();
    let one = full["revoked"][0].clone();
    full["revoked"] = (0..REVOKED_MAX)
        .map(|number| {
            let mut one = one.clone();
            one["serial"] = format!("{number:08x}").into();
            one
        })
        .collect();
    let key = world.store.snapshot().expect("a view").scan("acm-pca/revocations/", None, 1).expect("a page")
        [0]
    .key
    .clone();
    let store: &dyn Store = &*world.store;
    let write = |value: &Value| {
        let text = Bytes::from(value.to_string());
        let written: Result<_, selvedge_store::WriteError<()>> =
            store.write(|tx| Ok(tx.put(&key, text.clone())?));
        written.expect("written");
    };
    write(&full);
    let next = world.requested_of(&authority);
    assert_eq!(
        world.revoke(&authority, &world.serial(&next)).expect_err("refused").0,
        "LimitExceededException"
    );
    full["revoked"][0]["not_after"] = 0.into();
    write(&full);
    world.revoke(&authority, &world.serial(&next)).expect("taken back");
    assert_eq!(world.revocations()["revoked"].as_array().expect("a list").len(), REVOKED_MAX);
}

#[test]
fn a_list_that_ends_is_signed_anew_at_half_of_its_life() {
    let world = World::new(vault());
    let authority = world.authority();
    let lists = json!({ "CrlConfiguration": { "Enabled": true, "ExpirationInDays": 10 } });
    let asked = json!({ "CertificateAuthorityArn": authority, "RevocationConfiguration": lists });
    world.pca("UpdateCertificateAuthority", asked).expect("taken");
    let before = world.revocations();
    assert_eq!((before["number"].as_u64(), &before["is_in_force"]), (Some(2), &json!(true)));
    assert_eq!(renew_lists(&world.office, world.pass(4 * DAY)).expect("looked"), 0);
    assert_eq!(renew_lists(&world.office, world.pass(DAY)).expect("looked"), 1);
    let after = world.revocations();
    assert_eq!(after["number"], 3);
    assert_ne!(before["list"], after["list"]);
    assert!(
        after["list"].as_str().is_some_and(|text| text.starts_with("-----BEGIN X509 CRL-----")),
        "{after}"
    );
}

#[test]
fn what_an_authority_issued_and_took_back_goes_with_it_when_nobody_can_restore_it() {
    let world = World::new(vault());
    let authority = world.authority();
    let arn = json!({ "CertificateAuthorityArn": authority });
    let csr = world.pca("GetCertificateAuthorityCsr", arn.clone()).expect("a request")["Csr"].clone();
    let csr = BASE64_STANDARD.encode(csr.as_str().expect("PEM"));
    let asked = json!({ "CertificateAuthorityArn": authority, "Csr": csr, "SigningAlgorithm": "SHA256WITHECDSA",
        "Validity": { "Type": "DAYS", "Value": 7 } });
    world.pca("IssueCertificate", asked).expect("issued");
    world
        .pca(
            "UpdateCertificateAuthority",
            json!({ "CertificateAuthorityArn": authority, "Status": "DISABLED" }),
        )
        .expect("off");
    let asked = json!({ "CertificateAuthorityArn": authority, "PermanentDeletionTimeInDays": 7 });
    world.pca("DeleteCertificateAuthority", asked).expect("deleted");
    let all = || {
        (
            world.documents("acm-pca/authority/"),
            world.documents("acm-pca/issued/"),
            world.documents("acm-pca/revocations/"),
        )
    };
    assert_eq!(forget(&world.office, world.pass(7 * DAY - 1)).expect("looked"), 0);
    assert_eq!(all(), (1, 1, 1), "it can be restored still");
    assert_eq!(forget(&world.office, world.pass(1)).expect("looked"), 1);
    assert_eq!(all(), (0, 0, 0));
    assert_eq!(
        world.pca("RestoreCertificateAuthority", arn).expect_err("gone").0,
        "ResourceNotFoundException"
    );
    assert_eq!(
        world.pca("ListCertificateAuthorities", json!({})).expect("a list")["CertificateAuthorities"],
        json!([])
    );
}
