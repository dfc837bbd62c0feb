//! SPIFFE identities by Envoy's validator, in a real Envoy and in ours.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType,
    date_time_ymd,
};
use selvedge_traffic::matching::TextMatch;
use selvedge_traffic::tls::{
    DownstreamTls, NameKind, NameMatch, Pem, Trust, TrustDomain, Validation, Version, Versions,
};
use selvedge_traffic::{Listener, Network, Resource, Transport};

use crate::authority::Authority;
use crate::mesh::{cluster, forward, http, listener, route};
use crate::side::{Side, planes};
use crate::upstream::Upstream;

fn names(names: &[&str]) -> impl FnOnce(&mut CertificateParams) {
    let uri = |name: &&str| SanType::URI((*name).try_into().unwrap());
    let names: Vec<SanType> = names.iter().map(uri).collect();
    move |params| {
        params.subject_alt_names = names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    }
}

/// What both make of it, and where they part: (certificate, ours, Envoy's).
const CALLERS: [(&str, bool, bool); 18] = [
    ("plain", true, true),
    ("deep", true, true),
    ("with-dns", true, true),
    ("elsewhere", false, false),
    ("other-name", false, false),
    ("expired", false, false),
    ("early", false, false),
    ("authority", false, false),
    ("signer", false, false),
    ("any-use", false, false),
    ("common-name", false, false),
    ("dns-only", false, false),
    ("nobody", false, false),
    // A stranger's authority.
    ("stranger", false, false),
    // Envoy's validator does not ask what a certificate is for.
    ("server-only", false, true),
    // SPIFFE forbids a second URI; Envoy takes the first whose trust domain it knows.
    ("two", false, true),
    // Envoy's rule is a prefix here, so that what follows it is not looked at.
    ("percent", false, true),
    ("slash", false, true),
];

#[test]
fn spiffe_identities_are_believed_as_by_envoys_validator_or_more_strictly() {
    let (authority, foreign) = (Authority::new(), Authority::new());
    authority.issue("b", |_| {});
    authority.issue("plain", names(&["spiffe://m/a"]));
    authority.issue("deep", names(&["spiffe://m/a/b/c-d_e.f"]));
    authority.issue("with-dns", |params| {
        names(&["spiffe://m/a"])(params);
        params.subject_alt_names.push(SanType::DnsName("a.local".try_into().unwrap()));
    });
    authority.issue("elsewhere", names(&["spiffe://elsewhere/a"]));
    authority.issue("other-name", names(&["spiffe://m/other"]));
    authority.issue("expired", |params| {
        names(&["spiffe://m/a"])(params);
        (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
    });
    authority.issue("early", |params| {
        names(&["spiffe://m/a"])(params);
        params.not_before = date_time_ymd(2090, 1, 1);
    });
    authority.issue("server-only", |params| {
        names(&["spiffe://m/a"])(params);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    authority.issue("authority", |params| {
        names(&["spiffe://m/a"])(params);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    authority.issue("signer", |params| {
        names(&["spiffe://m/a"])(params);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
    });
    authority.issue("any-use", |params| {
        names(&["spiffe://m/a"])(params);
        params.key_usages.clear();
    });
    authority.issue("common-name", |params| {
        params.subject_alt_names.clear();
        params.distinguished_name.push(DnType::CommonName, "spiffe://m/a");
    });
    authority.issue("dns-only", |params| {
        params.subject_alt_names = vec![SanType::DnsName("spiffe://m/a".try_into().unwrap())];
    });
    authority.issue("two", names(&["spiffe://m/a", "spiffe://m/admin"]));
    authority.issue("percent", names(&["spiffe://m/a%2fb"]));
    authority.issue("slash", names(&["spiffe://m/a/"]));
    foreign.issue("stranger", names(&["spiffe://m/a"]));

    let domain = |name: &str, authority: &Authority| TrustDomain {
        name: name.into(),
        bundle: Pem::File(authority.path("ca.pem")),
    };
    let trust = Trust::Spiffe(vec![domain("m", &authority), domain("n", &foreign)]);
    let allowed = NameMatch { kind: NameKind::Uri, text: TextMatch::prefix("spiffe://m/a") };
    let tls = DownstreamTls {
        validation: Some(Validation { names: vec![allowed], ..Validation::new(trust) }),
        require_client_certificate: true,
        // Of 1.3, curl takes a handshake for made before it hears that it was refused.
        versions: Versions { min: None, max: Some(Version::Tls12) },
        ..DownstreamTls::new(authority.certificate("b"))
    };
    for plane in planes() {
        let app = Upstream::start();
        let side = Side::start(plane.as_deref(), None, |addresses| {
            let mut inbound = Listener {
                name: "inbound".into(),
                address: addresses.inbound,
                ..listener(Network::Http(Box::new(http(vec![route("/", forward("app"))]))))
            };
            inbound.chains[0].transport = Transport::Tls(Box::new(tls.clone()));
            vec![Resource::Cluster(cluster("app", &[app.address])), Resource::Listener(inbound)]
        });
        side.until_listening(side.inbound);
        let mut refused = (0, 0);
        for (name, ours, envoys) in CALLERS {
            let output = match name {
                "nobody" => authority.curl(side.inbound, &[]),
                "stranger" => {
                    let (chain, key) = (foreign.path("stranger.pem"), foreign.path("stranger.key"));
                    authority.curl(side.inbound, &["--cert", &chain, "--key", &key])
                }
                name => authority.curl_as(side.inbound, name, &[]),
            };
            let expected = if side.name == "ours" { ours } else { envoys };
            let told = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.success(), expected, "{} {name}: {told}", side.name);
            if !expected {
                match name {
                    "nobody" => {}
                    "other-name" => refused.0 += 1,
                    _ => refused.1 += 1,
                }
            }
        }
        let ssl = format!("listener.{}.ssl", side.inbound.to_string().replace(':', "_"));
        side.await_stat(&format!("{ssl}.fail_verify_san"), refused.0);
        side.await_stat(&format!("{ssl}.fail_verify_error"), refused.1);
        side.await_stat(&format!("{ssl}.fail_verify_no_cert"), 1);
        assert_eq!(
            side.stat(&format!("{ssl}.connection_error")),
            0,
            "{}: nobody broke the protocol",
            side.name
        );
    }
}
