//! `selvedge certificates` as a person uses it, against a server.

#![allow(dead_code, reason = "each test uses its part of the server module")]

mod server;

use std::os::unix::fs::PermissionsExt as _;

use selvedge_identity::{Certificate, Key, pem};
use serde_json::Value;
use server::Server;

fn json(server: &Server, arguments: &[&str]) -> Value {
    let text = server.prints(&[&["certificates"], arguments, &["-o", "json"]].concat());
    serde_json::from_str(&text).expect("JSON")
}

/// The exit code and what was said on standard error.
fn refused(server: &Server, arguments: &[&str]) -> (Option<i32>, String) {
    let output = server.selvedge(&[&["certificates"], arguments].concat());
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_certificate_is_requested_listed_renewed_taken_back_and_deleted_by_its_domain() {
    let server = Server::start(&[]);
    assert_eq!(server.prints(&["certificates", "list"]), "no certificates\n");
    let made = server.prints(&["certificates", "request", "a.shop.local", "--name", "b.shop.local"]);
    assert!(made.contains("names      a.shop.local, b.shop.local\n"), "{made}");
    server.prints(&["certs", "request", "a-much-longer-name.shop.local", "--key", "EC_secp384r1"]);
    let list = server.prints(&["certificates", "list"]);
    let lines: Vec<&str> = list.lines().collect();
    let column = lines[0].find("STATUS").expect("a header");
    assert_eq!(lines.len(), 3, "{list}");
    assert!(lines[1..].iter().all(|line| line[column..].starts_with("issued")), "columns align:\n{list}");

    let before = json(&server, &["show", "a.shop.local"]);
    server.prints(&["certificates", "revoke", "a.shop.local", "--renew", "--reason", "KEY_COMPROMISE"]);
    let after = json(&server, &["show", "a.shop.local"]);
    assert_eq!(before["CertificateArn"], after["CertificateArn"]);
    assert_ne!(before["Serial"], after["Serial"]);
    let authority = after["CertificateAuthorityArn"].as_str().expect("an ARN");
    let again = ["revoke", before["Serial"].as_str().expect("a number"), "--authority", authority];
    let (code, said) = refused(&server, &again);
    assert!(code == Some(254) && said.contains("RequestAlreadyProcessedException"), "{said}");

    let id = after["CertificateArn"].as_str().expect("an ARN").rsplit('/').next().expect("an identifier");
    server.prints(&["certificates", "delete", id]);
    let (code, said) = refused(&server, &["show", "a.shop.local"]);
    assert!(code == Some(254) && said.contains("there is no certificate a.shop.local"), "{said}");
    let listed = json(&server, &["list"]);
    assert_eq!(listed["CertificateSummaryList"].as_array().map(Vec::len), Some(1), "{listed}");
    let authorities = server.prints(&["certificates", "authorities"]);
    assert!(
        authorities.contains("Selvedge mesh authority") && authorities.contains(authority),
        "{authorities}"
    );
}

#[test]
fn a_key_leaves_into_a_file_of_ones_own_behind_its_passphrase_and_comes_back() {
    let server = Server::start(&[]);
    let made = json(&server, &["request", "web.shop.local"]);
    let place = |name: &str| server.folder.path().join(name).display().to_string();
    std::fs::write(place("word"), "four words of it\n").expect("written");
    let export =
        ["export", "web.shop.local", "--passphrase-file", &place("word"), "--file", &place("web.pem")];
    server.prints(&[&["certificates"], &export[..]].concat());
    let mode = std::fs::metadata(place("web.pem")).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (code, said) = refused(&server, &export);
    assert!(code == Some(2) && said.contains("exists"), "nothing is written over: {said}");

    let text = std::fs::read_to_string(place("web.pem")).expect("readable");
    let key = Key::of_encrypted(&text, b"four words of it").expect("the key");
    let chain = pem::certificates(text.as_bytes()).expect("certificates");
    assert!(chain.len() == 2 && key.fits(&chain[0]));
    for (name, contents) in [
        ("leaf", pem::write("CERTIFICATE", &chain[0])),
        ("root", pem::write("CERTIFICATE", &chain[1])),
        ("key", key.pem().to_string()),
    ] {
        std::fs::write(place(name), contents).expect("written");
    }
    let files = ["--certificate", &place("leaf"), "--key", &place("key"), "--chain", &place("root")];
    let imported = json(&server, &[&["import"], &files[..]].concat());
    assert_eq!((&imported["Type"], &imported["Serial"]), (&"IMPORTED".into(), &made["Serial"]));
    assert_eq!(Certificate::read(&chain[0]).expect("a certificate").names.dns, ["web.shop.local"]);

    // Two are of that name now.
    let (code, said) = refused(&server, &["show", "web.shop.local"]);
    assert!(code == Some(2) && said.contains("several certificates"), "{said}");
    let arn = imported["CertificateArn"].as_str().expect("an ARN");
    let replaced = json(&server, &[&["import", "--replace", arn], &files[..]].concat());
    assert_eq!(replaced["CertificateArn"], imported["CertificateArn"]);
    let (code, said) = refused(&server, &["revoke", arn]);
    assert!(code == Some(254) && said.contains("was imported"), "{said}");
    let (code, said) = refused(&server, &["import", "--certificate", &place("none"), "--key", &place("key")]);
    assert!(code == Some(2) && said.contains(&place("none")), "{said}");
}
