//! Executions as traces: a span an execution, a span a state, a span a call of a task, made of the history when it has ended.
//!
//! What a span is called follows from the execution's ARN and the event that begins it, so that a task's call can name its span
//! before that is recorded, and a server that took an execution over names the same. A history holds what people sent: names,
//! times and the names of errors go into spans, and nothing else.

mod spans;

use std::sync::atomic::{AtomicU64, Ordering};

use selvedge_asl::TaskId;
use selvedge_outbound::traces::{Collector, Span, Spans, export};
use sha2::{Digest as _, Sha256};

use crate::Engine;
use crate::record::{self, ExecutionRecord, Revision, key};
pub(crate) use spans::Recorder;
pub use spans::{EVENTS_MAX, SPANS_OF_EXECUTION_MAX};

/// Documents of a history that are in memory at a time.
const CHUNKS_AT_A_TIME: usize = 8;

/// Where spans of executions go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traces {
    /// An OTLP collector's whole URL, such as `http://127.0.0.1:4318/v1/traces`.
    pub collector: String,
    /// `service.name`.
    pub service: String,
    /// How many of a hundred executions are recorded about which their caller has not decided, of machines whose
    /// `tracingConfiguration` is enabled.
    pub percent: u8,
}

/// An execution's place in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) trace: u128,
    /// The span that caused the execution.
    pub(crate) parent: Option<u64>,
    pub(crate) sampled: bool,
}

impl Traces {
    /// Whose spans they are, and where they go.
    pub(crate) fn collector(&self) -> Collector {
        Collector { url: self.collector.clone(), service: self.service.clone(), scope: "selvedge.workflow" }
    }

    /// An execution's place: its caller's word counts, then the machine's `tracingConfiguration` and the share. None where no trace
    /// is gone on with and none begins.
    pub(crate) fn place(
        &self,
        arn: &str,
        started_ms: i64,
        header: Option<&str>,
        revision: &Revision,
    ) -> Option<Trace> {
        let told = header.map(Told::read).unwrap_or_default();
        let drawn = Sha256::digest(format!("trace\n{arn}\n{started_ms}"));
        let of_own = || {
            revision.tracing["enabled"].as_bool() == Some(true)
                && number(&drawn[16..24]) % 100 < u64::from(self.percent)
        };
        let sampled = told.sampled.unwrap_or_else(of_own);
        // As X-Ray has it: the second in which a trace begins is the first of its digits.
        let seconds = u128::from(u32::try_from(started_ms / 1000).unwrap_or_default());
        let fresh = || {
            seconds << 96 | u128::from(number(&drawn[..8])) << 32 | u128::from(number(&drawn[8..16]) >> 32)
        };
        let is_traced = sampled || told.root.is_some();
        is_traced.then(|| Trace { trace: told.root.unwrap_or_else(fresh), parent: told.parent, sampled })
    }
}

impl Trace {
    /// The place of a task of an execution.
    pub(crate) fn of_task(self, arn: &str, task: TaskId) -> Context {
        Context { place: self, span: span_id(arn, 0, task.0) }
    }
}

/// What a task's call is told of its trace: its own span is the parent of what it causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    place: Trace,
    span: u64,
}

impl Context {
    /// `traceparent` (W3C Trace Context).
    pub(crate) fn traceparent(self) -> String {
        let Trace { trace, sampled, .. } = self.place;
        format!("00-{trace:032x}-{:016x}-{:02x}", self.span, u8::from(sampled))
    }

    /// The same as AWS's services name it.
    pub(crate) fn header(self) -> String {
        let Trace { trace, sampled, .. } = self.place;
        let (epoch, rest) = (trace >> 96, trace & (u128::MAX >> 32));
        format!("Root=1-{epoch:08x}-{rest:024x};Parent={:016x};Sampled={}", self.span, u8::from(sampled))
    }
}

/// What an `X-Amzn-Trace-Id` says. Whatever of it is malformed is absent.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    root: Option<u128>,
    parent: Option<u64>,
    sampled: Option<bool>,
}

impl Told {
    fn read(header: &str) -> Self {
        let mut told = Self::default();
        for (name, value) in header.split(';').filter_map(|part| part.trim().split_once('=')) {
            match name {
                "Root" => told.root = root(value),
                "Parent" => told.parent = digits(value, 16).and_then(|parent| u64::try_from(parent).ok()),
                "Sampled" => {
                    told.sampled = match value {
                        "1" => Some(true),
                        "0" => Some(false),
                        _ => None,
                    }
                }
                _ => {}
            }
        }
        // A parent is a span of its trace.
        told.parent = told.parent.filter(|_| told.root.is_some());
        told
    }
}

/// `1-<8 digits>-<24 digits>`
fn root(text: &str) -> Option<u128> {
    let (epoch, rest) = text.strip_prefix("1-")?.split_once('-')?;
    (epoch.len() == 8).then(|| digits(&format!("{epoch}{rest}"), 32)).flatten()
}

/// A number of so many hexadecimal digits that is not 0.
fn digits(text: &str, count: usize) -> Option<u128> {
    let fits = text.len() == count && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    fits.then(|| u128::from_str_radix(text, 16).ok()).flatten().filter(|number| *number != 0)
}

/// The id of the span that an event of an execution begins; event 0 is for the execution itself.
pub(crate) fn span_id(arn: &str, redrive_count: u64, event: u64) -> u64 {
    let digest = Sha256::digest(format!("span\n{arn}\n{redrive_count}\n{event}"));
    number(&digest[..8]).max(1)
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Spans on their way out.
#[derive(Debug)]
pub(crate) struct Recording {
    spans: Spans,
    /// How many found no room.
    dropped: AtomicU64,
}

impl Recording {
    /// Begins to send, where that is configured.
    pub(crate) fn start(runtime: &tokio::runtime::Handle, traces: Option<&Traces>) -> Option<Self> {
        let collector = traces?.collector();
        let (spans, waiting) = Spans::new();
        runtime.spawn(export(waiting, move || Some(collector.clone()), |_| {}));
        Some(Self { spans, dropped: AtomicU64::new(0) })
    }

    /// Says so, more and more seldom.
    fn dropped(&self, count: u64) {
        if count == 0 {
            return;
        }
        let before = self.dropped.fetch_add(count, Ordering::Relaxed);
        if before.checked_ilog2() < (before + count).checked_ilog2() {
            tracing::warn!(
                spans = before + count,
                "spans of executions are dropped: the collector is slow, or away"
            );
        }
    }
}

impl Engine {
    /// An execution's place in a trace, where traces are configured.
    pub(crate) fn place(
        &self,
        arn: &str,
        started_ms: i64,
        header: Option<&str>,
        revision: &Revision,
    ) -> Option<Trace> {
        self.settings.traces.as_ref()?.place(arn, started_ms, header, revision)
    }

    /// Records an execution that has ended, away from whoever ended it.
    pub(crate) fn record_ended(&self, place: Option<Trace>, record: &ExecutionRecord) {
        let (Some(place), Some(recording)) = (place.filter(|place| place.sampled), &self.recording) else {
            return;
        };
        let Some(own) = self.own.upgrade().filter(|_| recording.spans.has_room()) else {
            return recording.dropped(1);
        };
        let record = record.clone();
        self.behind(move || {
            let mut recorder = Recorder::new(place, &record.arn, &record.machine);
            match own.each_event(&record, |event| recorder.take(event)) {
                Ok(()) => own.add_spans(recorder.into_spans()),
                Err(error) => tracing::warn!(execution = record.arn, %error, "a history could not be read for its trace"),
            }
        });
    }

    /// Hands spans over; those for which there is no room are dropped, and counted.
    pub(crate) fn add_spans(&self, made: Vec<Span>) {
        let Some(recording) = &self.recording else { return };
        let dropped = made.into_iter().filter(|span| !recording.spans.add(span.clone())).count();
        recording.dropped(dropped as u64);
    }

    fn each_event(
        &self,
        record: &ExecutionRecord,
        mut each: impl FnMut(&selvedge_asl::Event),
    ) -> Result<(), selvedge_store::Error> {
        record.first_events.events()?.iter().for_each(&mut each);
        let prefix = key::histories(&record.machine, &record.name);
        let mut after: Option<String> = None;
        loop {
            let page = self.store.snapshot()?.scan(&prefix, after.as_deref(), CHUNKS_AT_A_TIME)?;
            for found in &page {
                record::history::decode(found)?.iter().for_each(&mut each);
            }
            if page.len() < CHUNKS_AT_A_TIME {
                return Ok(());
            }
            after = page.last().map(|found| found.key.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn what_a_header_says() {
        let whole = Told::read("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1");
        let expected = Told {
            root: Some(0x5759_e988_bd86_2e3f_e1be_46a9_9427_2793),
            parent: Some(0x5399_5c3f_42cd_8ad8),
            sampled: Some(true),
        };
        assert_eq!(whole, expected);
        for (header, root, parent, sampled) in [
            ("", false, false, None),
            ("Sampled=0", false, false, Some(false)),
            ("Sampled=?", false, false, None),
            ("Parent=53995c3f42cd8ad8;Sampled=1", false, false, Some(true)),
            ("Root=1-5759e988-bd862e3fe1be46a994272793", true, false, None),
            (
                "Self=1-1-1; Root=1-00000000-bd862e3fe1be46a994272793;Parent=0000000000000000",
                true,
                false,
                None,
            ),
            ("Root=1-5759e988-bd862e3fe1be46a99427279;Parent=53995c3f42cd8ad8", false, false, None),
            ("Root=2-5759e988-bd862e3fe1be46a994272793", false, false, None),
            ("Root=1-+759e988-bd862e3fe1be46a994272793", false, false, None),
        ] {
            let told = Told::read(header);
            assert_eq!(
                (told.root.is_some(), told.parent.is_some(), told.sampled),
                (root, parent, sampled),
                "{header}"
            );
        }
    }

    #[test]
    fn who_decides() {
        let traces = |percent| Traces { collector: String::new(), service: String::new(), percent };
        let revision = |enabled: bool| {
            Revision::new(
                "{}",
                "r",
                [&Value::Null, &serde_json::json!({ "enabled": enabled }), &Value::Null],
                0,
            )
        };
        let place = |percent, header: Option<&str>, enabled| {
            traces(percent).place("arn", 1_800_000_000_123, header, &revision(enabled))
        };
        let whole = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=";
        assert_eq!(place(100, None, false), None, "nobody asks for it");
        assert_eq!(place(0, None, true), None, "none of a hundred");
        let own = place(100, None, true).unwrap();
        assert_eq!((own.trace >> 96, own.parent, own.sampled), (1_800_000_000, None, true));
        assert_eq!(place(100, None, true), Some(own), "whoever asks again is told the same");
        let (yes, no) = (format!("{whole}1"), format!("{whole}0"));
        let told = place(0, Some(&yes), false).unwrap();
        assert_eq!((told.parent, told.sampled), (Some(0x5399_5c3f_42cd_8ad8), true), "the caller decides");
        let not = place(100, Some(&no), true).unwrap();
        assert!(!not.sampled, "and is heard when it says no; the trace is handed on");
        let context = |place| Context { place, span: 0x5399_5c3f_42cd_8ad8 };
        assert_eq!(context(told).header(), yes);
        assert_eq!(context(not).traceparent(), "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-00");
        let share = (0..1000)
            .filter(|n| traces(20).place(&n.to_string(), 0, None, &revision(true)).is_some())
            .count();
        assert!((100..300).contains(&share), "{share} of 1000 is not about a fifth");
    }
}
