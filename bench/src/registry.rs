//! `selvedge-bench registry`: registrations, discovery and DNS of a control plane of its own, DNS beside dnsmasq and unbound.
//!
//! Registrations are durable before they are answered. Every name of the DNS part has one A record, in all three servers.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use selvedge_differential::place;
use serde_json::{Value, json};

#[derive(Clone, Debug, Parser)]
#[command(name = "selvedge-bench registry", about = "Measures the registry and the DNS server")]
pub(crate) struct Arguments {
    /// Instances that are registered in one service, and discovered
    #[arg(long, default_value_t = 10_000)]
    instances: usize,
    /// Seconds that each part is measured
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Connections, or sockets, each with one question at a time
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// Names that the DNS servers know
    #[arg(long, default_value_t = 1_000)]
    names: usize,
}

/// Ended when it is dropped.
pub(crate) struct Server(pub(crate) Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let folder = place::repository_root().join("target/bench/registry");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
    let (_plane, api, dns) = control_plane(&folder)?;
    println!("{}\n", registrations(arguments, api)?);
    println!("{}", discovery(arguments, api, "DiscoverInstances, 100 of all", &json!({}))?);
    let few = json!({ "QueryParameters": { "shard": "7" } });
    println!("{}", discovery(arguments, api, "DiscoverInstances, by an attribute", &few)?);
    println!("{}\n", discovery(arguments, api, "DiscoverInstancesRevision", &Value::Null)?);
    names(arguments, api)?;
    println!("{}", questions(arguments, "selvedge", dns)?);
    let (_dnsmasq, address) = dnsmasq(arguments, &folder)?;
    println!("{}", questions(arguments, "dnsmasq", address)?);
    let (_unbound, address) = unbound(arguments, &folder)?;
    println!("{}", questions(arguments, "unbound", address)?);
    Ok(())
}

fn control_plane(folder: &Path) -> Result<(Server, SocketAddr, SocketAddr)> {
    let binary = std::env::var("SELVEDGE_BIN").context("SELVEDGE_BIN names the binary to measure")?;
    let mut child = Command::new(&binary)
        .args([
            "up",
            "--listen",
            "127.0.0.1:0",
            "--dns",
            "127.0.0.1:0",
            "--dns-upstream",
            "none",
            "--data-dir",
        ])
        .arg(folder.join("data"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("failed to start {binary}"))?;
    let mut lines = BufReader::new(child.stdout.take().context("its output")?).lines();
    let server = Server(child);
    let mut address = || -> Result<SocketAddr> {
        let line = lines.next().context("it ended")??;
        let word = line.rsplit(' ').next().unwrap_or_default().trim_start_matches("http://");
        word.parse().with_context(|| format!("an address in '{line}'"))
    };
    let (api, dns) = (address()?, address()?);
    Ok((server, api, dns))
}

/// Runs `work` on every client until it says that there is no more, or the time is over; how long each took.
pub(crate) fn drive<C>(
    clients: usize,
    until: Option<Duration>,
    connect: impl Fn() -> Result<C> + Sync,
    work: impl Fn(&mut C, usize) -> Result<bool> + Sync,
) -> Result<(Vec<Duration>, Duration)> {
    let (next, started) = (AtomicUsize::new(0), Instant::now());
    let client = || -> Result<Vec<Duration>> {
        let mut connection = connect()?;
        let mut taken = Vec::new();
        while until.is_none_or(|until| started.elapsed() < until) {
            let begun = Instant::now();
            if !work(&mut connection, next.fetch_add(1, Ordering::Relaxed))? {
                break;
            }
            taken.push(begun.elapsed());
        }
        Ok(taken)
    };
    let all: Result<Vec<Vec<Duration>>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        threads.into_iter().map(|thread| thread.join().expect("a client does not panic")).collect()
    });
    let elapsed = started.elapsed();
    let mut taken: Vec<Duration> = all?.into_iter().flatten().collect();
    taken.sort();
    Ok((taken, elapsed))
}

pub(crate) fn line(what: &str, (taken, elapsed): (Vec<Duration>, Duration)) -> String {
    let at = |share: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let index = (taken.len().saturating_sub(1) as f64 * share) as usize;
        taken.get(index).copied().unwrap_or_default()
    };
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = taken.len() as f64 / elapsed.as_secs_f64();
    format!(
        "{what}: {rate:.0}/s, p50 {:.2?}, p99 {:.2?}, max {:.2?} ({} in all)",
        at(0.5),
        at(0.99),
        at(1.0),
        taken.len()
    )
}

/// Calls an operation of Cloud Map on a connection that stays.
fn call(stream: &mut TcpStream, operation: &str, input: &Value) -> Result<Value> {
    post(stream, "application/x-amz-json-1.1", &format!("Route53AutoNaming_v20170314.{operation}"), input)
}

/// One call of an API in AWS's JSON.
pub(crate) fn post(stream: &mut TcpStream, content: &str, target: &str, input: &Value) -> Result<Value> {
    let body = input.to_string();
    // As every SDK says it; some servers know by this alone which service is meant.
    let service = if target.starts_with("AWSStepFunctions") { "states" } else { "servicediscovery" };
    let head = format!(
        "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: {content}\r\nx-amz-target: {target}\r\nauthorization: \
         AWS4-HMAC-SHA256 Credential=bench/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, \
         Signature=0\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice())?;
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        let read = stream.read(&mut chunk)?;
        ensure!(read > 0, "the connection ended");
        bytes.extend_from_slice(&chunk[..read]);
        let Some(head) = memchr::memmem::find(&bytes, b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
        let length =
            text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if bytes.len() >= head + 4 + length.context("a length")? {
            ensure!(text.starts_with("http/1.1 200"), "{target}: {}", String::from_utf8_lossy(&bytes));
            return Ok(serde_json::from_slice(&bytes[head + 4..])?);
        }
    }
}

pub(crate) fn connect(api: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(api)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn service(api: SocketAddr, namespace: &str, name: &str, dns: bool) -> Result<String> {
    let mut stream = connect(api)?;
    let filter = json!({ "Filters": [{ "Name": "NAME", "Values": [namespace] }] });
    if call(&mut stream, "ListNamespaces", &filter)?["Namespaces"].as_array().is_none_or(Vec::is_empty) {
        call(&mut stream, "CreatePrivateDnsNamespace", &json!({ "Name": namespace, "Vpc": "v" }))?;
    }
    let space = call(&mut stream, "ListNamespaces", &filter)?["Namespaces"][0]["Id"].clone();
    let mut input = json!({ "Name": name, "NamespaceId": space });
    if dns {
        input["DnsConfig"] = json!({ "DnsRecords": [{ "Type": "A", "TTL": 60 }] });
    }
    let made = call(&mut stream, "CreateService", &input)?;
    Ok(made["Service"]["Id"].as_str().context("a service")?.to_owned())
}

fn address_of(number: usize) -> String {
    format!("10.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255)
}

fn registrations(arguments: &Arguments, api: SocketAddr) -> Result<String> {
    let service = service(api, "bench.local", "web", false)?;
    let work = |stream: &mut TcpStream, number: usize| {
        if number >= arguments.instances {
            return Ok(false);
        }
        let attributes = json!({
            "AWS_INSTANCE_IPV4": address_of(number), "AWS_INSTANCE_PORT": "80", "shard": (number % 100).to_string(),
        });
        let input =
            json!({ "ServiceId": service, "InstanceId": format!("i-{number}"), "Attributes": attributes });
        call(stream, "RegisterInstance", &input).map(|_| true)
    };
    drive(arguments.clients, None, || connect(api), work).map(|done| line("RegisterInstance, durable", done))
}

/// Discovery with more members; the revision alone for `null`.
fn discovery(arguments: &Arguments, api: SocketAddr, what: &str, more: &Value) -> Result<String> {
    let mut input = json!({ "NamespaceName": "bench.local", "ServiceName": "web" });
    for (name, value) in more.as_object().into_iter().flatten() {
        input[name] = value.clone();
    }
    let operation = if more.is_null() { "DiscoverInstancesRevision" } else { "DiscoverInstances" };
    let expected = arguments.instances.div_ceil(100).min(100);
    let work = |stream: &mut TcpStream, _| {
        let answer = call(stream, operation, &input)?;
        let found = answer["Instances"].as_array().map(Vec::len);
        ensure!(found.is_none_or(|found| found >= expected.min(100)), "only {found:?} were found");
        Ok(true)
    };
    let until = Some(Duration::from_secs(arguments.seconds));
    drive(arguments.clients, until, || connect(api), work).map(|done| line(what, done))
}

fn names(arguments: &Arguments, api: SocketAddr) -> Result<()> {
    let mut stream = connect(api)?;
    for number in 0..arguments.names {
        let service = service(api, "names.local", &format!("n{number}"), true)?;
        let attributes = json!({ "AWS_INSTANCE_IPV4": address_of(number) });
        let input = json!({ "ServiceId": service, "InstanceId": "i", "Attributes": attributes });
        call(&mut stream, "RegisterInstance", &input)?;
    }
    Ok(())
}

/// Asks for the names in turn, and looks at each answer.
fn questions(arguments: &Arguments, what: &str, server: SocketAddr) -> Result<String> {
    let connect = || -> Result<UdpSocket> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        Ok(socket)
    };
    let work = |socket: &mut UdpSocket, number: usize| {
        let name = number % arguments.names;
        let label = format!("n{name}");
        let id = u16::try_from(number & 0xffff).unwrap_or_default().to_be_bytes();
        let mut packet = [&id[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0, u8::try_from(label.len())?]].concat();
        packet.extend(label.as_bytes());
        packet.extend(b"\x05names\x05local\x00\x00\x01\x00\x01");
        socket.send(&packet)?;
        let mut answer = [0; 1500];
        let length = socket.recv(&mut answer)?;
        let address: std::net::Ipv4Addr = address_of(name).parse()?;
        let is_right = answer[..2] == id && answer[..length].ends_with(&address.octets());
        ensure!(is_right, "{what} answers n{name} otherwise");
        Ok(true)
    };
    drive(arguments.clients, Some(Duration::from_secs(1)), connect, work)?;
    let until = Some(Duration::from_secs(arguments.seconds));
    drive(arguments.clients, until, connect, work).map(|done| line(&format!("DNS, {what}"), done))
}

fn dnsmasq(arguments: &Arguments, folder: &Path) -> Result<(Server, SocketAddr)> {
    let port = place::free_port()?;
    let hosts: String = (0..arguments.names)
        .map(|number| format!("{} n{number}.names.local\n", address_of(number)))
        .collect();
    let file = folder.join("hosts");
    std::fs::write(&file, hosts)?;
    let mut command = Command::new("dnsmasq");
    command.args([
        "--keep-in-foreground",
        "--no-resolv",
        "--no-hosts",
        "--listen-address=127.0.0.1",
        "--bind-interfaces",
    ]);
    command.args(["--conf-file=/dev/null", "--user=root", "--pid-file=", "--local-ttl=60"]);
    command.arg(format!("--port={port}")).arg(format!("--addn-hosts={}", file.display()));
    start(command, port)
}

fn unbound(arguments: &Arguments, folder: &Path) -> Result<(Server, SocketAddr)> {
    let port = place::free_port()?;
    let data: String = (0..arguments.names)
        .map(|number| format!("  local-data: \"n{number}.names.local. 60 IN A {}\"\n", address_of(number)))
        .collect();
    let file = folder.join("unbound.conf");
    let text = format!(
        "server:\n  interface: 127.0.0.1\n  port: {port}\n  do-daemonize: no\n  chroot: \"\"\n  username: \"\"\n  pidfile: \"\"\n  \
         use-syslog: no\n  logfile: \"/dev/null\"\n  num-threads: 2\n  so-reuseport: yes\n  module-config: \"iterator\"\n  \
         local-zone: \"names.local.\" static\n{data}remote-control:\n  control-enable: no\n"
    );
    std::fs::write(&file, text)?;
    let mut command = Command::new("unbound");
    command.arg("-d").arg("-c").arg(&file);
    start(command, port)
}

fn start(mut command: Command, port: u16) -> Result<(Server, SocketAddr)> {
    let what = command.get_program().to_string_lossy().into_owned();
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let server =
        Server(child.with_context(|| format!("failed to start {what}: cargo xtask test --only setup"))?);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(address).is_err() {
        ensure!(Instant::now() < deadline, "{what} does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok((server, address))
}
