//! A connection's state: what its frames do to its streams, and what is to be said for it. Whoever holds the socket gives it
//! what came and writes what waits; whoever holds a stream reads and sends through it.

mod input;

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use h2::Reason;
use selvedge_http::h2::encode;
use selvedge_http::h2::frames::{Frame, flag, kind};
use selvedge_http::h2::hpack::Decoder;
use selvedge_http::h2::meter::{Flood, Meter, Side};
use selvedge_http::head::{RequestHead, ResponseHead};
use selvedge_http::parse::Upgrade;
use selvedge_traffic::Http2Keepalive;

use super::keepalive::{Due, Keepalive, QUESTION};
use super::output::{FRAME_BYTES_MAX, Output};
use super::settings::{Announced, Settings, WINDOW_DEFAULT, WINDOW_MAX};
use super::streams::{Fault, Key, Stream, Streams};
use crate::buffer::Buffers;
use crate::channel::ChannelError;

/// Frames that may continue one header block.
pub const CONTINUATIONS_MAX: u32 = 16;
/// Streams that were reset and of which late frames are no error.
pub const RESETS_REMEMBERED_MAX: usize = 1024;
/// Interim responses that wait for somebody to look at them.
pub const INTERIM_WAITING_MAX: usize = 16;
/// Heads that a connection keeps for later.
const SPARE_HEADS_MAX: usize = 16;
/// Tells our ping before a connection's end from others.
const LAST_PING: [u8; 8] = *b"selvedge";

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the connection broke")]
    Io(#[from] std::io::Error),
    /// The peer broke the protocol, and has been told how.
    #[error("the peer broke the protocol: {0}")]
    Protocol(Reason),
    /// The peer does not answer, and nothing else comes from it.
    #[error("the peer does not answer")]
    Silent,
}

impl Error {
    /// Whether there is nobody to be told.
    pub fn is_io(&self) -> bool {
        matches!(self, Self::Io(_) | Self::Silent)
    }

    /// What the peer has been told.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Io(_) | Self::Silent => None,
            Self::Protocol(reason) => Some(*reason),
        }
    }
}

/// A request that has come.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) key: Key,
    pub(super) head: RequestHead,
    pub(super) upgrade: Upgrade,
}

/// How one end behaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) peer: Side,
    pub(super) announced: Announced,
    pub(super) connection_window: u32,
    pub(super) keepalive: Option<Http2Keepalive>,
}

#[derive(Debug)]
pub(super) struct Connection {
    terms: Terms,
    pub(super) settings: Settings,
    decoder: Decoder,
    pub(super) streams: Streams,
    pub(super) output: Output,
    meter: Meter,
    keepalive: Option<Box<Keepalive>>,
    payload: Payload,
    block: Option<Block>,
    pub(super) arrived: Option<Arrived>,
    /// A server's: the newest stream that the client has opened. A client's: the id of its next one.
    newest: u32,
    /// Bytes that the peer may send on all streams.
    receive_window: i64,
    released: u32,
    send_window: i64,
    /// Those who wait for room or for the connection's window: who got nothing the last time goes first.
    starved: Vec<Key>,
    served: Vec<Key>,
    resets: VecDeque<u32>,
    /// Why it ends; the peer has been told.
    pub(super) error: Option<Reason>,
    /// Streams beyond this are not looked at any more.
    last: Option<u32>,
    /// The peer takes no stream beyond this.
    pub(super) peer_last: Option<u32>,
    /// The socket is gone, or nobody holds it.
    closed: bool,
    /// Whoever holds the socket, while it waits.
    task: Option<Waker>,
    asleep: bool,
    greeting: Option<Waker>,
    requests: Vec<RequestHead>,
    responses: Vec<ResponseHead>,
    buffers: Buffers,
}

/// What the next bytes are.
#[derive(Clone, Copy, Debug)]
enum Payload {
    Head,
    /// Of the body of a stream, which may be given up before they have come.
    Content {
        stream: u32,
        left: usize,
        padding: usize,
        end: bool,
    },
    Skipped(usize),
}

/// A header block that is not whole.
#[derive(Debug)]
struct Block {
    stream: u32,
    end: bool,
    bytes: Vec<u8>,
    frames: u32,
}

impl Connection {
    pub(super) fn new(terms: Terms, preface: &[u8], buffers: Buffers) -> Self {
        let mut connection = Self {
            terms,
            settings: Settings::default(),
            decoder: Decoder::default(),
            streams: Streams::default(),
            output: Output::new(buffers.clone()),
            meter: Meter::new(terms.peer),
            keepalive: terms.keepalive.map(|terms| Box::new(Keepalive::new(terms))),
            payload: Payload::Head,
            block: None,
            arrived: None,
            newest: if terms.peer == Side::Client { 0 } else { 1 },
            receive_window: terms.connection_window.max(WINDOW_DEFAULT).into(),
            released: 0,
            send_window: WINDOW_DEFAULT.into(),
            starved: Vec::new(),
            served: Vec::new(),
            resets: VecDeque::new(),
            error: None,
            last: None,
            peer_last: None,
            closed: false,
            task: None,
            asleep: false,
            greeting: None,
            requests: Vec::new(),
            responses: Vec::new(),
            buffers,
        };
        connection.output.raw(preface);
        connection.output.frame(kind::SETTINGS, 0, 0, &[&terms.announced.payload()]);
        // It is never smaller: nothing takes back what every connection begins with.
        let more = terms.connection_window.saturating_sub(WINDOW_DEFAULT);
        if more > 0 {
            connection.output.frame(kind::WINDOW_UPDATE, 0, 0, &[&more.to_be_bytes()]);
        }
        connection
    }

    fn stream(&self, id: u32, end: bool) -> Stream {
        Stream {
            id,
            remote_ended: end,
            receive_window: self.terms.announced.window.into(),
            send_window: self.settings.initial_window.into(),
            ..Stream::default()
        }
    }

    // === streams, for who holds them ===

    /// Opens a stream with a request.
    pub(super) fn open(
        &mut self,
        head: &RequestHead,
        upgrade: Upgrade,
        end: bool,
    ) -> Result<Key, ChannelError> {
        if !self.takes_streams() {
            return Err(Fault::Unprocessed.into());
        }
        if self.keepalive.as_mut().is_some_and(|keepalive| keepalive.asks_ahead()) {
            self.output.frame(kind::PING, 0, 0, &[&QUESTION]);
        }
        let id = self.newest;
        self.begin_block(if end { flag::END_STREAM } else { 0 }, id, |out| {
            encode::request(head, upgrade, out)
        })
        .map_err(|_| ChannelError::Protocol("no authority"))?;
        self.newest += 2;
        let lengthless = head.method() == "HEAD" || upgrade.is_tunnel();
        let stream = Stream { local_ended: end, lengthless, ..self.stream(id, false) };
        self.meter.sent(&Frame { kind: kind::HEADERS, flags: 0, stream: id, len: 0, code: None });
        Ok(self.streams.insert(stream))
    }

    /// Whether another stream may be opened.
    pub(super) fn takes_streams(&self) -> bool {
        !self.closed && self.error.is_none() && self.peer_last.is_none() && self.newest < WINDOW_MAX
    }

    fn begin_block<E>(
        &mut self,
        flags: u8,
        id: u32,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let empties = std::mem::take(&mut self.settings.small_table);
        self.output.block(flags, id, |out| {
            if empties {
                out.push(encode::EMPTY_TABLE);
            }
            write(out)
        })?;
        self.notify();
        Ok(())
    }

    /// Sends a head or trailers on a stream.
    pub(super) fn send_block(
        &mut self,
        key: Key,
        end: bool,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Fault> {
        let id = self.sending(key)?.id;
        let _ = self.begin_block(if end { flag::END_STREAM } else { 0 }, id, |out| {
            write(out);
            Ok::<(), ()>(())
        });
        if end {
            self.end_sent(key);
        }
        Ok(())
    }

    /// Sends bytes of a body, as many as windows and room allow and one frame holds; how many.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        key: Key,
        content: &[u8],
        last: bool,
    ) -> Poll<Result<usize, Fault>> {
        let room = (self.output.room() as i64).min(self.send_window);
        let stream = self.sending(key)?;
        let len = room.min(stream.send_window).min(content.len().min(FRAME_BYTES_MAX) as i64);
        if len <= 0 {
            stream.wait(cx.waker());
            stream.blocked = true;
            if room <= 0 && !std::mem::replace(&mut stream.queued, true) {
                let had_its_turn = std::mem::take(&mut stream.had_its_turn);
                if had_its_turn { &mut self.served } else { &mut self.starved }.push(key);
            }
            return Poll::Pending;
        }
        stream.blocked = false;
        stream.had_its_turn = true;
        stream.send_window -= len;
        let ends = last && content.len() == len as usize;
        let (id, content) = (stream.id, &content[..len as usize]);
        self.send_window -= len;
        self.frame_of_body(id, content, ends);
        if ends {
            self.end_sent(key);
        }
        Poll::Ready(Ok(content.len()))
    }

    /// Sends a head and the whole body behind it, if windows and room allow and one frame holds it; whether that was so.
    pub(super) fn send_whole(
        &mut self,
        key: Key,
        content: &[u8],
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<bool, Fault> {
        let room = (self.output.room() as i64).min(self.send_window);
        let stream = self.sending(key)?;
        let len = content.len() as i64;
        if content.len() > FRAME_BYTES_MAX || len > room.min(stream.send_window) {
            return Ok(false);
        }
        stream.send_window -= len;
        let id = stream.id;
        self.send_window -= len;
        self.send_block(key, content.is_empty(), write)?;
        if !content.is_empty() {
            self.frame_of_body(id, content, true);
            self.end_sent(key);
        }
        Ok(true)
    }

    fn frame_of_body(&mut self, id: u32, content: &[u8], ends: bool) {
        let flags = if ends { flag::END_STREAM } else { 0 };
        self.output.frame(kind::DATA, flags, id, &[content]);
        self.meter.sent(&Frame {
            kind: kind::DATA,
            flags,
            stream: id,
            len: content.len() as u32,
            code: None,
        });
        self.notify();
    }

    /// Ends a body that has been sent.
    pub(super) fn end_body(&mut self, key: Key) -> Result<(), Fault> {
        let id = self.sending(key)?.id;
        self.frame_of_body(id, &[], true);
        self.end_sent(key);
        Ok(())
    }

    fn sending(&mut self, key: Key) -> Result<&mut Stream, Fault> {
        let stream = self.streams.get(key).ok_or(Fault::Closed)?;
        match stream.fault {
            Some(fault) => Err(fault),
            None => Ok(stream),
        }
    }

    fn end_sent(&mut self, key: Key) {
        if let Some(stream) = self.streams.get(key) {
            stream.local_ended = true;
            let (id, closes) = (stream.id, stream.remote_ended);
            if closes {
                self.streams.close(id);
            }
        }
    }

    /// Gives a stream up, if it is not over.
    pub(super) fn give_up(&mut self, key: Key, reason: Reason) {
        let Some(id) = self.streams.get(key).map(|stream| stream.id) else { return };
        if self.streams.is_open(id) {
            self.reset(id, reason);
            self.notify();
        }
    }

    /// Nobody holds the stream any more; `buffer` is what its content was read from.
    pub(super) fn let_go(&mut self, key: Key, buffer: Vec<u8>) {
        self.buffers.give_back(buffer);
        let Some(stream) = self.streams.get(key) else { return };
        // A response may be whole before its request is (RFC 9113 §8.1).
        let answered = self.terms.peer == Side::Client && stream.local_ended && !stream.remote_ended;
        self.give_up(key, if answered { Reason::NO_ERROR } else { Reason::CANCEL });
        if let Some(stream) = self.streams.remove(key) {
            self.release_connection(stream.content.len());
            self.buffers.give_back(stream.content);
            stream.answers.into_iter().for_each(|head| self.give_back_response(head));
        }
        if self.streams.open_count() == 0 {
            // A connection that ends with its last stream has to know.
            self.notify();
        }
    }

    /// Bytes of a stream were used: its window, and the connection's, open by as much.
    pub(super) fn release(&mut self, key: Key, len: usize) {
        let window = self.terms.announced.window;
        if let Some(stream) = self.streams.get(key)
            && stream.fault.is_none()
            && !stream.remote_ended
        {
            stream.released = stream.released.saturating_add(len as u32);
            if stream.released >= window / 2 {
                let (id, more) = (stream.id, std::mem::take(&mut stream.released));
                stream.receive_window += i64::from(more);
                self.output.frame(kind::WINDOW_UPDATE, 0, id, &[&more.to_be_bytes()]);
                self.notify();
            }
        }
        self.release_connection(len);
    }

    fn release_connection(&mut self, len: usize) {
        self.released = self.released.saturating_add(len as u32);
        if self.released >= self.terms.connection_window / 2 {
            let more = std::mem::take(&mut self.released);
            self.receive_window += i64::from(more);
            self.output.frame(kind::WINDOW_UPDATE, 0, 0, &[&more.to_be_bytes()]);
            self.notify();
        }
    }

    pub(super) fn give_back_request(&mut self, mut head: RequestHead) {
        if self.requests.len() < SPARE_HEADS_MAX {
            head.clear();
            self.requests.push(head);
        }
    }

    pub(super) fn give_back_response(&mut self, mut head: ResponseHead) {
        if self.responses.len() < SPARE_HEADS_MAX {
            head.clear();
            self.responses.push(head);
        }
    }

    // === the connection, for who drives it ===

    pub(super) fn flood(&self) -> Option<Flood> {
        self.meter.flood()
    }

    pub(super) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Wakes those who wait for room, the most patient first.
    pub(super) fn make_room(&mut self) {
        for waiting in [std::mem::take(&mut self.starved), std::mem::take(&mut self.served)] {
            for key in waiting {
                if let Some(stream) = self.streams.get(key) {
                    stream.queued = false;
                    stream.wake();
                }
            }
        }
    }

    /// Whether it is over once everything has been written: one side has said that it ends, and no stream is left.
    pub(super) fn is_spent(&self) -> bool {
        let said = self.peer_last.is_some() || self.last.is_some_and(|last| last < WINDOW_MAX);
        said && self.streams.open_count() == 0 && self.arrived.is_none()
    }

    /// Whoever drives it goes to sleep, and is woken when there is something to write.
    pub(super) fn sleep(&mut self, waker: &Waker) {
        self.asleep = true;
        if !self.task.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.task = Some(waker.clone());
        }
    }

    /// Whoever drives it is awake.
    pub(super) fn stay_awake(&mut self) {
        self.asleep = false;
    }

    fn notify(&mut self) {
        if std::mem::take(&mut self.asleep)
            && let Some(task) = &self.task
        {
            task.wake_by_ref();
        }
    }

    /// Ready once the peer has said its settings, or never will.
    pub(super) fn poll_greeted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.settings.greeted || self.closed || self.error.is_some() {
            return Poll::Ready(());
        }
        self.greeting = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Looks whether the peer is to be asked if it is still there; `Gone` if it was, and has not answered.
    pub(super) fn poll_keepalive(&mut self, cx: &mut Context<'_>) -> Due {
        let Some(keepalive) = &mut self.keepalive else { return Due::Nothing };
        let due = keepalive.poll(cx);
        match due {
            Due::Nothing => {}
            Due::Ask => self.output.frame(kind::PING, 0, 0, &[&QUESTION]),
            Due::Gone => self.close(Fault::Closed),
        }
        due
    }

    /// Announces the end: streams that are under way, or about to be, are served.
    pub(super) fn go_away(&mut self) {
        if self.last.is_none() {
            self.say_goaway(WINDOW_MAX, Reason::NO_ERROR);
            self.output.frame(kind::PING, 0, 0, &[&LAST_PING]);
        }
    }

    /// Ends the connection at once.
    pub(super) fn abort(&mut self, reason: Reason) {
        if self.error.is_none() {
            let last = if self.terms.peer == Side::Client { self.newest } else { 0 };
            self.say_goaway(last, reason);
            self.error = Some(reason);
            self.streams.fail(Fault::Protocol("HTTP/2"), |_| true);
        }
    }

    /// There is no socket any more.
    pub(super) fn close(&mut self, fault: Fault) {
        self.closed = true;
        self.streams.fail(fault, |_| true);
        if let Some(waiting) = self.greeting.take() {
            waiting.wake();
        }
    }

    fn say_goaway(&mut self, last: u32, reason: Reason) {
        self.last = Some(last);
        self.output.frame(kind::GOAWAY, 0, 0, &[&last.to_be_bytes(), &u32::from(reason).to_be_bytes()]);
        self.notify();
    }

    /// Ends a stream: because of the peer, or for whoever held it.
    fn reset(&mut self, id: u32, reason: Reason) {
        let code = u32::from(reason);
        self.output.frame(kind::RST_STREAM, 0, id, &[&code.to_be_bytes()]);
        self.meter.sent(&Frame { kind: kind::RST_STREAM, flags: 0, stream: id, len: 4, code: Some(code) });
        if let Some(stream) = self.streams.key(id).and_then(|key| self.streams.get(key)) {
            let is_peers = !matches!(reason, Reason::CANCEL | Reason::NO_ERROR | Reason::INTERNAL_ERROR);
            stream.fault = Some(if is_peers { Fault::Protocol("HTTP/2") } else { Fault::Local });
            stream.wake();
        }
        self.streams.close(id);
        self.remember(id);
    }

    /// Frames of a stream may still be on their way.
    fn remember(&mut self, id: u32) {
        if self.resets.len() == RESETS_REMEMBERED_MAX {
            self.resets.pop_front();
        }
        self.resets.push_back(id);
    }
}
