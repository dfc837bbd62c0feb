//! Certificates that were taken back, in a real Envoy and in ours.

use rcgen::{
    CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber,
    date_time_ymd,
};
use selvedge_traffic::tls::{DownstreamTls, Pem, Trust, Validation, Version, Versions};
use selvedge_traffic::{Listener, Network, Resource, Transport};

use crate::authority::Authority;
use crate::mesh::{cluster, forward, http, listener, route};
use crate::side::{Side, planes};
use crate::upstream::Upstream;

const TAKEN_BACK: u64 = 4242;

/// A list by this issuer that holds until that year.
fn list(issuer: &Issuer<'static, KeyPair>, until: i32) -> String {
    let revoked = RevokedCertParams {
        serial_number: SerialNumber::from(TAKEN_BACK),
        revocation_time: date_time_ymd(2024, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2024, 1, 1),
        next_update: date_time_ymd(until, 1, 1),
        crl_number: SerialNumber::from(1u64),
        issuing_distribution_point: None,
        revoked_certs: vec![revoked],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(issuer).unwrap().pem().unwrap()
}

#[test]
fn whose_certificate_was_taken_back_is_refused_as_by_envoy() {
    let (authority, foreign) = (Authority::new(), Authority::new());
    authority.issue("b", |_| {});
    authority.issue("good", |params| params.serial_number = Some(SerialNumber::from(1u64)));
    authority.issue("revoked", |params| params.serial_number = Some(SerialNumber::from(TAKEN_BACK)));
    let own = list(&authority.issuer, 2090);
    let elsewhere = list(&foreign.issuer, 2090);
    // (the list, only of leaves, whether the good one and the revoked one are served)
    let rows = [
        ("none", None, [true, true]),
        ("its issuer's", Some(own.clone()), [true, false]),
        ("its issuer's and another's", Some(format!("{elsewhere}{own}")), [true, false]),
        // Nobody says that it was not taken back.
        ("another's", Some(elsewhere), [false, false]),
        ("of the past", Some(list(&authority.issuer, 2025)), [false, false]),
    ];
    for plane in planes() {
        let app = Upstream::start();
        let mut side =
            Side::start(plane.as_deref(), None, |_| vec![Resource::Cluster(cluster("app", &[app.address]))]);
        for (at, (what, list, served)) in rows.iter().enumerate() {
            let validation = Validation {
                crl: list.as_ref().map(|list| Pem::Inline(list.clone())),
                ..Validation::new(Trust::File { chain: authority.path("ca.pem") })
            };
            let tls = DownstreamTls {
                validation: Some(validation),
                require_client_certificate: true,
                // Of 1.3, curl takes a handshake for made before it hears that it was refused.
                versions: Versions { min: None, max: Some(Version::Tls12) },
                ..DownstreamTls::new(authority.certificate("b"))
            };
            let address = crate::ports::free();
            let mut inbound = Listener {
                name: format!("inbound{at}"),
                address,
                ..listener(Network::Http(Box::new(http(vec![route("/", forward("app"))]))))
            };
            inbound.chains[0].transport = Transport::Tls(Box::new(tls));
            side.publish(&[Resource::Cluster(cluster("app", &[app.address])), Resource::Listener(inbound)]);
            side.until_listening(address);
            let found =
                ["good", "revoked"].map(|name| authority.curl_as(address, name, &[]).status.success());
            assert_eq!(found, *served, "{}: a list {what}", side.name);
        }
    }
}
