//! A request's body, gathered before a program sees it: a slow client then holds a file and no program.

pub(crate) mod upload;

use std::future::poll_fn;
use std::io::{Seek, SeekFrom, Write};
use std::task::Poll;
use std::time::Duration;

use selvedge_http::encode;
use selvedge_http::framing::Framing;
use selvedge_wire::channel::{Channel, Content};
use tokio::time::Instant;

use super::exchange::Exchange;
use super::response::Response;
use super::send::BOTH_IDLE_MAX;
use crate::scoreboard::State;

/// A body up to this size stays in memory; a longer one waits in a file without a name.
pub(crate) const MEMORY_BYTES_MAX: usize = 64 * 1024;
/// Once a body has begun, at least so many bytes a second must come, judged over [`RATE_WINDOW`].
pub(crate) const BODY_BYTES_PER_SECOND_MIN: u64 = 500;
/// How long the rate is averaged.
const RATE_WINDOW: Duration = Duration::from_secs(10);

/// A whole body.
#[derive(Debug)]
pub(crate) enum Gathered {
    Memory(Vec<u8>),
    File { file: std::fs::File, length: u64 },
}

impl Gathered {
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { length, .. } => *length,
        }
    }
}

/// Reads the body to its end, once; later calls find it read.
///
/// # Errors
/// The answer: 413 beyond `server.max-request-size`, 408 for a body that comes too slowly, 400 for broken chunks and for a
/// client that closed in the middle.
pub(crate) async fn gather(x: &mut Exchange<'_>) -> Result<(), Response> {
    if x.gathered.is_some() {
        return Ok(());
    }
    let mut gathered = Gathered::Memory(Vec::new());
    let limit = limit(x);
    if x.facts.framing.has_body() {
        if x.facts.expects_continue {
            say_continue(x);
        }
        let mut pace = Pace::of(x);
        if let Some(slot) = &x.slot {
            slot.is(State::ReadPost);
        }
        loop {
            match next(x, &mut pace).await? {
                Content::End => break,
                Content::Bytes => {}
            }
            let content = x.channel.content();
            let len = content.len();
            if gathered.length() + len as u64 > limit {
                return Err(Response::status(413).closing());
            }
            let stored = store(&mut gathered, content, &x.worker.shared.spool);
            x.channel.consume(len);
            pace.came(len);
            if let Some(slot) = &x.slot {
                slot.received(gathered.length());
            }
            if let Err(error) = stored {
                tracing::error!(%error, "a body cannot be stored");
                return Err(Response::status(500).closing());
            }
        }
    }
    if let Gathered::File { file, .. } = &mut gathered {
        let _ = file.seek(SeekFrom::Start(0));
    }
    if let Some(slot) = &x.slot {
        slot.is(State::Handle);
    }
    x.facts.framing = Framing::None;
    x.gathered = Some(gathered);
    Ok(())
}

/// Tells a client that waits that its body is wanted.
pub(crate) fn say_continue(x: &mut Exchange<'_>) {
    x.facts.expects_continue = false;
    if let Channel::Http1(http) = &mut *x.channel
        && http.io.unread().is_empty()
    {
        http.queue(|out| out.extend_from_slice(encode::CONTINUE));
    }
}

/// The most that a body may be, in bytes.
pub(crate) fn limit(x: &Exchange<'_>) -> u64 {
    match u64::from(x.conf.server.max_request_size) * 1024 {
        0 => u64::MAX,
        limit => limit,
    }
}

/// How fast a body has to come.
struct Pace {
    /// Between two parts of it.
    idle: Duration,
    /// The whole of it, however steadily it comes.
    until: Option<Instant>,
    /// Messages that come when there is something to say.
    is_talk: bool,
    window_began: Instant,
    window_bytes: u64,
}

impl Pace {
    fn of(x: &Exchange<'_>) -> Self {
        let until = match x.conf.edge.body_timeout {
            0 => None,
            seconds => Some(Instant::now() + Duration::from_secs(u64::from(seconds))),
        };
        // Where nobody could talk, the same word would be a way to trickle.
        let to_mesh = x.conf.mesh.service.as_ref().is_some_and(|name| !name.is_empty());
        let is_talk =
            to_mesh && x.header("content-type").is_some_and(|kind| kind.starts_with("application/grpc"));
        let idle = match is_talk {
            true => BOTH_IDLE_MAX,
            false => Duration::from_secs(u64::from(x.conf.server.max_read_idle.max(1))),
        };
        Self { idle, until, is_talk, window_began: Instant::now(), window_bytes: 0 }
    }

    fn came(&mut self, len: usize) {
        self.window_bytes += len as u64;
    }

    /// Whether less came than must, now that a window is over.
    fn is_too_slow(&mut self) -> bool {
        if self.is_talk || self.window_began.elapsed() < RATE_WINDOW {
            return false;
        }
        let slow = self.window_bytes < BODY_BYTES_PER_SECOND_MIN * RATE_WINDOW.as_secs();
        (self.window_began, self.window_bytes) = (Instant::now(), 0);
        slow
    }

    /// Somebody else was waited for: that time does not count.
    fn waited(&mut self, took: Duration) {
        self.window_began += took;
    }

    /// When the client has to have sent something.
    fn next_timeout(&self) -> Instant {
        let now = Instant::now();
        let first = match self.is_talk {
            true => now + self.idle,
            false => (now + self.idle).min(self.window_began + RATE_WINDOW).max(now),
        };
        self.until.map_or(first, |until| first.min(until))
    }
}

async fn next(x: &mut Exchange<'_>, pace: &mut Pace) -> Result<Content, Response> {
    if pace.until.is_some_and(|until| Instant::now() >= until) {
        return Err(Response::status(408).closing());
    }
    let (channel, deadline) = (&mut *x.channel, &mut *x.deadline);
    let mut armed = false;
    let read = poll_fn(|cx| {
        if let Channel::Http1(http) = channel
            && !http.is_flushed()
        {
            // `100 Continue`, if it is not out yet.
            let _ = http.poll_flush(cx);
        }
        match channel.poll_content(cx) {
            Poll::Ready(read) => Poll::Ready(Some(read)),
            Poll::Pending => {
                if !armed {
                    armed = true;
                    deadline.set(Some(pace.next_timeout()));
                }
                deadline.poll(cx).map(|()| None)
            }
        }
    })
    .await;
    match read {
        Some(Ok(content)) => {
            if pace.is_too_slow() && content == Content::Bytes && !channel.is_last() {
                return Err(Response::status(408).closing());
            }
            Ok(content)
        }
        Some(Err(_)) => Err(Response::status(400).closing()),
        None => Err(Response::status(408).closing()),
    }
}

fn store(gathered: &mut Gathered, content: &[u8], spool: &std::path::Path) -> std::io::Result<()> {
    if let Gathered::Memory(bytes) = gathered {
        if bytes.len() + content.len() <= MEMORY_BYTES_MAX {
            bytes.extend_from_slice(content);
            return Ok(());
        }
        let mut file = unnamed(spool)?;
        file.write_all(bytes)?;
        *gathered = Gathered::File { file, length: bytes.len() as u64 };
    }
    if let Gathered::File { file, length } = gathered {
        file.write_all(content)?;
        *length += content.len() as u64;
    }
    Ok(())
}

/// A file that is gone when it is closed.
fn unnamed(folder: &std::path::Path) -> std::io::Result<std::fs::File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR) {
        Ok(descriptor) => Ok(std::fs::File::from(descriptor)),
        // Not every file system knows files without names.
        Err(_) => {
            let path = folder.join(format!("selvedge-edge-{}-{:x}", std::process::id(), unique()));
            let mut options = std::fs::OpenOptions::new();
            let file = options.read(true).write(true).create_new(true).open(&path)?;
            std::fs::remove_file(&path)?;
            Ok(file)
        }
    }
}

fn unique() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
