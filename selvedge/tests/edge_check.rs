//! `selvedge edge check`: what this machine lacks for a configuration, and what listeners show to whom.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const LIGHTTPD: &str = "/usr/sbin/lighttpd";
const PATIENCE: Duration = Duration::from_secs(60);

fn edge(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_selvedge")).arg("edge").args(arguments).output().expect("it runs")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().expect("id");
    output.stdout.starts_with(b"0\n")
}

/// A certificate for some names, `NAME.pem` with its key, from so many days ago for so many days.
fn certificate(folder: &Path, name: &str, names: &str, days: i64) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-subj", "/CN=x", "-days", &days.to_string(), "-addext", &format!("subjectAltName={names}")])
        .args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.crt")])
        .current_dir(folder)
        .stderr(Stdio::null())
        .status();
    assert!(made.expect("openssl").success());
    let read = |end: &str| fs::read_to_string(folder.join(format!("{name}.{end}"))).expect("made");
    fs::write(folder.join(format!("{name}.pem")), read("crt") + &read("key")).expect("written");
}

/// A folder that everybody may pass.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("set");
    folder
}

#[test]
fn what_the_machine_lacks_is_told_at_its_place_with_what_to_do() {
    let folder = folder();
    let home = folder.path().display().to_string();
    certificate(folder.path(), "short", "DNS:shop.example", 90);
    certificate(folder.path(), "other", "DNS:shop.example", 90);
    fs::create_dir(folder.path().join("closed")).expect("made");
    fs::create_dir(folder.path().join("closed/www")).expect("made");
    fs::set_permissions(folder.path().join("closed"), fs::Permissions::from_mode(0o700)).expect("set");
    let conf = folder.path().join("lighttpd.conf");
    fs::write(
        &conf,
        format!(
            "server.modules = ( \"mod_openssl\", \"mod_accesslog\" )\nserver.document-root = \"{home}/closed/www\"\nserver.port = 8080\n\
             server.errorlog = \"{home}/none/error.log\"\nserver.username = \"nobody\"\nserver.groupname = \"nogroup\"\n\
             $SERVER[\"socket\"] == \":8443\" {{ ssl.engine = \"enable\" ssl.pemfile = \"{home}/short.pem\" }}\n\
             $HTTP[\"host\"] == \"shop.example\" {{\n  server.document-root = \"{home}/none/www\"\n}}\n\
             $HTTP[\"host\"] == \"else.example\" {{ server.tag = \"else\" }}\n"
        ),
    )
    .expect("written");
    let toml = folder.path().join("edge.toml");
    fs::write(
        &toml,
        format!(
            "[edge]\nuser = \"nobody\"\ngroup = \"nogroup\"\n[log]\nerrors = \"{home}/none/error.log\"\n[[listen]]\naddress = \":8443\"\ntls = \"a\"\n\
             [tls.a]\ncertificate = \"{home}/short.pem\"\n[[site]]\nhost = [\"shop.example\", \"else.example\"]\n[[site.route]]\nfiles = \"{home}/closed/www\"\n\
             auth = {{ htpasswd = \"{home}/none/users\" }}\n"
        ),
    )
    .expect("written");
    let missing = "is not there";
    for (file, places) in [
        (
            &conf,
            &[
                ("server.errorlog", 4, missing),
                ("certificate", 7, "does not name else.example"),
                ("server.document-root", 9, missing),
            ][..],
        ),
        (
            &toml,
            &[
                ("log.errors", 5, missing),
                ("certificate", 10, "does not name else.example"),
                ("auth.htpasswd", 15, missing),
            ],
        ),
    ] {
        let file = file.to_str().expect("a path");
        let told: Value = serde_json::from_slice(&edge(&["check", "-o", "json", file]).stdout).expect("JSON");
        let findings = told["findings"].as_array().expect("findings");
        for (what, line, why) in places {
            let found = findings.iter().find(|one| {
                let message = one["message"].as_str().unwrap_or_default();
                message.contains(what) && message.contains(why)
            });
            let found = found.unwrap_or_else(|| panic!("{what}: {told:#}"));
            assert_eq!(
                (&found["place"]["line"], &found["severity"]),
                (&Value::from(*line), &"warning".into()),
                "{found}"
            );
            assert!(found["place"]["column"].as_u64() > Some(0) && found["hint"].is_string(), "{found}");
        }
        let passes = |one: &&Value| {
            one["message"].as_str().is_some_and(|it| it.contains("may not be passed by nobody"))
        };
        assert_eq!(findings.iter().any(|one| passes(&one)), is_root(), "{told:#}");
        // Warnings are for whoever asks to end with something else.
        assert_eq!(edge(&["check", file]).status.code(), Some(0));
        assert_eq!(edge(&["check", "--strict", file]).status.code(), Some(1));
        let tested = edge(&["-tt", "-f", file]);
        assert_eq!(
            (tested.status.code(), text(&tested).contains("hint: ")),
            (Some(0), true),
            "{}",
            text(&tested)
        );
    }
    // A key of another certificate is an error with -tt, as at lighttpd, and said by `check` at its place.
    let crossed = fs::read_to_string(&toml)
        .expect("read")
        .replace("short.pem\"", &format!("short.crt\"\nkey = \"{home}/other.key\""));
    fs::write(&toml, crossed).expect("written");
    let file = toml.to_str().expect("a path");
    let checked = edge(&["check", file]);
    assert!(
        text(&checked).contains("the private key is not that of the certificate\n  --> ")
            && text(&checked).contains("edge.toml:10:15"),
        "{}",
        text(&checked)
    );
    assert_eq!(edge(&["-tt", "-f", file]).status.code(), Some(255));
}

#[test]
fn users_that_there_are_not_are_errors_as_lighttpd_has_them() {
    if !is_root() {
        // Who is not root becomes nobody else, and lighttpd does not look either.
        return;
    }
    let folder = folder();
    let file = folder.path().join("lighttpd.conf");
    for (line, wanted) in [
        ("server.username = \"nobody-of-that-name\"", 255),
        ("server.groupname = \"no-group-of-that-name\"", 255),
        ("server.username = \"nobody\"", 0),
        ("server.errorlog = \"/none/of/that/name\"", 0),
    ] {
        fs::write(&file, format!("server.document-root = \"/none\"\nserver.port = 8080\n{line}\n"))
            .expect("written");
        let path = file.to_str().expect("a path");
        let ours = edge(&["-tt", "-f", path]);
        assert_eq!(ours.status.code(), Some(wanted), "{line}: {}", text(&ours));
        assert_eq!(edge(&["check", path]).status.code(), Some(i32::from(wanted != 0)), "{line}");
        if Path::new(LIGHTTPD).exists() {
            let theirs = Command::new(LIGHTTPD).args(["-tt", "-f", path]).output().expect("it runs");
            assert_eq!(theirs.status.code(), Some(wanted), "{line}: {}", text(&theirs));
        }
    }
}

/// An edge that runs; ended when dropped.
struct Edge(Child);

impl Drop for Edge {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn every_name_of_a_listener_is_looked_at_and_what_nobody_names() {
    let folder = folder();
    let home = folder.path().display().to_string();
    certificate(folder.path(), "first", "DNS:first.example,IP:127.0.0.1", 30);
    certificate(folder.path(), "second", "DNS:second.example,DNS:*.second.example", 20);
    let ports: Vec<u16> = {
        let bound: Vec<TcpListener> =
            (0..2).map(|_| TcpListener::bind("127.0.0.1:0").expect("bound")).collect();
        bound.iter().map(|one| one.local_addr().expect("an address").port()).collect()
    };
    let (plain, tls) = (ports[0], ports[1]);
    let conf = folder.path().join("lighttpd.conf");
    fs::write(
        &conf,
        format!(
            "server.modules = ( \"mod_openssl\" )\nserver.document-root = \"{home}\"\nserver.bind = \"127.0.0.1\"\nserver.port = {plain}\n\
             $SERVER[\"socket\"] == \"127.0.0.1:{tls}\" {{\n  ssl.engine = \"enable\" ssl.pemfile = \"{home}/first.pem\"\n\
               $HTTP[\"host\"] == \"second.example\" {{ ssl.pemfile = \"{home}/second.pem\" }}\n}}\n\
             $HTTP[\"host\"] == \"third.example\" {{ server.tag = \"third\" }}\n"
        ),
    )
    .expect("written");
    let file = conf.to_str().expect("a path");
    let live = ["check", "--live", "-o", "json", file];
    let away = edge(&live);
    let told: Value = serde_json::from_slice(&away.stdout).expect("JSON");
    assert_eq!(away.status.code(), Some(1), "{told:#}");
    assert!(
        told["live"]
            .as_array()
            .expect("looks")
            .iter()
            .all(|look| look["serves"] == false && look["failed"].is_string())
    );

    let child = Command::new(env!("CARGO_BIN_EXE_selvedge"))
        .args(["edge", "-D", "-f", file])
        .stderr(Stdio::null())
        .spawn();
    let mut running = Edge(child.expect("it starts"));
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(("127.0.0.1", plain)).is_err() {
        assert!(
            running.0.try_wait().expect("asked").is_none() && Instant::now() < until,
            "it does not serve"
        );
        std::thread::yield_now();
    }
    let serving = edge(&live);
    let told: Value = serde_json::from_slice(&serving.stdout).expect("JSON");
    assert_eq!(serving.status.code(), Some(0), "{told:#}");
    let looks = told["live"].as_array().expect("looks");
    let look = looks.iter().find(|look| look["tls"] == true).expect("one with TLS");
    let seen: Vec<(Option<&str>, &str, Option<bool>)> = look["handshakes"]
        .as_array()
        .expect("handshakes")
        .iter()
        .map(|one| {
            assert_eq!(
                (&one["version"], &one["alpn"], &one["stapled"]),
                (&"TLS 1.3".into(), &"h2".into(), &false.into()),
                "{one}"
            );
            let certificate = &one["certificate"];
            (
                one["name"].as_str(),
                certificate["names"][0].as_str().unwrap_or_default(),
                certificate["fits"].as_bool(),
            )
        })
        .collect();
    let expected = [
        (None, "first.example", None),
        (Some("second.example"), "second.example", Some(true)),
        (Some("third.example"), "first.example", Some(false)),
    ];
    assert_eq!(seen, expected, "{look:#}");
    let table = edge(&["check", "--live", file]);
    let table = text(&table);
    let lines: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    let of = |name: &str| {
        lines.iter().find(|cells| cells.first() == Some(&name)).unwrap_or_else(|| panic!("{name}: {table}"))
    };
    assert_eq!(
        (of("no name")[1], of("no name")[4], of("no name")[5]),
        ("TLS 1.3", "h2", "first.example 127.0.0.1"),
        "{table}"
    );
    assert_eq!(of("third.example")[5], "first.example 127.0.0.1: another name", "{table}");
    assert!(
        of("second.example")[6].ends_with("days)")
            && table.contains(&format!("127.0.0.1:{plain}: answers, without TLS")),
        "{table}"
    );
}
