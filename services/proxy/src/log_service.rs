//! Access log services: records on their way to a collector by gRPC, a stream a log, from the control thread.
//!
//! A worker appends the entry of a record to a buffer of its own and goes on. What stands in the buffers is sent once it is
//! as much as the configuration says, or so old. Nobody waits for a collector: what does not fit meanwhile, and what was on
//! its way when a stream broke, is lost and counted.

mod entry;
mod stream;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use selvedge_telemetry::{Record, RecordSink, Registry, worker};
use selvedge_traffic::{GrpcLog, GrpcRecords};
use selvedge_upstream::Clusters;
use selvedge_xds::Node;
use selvedge_xds::rpc::access_log::{self, Kind};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use entry::Tag;
use stream::Stream;

/// A worker's buffer for one service holds at most this many bytes; what comes while it is full is dropped and counted.
pub const BUFFER_BYTES_MAX: usize = 1 << 20;

/// A collector gets so long to take a message; after that its stream is given up.
const SEND_MAX: Duration = Duration::from_secs(5);

/// Opens logs that are streamed; loggers with one configuration share a stream.
#[derive(Debug)]
pub struct LogServices {
    clusters: Arc<Clusters>,
    registry: Registry,
    /// Where streams are written.
    control: Handle,
    /// Who this proxy says it is.
    node: Node,
    workers: usize,
    open: Mutex<HashMap<GrpcLog, Weak<LogService>>>,
}

/// One log: what is to be sent of it.
#[derive(Debug)]
struct LogService {
    config: GrpcLog,
    /// What each record is told with besides.
    tags: Vec<Tag>,
    /// One for each worker, and one for everybody else.
    buffers: Box<[Mutex<Buffer>]>,
    registry: Registry,
    wake: Notify,
    /// Rises when everything that had been buffered was sent or lost.
    flushed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Buffer {
    /// Entries, one behind the other.
    bytes: Vec<u8>,
    count: u64,
}

// === impl LogServices ===

impl LogServices {
    pub fn new(
        clusters: Arc<Clusters>,
        registry: Registry,
        control: Handle,
        node: Node,
        workers: usize,
    ) -> Arc<Self> {
        Arc::new(Self { clusters, registry, control, node, workers, open: Mutex::default() })
    }

    /// Where records for a service go.
    pub(crate) fn sink(&self, config: &GrpcLog) -> Arc<dyn RecordSink> {
        let mut open = lock(&self.open);
        if let Some(service) = open.get(config).and_then(Weak::upgrade) {
            return service;
        }
        open.retain(|_, service| service.strong_count() > 0);
        let service = Arc::new(LogService {
            config: config.clone(),
            tags: Tag::all(&config.tags),
            buffers: (0..=self.workers).map(|_| Mutex::default()).collect(),
            registry: self.registry.clone(),
            wake: Notify::new(),
            flushed: watch::Sender::new(0),
        });
        open.insert(config.clone(), Arc::downgrade(&service));
        let writer = Writer {
            service: Arc::clone(&service),
            clusters: Arc::clone(&self.clusters),
            node: self.node.clone(),
            stream: None,
            told: false,
        };
        self.control.spawn(writer.run());
        service
    }

    /// Sends what is buffered, for a proxy that ends; waits at most `patience` for it.
    pub(crate) async fn finish(&self, patience: Duration) {
        let services: Vec<_> = lock(&self.open).values().filter_map(Weak::upgrade).collect();
        let all = async {
            for service in services {
                let mut flushed = service.flushed.subscribe();
                service.wake.notify_one();
                while !service.is_empty() && flushed.changed().await.is_ok() {}
            }
        };
        let _ = tokio::time::timeout(patience, all).await;
    }
}

// === impl LogService ===

impl RecordSink for LogService {
    fn take(&self, record: &Record<'_>) {
        let index = worker().map_or(0, |worker| worker + 1) % self.buffers.len();
        let mut buffer = lock(&self.buffers[index]);
        if buffer.bytes.len() >= BUFFER_BYTES_MAX {
            self.registry.server().access_logs_grpc_dropped.inc();
            return;
        }
        let before = buffer.bytes.len();
        entry::append(&self.config.records, &self.tags, record, &mut buffer.bytes);
        buffer.count += 1;
        let enough = self.config.buffer_bytes as usize;
        if buffer.bytes.len() >= enough && (before < enough || enough == 0) {
            drop(buffer);
            self.wake.notify_one();
        }
    }
}

impl LogService {
    fn is_empty(&self) -> bool {
        self.buffers.iter().all(|buffer| lock(buffer).count == 0)
    }

    /// What is in the buffers, without those that hold nothing.
    fn take_all(&self) -> Vec<Buffer> {
        let taken = self.buffers.iter().map(|buffer| std::mem::take(&mut *lock(buffer)));
        taken.filter(|buffer| buffer.count > 0).collect()
    }
}

/// Writes one log's stream until nobody logs to it any more.
struct Writer {
    service: Arc<LogService>,
    clusters: Arc<Clusters>,
    node: Node,
    stream: Option<Stream>,
    /// That the collector cannot be reached has been told, and it was not reached since.
    told: bool,
}

impl Writer {
    async fn run(mut self) {
        loop {
            let _ =
                tokio::time::timeout(self.service.config.flush_interval, self.service.wake.notified()).await;
            // Asked before the buffers are emptied: whoever logged last has let go by then.
            let abandoned = Arc::strong_count(&self.service) == 1;
            for buffer in self.service.take_all() {
                self.send(buffer).await;
            }
            self.service.flushed.send_modify(|times| *times += 1);
            if abandoned {
                return;
            }
        }
    }

    async fn send(&mut self, buffer: Buffer) {
        let sent = self.try_send(&buffer.bytes).await;
        let stats = self.service.registry.server();
        match sent {
            Ok(()) => {
                self.told = false;
                stats.access_logs_grpc_written.add(buffer.count);
            }
            Err(error) => {
                self.stream = None;
                stats.access_logs_grpc_dropped.add(buffer.count);
                if !std::mem::replace(&mut self.told, true) {
                    let (log, cluster) = (&self.service.config.name, &self.service.config.cluster);
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(log, cluster, error, "failed to send access logs");
                }
            }
        }
    }

    async fn try_send(&mut self, entries: &[u8]) -> Result<(), stream::Error> {
        let config = &self.service.config;
        let kind = match config.records {
            GrpcRecords::Http { .. } => Kind::Http,
            GrpcRecords::Tcp => Kind::Tcp,
        };
        let sending = async {
            let open = self.stream.take().filter(|stream| !stream.is_over());
            let (mut stream, identity) = match open {
                Some(stream) => (stream, None),
                None => {
                    let stream = Stream::open(&self.clusters, config).await?;
                    (stream, Some((&self.node, config.name.as_str())))
                }
            };
            stream.send(&access_log::message(kind, identity, entries)).await?;
            Ok::<_, stream::Error>(stream)
        };
        let sent = tokio::time::timeout(SEND_MAX, sending).await;
        self.stream = Some(sent.map_err(|_| stream::Error::Timeout(SEND_MAX))??);
        Ok(())
    }
}

/// A panic elsewhere leaves at worst a torn entry.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(buffer_bytes: u32) -> LogService {
        LogService {
            config: GrpcLog {
                name: "l".to_owned(),
                cluster: "c".to_owned(),
                authority: String::new(),
                metadata: Vec::new(),
                tags: Vec::new(),
                flush_interval: Duration::from_secs(3600),
                buffer_bytes,
                records: GrpcRecords::Tcp,
            },
            tags: Vec::new(),
            buffers: Box::new([Mutex::default()]),
            registry: Registry::new(0),
            wake: Notify::new(),
            flushed: watch::Sender::new(0),
        }
    }

    #[test]
    fn a_full_buffer_drops_and_counts() {
        let service = service(GrpcLog::BUFFER_BYTES_DEFAULT);
        let long = "x".repeat(BUFFER_BYTES_MAX);
        for _ in 0..3 {
            service.take(&Record { route_name: Some(&long), ..Record::default() });
        }
        let buffers = service.take_all();
        assert_eq!((buffers.len(), buffers[0].count), (1, 1));
        assert_eq!(service.registry.server().access_logs_grpc_dropped.value(), 2);
    }

    #[tokio::test]
    async fn the_writer_is_woken_by_enough_and_by_each_entry_where_nothing_is_to_be_buffered() {
        let awake = async |service: &LogService| {
            tokio::time::timeout(Duration::from_millis(1), service.wake.notified()).await.is_ok()
        };
        let large = service(4096);
        large.take(&Record::default());
        assert!(!awake(&large).await);
        large.take(&Record { route_name: Some(&"x".repeat(4096)), ..Record::default() });
        assert!(awake(&large).await);
        let none = service(0);
        for _ in 0..2 {
            none.take(&Record::default());
            assert!(awake(&none).await);
        }
    }
}
