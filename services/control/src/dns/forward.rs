//! Names of others: asked of their servers once for all who ask at a time, and remembered.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use selvedge_dns::answer::ResponseCode;
use selvedge_dns::cache::Remembered;
use selvedge_dns::upstream::{Ask, Reply};
use selvedge_dns::{Answer, Cache, Guard, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Questions to other servers under way at a time; more fail.
pub const QUESTIONS_MAX: usize = 512;
/// Bytes of another server's answer by UDP, which is told to send 1,232.
const PACKET_BYTES_MAX: usize = 4096;
/// How often all servers are asked.
const ROUNDS: usize = 2;
/// Packets that are not the answer, after which a server is given up: somebody is guessing.
const FOREIGN_MAX: usize = 16;

type Key = (String, RecordType);

/// Asks others.
pub(super) struct Forwarder {
    servers: Vec<SocketAddr>,
    timeout: Duration,
    guard: Guard,
    // Locks for one look or one change each.
    cache: Mutex<Cache>,
    under_way: Mutex<HashMap<Key, watch::Receiver<Option<Answer>>>>,
}

impl Forwarder {
    pub(super) fn new(servers: Vec<SocketAddr>, timeout: Duration, guard: Guard) -> Self {
        Self { servers, timeout, guard, cache: Mutex::default(), under_way: Mutex::default() }
    }

    /// The answer to a question about a name in lower case.
    pub(super) async fn ask(&self, name: &str, kind: RecordType) -> Answer {
        match self.remembered(name, kind) {
            Remembered::Fresh(answer) => return answer,
            Remembered::Stale(_) | Remembered::Nothing => {}
        }
        if self.servers.is_empty() {
            return Answer::of_code(ResponseCode::Refused);
        }
        let mut said = match self.join(name, kind) {
            Join::First(say) => return self.ask_first(name, kind, &say).await,
            Join::Behind(said) => said,
            Join::Full => return self.or_stale(name, kind),
        };
        match said.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(answer)) => answer.clone(),
            // Whoever asked was broken off.
            _ => self.or_stale(name, kind),
        }
    }

    /// Asks for all who ask the same meanwhile.
    async fn ask_first(&self, name: &str, kind: RecordType, say: &watch::Sender<Option<Answer>>) -> Answer {
        let _leave = Leave { forwarder: self, key: (name.to_owned(), kind) };
        let answer = match self.ask_servers(name, kind).await {
            Some(mut answer) => {
                let taken = self.guard.filter(name, &mut answer);
                if taken > 0 {
                    tracing::warn!(name, taken, "a name of others points at addresses that it may not have");
                }
                self.cache().put(Instant::now(), name, kind, &answer);
                answer
            }
            None => self.or_stale(name, kind),
        };
        say.send_replace(Some(answer.clone()));
        answer
    }

    async fn ask_servers(&self, name: &str, kind: RecordType) -> Option<Answer> {
        for _ in 0..ROUNDS {
            for server in &self.servers {
                match tokio::time::timeout(self.timeout, ask_server(*server, name, kind)).await {
                    Ok(Ok(Some(answer))) => return Some(answer),
                    Ok(Ok(None)) => tracing::debug!(%server, name, "a server answers nothing of use"),
                    Ok(Err(error)) => tracing::debug!(%server, name, %error, "a server cannot be asked"),
                    Err(_) => tracing::debug!(%server, name, "a server does not answer"),
                }
            }
        }
        None
    }

    /// What was known before, when nobody can be asked.
    fn or_stale(&self, name: &str, kind: RecordType) -> Answer {
        match self.remembered(name, kind) {
            Remembered::Fresh(answer) | Remembered::Stale(answer) => answer,
            Remembered::Nothing => Answer::of_code(ResponseCode::ServFail),
        }
    }

    fn remembered(&self, name: &str, kind: RecordType) -> Remembered {
        self.cache().get(Instant::now(), name, kind)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, name: &str, kind: RecordType) -> Join {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (name.to_owned(), kind);
        if let Some(said) = under_way.get(&key) {
            return Join::Behind(said.clone());
        }
        if under_way.len() >= QUESTIONS_MAX {
            return Join::Full;
        }
        let (say, said) = watch::channel(None);
        under_way.insert(key, said);
        Join::First(say)
    }
}

enum Join {
    First(watch::Sender<Option<Answer>>),
    Behind(watch::Receiver<Option<Answer>>),
    Full,
}

/// Whatever ends a question, it is not under way any more.
struct Leave<'a> {
    forwarder: &'a Forwarder,
    key: Key,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let mut under_way = self.forwarder.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.remove(&self.key);
    }
}

/// Asks one server; `None` when it answers nothing of use.
async fn ask_server(server: SocketAddr, name: &str, kind: RecordType) -> io::Result<Option<Answer>> {
    let draw = chance();
    let id = (chance() & 0xffff) as u16;
    let Some(ask) = Ask::new(name, kind, id, draw) else { return Ok(None) };
    let socket = selvedge_wire::udp::connect(server).await?;
    socket.send(&ask.packet()).await?;
    let mut packet = vec![0; PACKET_BYTES_MAX];
    for _ in 0..FOREIGN_MAX {
        let length = socket.recv(&mut packet).await?;
        match ask.read(&packet[..length], true) {
            Reply::Answer(answer) => return Ok(Some(answer)),
            // A server that does not repeat the case is heard by TCP, where nobody else can answer.
            Reply::Foreign if !matches!(ask.read(&packet[..length], false), Reply::Foreign) => {
                return ask_by_tcp(server, &ask).await;
            }
            Reply::Foreign => {}
            Reply::Truncated => return ask_by_tcp(server, &ask).await,
            Reply::Useless => return Ok(None),
        }
    }
    ask_by_tcp(server, &ask).await
}

async fn ask_by_tcp(server: SocketAddr, ask: &Ask) -> io::Result<Option<Answer>> {
    let mut stream = TcpStream::connect(server).await?;
    let question = ask.packet();
    let length = u16::try_from(question.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    stream.write_all(&[&length.to_be_bytes()[..], &question].concat()).await?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let mut packet = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut packet).await?;
    match ask.read(&packet, false) {
        Reply::Answer(answer) => Ok(Some(answer)),
        _ => Ok(None),
    }
}

/// 64 bits that nobody can foretell.
pub(super) fn chance() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0 ^ uuid::Uuid::new_v4().as_u64_pair().1
}
