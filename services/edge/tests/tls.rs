//! TLS and HTTP/2 at the edge, as curl and openssl see them.

mod server;

use std::path::Path;
use std::process::{Command, Stdio};

use server::{compiled, edge, free_port, get, on_port};

fn openssl(words: &[&str], folder: &Path) -> String {
    let mut child = Command::new("openssl")
        .args(words)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is missing: run cargo xtask test --only setup");
    // s_client ends with its input; others have none.
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn pair(folder: &Path, name: &str) {
    let subject = format!("/CN={name}.example");
    let (key, chain) = (format!("{name}.key"), format!("{name}.crt"));
    openssl(
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            &subject,
            "-keyout",
            &key,
            "-out",
            &chain,
        ],
        folder,
    );
    let both = std::fs::read_to_string(folder.join(chain)).unwrap()
        + &std::fs::read_to_string(folder.join(key)).unwrap();
    std::fs::write(folder.join(format!("{name}.pem")), both).unwrap();
}

/// Two hosts with a certificate each; whoever is to see the second one's pages shows a certificate of `staff`.
struct Site {
    folder: tempfile::TempDir,
    port: u16,
}

impl Site {
    fn start(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("www");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("a.txt"), "12345\n").unwrap();
        for name in ["open", "closed", "staff", "stranger"] {
            pair(folder.path(), name);
        }
        let port = free_port();
        let conf = format!(
            "server.document-root = \"{0}/www\"\nserver.modules = ( \"mod_openssl\" )\n\
             $SERVER[\"socket\"] == \"127.0.0.1:{port}\" {{ ssl.engine = \"enable\"\nssl.pemfile = \"{0}/open.pem\" }}\n\
             $HTTP[\"host\"] == \"closed.example\" {{ ssl.pemfile = \"{0}/closed.pem\"\n\
             ssl.verifyclient.activate = \"enable\"\nssl.verifyclient.enforce = \"enable\"\nssl.verifyclient.ca-file = \"{0}/staff.crt\" }}\n{more}",
            folder.path().display()
        );
        edge(&conf);
        Self { folder, port }
    }

    fn s_client(&self, words: &[&str]) -> String {
        let address = format!("127.0.0.1:{}", self.port);
        openssl(&[&["s_client", "-connect", &address], words].concat(), self.folder.path())
    }

    fn curl(&self, host: &str, words: &[&str]) -> (bool, String) {
        let place = format!("{host}:{}:127.0.0.1", self.port);
        let url = format!("https://{host}:{}/a.txt", self.port);
        let output = Command::new("curl")
            .args([
                "-sSk",
                "--max-time",
                "10",
                "--resolve",
                &place,
                "-w",
                "%{http_version} %{http_code}",
                &url,
            ])
            .args(words)
            .current_dir(self.folder.path())
            .output()
            .expect("curl is missing: run cargo xtask test --only setup");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

#[test]
fn each_name_has_its_certificate_and_its_protocol() {
    let site = Site::start("");
    let subject = |name: &str| {
        let shown = site.s_client(&["-servername", name]);
        shown.lines().find(|line| line.starts_with("subject=")).unwrap_or_default().replace(' ', "")
    };
    assert_eq!(subject("open.example"), "subject=CN=open.example");
    assert_eq!(subject("closed.example"), "subject=CN=closed.example");
    assert_eq!(subject("CLOSED.example"), "subject=CN=closed.example", "a name has no case");
    assert_eq!(subject("unknown.example"), "subject=CN=open.example");
    assert_eq!(site.curl("open.example", &["--http2"]), (true, "12345\n2 200".to_owned()));
    assert_eq!(site.curl("open.example", &["--http1.1"]), (true, "12345\n1.1 200".to_owned()));
}

#[test]
fn old_versions_are_not_spoken() {
    let site = Site::start("");
    let spoken = |words: &[&str]| {
        let shown =
            site.s_client(&[words, &["-servername", "open.example", "-cipher", "ALL:@SECLEVEL=0"]].concat());
        shown.contains("New, TLSv1")
    };
    assert!(spoken(&["-tls1_3"]) && spoken(&["-tls1_2"]));
    assert!(!spoken(&["-tls1_1"]) && !spoken(&["-tls1"]));
    let newest = Site::start("ssl.openssl.ssl-conf-cmd = ( \"MinProtocol\" => \"TLSv1.3\" )\n");
    let shown = newest.s_client(&["-servername", "open.example", "-tls1_3"]);
    assert!(shown.contains("New, TLSv1.3"), "{shown}");
}

/// Who shows no certificate, or a stranger's, sees nothing; and no other name on the same connection opens the door.
#[test]
fn a_host_that_asks_for_certificates_is_closed_to_others() {
    let site = Site::start("");
    assert_eq!(
        site.curl("closed.example", &["--cert", "staff.pem"]),
        (true, "12345\n1.1 200".replace("1.1", "2"))
    );
    let (fine, shown) = site.curl("closed.example", &[]);
    assert!(!fine || !shown.contains("12345"), "{shown}");
    let (fine, shown) = site.curl("closed.example", &["--cert", "stranger.pem"]);
    assert!(!fine || !shown.contains("12345"), "{shown}");
    for version in ["--http1.1", "--http2"] {
        let (_, shown) = site.curl("open.example", &[version, "-H", "Host: closed.example"]);
        assert!(!shown.contains("12345"), "{version}: a handshake without a certificate for {shown}");
    }
}

/// CVE-2025-23419: a session of one host is not taken up at another that asks for a certificate.
#[test]
fn a_ticket_of_one_host_opens_no_other() {
    let site = Site::start("");
    for version in ["-tls1_2", "-tls1_3"] {
        // TLS 1.3 sends its tickets after the handshake: the client stays for an answer.
        let script = format!(
            "printf 'GET /a.txt HTTP/1.0\\r\\n\\r\\n' | openssl s_client -connect 127.0.0.1:{0} {version} -servername open.example -sess_out s -ign_eof >first 2>&1\n\
             openssl s_client -connect 127.0.0.1:{0} {version} -servername open.example -sess_in s </dev/null >same 2>&1\n\
             openssl s_client -connect 127.0.0.1:{0} {version} -servername closed.example -sess_in s </dev/null >other 2>&1\n",
            site.port
        );
        let _ = Command::new("sh").arg("-c").arg(&script).current_dir(site.folder.path()).status().unwrap();
        let said = |name: &str| std::fs::read_to_string(site.folder.path().join(name)).unwrap();
        assert!(said("first").contains("12345"), "{}", said("first"));
        assert!(said("same").contains("Reused, TLSv1"), "{version}: {}", said("same"));
        assert!(!said("other").contains("Reused, TLSv1"), "{version}: {}", said("other"));
    }
}

/// Caddy's CVE-2026-27586: whom to believe cannot be read – nobody is let in unchecked, it does not start.
#[test]
fn a_missing_authority_is_no_open_door() {
    let folder = tempfile::tempdir().unwrap();
    pair(folder.path(), "open");
    let conf = format!(
        "server.document-root = \"/nonexistent\"\nserver.modules = ( \"mod_openssl\" )\nssl.engine = \"enable\"\n\
         ssl.pemfile = \"{0}/open.pem\"\nssl.verifyclient.activate = \"enable\"\nssl.verifyclient.ca-file = \"{0}/nowhere.crt\"\n",
        folder.path().display()
    );
    let program = compiled(&on_port(free_port(), &conf)).unwrap();
    let options = selvedge_edge::Options { workers: Some(1), ..selvedge_edge::Options::default() };
    let error = selvedge_edge::run(program, options).expect_err("it starts");
    let mut text = format!("{error}");
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    assert!(text.contains("nowhere.crt"), "{text}");
}

/// CVE-2026-28755: who is revoked stays out.
#[test]
fn a_revoked_client_stays_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::create_dir(path.join("www")).unwrap();
    std::fs::write(path.join("www/a.txt"), "12345\n").unwrap();
    pair(path, "open");
    let script = "set -e\n\
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=staff -keyout ca.key -out ca.crt -addext keyUsage=critical,keyCertSign,cRLSign\n\
        touch index; echo 01 >serial; echo 01 >crlnumber\n\
        printf '[ca]\\ndefault_ca=d\\n[d]\\ndatabase=index\\nserial=serial\\ncrlnumber=crlnumber\\nnew_certs_dir=.\\ncertificate=ca.crt\\nprivate_key=ca.key\\ndefault_md=sha256\\ndefault_days=2\\ndefault_crl_days=2\\npolicy=p\\n[p]\\ncommonName=supplied\\n' >ca.cnf\n\
        for name in good gone; do\n\
        openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=$name -keyout $name.key -out $name.csr\n\
        printf 'basicConstraints=CA:FALSE\\nkeyUsage=digitalSignature\\nextendedKeyUsage=clientAuth\\nsubjectAltName=DNS:%s.example\\n' $name >$name.ext\n\
        openssl ca -batch -notext -config ca.cnf -extfile $name.ext -in $name.csr -out $name.crt\n\
        cat $name.crt $name.key >$name.pem\ndone\n\
        openssl ca -config ca.cnf -revoke gone.crt\nopenssl ca -config ca.cnf -gencrl -out ca.crl\n";
    let done = Command::new("sh").arg("-c").arg(script).current_dir(path).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let port = free_port();
    let conf = format!(
        "server.document-root = \"{0}/www\"\nserver.modules = ( \"mod_openssl\" )\n\
         $SERVER[\"socket\"] == \"127.0.0.1:{port}\" {{ ssl.engine = \"enable\"\nssl.pemfile = \"{0}/open.pem\"\n\
         ssl.verifyclient.activate = \"enable\"\nssl.verifyclient.ca-file = \"{0}/ca.crt\"\nssl.verifyclient.ca-crl-file = \"{0}/ca.crl\" }}\n",
        path.display()
    );
    edge(&conf);
    let shown = |who: &str| {
        let words = [
            "-sSk",
            "--max-time",
            "10",
            "--cert",
            &format!("{who}.pem"),
            &format!("https://127.0.0.1:{port}/a.txt"),
        ];
        let output = Command::new("curl").args(words).current_dir(path).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(shown("good"), "12345\n");
    assert_eq!(shown("gone"), "");
}

#[test]
fn plain_words_on_a_tls_port_are_no_request() {
    let site = Site::start("");
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], site.port));
    let found = get(address, "GET /a.txt HTTP/1.0\r\n\r\n");
    assert!(!found.body.contains("12345") && found.code() != 200);
    assert!(
        !String::from_utf8_lossy(&server::exchange(address, &[0x16, 3, 1, 0xff, 0xff])).contains("12345")
    );
}

/// Threats row 39: a handshake has its time, from the first byte to the last, and is counted when it has not come to an end.
#[test]
fn a_handshake_has_its_time_and_no_more() {
    use std::io::{Read as _, Write as _};
    use std::time::{Duration, Instant};
    let site = Site::start("server.modules += ( \"mod_status\" )\nstatus.status-url = \"/status\"\n");
    let port = site.port;
    // A word now and then, of a greeting that is longer than it ever becomes.
    let threads = [&b""[..], b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03"].map(|begins| {
        std::thread::spawn(move || {
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            stream.write_all(begins).unwrap();
            let began = Instant::now();
            let mut byte = [0];
            loop {
                match stream.read(&mut byte) {
                    Err(error)
                        if matches!(
                            error.kind(),
                            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                        ) =>
                    {
                        assert!(began.elapsed() < Duration::from_secs(60), "nobody has cut it");
                        if !begins.is_empty() {
                            let _ = stream.write_all(b"x");
                        }
                    }
                    _ => break,
                }
            }
            let took = began.elapsed();
            assert!(took >= Duration::from_secs(4), "{took:?}");
        })
    });
    for thread in threads {
        thread.join().unwrap();
    }
}
