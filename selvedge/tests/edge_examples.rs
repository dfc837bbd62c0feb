//! `examples/lighttpd`: each configuration with Debian's lighttpd and with `selvedge edge`, and once more as `edge convert` makes an
//! `edge.toml` of it; asked the same, answers compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const LIGHTTPD: &str = "/usr/sbin/lighttpd";
const PHP: &str = "/usr/bin/php-cgi";
const PATIENCE: Duration = Duration::from_secs(60);

/// What public configurations use, the most used first: a count over 122 public repositories.
const MOST_USED: [&str; 55] = [
    "server.document-root",
    "server.modules",
    "server.username",
    "server.groupname",
    "server.port",
    "index-file.names",
    "server.errorlog",
    "mimetype.assign",
    "static-file.exclude-extensions",
    "server.pid-file",
    "url.access-deny",
    "fastcgi.server",
    "accesslog.filename",
    "dir-listing.activate",
    "server.upload-dirs",
    "server.follow-symlink",
    "cgi.assign",
    "alias.url",
    "compress.filetype",
    "compress.cache-dir",
    "server.indexfiles",
    "url.redirect",
    "url.rewrite-once",
    "ssl.pemfile",
    "ssl.engine",
    "setenv.add-response-header",
    "server.network-backend",
    "server.tag",
    "server.dir-listing",
    "server.event-handler",
    "server.bind",
    "dir-listing.encoding",
    "expire.url",
    "proxy.server",
    "setenv.add-environment",
    "auth.backend",
    "auth.require",
    "server.error-handler-404",
    "server.max-connections",
    "server.range-requests",
    "fastcgi.debug",
    "server.use-ipv6",
    "server.http-parseopts",
    "ssl.cipher-list",
    "server.max-fds",
    "url.rewrite-if-not-file",
    "deflate.mimetypes",
    "server.name",
    "server.stat-cache-engine",
    "deflate.cache-dir",
    "auth.backend.htdigest.userfile",
    "status.status-url",
    "dir-listing.hide-dotfiles",
    "dir-listing.exclude",
    "deflate.allowed-encodings",
];

/// What is asked: the file of the configuration, then curl's arguments. `HTTP` and `HTTPS` are the server's addresses.
const ASKED: &[(&str, &[&[&str]])] = &[
    (
        "files.conf",
        &[
            &["HTTP/"],
            &["HTTP/style.css"],
            &["HTTP/style.css", "-H", "Accept-Encoding: gzip"],
            &["HTTP/style.css", "-r", "2-5"],
            &["HTTP/secret.inc"],
            &["HTTP/notes.txt~"],
            &["HTTP/index.php"],
            &["HTTP/pub/"],
            &["HTTP/pub"],
            &["HTTP/pub/a.tar.gz"],
            &["HTTP/pub/.hidden"],
            &["HTTP/old-pub/"],
            &["HTTP/manual/page.html"],
            &["HTTP/manual/"],
            &["HTTP/moved/a.tar.gz"],
            &["HTTP/link.txt"],
            &["HTTP/nothing"],
        ],
    ),
    (
        "php.conf",
        &[
            &["HTTP/"],
            &["HTTP/shop/shoes"],
            &["HTTP/shop.php?article=hats", "-H", "X-Some: thing"],
            &["HTTP/shop.php/more/path?x=1"],
            &["HTTP/shop.php", "-d", "a=1&b=2"],
            &["HTTP/upload.php", "--data-binary", "@SITE/large"],
            &["HTTP/upload.php", "-H", "Expect: 100-continue", "--data-binary", "@SITE/large"],
            &["HTTP/upload.php", "-H", "Transfer-Encoding: chunked", "--data-binary", "@SITE/large"],
            &["HTTP/nothing-there"],
            &["HTTP/plain.txt"],
            &["-I", "HTTP/shop.php"],
        ],
    ),
    (
        "tls.conf",
        &[
            &["HTTP/plain.txt?x=1"],
            &["HTTP/"],
            &["HTTPS/plain.txt"],
            &["HTTPS/plain.txt", "--http2"],
            &["HTTPS/", "--tls-max", "1.2"],
            &["HTTPS/", "--tls-max", "1.1"],
        ],
    ),
    (
        "application.conf",
        &[
            &["HTTP/api/things?x=1", "-H", "Host: app.example.com"],
            &["HTTP/v1/things", "-H", "Host: app.example.com", "-H", "X-Forwarded-For: 9.9.9.9"],
            &["HTTP/api/things", "-H", "Host: app.example.com", "-d", "some body"],
            &["HTTP/style.css", "-H", "Accept-Encoding: gzip"],
            &["HTTP/style.css", "-H", "Accept-Encoding: br"],
            &["HTTP/plain.txt"],
            &["HTTP/plain.txt", "-H", "Host: a/b"],
        ],
    ),
    (
        "intranet.conf",
        &[
            &["HTTP/private/page.html"],
            &["HTTP/private/page.html", "--digest", "-u", "anna:secret"],
            &["HTTP/private/page.html", "--digest", "-u", "anna:wrong"],
            &["HTTP/private/page.html", "-u", "anna:secret"],
            &["HTTP/server-status", "-u", "anna:secret"],
            &["HTTP/server-status?auto", "-u", "anna:secret"],
            &["HTTP/server-status", "-u", "jan:secret"],
            &["HTTP/hello.sh?name=x"],
            &["HTTP/page.shtml"],
            &["HTTP/~anna/home.txt"],
            &["HTTP/~nobody-of-that-name/home.txt"],
        ],
    ),
    ("process.conf", &[&["HTTP/plain.txt"]]),
];

/// What is not compared, and why: words that the request has, what of the answer, the reason.
const APART: &[(&[&str], &[&str], &str)] = &[
    (
        &["HTTP/server-status"],
        &["body", "header content-length", "header content-type"],
        "the page is another one, counts other things, and says that it is UTF-8",
    ),
    (&["HTTP/style.css"], &["header vary"], "what depends on Accept-Encoding says so, compressed or not"),
    (
        &["HTTP/style.css", "files.conf", "Accept-Encoding: gzip"],
        &["body", "header content-encoding", "header content-length", "header etag", "header accept-ranges"],
        "types that are to be compressed are, without a list of encodings; lighttpd 1.4.69 then compresses nothing",
    ),
    (
        &["application.conf", "Host: app.example.com"],
        &["header accept-ranges"],
        "what an application makes is another thing each time: parts of it are for the application to offer",
    ),
    (
        &["Host: a/b"],
        &["header x-content-type-options"],
        "what is refused has the headers of everything else",
    ),
    (
        &["-I", "HTTP/shop.php"],
        &["header accept-ranges"],
        "what an application makes is another thing each time: parts of it are for the application to offer",
    ),
    (
        &["HTTP/upload.php", "Transfer-Encoding: chunked"],
        &["status", "body", "header connection", "header content-length", "header content-type"],
        "a body without a length is gathered and gets one; lighttpd answers 411",
    ),
    (&["HTTP/pub/"], &["header content-length"], "the list's style is another one; its rows are compared"),
    (
        &["HTTP/old-pub/"],
        &["header content-length"],
        "the list's style is another one; its rows are compared",
    ),
];

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/lighttpd")
}

/// Whether the servers to compare with are here; says so when they are not.
fn is_installed() -> bool {
    let missing = [LIGHTTPD, PHP].into_iter().find(|path| !Path::new(path).exists());
    let Some(missing) = missing else { return true };
    assert!(std::env::var_os("CI").is_none(), "{missing} is missing: run cargo xtask test --only setup");
    eprintln!("{missing} is not installed: nothing is compared. Run cargo xtask test --only setup");
    false
}

#[test]
fn the_examples_use_what_configurations_use_most() {
    let mut used = BTreeSet::new();
    for (name, _) in ASKED {
        let text = fs::read_to_string(examples().join(name)).unwrap();
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
        // A key stands at the beginning of a line or of a block.
        for part in lines.flat_map(|line| line.split('{')) {
            if let Some((key, _)) = part.split_once('=') {
                used.insert(key.trim().trim_end_matches('+').trim().to_owned());
            }
        }
    }
    let missing: Vec<&&str> = MOST_USED.iter().filter(|key| !used.contains(**key)).collect();
    assert!(missing.is_empty(), "no example uses {missing:?}");
    let listed: BTreeSet<String> = fs::read_dir(examples())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".conf"))
        .collect();
    assert_eq!(listed, ASKED.iter().map(|(name, _)| (*name).to_owned()).collect());
}

#[test]
fn the_examples_are_answered_as_lighttpd_answers_them() {
    if !is_installed() {
        return;
    }
    let site = site();
    let backend = backend();
    let mut differences = Vec::new();
    for (name, requests) in ASKED {
        let theirs = Server::start(Command::new(LIGHTTPD), name, site.path(), backend);
        let mut ours = Command::new(env!("CARGO_BIN_EXE_selvedge"));
        ours.args(["edge", "--compat", "1.4.69"]);
        let ours = Server::start(ours, name, site.path(), backend);
        for arguments in *requests {
            let (left, right) = (theirs.asked(arguments), ours.asked(arguments));
            let what: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            for one in what {
                let has = |word: &&str| arguments.contains(word) || word == name;
                let apart = APART.iter().any(|(words, what, _)| {
                    words
                        .iter()
                        .all(|word| has(word) || word.ends_with("status") && arguments[0].starts_with(word))
                        && what.contains(&one.as_str())
                });
                if left.get(one) != right.get(one) && !apart {
                    differences.push(format!(
                        "{name} {arguments:?} {one}\n  lighttpd: {:?}\n  edge:     {:?}",
                        left.get(one),
                        right.get(one)
                    ));
                }
            }
        }
        if *name == "process.conf" {
            assert_eq!(theirs.identity(), ours.identity());
            assert_eq!(theirs.descriptors(), ours.descriptors());
        }
    }
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}

/// What a converted example answers otherwise, and the directive that `convert` says has no equal, or why it is so by design: the
/// example, words of the request (all when there are none), the directive or the reason.
const UNEQUAL: &[(&str, &[&str], &str)] = &[
    ("application.conf", &["HTTP/v1/things"], "a rewrite changes the path, and not the route that answers"),
    ("intranet.conf", &["HTTP/server-status"], "auth.require"),
    ("intranet.conf", &["HTTP/server-status?auto"], "auth.require"),
    ("intranet.conf", &["HTTP/page.shtml"], "ssi.extension"),
    ("intranet.conf", &["HTTP/~anna/home.txt"], "userdir.path"),
];

#[test]
fn the_examples_answer_the_same_once_they_are_converted() {
    if !is_installed() {
        return;
    }
    let site = site();
    let backend = backend();
    let mut differences = Vec::new();
    for (name, requests) in ASKED {
        let mut before = Command::new(env!("CARGO_BIN_EXE_selvedge"));
        before.args(["edge", "--compat", "1.4.69"]);
        let before = Server::start(before, name, site.path(), backend);
        let (after, made) = Server::start_converted(name, site.path(), backend);
        for arguments in *requests {
            let has = |word: &&str| arguments.contains(word);
            let unequal = UNEQUAL.iter().find(|(of, words, _)| of == name && words.iter().all(has));
            let (left, right) = (before.asked(arguments), after.asked(arguments));
            if let Some((_, _, why)) = unequal {
                let is_told = made.lines().any(|line| line.contains("no equal here") && line.contains(why));
                assert!(
                    is_told || why.contains(' '),
                    "{name}: convert does not say that {why} has no equal\n{made}"
                );
                assert_ne!(left, right, "{name} {arguments:?}: it has an equal after all");
                // What is not answered as before is not answered with what stands behind it.
                let shown = right["body"].as_str();
                assert!(
                    !["<?php", "<!--#", "printf"].iter().any(|word| shown.contains(word)),
                    "{name} {arguments:?}: {shown}"
                );
                continue;
            }
            // How an error looks is each form's own.
            let is_error = left["status"].contains(" 4");
            let facts = [
                "curl",
                "status",
                "header location",
                "header content-encoding",
                "body",
                "header content-type",
            ];
            for one in facts.into_iter().take(if is_error { 4 } else { facts.len() }) {
                if left.get(one) != right.get(one) {
                    differences.push(format!(
                        "{name} {arguments:?} {one}\n  lighttpd.conf: {:?}\n  edge.toml:     {:?}",
                        left.get(one),
                        right.get(one)
                    ));
                }
            }
        }
    }
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}

/// Everything that the examples serve.
fn site() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("www/index.html", "<p>index</p>\n");
    write("www/plain.txt", "plain\n");
    write("www/style.css", &"p { color: black }\n".repeat(100));
    write("www/secret.inc", "secret\n");
    write("www/notes.txt~", "old\n");
    write("www/pub/a.tar.gz", "archive");
    write("www/pub/b & c.txt", "and\n");
    write("www/pub/d.bak", "old\n");
    write("www/pub/.hidden", "hidden\n");
    write("www/pub/deeper/file.txt", "file\n");
    write("www/old-pub/one.txt", "one\n");
    write("www/private/page.html", "<p>private</p>\n");
    write("manual/page.html", "<p>manual</p>\n");
    write("homes/anna/public/home.txt", "anna's\n");
    write("run/keep", "");
    write("www/index.php", "<?php echo \"start of \", $_SERVER['STAGE'], \"\\n\";\n");
    write(
        "www/missing.php",
        "<?php http_response_code(404); echo \"missing \", $_SERVER['REQUEST_URI'], \"\\n\";\n",
    );
    write(
        "www/shop.php",
        "<?php header('X-Shop: yes'); ksort($_GET); ksort($_POST);\n\
         foreach (['REQUEST_METHOD', 'REQUEST_URI', 'SCRIPT_NAME', 'PATH_INFO', 'QUERY_STRING', 'HTTP_X_SOME', 'STAGE', 'CONTENT_LENGTH'] as $name)\n\
         echo $name, '=', $_SERVER[$name] ?? '-', \"\\n\";\necho json_encode([$_GET, $_POST]), \"\\n\";\n",
    );
    write(
        "www/upload.php",
        "<?php $body = file_get_contents('php://input'); echo strlen($body), ' ', md5($body), ' ', $_SERVER['CONTENT_LENGTH'], \"\\n\";\n",
    );
    write("large", &"0123456789abcdef".repeat(50_000));
    write("www/hello.sh", "printf 'Content-Type: text/plain\\r\\n\\r\\nhello %s\\n' \"$QUERY_STRING\"\n");
    write("www/page.shtml", "<!--#include file=\"plain.txt\" --><!--#echo var=\"DOCUMENT_NAME\" -->\n");
    // anna:intranet:secret
    write("users", &format!("anna:intranet:{}\n", md5("anna:intranet:secret")));
    std::os::unix::fs::symlink("plain.txt", folder.path().join("www/link.txt")).unwrap();
    // Whoever a server becomes may read and write here.
    for path in ["", "run"] {
        fs::set_permissions(folder.path().join(path), fs::Permissions::from_mode(0o777)).unwrap();
    }
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
        .args(["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem"])
        .args(["-out", "certificate.pem"])
        .current_dir(folder.path())
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    fs::write(folder.path().join("server.pem"), read("key.pem") + &read("certificate.pem")).unwrap();
    folder
}

fn md5(text: &str) -> String {
    let mut child =
        Command::new("md5sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("md5sum");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

/// An application that says what it was asked; its port.
fn backend() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || while answer(&stream).is_some() {});
        }
    });
    port
}

fn answer(stream: &TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let value = |name: &str| {
        let named = lines.iter().filter_map(|line| line.split_once(": "));
        named.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
    };
    let mut body = vec![0; value("content-length").map_or(0, |length| length.parse().unwrap())];
    std::io::Read::read_exact(&mut reader, &mut body).ok()?;
    let told = ["host", "x-forwarded-for", "x-forwarded-proto", "forwarded", "content-length"];
    let told: String = told.iter().map(|name| format!("{name}: {:?}\n", value(name))).collect();
    let line = lines[0].rsplit_once(' ').map_or("", |(line, _)| line);
    let text = format!("{line}\n{told}{}\n", String::from_utf8_lossy(&body));
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", text.len());
    let mut stream = stream;
    stream.write_all((head + &text).as_bytes()).ok()
}

/// A server that runs; ended when dropped.
struct Server {
    child: Child,
    port: u16,
    tls_port: u16,
    site: PathBuf,
}

impl Server {
    fn start(command: Command, example: &str, site: &Path, backend: u16) -> Self {
        Self::start_with(command, example, site, backend, |_| examples().join(example))
    }

    /// The same example once it is converted to our own form, and what is said to have no equal there.
    fn start_converted(example: &str, site: &Path, backend: u16) -> (Self, String) {
        let mut made = String::new();
        let mut ours = Command::new(env!("CARGO_BIN_EXE_selvedge"));
        ours.arg("edge");
        let server = Self::start_with(ours, example, site, backend, |variables| {
            let mut convert = Command::new(env!("CARGO_BIN_EXE_selvedge"));
            convert.args(["edge", "convert", "--compat", "1.4.69"]).arg(examples().join(example));
            let output = convert.envs(variables.iter().cloned()).output().unwrap();
            assert!(output.status.success(), "{example}: {}", String::from_utf8_lossy(&output.stderr));
            made = String::from_utf8(output.stdout).unwrap();
            let file = site.join(format!("run/{example}.toml"));
            fs::write(&file, &made).unwrap();
            file
        });
        (server, made)
    }

    fn start_with(
        mut command: Command,
        example: &str,
        site: &Path,
        backend: u16,
        file: impl FnOnce(&[(&str, String)]) -> PathBuf,
    ) -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (plain, tls) = (free(), free());
        let (port, tls_port) = (plain.local_addr().unwrap().port(), tls.local_addr().unwrap().port());
        drop((plain, tls));
        let variables = [
            ("SITE", site.display().to_string()),
            ("PORT", port.to_string()),
            ("TLS_PORT", tls_port.to_string()),
            ("BACKEND_PORT", backend.to_string()),
        ];
        let child = command
            .arg("-D")
            .arg("-f")
            .arg(file(&variables))
            .envs(variables)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Self { child, port, tls_port, site: site.to_owned() };
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = server.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < until, "{example}: {command:?} {ended:?}");
            std::thread::yield_now();
        }
        server
    }

    /// What curl gets, by name.
    fn asked(&self, arguments: &[&str]) -> BTreeMap<String, String> {
        let (http, https) =
            (format!("http://127.0.0.1:{}", self.port), format!("https://127.0.0.1:{}", self.tls_port));
        let arguments = arguments.iter().map(|word| {
            word.replace("HTTPS/", &format!("{https}/"))
                .replace("HTTP/", &format!("{http}/"))
                .replace("SITE", &self.site.display().to_string())
        });
        let output = Command::new("curl")
            .args(["-s", "-k", "-i", "--max-time", "15"])
            .args(arguments)
            .output()
            .expect("curl");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // A sign-in by digest takes two requests: the last answer counts.
        let from = text.rfind("HTTP/1.1 ").max(text.rfind("HTTP/2 ")).unwrap_or(0);
        let (head, body) = text[from..].split_once("\r\n\r\n").unwrap_or_else(|| (&text[from..], ""));
        let masked = |text: &str| {
            text.replace(&self.port.to_string(), "PORT").replace(&self.tls_port.to_string(), "TLS_PORT")
        };
        let mut facts = BTreeMap::from([("curl".to_owned(), output.status.code().unwrap_or(-1).to_string())]);
        let mut lines = head.split("\r\n");
        facts.insert("status".to_owned(), lines.next().unwrap_or_default().to_owned());
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            let name = name.to_ascii_lowercase();
            let value = match name.as_str() {
                "date" | "expires" => "a time".to_owned(),
                "www-authenticate" => without_nonce(value),
                _ => masked(value),
            };
            let known = facts.entry(format!("header {name}")).or_default();
            known.push_str(&value);
            known.push('\n');
        }
        // Of a directory's list, the rows.
        let rows = body.split_once("<tbody>").and_then(|(_, rest)| rest.split_once("</tbody>"));
        facts.insert(
            "body".to_owned(),
            masked(rows.map_or(body, |(rows, _)| rows)).replace("&#x26;", "&amp;"),
        );
        facts
    }

    /// Real, effective, saved and file system's user and group.
    fn identity(&self) -> Vec<String> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let lines = status.lines().filter(|line| line.starts_with("Uid:") || line.starts_with("Gid:"));
        lines.map(str::to_owned).collect()
    }

    /// How many files it may have open.
    fn descriptors(&self) -> String {
        let limits = fs::read_to_string(format!("/proc/{}/limits", self.child.id())).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        line.split_whitespace().nth(3).unwrap().to_owned()
    }
}

/// A challenge is another each time.
fn without_nonce(value: &str) -> String {
    match value.split_once("nonce=\"") {
        Some((before, rest)) => {
            let behind = rest.split_once('"').map_or("", |(_, behind)| behind);
            format!("{before}nonce=\"…\"{behind}")
        }
        None => value.to_owned(),
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Asked to leave, so that it ends its own programs.
        let id = self.child.id().to_string();
        let _ = Command::new("kill").args(["-s", "INT", &id]).status();
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            std::thread::yield_now();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
