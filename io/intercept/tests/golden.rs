//! The text of the rules, to be read as prose under `tests/golden`. `BLESS=1` writes it anew.

use std::path::Path;

use selvedge_intercept::iptables::{self, Family, Saved};
use selvedge_intercept::{Backend, Settings, Switch, nft};

fn full() -> Settings {
    Settings {
        ignore_gid: Some(1338),
        only_uid: Some(1000),
        // More than one rule of iptables can list.
        app_ports: (8080..8098).chain([443, 8080]).collect(),
        egress_ignored_ips: ["169.254.169.254", "10.0.0.0/8", "fd00:ec2::254"]
            .map(|text| text.parse().expect("a network"))
            .to_vec(),
        egress_ignored_ports: vec![2049, 22],
        ipv6: true,
        dns_port: Some(15053),
        ..Settings::default()
    }
}

fn check(name: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, made).expect("writable");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(made == expected, "{name} differs; BLESS=1 writes it anew:\n{made}");
}

#[test]
fn the_rules_are_as_written_down() {
    let web = Settings { app_ports: vec![8080], ..Settings::default() };
    let off = Settings { switch: Switch::Off, ..full() };
    for (name, settings) in [("default", Settings::default()), ("web", web), ("full", full()), ("off", off)] {
        check(&format!("{name}.nft"), &Backend::Nft.script(&settings));
        check(&format!("{name}.iptables"), &Backend::Iptables.script(&settings));
    }
    check("remove.nft", &nft::remove());
}

#[test]
fn what_stands_there_is_replaced_and_taken_away_line_by_line() {
    let found = Saved::parse(
        "*nat\n:PREROUTING ACCEPT [0:0]\n:APPMESH_EGRESS - [0:0]\n:APPMESH_DNS - [0:0]\n:DOCKER - [0:0]\n\
         -A OUTPUT -p tcp -m addrtype ! --dst-type LOCAL -j APPMESH_EGRESS\n\
         -A OUTPUT -p tcp -j DOCKER\n\
         -A APPMESH_EGRESS -p tcp -j REDIRECT --to-ports 1\nCOMMIT\n",
    );
    check("again.iptables", &iptables::install(&Settings::default(), Family::V4, &found));
    check("remove.iptables", &iptables::remove(&found));
    assert_eq!(found.lines().len(), 4, "{:?}", found.lines());
}
