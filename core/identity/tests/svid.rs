//! The profile of an X.509 SVID: who passes for a peer of a trust domain, and every trick by which one might.

use std::collections::BTreeMap;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, OtherNameValue,
    RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls_pki_types::{CertificateDer, UnixTime};
use selvedge_identity::{
    Authorities, CertificateInvalid, Distrust, Rules, Side, SvidInvalid, Trust, Verifier,
};
use selvedge_traffic::matching::TextMatch;
use selvedge_traffic::tls::{NameKind, NameMatch};

struct Domain {
    issuer: Issuer<'static, KeyPair>,
    bundle: String,
}

impl Domain {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let bundle = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), bundle }
    }

    fn authorities(&self) -> Authorities {
        Authorities::read(self.bundle.as_bytes()).unwrap()
    }

    fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![uri("spiffe://m/a")];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        change(&mut params);
        params.signed_by(&KeyPair::generate().unwrap(), &self.issuer).unwrap().der().clone()
    }
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000))
}

/// Believes `m` by one authority and `n` by another; only `spiffe://m/a` may call.
fn verifier(m: &Domain, n: &Domain, crl: Option<&str>) -> Verifier {
    let domains = BTreeMap::from([("m".to_owned(), m.authorities()), ("n".to_owned(), n.authorities())]);
    let name = NameMatch { kind: NameKind::Uri, text: TextMatch::exact("spiffe://m/a") };
    let rules = Rules { names: vec![name], ..Rules::default() };
    Verifier::new(Trust::Domains(domains), rules, crl.map(str::as_bytes)).unwrap()
}

fn judge(verifier: &Verifier, leaf: &CertificateDer<'_>) -> Result<(), Distrust> {
    verifier.verify(leaf, &[], Side::Client, now())
}

#[test]
fn an_identity_is_believed_by_its_own_domains_authority_alone() {
    let (m, n, stranger) = (Domain::new("m"), Domain::new("n"), Domain::new("stranger"));
    let verifier = verifier(&m, &n, None);
    assert_eq!(judge(&verifier, &m.issue(|_| {})), Ok(()));
    assert_eq!(judge(&verifier, &n.issue(|_| {})), Err(Distrust::UnknownIssuer), "the other domain's word");
    assert_eq!(judge(&verifier, &stranger.issue(|_| {})), Err(Distrust::UnknownIssuer));
    let elsewhere = m.issue(|params| params.subject_alt_names = vec![uri("spiffe://elsewhere/a")]);
    assert_eq!(judge(&verifier, &elsewhere), Err(Distrust::TrustDomain("elsewhere".to_owned())));
    let neighbour = n.issue(|params| params.subject_alt_names = vec![uri("spiffe://n/a")]);
    assert_eq!(judge(&verifier, &neighbour), Err(Distrust::Name("spiffe://n/a".to_owned())));
    let beside = m.issue(|params| params.subject_alt_names.push(dns("a.local")));
    assert_eq!(judge(&verifier, &beside), Ok(()), "a DNS name may stand beside the identity");
}

#[test]
fn a_certificate_that_is_no_svid_is_refused_whoever_signed_it() {
    let (m, n) = (Domain::new("m"), Domain::new("n"));
    let verifier = verifier(&m, &n, None);
    let named = |names: Vec<SanType>| m.issue(|params| params.subject_alt_names = names);
    let svid = |reason| Err(Distrust::NoSvid(reason));
    for (what, leaf, expected) in [
        (
            "two identities",
            named(vec![uri("spiffe://m/a"), uri("spiffe://m/b")]),
            svid(SvidInvalid::SeveralIdentities),
        ),
        (
            "the same twice",
            named(vec![uri("spiffe://m/a"), uri("spiffe://m/a")]),
            svid(SvidInvalid::SeveralIdentities),
        ),
        (
            "an identity and a page",
            named(vec![uri("spiffe://m/a"), uri("https://m/a")]),
            svid(SvidInvalid::SeveralIdentities),
        ),
        (
            "a zero byte",
            named(vec![uri("spiffe://m/a\0.evil")]),
            Err(Distrust::Unreadable(CertificateInvalid::NameWithControl)),
        ),
        (
            "a zero byte in another name",
            named(vec![uri("spiffe://m/a"), dns("a\0b")]),
            Err(Distrust::Unreadable(CertificateInvalid::NameWithControl)),
        ),
        ("capitals in the domain", named(vec![uri("spiffe://M/a")]), svid(SvidInvalid::Malformed)),
        ("capitals in the scheme", named(vec![uri("SPIFFE://m/a")]), svid(SvidInvalid::Malformed)),
        ("a percent sign", named(vec![uri("spiffe://m/%61")]), svid(SvidInvalid::Malformed)),
        ("a dot at the end of the domain", named(vec![uri("spiffe://m./a")]), svid(SvidInvalid::Malformed)),
        ("a dotted segment", named(vec![uri("spiffe://m/b/../a")]), svid(SvidInvalid::Malformed)),
        ("an asterisk", named(vec![uri("spiffe://m/*")]), svid(SvidInvalid::Malformed)),
        ("an asterisk for a domain", named(vec![uri("spiffe://*/a")]), svid(SvidInvalid::Malformed)),
        ("another scheme", named(vec![uri("https://m/a")]), svid(SvidInvalid::Malformed)),
        ("a user", named(vec![uri("spiffe://x@m/a")]), svid(SvidInvalid::Malformed)),
        ("a port", named(vec![uri("spiffe://m:1/a")]), svid(SvidInvalid::Malformed)),
        ("a query", named(vec![uri("spiffe://m/a?b")]), svid(SvidInvalid::Malformed)),
        ("an identity as a DNS name", named(vec![dns("spiffe://m/a")]), svid(SvidInvalid::NoIdentity)),
        ("an address as a DNS name", named(vec![dns("10.0.0.1")]), svid(SvidInvalid::NoIdentity)),
        (
            "an identity as another name",
            named(vec![SanType::OtherName((
                vec![1, 2, 3, 4],
                OtherNameValue::Utf8String("spiffe://m/a".into()),
            ))]),
            svid(SvidInvalid::NoIdentity),
        ),
        (
            "a common name alone",
            m.issue(|params| {
                params.subject_alt_names.clear();
                params.distinguished_name.push(DnType::CommonName, "spiffe://m/a");
            }),
            svid(SvidInvalid::NoIdentity),
        ),
        (
            "a key that is for anything",
            m.issue(|params| params.key_usages.clear()),
            svid(SvidInvalid::NoKeyUsage),
        ),
        (
            "an authority",
            m.issue(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
            svid(SvidInvalid::Authority),
        ),
        (
            "a key that signs certificates",
            m.issue(|params| params.key_usages.push(KeyUsagePurpose::KeyCertSign)),
            svid(SvidInvalid::Authority),
        ),
        (
            "a key that signs revocation lists",
            m.issue(|params| params.key_usages.push(KeyUsagePurpose::CrlSign)),
            svid(SvidInvalid::Authority),
        ),
    ] {
        assert_eq!(judge(&verifier, &leaf), expected, "{what}");
    }
}

#[test]
fn time_purpose_and_revocation_count_for_identities_too() {
    let (m, n) = (Domain::new("m"), Domain::new("n"));
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2024, 1, 1),
        next_update: date_time_ymd(2090, 1, 1),
        crl_number: SerialNumber::from(1u64),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: SerialNumber::from(42u64),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&m.issuer).unwrap().pem().unwrap();
    let verifier = verifier(&m, &n, Some(&list));
    assert_eq!(judge(&verifier, &m.issue(|_| {})), Ok(()));
    let revoked = m.issue(|params| params.serial_number = Some(SerialNumber::from(42u64)));
    assert_eq!(judge(&verifier, &revoked), Err(Distrust::Revoked));
    let expired = m.issue(|params| {
        (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
    });
    assert_eq!(judge(&verifier, &expired), Err(Distrust::Expired));
    let early = m.issue(|params| params.not_before = date_time_ymd(2090, 1, 1));
    assert_eq!(judge(&verifier, &early), Err(Distrust::NotYetValid));
    let server = m.issue(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    assert_eq!(judge(&verifier, &server), Err(Distrust::Purpose));
    let odd = m.issue(|params| {
        let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4, 5], vec![5, 0]);
        extension.set_criticality(true);
        params.custom_extensions = vec![extension];
    });
    assert!(
        matches!(judge(&verifier, &odd), Err(Distrust::Chain(_))),
        "a critical extension that nobody knows"
    );
    let own = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![uri("spiffe://m/a")];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let self_signed = params.self_signed(&own).unwrap().der().clone();
    assert_eq!(judge(&verifier, &self_signed), Err(Distrust::UnknownIssuer));
}
