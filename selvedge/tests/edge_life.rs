//! The life of an edge: signals as lighttpd takes them, configurations read again, a new binary, sockets that systemd opened,
//! privileges given up.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const LIGHTTPD: &str = "/usr/sbin/lighttpd";
const PATIENCE: Duration = Duration::from_secs(60);

/// A port that nobody listens on, below those that the kernel gives to whoever connects somewhere: it is not taken between
/// here and the moment when somebody listens on it.
fn free_port() -> u16 {
    let began = std::time::UNIX_EPOCH.elapsed().expect("after 1970").subsec_nanos();
    let mut candidates =
        (0..).map(|turn: u32| 12_000 + (began.wrapping_add(turn.wrapping_mul(7919)) % 20_000) as u16);
    candidates.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a port")
}

/// A folder with a document root and a configuration.
struct Site {
    folder: tempfile::TempDir,
    port: u16,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("www")).unwrap();
        fs::write(folder.path().join("www/a.txt"), "12345\n").unwrap();
        fs::write(folder.path().join("www/large"), vec![b'x'; 8 << 20]).unwrap();
        let port = free_port();
        let site = Self { folder, port };
        site.configure("1", "");
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the configuration; answers carry `generation`.
    fn configure(&self, generation: &str, more: &str) {
        let text = format!(
            "server.document-root = \"{0}/www\"\nserver.bind = \"127.0.0.1\"\nserver.port = {1}\n\
             server.modules = ( \"mod_setenv\", \"mod_accesslog\" )\nserver.pid-file = \"{0}/pid\"\n\
             setenv.add-response-header = ( \"X-Generation\" => \"{generation}\" )\n{more}\n",
            self.folder.path().display(),
            self.port,
        );
        fs::write(self.path("edge.conf"), text).unwrap();
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    fn ours(&self, more: &[&str]) -> Server {
        let mut command = Command::new(env!("CARGO_BIN_EXE_selvedge"));
        command.arg("edge").args(more);
        Server::start(command, &self.path("edge.conf"), self.address())
    }

    fn theirs(&self) -> Option<Server> {
        if !Path::new(LIGHTTPD).exists() {
            assert!(
                std::env::var_os("CI").is_none(),
                "{LIGHTTPD} is missing: run cargo xtask test --only setup"
            );
            eprintln!("{LIGHTTPD} is not installed: nothing is compared. Run cargo xtask test --only setup");
            return None;
        }
        Some(Server::start(Command::new(LIGHTTPD), &self.path("edge.conf"), self.address()))
    }

    /// The generation of an answer; `None` if there is none.
    fn generation(&self) -> Option<String> {
        let mut stream = TcpStream::connect(self.address()).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET /a.txt HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        if !text.starts_with("HTTP/1.1 200") || !text.ends_with("12345\n") {
            return None;
        }
        let line = text.lines().find_map(|line| line.strip_prefix("X-Generation: "))?;
        Some(line.to_owned())
    }

    fn await_generation(&self, wanted: &str) {
        await_until(wanted, || self.generation().as_deref() == Some(wanted));
    }

    /// A download that is under way and not read on.
    fn slow_download(&self) -> Download {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET /large HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
        let mut part = vec![0; 4096];
        let read = stream.read(&mut part).unwrap();
        assert!(part.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&part[..read]));
        Download { stream, read }
    }
}

struct Download {
    stream: TcpStream,
    read: usize,
}

impl Download {
    /// Reads the rest; whether it came whole.
    fn finish(mut self) -> bool {
        let mut rest = Vec::new();
        let read = self.stream.read_to_end(&mut rest);
        read.is_ok() && self.read + rest.len() > 8 << 20
    }
}

fn await_until(what: &str, mut is: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < until, "in vain: {what}");
        std::thread::yield_now();
    }
}

/// A server that runs; ended when dropped.
struct Server {
    child: Child,
    /// What it complains of, line by line.
    said: mpsc::Receiver<String>,
}

impl Server {
    fn start(mut command: Command, conf: &Path, address: SocketAddr) -> Self {
        command
            .arg("-D")
            .arg("-f")
            .arg(conf)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (tell, said) = mpsc::channel();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        let mut server = Self { child, said };
        await_until("it listens", || {
            assert!(
                server.child.try_wait().unwrap().is_none(),
                "it ended: {:?}",
                server.said.try_iter().collect::<Vec<_>>()
            );
            TcpStream::connect(address).is_ok()
        });
        server
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
    }

    /// Waits for a line that contains a word.
    fn await_line(&self, word: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.said.recv_timeout(left).unwrap_or_else(|_| panic!("nobody says {word}"));
            if line.contains(word) {
                return line;
            }
        }
    }

    fn ended(&mut self) -> ExitStatus {
        await_until("it ends", || self.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Both end without an error and take their pid file along.
#[test]
fn both_leave_when_they_are_told_to() {
    let check = |site: &Site, mut server: Server, signal: &str| {
        // It listens before it says who it is.
        await_until("a pid file", || site.path("pid").exists());
        server.signal(signal);
        let status = server.ended();
        assert!(status.success(), "{signal}: {status}");
        assert!(!site.path("pid").exists(), "{signal}");
        assert!(TcpStream::connect(site.address()).is_err(), "{signal}");
    };
    for signal in ["TERM", "INT"] {
        let site = Site::new();
        check(&site, site.ours(&[]), signal);
        let site = Site::new();
        if let Some(theirs) = site.theirs() {
            check(&site, theirs, signal);
        }
    }
}

/// SIGINT gives what is under way its time; SIGTERM, and a second SIGINT, cut it.
#[test]
fn both_leave_at_once_on_sigterm_and_in_time_on_sigint() {
    let check = |site: &Site, mut server: Server, signals: &[&str], is_whole: bool| {
        let download = site.slow_download();
        server.signal(signals[0]);
        await_until("nobody else is served", || TcpStream::connect(site.address()).is_err());
        for signal in &signals[1..] {
            server.signal(signal);
        }
        if !is_whole {
            // It does not wait for whoever reads nothing. lighttpd ends with 1 then.
            server.ended();
        }
        assert_eq!(download.finish(), is_whole, "{signals:?}");
        server.ended();
    };
    // For longer than anybody waits here: what ends sooner was cut.
    let patient = "server.feature-flags = ( \"server.graceful-shutdown-timeout\" => 3600 )";
    for (signals, is_whole) in
        [(&["INT"][..], true), (&["TERM"], false), (&["INT", "INT"], false), (&["INT", "TERM"], false)]
    {
        let site = Site::new();
        site.configure("1", patient);
        check(&site, site.ours(&[]), signals, is_whole);
        let site = Site::new();
        site.configure("1", patient);
        if let Some(theirs) = site.theirs() {
            check(&site, theirs, signals, is_whole);
        }
    }
}

/// Our own form has no lighttpd to be like: whoever stops it does not cut what is under way.
#[test]
fn an_edge_of_our_own_form_leaves_in_time_on_sigterm() {
    let site = Site::new();
    let text = format!(
        "[[listen]]\naddress = \"{}\"\n[[site]]\n[[site.route]]\npath = \"/*\"\nfiles = \"{}/www\"\n",
        site.address(),
        site.folder.path().display()
    );
    fs::write(site.path("edge.toml"), text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_selvedge"));
    command.arg("edge");
    let mut server = Server::start(command, &site.path("edge.toml"), site.address());
    let download = site.slow_download();
    server.signal("TERM");
    await_until("nobody else is served", || TcpStream::connect(site.address()).is_err());
    assert!(download.finish());
    assert!(server.ended().success());
}

/// Without `-D` both go to the background once they serve, and say by their end whether they do.
#[test]
fn both_go_to_the_background_once_they_serve() {
    let check = |site: &Site, words: &[&str]| {
        let run = |file: &Path| {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]).arg("-f").arg(file).stdin(Stdio::null());
            // Both are pipes: what is in the background lets go of them, or nobody would see the end of it.
            command.output().unwrap()
        };
        let started = run(&site.path("edge.conf"));
        assert!(started.status.success(), "{words:?}: {started:?}");
        assert_eq!(site.generation().as_deref(), Some("1"), "it serves");
        let id = fs::read_to_string(site.path("pid")).unwrap();
        let id = id.trim();
        let leader = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
        let session = leader.rsplit_once(')').unwrap().1.split_whitespace().nth(3).unwrap().to_owned();
        let own = fs::read_to_string("/proc/self/stat").unwrap();
        let own = own.rsplit_once(')').unwrap().1.split_whitespace().nth(3).unwrap().to_owned();
        assert_ne!(session, own, "{words:?}: the terminal's end is not its own");
        let second = run(&site.path("edge.conf"));
        assert_eq!(second.status.code(), Some(255), "{words:?}: the address is taken: {second:?}");
        fs::write(site.path("bad.conf"), "server.port = = 1\n").unwrap();
        assert_eq!(run(&site.path("bad.conf")).status.code(), Some(255), "{words:?}");
        assert!(Command::new("kill").args(["-s", "TERM", id]).status().unwrap().success());
        await_until("it ends", || !Path::new(&format!("/proc/{id}")).exists());
    };
    let site = Site::new();
    check(&site, &[env!("CARGO_BIN_EXE_selvedge"), "edge"]);
    let site = Site::new();
    if Path::new(LIGHTTPD).exists() {
        check(&site, &[LIGHTTPD]);
    }
}

/// With `-1` both answer what comes by standard input, be it a pipe or a connection.
#[test]
fn both_answer_one_request_on_standard_input() {
    let request = b"GET /a.txt HTTP/1.0\r\n\r\n";
    let check = |site: &Site, words: &[&str]| {
        let spawn = |input: Stdio, output: Stdio| {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]).arg("-1").arg("-f").arg(site.path("edge.conf"));
            command.stdin(input).stdout(output).stderr(Stdio::null()).spawn().unwrap()
        };
        let is_right = |heard: &[u8]| heard.starts_with(b"HTTP/1.0 200") && heard.ends_with(b"12345\n");
        let mut piped = spawn(Stdio::piped(), Stdio::piped());
        piped.stdin.take().unwrap().write_all(request).unwrap();
        let output = piped.wait_with_output().unwrap();
        assert!(output.status.success() && is_right(&output.stdout), "{words:?}: {output:?}");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let accepted = std::os::fd::OwnedFd::from(listener.accept().unwrap().0);
        let mut served = spawn(accepted.into(), Stdio::null());
        client.write_all(request).unwrap();
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).unwrap();
        assert!(is_right(&heard), "{words:?}: {}", String::from_utf8_lossy(&heard));
        assert!(served.wait().unwrap().success(), "{words:?}");
    };
    let site = Site::new();
    check(&site, &[env!("CARGO_BIN_EXE_selvedge"), "edge"]);
    if Path::new(LIGHTTPD).exists() {
        check(&site, &[LIGHTTPD]);
    }
}

#[test]
fn both_open_their_logs_anew_on_sighup() {
    let check = |site: &Site, server: Server| {
        let (log, old) = (site.path("access.log"), site.path("access.log.1"));
        site.generation().unwrap();
        await_until("a line", || fs::read_to_string(&log).is_ok_and(|text| text.contains("/a.txt")));
        fs::rename(&log, &old).unwrap();
        server.signal("HUP");
        await_until("a line in the new file", || {
            site.generation().unwrap();
            fs::read_to_string(&log).is_ok_and(|text| text.contains("/a.txt"))
        });
    };
    let log = |site: &Site| {
        site.configure("1", &format!("accesslog.filename = \"{}\"", site.path("access.log").display()));
    };
    let site = Site::new();
    log(&site);
    check(&site, site.ours(&[]));
    let site = Site::new();
    log(&site);
    if let Some(theirs) = site.theirs() {
        check(&site, theirs);
    }
}

#[test]
fn a_bad_configuration_changes_nothing_and_says_where() {
    let site = Site::new();
    let server = site.ours(&[]);
    assert_eq!(site.generation().as_deref(), Some("1"));
    site.configure("2", "");
    server.signal("USR1");
    site.await_generation("2");
    // Lines 1 to 6 are the site's own.
    for (bad, place) in [("server.port = = 1", ":7:"), ("include \"nowhere.conf\"", ":7:")] {
        site.configure("3", bad);
        server.signal("USR1");
        let line = server.await_line(place);
        assert!(line.contains("edge.conf"), "{line}");
        assert_eq!(site.generation().as_deref(), Some("2"), "{bad}");
    }
    // What reads well and cannot be put in force.
    site.configure(
        "4",
        "$SERVER[\"socket\"] == \"127.0.0.1:1\" { ssl.engine = \"enable\"\nssl.pemfile = \"/nowhere\" }",
    );
    server.signal("USR1");
    server.await_line("/nowhere");
    assert_eq!(site.generation().as_deref(), Some("2"));
    site.configure("5", "");
    server.signal("USR1");
    site.await_generation("5");
}

#[test]
fn a_file_that_changes_is_read_again() {
    let site = Site::new();
    let included = site.path("more.conf");
    fs::write(&included, "").unwrap();
    let include = format!("include \"{}\"", included.display());
    site.configure("1", &include);
    let server = site.ours(&["--watch"]);
    site.configure("2", &include);
    site.await_generation("2");
    fs::write(&included, "setenv.set-response-header = ( \"X-Generation\" => \"3\" )\n").unwrap();
    site.await_generation("3");
    site.configure("4", "nonsense = = 1");
    server.await_line(":7:");
    assert_eq!(site.generation().as_deref(), Some("3"));
}

fn ask(socket: &Path, request: &str) -> String {
    // It is bound a moment after the port on which a server is seen to be there.
    let mut stream = None;
    await_until("the control socket", || {
        stream = std::os::unix::net::UnixStream::connect(socket).ok();
        stream.is_some()
    });
    let mut stream = stream.unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{request} HTTP/1.1\r\nHost: edge\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn an_operator_reloads_over_the_control_socket() {
    let site = Site::new();
    let control = site.path("control");
    let _server = site.ours(&["--control", control.to_str().unwrap()]);
    assert!(ask(&control, "GET /healthz").starts_with("HTTP/1.1 200"));
    site.configure("2", "");
    assert!(ask(&control, "POST /reload").starts_with("HTTP/1.1 200"));
    assert_eq!(site.generation().as_deref(), Some("2"), "in force once it was answered");
    site.configure("3", "nonsense = = 1");
    let refused = ask(&control, "POST /reload");
    assert!(refused.starts_with("HTTP/1.1 422") && refused.contains("edge.conf:7:"), "{refused}");
    assert_eq!(site.generation().as_deref(), Some("2"));
    assert!(
        ask(&control, "GET /reload").starts_with("HTTP/1.1 405"),
        "what a page can make a browser ask changes nothing"
    );
    assert!(ask(&control, "GET /").starts_with("HTTP/1.1 404"));
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&control).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

/// New connections, one after the other, until told to stop: how many, and those that failed.
fn arrivals(site: &Site) -> (mpsc::Sender<()>, std::thread::JoinHandle<(usize, usize, Duration)>) {
    let address = site.address();
    let (stop, stopped) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let (mut asked, mut failed, mut slowest) = (0, 0, Duration::ZERO);
        // Some in any case: a busy machine may have seen few when it is told to stop.
        while asked <= 10 || matches!(stopped.try_recv(), Err(mpsc::TryRecvError::Empty)) {
            let begun = Instant::now();
            let answered = TcpStream::connect(address).and_then(|mut stream| {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.write_all(b"GET /a.txt HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")?;
                let mut text = String::new();
                stream.read_to_string(&mut text)?;
                Ok(text.starts_with("HTTP/1.1 200") && text.ends_with("12345\n"))
            });
            asked += 1;
            failed += usize::from(!answered.unwrap_or(false));
            slowest = slowest.max(begun.elapsed());
        }
        (asked, failed, slowest)
    });
    (stop, thread)
}

#[test]
fn no_request_is_refused_or_stalled_by_a_reload() {
    let site = Site::new();
    let server = site.ours(&[]);
    let download = site.slow_download();
    let (stop, thread) = arrivals(&site);
    for generation in ["2", "3", "4", "5"] {
        site.configure(generation, "");
        server.signal("USR1");
        site.await_generation(generation);
    }
    drop(stop);
    let (asked, failed, slowest) = thread.join().unwrap();
    assert!(asked > 10 && failed == 0, "{failed} of {asked}");
    // A stall is what lighttpd does meanwhile: as long as the download is held, or until it is cut after 8 seconds. A busy machine
    // takes its own time.
    assert!(slowest < Duration::from_secs(8), "{slowest:?}");
    assert!(download.finish());
}

#[test]
fn a_new_binary_takes_the_place_and_no_request_is_refused() {
    let site = Site::new();
    let control = site.path("control");
    let control = ["--control", control.to_str().unwrap()];
    let mut first = site.ours(&control);
    assert!(ask(Path::new(control[1]), "GET /healthz").starts_with("HTTP/1.1 200"), "it can be succeeded");
    let download = site.slow_download();
    let (stop, thread) = arrivals(&site);
    site.configure("2", "");
    let second = site.ours(&control);
    site.await_generation("2");
    // Connections that were made before are answered by whom they were made with.
    first.await_line("a successor serves");
    assert!(download.finish(), "what was under way was cut");
    assert!(first.ended().success());
    for _ in 0..20 {
        assert_eq!(site.generation().as_deref(), Some("2"));
    }
    drop(stop);
    let (asked, failed, _) = thread.join().unwrap();
    assert!(asked > 10 && failed == 0, "{failed} of {asked}");
    let id = fs::read_to_string(site.path("pid")).unwrap();
    assert_eq!(id.trim(), second.child.id().to_string(), "the pid file is the successor's");
    assert!(ask(Path::new(control[1]), "GET /healthz").starts_with("HTTP/1.1 200"));
}

/// A request may be on its way when a successor begins to serve, on a connection that is kept and said nothing just now: it is
/// answered, and the client told to connect anew.
#[test]
fn a_kept_connection_is_answered_once_more_when_a_successor_serves() {
    let site = Site::new();
    let control = site.path("control");
    let control = ["--control", control.to_str().unwrap()];
    let mut first = site.ours(&control);
    assert!(ask(Path::new(control[1]), "GET /healthz").starts_with("HTTP/1.1 200"), "it can be succeeded");
    let ask = |stream: &mut TcpStream| {
        stream.write_all(b"GET /a.txt HTTP/1.1\r\nHost: h\r\n\r\n")?;
        let mut text = String::new();
        let mut part = [0; 4096];
        while !text.ends_with("12345\n") {
            match stream.read(&mut part)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                read => text.push_str(&String::from_utf8_lossy(&part[..read])),
            }
        }
        Ok(text)
    };
    let mut kept: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(site.address()).unwrap()).collect();
    for stream in &mut kept {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let answer = ask(stream).unwrap();
        assert!(!answer.to_lowercase().contains("connection: close"), "{answer}");
    }
    site.configure("2", "");
    let _second = site.ours(&control);
    first.await_line("a successor serves");
    for stream in &mut kept {
        let answer: Result<String, std::io::Error> = ask(stream);
        let answer = answer.expect("a kept connection is not cut").to_lowercase();
        assert!(answer.contains("x-generation: 1") && answer.contains("connection: close"), "{answer}");
    }
    assert!(first.ended().success());
}

#[test]
fn a_successor_that_does_not_get_to_serve_changes_nothing() {
    let site = Site::new();
    let control = site.path("control");
    let first = site.ours(&["--control", control.to_str().unwrap()]);
    site.configure(
        "2",
        "$SERVER[\"socket\"] == \"127.0.0.1:1\" { ssl.engine = \"enable\"\nssl.pemfile = \"/nowhere\" }",
    );
    let tried = Command::new(env!("CARGO_BIN_EXE_selvedge"))
        .args(["edge", "-D", "--control", control.to_str().unwrap(), "-f"])
        .arg(site.path("edge.conf"))
        .output()
        .unwrap();
    assert!(!tried.status.success());
    first.await_line("did not get to serve");
    assert_eq!(site.generation().as_deref(), Some("1"));
    assert!(ask(&control, "GET /healthz").starts_with("HTTP/1.1 200"), "it can be asked again");
}

/// Starts a server with sockets that are open already, as systemd does: descriptors from 3 on, in the order of the words, which
/// are ports and paths.
const ACTIVATE: &str = "import os, socket, sys\n\
    words = sys.argv[1].split()\n\
    held = []\n\
    for word in words:\n\
    \x20   if word.startswith('/'):\n\
    \x20       s = socket.socket(socket.AF_UNIX)\n\
    \x20       s.bind(word)\n\
    \x20       s.listen()\n\
    \x20   else:\n\
    \x20       s = socket.create_server(('127.0.0.1', int(word)))\n\
    \x20   held.append(os.dup(s.fileno()))\n\
    # Out of the way first: what is open may have one of the numbers.\n\
    held = [os.dup2(fd, 100 + index) for index, fd in enumerate(held)]\n\
    for index, fd in enumerate(held):\n\
    \x20   os.dup2(fd, 3 + index)\n\
    \x20   os.set_inheritable(3 + index, True)\n\
    names = ':'.join('n%d' % index for index in range(len(words)))\n\
    os.environ.update(LISTEN_FDS=str(len(words)), LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES=names)\n\
    os.execv(sys.argv[2], sys.argv[2:])\n";

fn activated(site: &Site, sockets: &str, words: &[&str]) -> Server {
    let mut command = Command::new("python3");
    command.args(["-c", ACTIVATE, sockets]).args(words);
    Server::start(command, &site.path("edge.conf"), site.address())
}

/// Descriptor 3 is a listening socket, as systemd hands it over; both servers take it.
#[test]
fn both_take_the_socket_that_systemd_opened() {
    let start = |site: &Site, words: &[&str]| {
        site.configure("1", "server.systemd-socket-activation = \"enable\"");
        activated(site, &site.port.to_string(), words)
    };
    let site = Site::new();
    let ours = start(&site, &[env!("CARGO_BIN_EXE_selvedge"), "edge"]);
    site.await_generation("1");
    // The socket stays through a reload.
    site.configure("2", "server.systemd-socket-activation = \"enable\"");
    ours.signal("USR1");
    site.await_generation("2");
    if Path::new(LIGHTTPD).exists() {
        let site = Site::new();
        let _theirs = start(&site, &[LIGHTTPD]);
        site.await_generation("1");
    }
}

/// Several sockets, in any order: each is the one that the configuration names by its address; those that it does not name are
/// as the global block says; and those that it names and that were not handed over are opened. `server.port` is left out.
#[test]
fn both_take_several_sockets_and_open_the_others() {
    let check = |site: &Site, words: &[&str], is_reloaded: bool| {
        let (named, opened) = (free_port(), free_port());
        let (path, left) = (site.path("edge.sock"), free_port());
        let text = format!(
            "server.document-root = \"{0}/www\"\nserver.port = {left}\nserver.modules = ( \"mod_setenv\" )\n\
             server.systemd-socket-activation = \"enable\"\n\
             setenv.add-response-header = ( \"X-Generation\" => \"global\" )\n\
             $SERVER[\"socket\"] == \"127.0.0.1:{named}\" {{ setenv.add-response-header = ( \"X-Generation\" => \"named\" ) }}\n\
             $SERVER[\"socket\"] == \"127.0.0.1:{opened}\" {{ setenv.add-response-header = ( \"X-Generation\" => \"opened\" ) }}\n\
             $SERVER[\"socket\"] == \"{1}\" {{ setenv.add-response-header = ( \"X-Generation\" => \"path\" ) }}\n",
            site.folder.path().display(),
            path.display(),
        );
        let configure = |more: &str| fs::write(site.path("edge.conf"), format!("{text}{more}")).unwrap();
        configure("");
        let server = activated(site, &format!("{named} {} {}", path.display(), site.port), words);
        let at = |port: u16| Site { folder: tempfile::tempdir().unwrap(), port }.generation();
        let by_path = || {
            let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
            stream.write_all(b"GET /a.txt HTTP/1.0\r\n\r\n").unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text.lines().find_map(|line| line.strip_prefix("X-Generation: ")).map(str::to_owned)
        };
        let all = |reloads: bool| {
            await_until("the socket that was not handed over", || at(opened).as_deref() == Some("opened"));
            assert_eq!(at(site.port).as_deref(), Some("global"), "{words:?} {reloads}");
            assert_eq!(at(named).as_deref(), Some("named"), "{words:?} {reloads}");
            assert_eq!(by_path().as_deref(), Some("path"), "{words:?} {reloads}");
            assert!(TcpStream::connect(("127.0.0.1", left)).is_err(), "{words:?} {reloads}");
        };
        all(false);
        if is_reloaded {
            configure("server.tag = \"anew\"\n");
            server.signal("USR1");
            server.await_line("in force");
            all(true);
        }
    };
    check(&Site::new(), &[env!("CARGO_BIN_EXE_selvedge"), "edge"], true);
    if Path::new(LIGHTTPD).exists() {
        check(&Site::new(), &[LIGHTTPD], false);
    }
}

#[test]
fn our_own_form_takes_sockets_and_opens_the_others() {
    let (site, opened) = (Site::new(), free_port());
    let text = format!(
        "[edge]\nsystemd_sockets = true\n[[listen]]\naddress = \"127.0.0.1:{opened}\"\n[[site]]\nlisten = [\"127.0.0.1:{opened}\"]\n\
         [[site.route]]\nrespond = \"opened\"\n[[site]]\n[[site.route]]\nrespond = \"handed over\"\n",
    );
    fs::write(site.path("edge.toml"), text).unwrap();
    let mut command = Command::new("python3");
    command.args(["-c", ACTIVATE, &site.port.to_string(), env!("CARGO_BIN_EXE_selvedge"), "edge"]);
    let _server = Server::start(command, &site.path("edge.toml"), site.address());
    for (port, wanted) in [(site.port, "handed over"), (opened, "opened")] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.ends_with(wanted), "{port}: {text}");
    }
}

/// A configuration for systemd that nobody hands sockets to listens on its port.
#[test]
fn both_listen_themselves_where_systemd_hands_over_nothing() {
    let configure = |site: &Site| {
        let text = format!(
            "server.document-root = \"{}/www\"\nserver.port = {}\nserver.modules = ( \"mod_setenv\" )\n\
             server.systemd-socket-activation = \"enable\"\n\
             setenv.add-response-header = ( \"X-Generation\" => \"1\" )\n",
            site.folder.path().display(),
            site.port,
        );
        fs::write(site.path("edge.conf"), text).unwrap();
    };
    let site = Site::new();
    configure(&site);
    let _ours = site.ours(&[]);
    assert_eq!(site.generation().as_deref(), Some("1"));
    let site = Site::new();
    configure(&site);
    if let Some(_theirs) = site.theirs() {
        assert_eq!(site.generation().as_deref(), Some("1"));
    }
}

/// Bound as root, served as somebody else, within another root.
#[test]
fn privileges_are_dropped_once_the_sockets_are_open() {
    let id = Command::new("id").arg("-u").output().unwrap();
    if id.stdout.trim_ascii() != b"0" {
        eprintln!("only root has privileges to drop: nothing is tested");
        return;
    }
    let site = Site::new();
    fs::set_permissions(site.folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let address = SocketAddr::from(([127, 77, (site.port >> 8) as u8, (site.port & 0xff) as u8], 81));
    let text = format!(
        "server.document-root = \"/www\"\nserver.chroot = \"{}\"\nserver.bind = \"{}\"\nserver.port = 81\n\
         server.username = \"www-data\"\nserver.groupname = \"www-data\"\n",
        site.folder.path().display(),
        address.ip(),
    );
    fs::write(site.path("edge.conf"), text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_selvedge"));
    command.arg("edge");
    let server = Server::start(command, &site.path("edge.conf"), address);
    let nobody = Command::new("id").args(["-u", "www-data"]).output().unwrap();
    let nobody = String::from_utf8_lossy(&nobody.stdout).trim().to_owned();
    let tasks = format!("/proc/{}/task", server.child.id());
    await_until("every thread is somebody else", || {
        fs::read_dir(&tasks)
            .unwrap()
            .filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok())
            .all(|status| {
                let ids =
                    status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default().to_owned();
                let none = status
                    .lines()
                    .any(|line| line.starts_with("CapEff:") && line.ends_with("0000000000000000"));
                ids.split_whitespace().all(|id| id == nobody) && none
            })
    });
    assert_eq!(fs::read_link(format!("/proc/{}/root", server.child.id())).unwrap(), site.folder.path());
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /a.txt HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.ends_with("12345\n"), "{text}");
}

/// A key that root alone may read is read before the process is somebody else, as by lighttpd; a reload keeps it.
#[test]
fn keys_of_roots_alone_serve_whoever_the_server_becomes() {
    let id = Command::new("id").arg("-u").output().unwrap();
    if id.stdout.trim_ascii() != b"0" {
        eprintln!("only root has privileges to drop: nothing is tested");
        return;
    }
    let site = Site::new();
    fs::set_permissions(site.folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for name in ["plain", "host"] {
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
            ])
            .args(["-subj", &format!("/CN={name}.example"), "-keyout"])
            .arg(site.path(&format!("{name}.key")))
            .arg("-out")
            .arg(site.path(&format!("{name}.pem")))
            .stderr(Stdio::null())
            .status();
        assert!(made.unwrap().success(), "openssl makes a certificate");
        let key = site.path(&format!("{name}.key"));
        fs::set_permissions(key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    let here = site.folder.path().display();
    let tls = format!(
        "server.modules += ( \"mod_openssl\" )\nserver.username = \"www-data\"\nserver.groupname = \"www-data\"\n\
         ssl.engine = \"enable\"\nssl.pemfile = \"{here}/plain.pem\"\n\
         ssl.privkey = \"{here}/plain.key\"\n\
         $HTTP[\"host\"] == \"host.example\" {{ ssl.pemfile = \"{here}/host.pem\" ssl.privkey = \"{here}/host.key\" }}\n"
    );
    let shows = |name: &str| {
        let asked = Command::new("openssl")
            .args(["s_client", "-connect", &site.address().to_string(), "-servername", name])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output();
        let said = String::from_utf8_lossy(&asked.unwrap().stdout).into_owned();
        let subject = said.lines().find(|line| line.starts_with("subject="));
        assert!(subject.is_some_and(|subject| subject.contains(name)), "{name}: {said}");
    };
    site.configure("1", &tls);
    let server = site.ours(&[]);
    shows("plain.example");
    shows("host.example");
    site.configure("2", &tls);
    server.signal("USR1");
    server.await_line("read again and is in force");
    shows("plain.example");
    shows("host.example");
}

/// A log that cannot be written is told at the start, and not when the first request is missing from it.
#[test]
fn neither_starts_without_its_access_log() {
    let site = Site::new();
    let lost = format!("accesslog.filename = \"{}/nowhere/access.log\"\n", site.folder.path().display());
    site.configure("1", &lost);
    let mut ours = Command::new(env!("CARGO_BIN_EXE_selvedge"));
    ours.arg("edge");
    for mut command in [ours, Command::new(LIGHTTPD)] {
        if command.get_program() == LIGHTTPD && !Path::new(LIGHTTPD).exists() {
            continue;
        }
        command.arg("-D").arg("-f").arg(site.path("edge.conf")).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        await_until("it ends", || child.try_wait().unwrap().is_some());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(255), "{command:?}: {said}");
        assert!(said.contains("/nowhere/access.log"), "{command:?}: {said}");
    }
    site.configure("1", "");
    let server = site.ours(&[]);
    site.configure("2", &lost);
    server.signal("USR1");
    server.await_line("/nowhere/access.log cannot be written");
    assert_eq!(site.generation().as_deref(), Some("1"));
}

/// A program that the server started is told to end, and can end what it has started itself, as PHP does.
#[test]
fn both_tell_their_programs_to_end() {
    let site = Site::new();
    let (listens, told) = (site.path("listens"), site.path("told"));
    let here = site.folder.path().display();
    let program =
        format!("trap 'echo > {here}/told; exit' TERM\necho > {here}/listens\nwhile :; do sleep 0.2; done\n");
    fs::write(site.path("program"), program).unwrap();
    site.configure(
        "1",
        &format!(
            "server.modules += ( \"mod_fastcgi\" )\nfastcgi.server = ( \"/app\" => (( \"bin-path\" => \"/bin/sh {here}/program\", \
             \"socket\" => \"{here}/program.sock\", \"max-procs\" => 1, \"check-local\" => \"disable\" )) )\n"
        ),
    );
    let servers: [fn(&Site) -> Option<Server>; 2] = [|site| Some(site.ours(&[])), Site::theirs];
    for start in servers {
        let server = start(&site);
        let Some(mut server) = server else { continue };
        await_until("the program listens to signals", || listens.exists());
        server.signal("TERM");
        server.ended();
        await_until("the program is told", || told.exists());
        fs::remove_file(&told).and_then(|()| fs::remove_file(&listens)).unwrap();
    }
}
