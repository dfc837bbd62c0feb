//! `kill -9` of the whole control plane while clients write through its API, again and again.
//!
//! Each writer walks through the life of one virtual node after another: create with a tag, update, delete. What
//! was answered with 200 must be there after the restart, whole; what was not answered may be, whole, or not at
//! all. The store's own test of this kind is `kill9` of `selvedge-store`, which also follows the change feed.
//! `SEED` and `KILLS` as there.

use std::env;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

const KILLS: u64 = 100;
const WRITERS: u64 = 4;
/// From the start of the process to its first 200 at `/readyz`.
const RESTART_MAX: Duration = Duration::from_secs(1);
const LIFE_MAX_MS: u64 = 120;
/// The longest wait for any answer, so that a server that hangs fails the test.
const ANSWER_MAX: Duration = Duration::from_secs(20);
const MESH: &str = "/v20190125/meshes/kill9";

#[test]
fn no_acknowledged_call_is_lost_to_kill_9() {
    let seed = from_env("SEED").unwrap_or_else(clock_seed);
    let kills = from_env("KILLS").unwrap_or(KILLS);
    report(&format!("SEED={seed} KILLS={kills}"));
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut chance = Chance(seed);
    let mut steps = [0; WRITERS as usize];
    let mut slowest = Duration::ZERO;
    let mut server = Server::start(dir.path());
    server.connect().put("/v20190125/meshes", &json!({"meshName": "kill9"})).expect("the mesh is made");
    for kill in 0..kills {
        let life = Duration::from_micros(chance.below(LIFE_MAX_MS * 1000));
        let acknowledged = server.live(&steps, life);
        server = Server::start(dir.path());
        slowest = slowest.max(server.ready_after);
        assert!(server.ready_after < RESTART_MAX, "kill {kill}: ready after {:?}", server.ready_after);
        let mut connection = server.connect();
        for (writer, (step, acknowledged)) in (0..).zip(steps.iter_mut().zip(acknowledged)) {
            let done = done_steps(&mut connection, writer, acknowledged);
            let is_possible = done == acknowledged || done == acknowledged + 1;
            assert!(
                is_possible,
                "kill {kill}: writer {writer} had {acknowledged} steps acknowledged, {done} are there"
            );
            *step = done;
        }
        check_nothing_else_is_there(&mut connection, &steps, kill);
    }
    let total: u64 = steps.iter().sum();
    report(&format!("{kills} kills, {total} writes, slowest restart {slowest:?}"));
    assert!(total > kills, "the load was too light to prove anything");
}

// === what a writer does ===

/// The three steps of a node's life.
fn take_step(connection: &mut Connection, writer: u64, step: u64) -> io::Result<()> {
    let name = node_name(writer, step);
    let item = format!("{MESH}/virtualNodes/{name}");
    match step % 3 {
        0 => {
            let tags = json!([{"key": "step", "value": step.to_string()}]);
            let body = json!({"virtualNodeName": name, "spec": spec(step), "tags": tags});
            connection.put(&format!("{MESH}/virtualNodes"), &body)
        }
        1 => connection.put(&item, &json!({"spec": spec(step)})),
        _ => connection.call("DELETE", &item, "").and_then(expect_200),
    }
}

fn node_name(writer: u64, step: u64) -> String {
    format!("w{writer}-{}", step / 3)
}

/// A spec that tells which step wrote it.
fn spec(step: u64) -> Value {
    json!({"backends": [{"virtualService": {"virtualServiceName": format!("step-{step}.local")}}]})
}

/// How many steps of `writer` the server has done: those acknowledged, or one more.
fn done_steps(connection: &mut Connection, writer: u64, acknowledged: u64) -> u64 {
    // The node that the step after the acknowledged ones touches, done or not.
    let (first, name) = (acknowledged / 3 * 3, node_name(writer, acknowledged));
    let item = format!("{MESH}/virtualNodes/{name}");
    let (status, body) = connection.call("GET", &item, "").expect("the server answers");
    if status == 404 {
        // Not made yet, or deleted again: the latter only if its last step has been tried.
        return if acknowledged % 3 == 2 { first + 3 } else { first };
    }
    assert_eq!(status, 200, "{body}");
    let node: Value = serde_json::from_str(&body).expect("JSON");
    let arn = node["metadata"]["arn"].as_str().expect("a node has an ARN");
    let (status, tags) = connection
        .call("GET", &format!("/v20190125/tags?resourceArn={arn}"), "")
        .expect("the server answers");
    assert_eq!(status, 200, "{tags}");
    let tags: Value = serde_json::from_str(&tags).expect("JSON");
    assert_eq!(
        tags["tags"][0]["value"],
        json!(first.to_string()),
        "{name} is there without its tag: half a create"
    );
    if node["spec"] == spec(first) {
        first + 1
    } else {
        assert_eq!(node["spec"], spec(first + 1), "{name} has a spec that nobody sent");
        first + 2
    }
}

/// Each writer has at most the node it is busy with.
fn check_nothing_else_is_there(connection: &mut Connection, steps: &[u64], kill: u64) {
    let (status, body) =
        connection.call("GET", &format!("{MESH}/virtualNodes"), "").expect("the server answers");
    assert_eq!(status, 200, "{body}");
    let listed: Value = serde_json::from_str(&body).expect("JSON");
    let names = listed["virtualNodes"].as_array().expect("a list").iter();
    let mut names: Vec<_> = names.map(|node| node["virtualNodeName"].as_str().unwrap_or_default()).collect();
    names.sort_unstable();
    let expected = (0..).zip(steps).filter(|(_, step)| *step % 3 > 0);
    let expected: Vec<_> = expected.map(|(writer, &step)| node_name(writer, step)).collect();
    assert_eq!(names, expected, "kill {kill}");
}

// === the server ===

struct Server {
    child: Child,
    address: SocketAddr,
    ready_after: Duration,
}

impl Server {
    /// Starts `selvedge up` and waits until it is ready.
    fn start(dir: &Path) -> Self {
        let begun = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_selvedge"))
            .args(["up", "--listen", "127.0.0.1:0", "--log-level", "error", "--data-dir"])
            .arg(dir)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it says where it listens");
        let address = line.trim_end().rsplit('/').next().and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("it says {line:?}"));
        let mut server = Self { child, address, ready_after: Duration::ZERO };
        let (status, body) = server.connect().call("GET", "/readyz", "").expect("it answers");
        assert_eq!(status, 200, "{body}");
        server.ready_after = begun.elapsed();
        server
    }

    fn connect(&self) -> Connection {
        Connection::open(self.address).expect("a ready server accepts")
    }

    /// Lets every writer go on from its step for a while, kills the server, and returns the steps acknowledged.
    fn live(mut self, steps: &[u64], life: Duration) -> Vec<u64> {
        thread::scope(|scope| {
            let writers: Vec<_> = (0..)
                .zip(steps)
                .map(|(writer, &step)| {
                    let mut connection = self.connect();
                    scope.spawn(move || {
                        (step..)
                            .find(|&step| take_step(&mut connection, writer, step).is_err())
                            .expect("it dies")
                    })
                })
                .collect();
            thread::sleep(life);
            self.child.kill().expect("SIGKILL is delivered");
            self.child.wait().expect("the child is ours");
            writers.into_iter().map(|writer| writer.join().expect("no answer was an error")).collect()
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Dead already, unless an assertion failed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

// === just enough HTTP ===

struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    fn put(&mut self, path: &str, body: &Value) -> io::Result<()> {
        self.call("PUT", path, &body.to_string()).and_then(expect_200)
    }

    /// Status and body. Fails when the server is gone.
    fn call(&mut self, method: &str, path: &str, body: &str) -> io::Result<(u16, String)> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let status = self.line()?.split(' ').nth(1).and_then(|status| status.parse().ok());
        let mut length = 0;
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        let status = status.ok_or_else(|| io::Error::other("no status"))?;
        Ok((status, String::from_utf8(body).map_err(io::Error::other)?))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

/// Anything but 200 is an answer, and here a wrong one.
fn expect_200((status, body): (u16, String)) -> io::Result<()> {
    assert_eq!(status, 200, "{body}");
    Ok(())
}

// === chance ===

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

fn from_env(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number")))
}

fn clock_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    u64::from(since.subsec_nanos()) ^ since.as_secs()
}

fn report(line: &str) {
    // Past libtest's capture, so that a seed is seen whatever happens.
    writeln!(io::stderr(), "kill9: {line}").expect("standard error is open");
}
