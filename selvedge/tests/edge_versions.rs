//! Where versions of lighttpd answer otherwise: `--compat 1.4.69`, beside Debian's lighttpd, and the newest.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const LIGHTTPD: &str = "/usr/sbin/lighttpd";
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that runs; ended when dropped.
struct Server {
    child: Child,
    port: u16,
    tls_port: u16,
}

impl Server {
    fn start(words: &[&str], folder: &Path) -> Self {
        let ports: Vec<TcpListener> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let [port, tls_port] = [0, 1].map(|index: usize| ports[index].local_addr().unwrap().port());
        drop(ports);
        let text = format!(
            "server.modules = ( \"mod_access\", \"mod_openssl\", \"mod_redirect\" )\nserver.document-root = \"{0}/www\"\n\
             server.bind = \"127.0.0.1\"\nserver.port = {port}\nurl.access-deny = ( \".inc\" )\nurl.redirect = ( \"^/old\" => \"/new\" )\n\
             server.error-handler-404 = \"/missing.html\"\n\
             $SERVER[\"socket\"] == \"127.0.0.1:{tls_port}\" {{ ssl.engine = \"enable\" ssl.pemfile = \"{0}/server.pem\" }}\n",
            folder.display()
        );
        let file = folder.join(format!("{port}.conf"));
        fs::write(&file, text).unwrap();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg("-D").arg("-f").arg(&file);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut server = Self { child, port, tls_port };
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(server.child.try_wait().unwrap().is_none() && Instant::now() < until, "{words:?}");
            std::thread::yield_now();
        }
        server
    }

    /// What curl says: its exit code, the status, the type, the body.
    fn asked(&self, path: &str, more: &[&str]) -> (i32, String) {
        let url = match path.strip_prefix("tls:") {
            Some(path) => format!("https://127.0.0.1:{}{path}", self.tls_port),
            None => format!("http://127.0.0.1:{}{path}", self.port),
        };
        let mut command = Command::new("curl");
        command.args(["-sk", "--max-time", "30", "-w", "|%{http_code}|%{content_type}", &url]).args(more);
        let output = command.output().expect("curl");
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is asked, what the older version answers, what the newest does: a part of body, status and type.
const ROWS: [(&str, &[&str], &str, &str); 6] = [
    ("/page.html", &[], "page\n|200|application/octet-stream", "page\n|200|text/html; charset=utf-8"),
    ("/missing", &[], "not here\n|", "not here\n|"),
    ("/secret.inc", &[], "not here\n|", "|403|"),
    ("/page.html/more", &[], "page\n|200|", "|403|"),
    ("/old", &[], "|301|", "|308|"),
    ("tls:/page.html", &["--tls-max", "1.3"], "page\n|200|", "page\n|200|"),
];

#[test]
fn versions_answer_as_they_do() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("www")).unwrap();
    fs::write(folder.path().join("www/page.html"), "page\n").unwrap();
    fs::write(folder.path().join("www/missing.html"), "not here\n").unwrap();
    fs::write(folder.path().join("www/secret.inc"), "secret\n").unwrap();
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "1",
        ])
        .args(["-subj", "/CN=127.0.0.1", "-keyout", "key.pem", "-out", "certificate.pem"])
        .current_dir(folder.path())
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    fs::write(folder.path().join("server.pem"), read("key.pem") + &read("certificate.pem")).unwrap();
    let ours = |compat| [env!("CARGO_BIN_EXE_selvedge"), "edge", "--compat", compat];
    let old = Server::start(&ours("1.4.69"), folder.path());
    let new = Server::start(&ours("1.4.85"), folder.path());
    let theirs = Path::new(LIGHTTPD).exists().then(|| Server::start(&[LIGHTTPD], folder.path()));
    for (path, more, before, now) in ROWS {
        for (server, wanted) in [(Some(&old), before), (theirs.as_ref(), before), (Some(&new), now)] {
            let Some(server) = server else { continue };
            let (code, said) = server.asked(path, more);
            assert!(code == 0 && said.contains(wanted), "{path}: {said} ({code}), not {wanted}");
        }
    }
    let older = ["--tls-max", "1.2"];
    for (server, is_spoken) in [(Some(&old), true), (theirs.as_ref(), true), (Some(&new), false)] {
        let Some(server) = server else { continue };
        assert_eq!(server.asked("tls:/page.html", &older).0 == 0, is_spoken, "TLS 1.2");
    }
}
