//! What comes on a connection, frame by frame.

use h2::Reason;
use selvedge_http::fields::Fields;
use selvedge_http::framing;
use selvedge_http::h2::encode;
use selvedge_http::h2::frames::{Frame, flag, kind};
use selvedge_http::h2::meter::Side;
use selvedge_http::h2::receive::{self, Fault as ListFault};
use selvedge_http::head::ResponseHead;
use selvedge_http::parse::Upgrade;

use super::super::output::FRAME_BYTES_MAX;
use super::super::settings::WINDOW_MAX;
use super::super::streams::{Fault, Key, Stream};
use super::{
    Arrived, Block, CONTINUATIONS_MAX, Connection, INTERIM_WAITING_MAX, LAST_PING, Payload, QUESTION,
};

const HEAD_BYTES: usize = 9;

impl Connection {
    /// Takes what has come, in the second `now`; how much of it was used. Stops behind a request, and at what ends the
    /// connection.
    pub(in super::super) fn input(&mut self, bytes: &[u8], now: u64) -> usize {
        self.meter.pass(now);
        if let Some(keepalive) = &mut self.keepalive {
            keepalive.heard();
        }
        let mut used = 0;
        while self.arrived.is_none() && self.error.is_none() && self.meter.flood().is_none() {
            match self.step(&bytes[used..]) {
                Ok(0) => break,
                Ok(step) => used += step,
                Err(reason) => self.abort(reason),
            }
        }
        used
    }

    /// Takes a frame, or the next part of a body; 0 if there is not enough of it.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, Reason> {
        match self.payload {
            Payload::Head => {}
            Payload::Skipped(left) => {
                let skipped = left.min(bytes.len());
                self.payload = if skipped == left { Payload::Head } else { Payload::Skipped(left - skipped) };
                // A frame of no bytes is passed over as well.
                return if left == 0 { self.step(bytes) } else { Ok(skipped) };
            }
            Payload::Content { stream, left, padding, end } => {
                return Ok(self.content(bytes, stream, left, padding, end));
            }
        }
        let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else { return Ok(0) };
        let mut frame = frame_of(head);
        let len = frame.len as usize;
        if len > FRAME_BYTES_MAX {
            return Err(Reason::FRAME_SIZE_ERROR);
        }
        let padded = frame.has(flag::PADDED) && matches!(frame.kind, kind::DATA | kind::HEADERS);
        let needed = match frame.kind {
            kind::DATA => usize::from(padded).min(len),
            kind::HEADERS..=kind::CONTINUATION => len,
            _ => 0,
        };
        let Some(payload) = bytes.get(HEAD_BYTES..HEAD_BYTES + needed) else { return Ok(0) };
        let mut padding = 0;
        if padded {
            padding = 1 + usize::from(*payload.first().ok_or(Reason::FRAME_SIZE_ERROR)?);
            if padding > len {
                return Err(Reason::PROTOCOL_ERROR);
            }
            frame.len -= padding as u32;
        }
        // What completes a flood is not worth looking at.
        if self.meter.received(&frame).is_some() {
            return Ok(0);
        }
        if !self.settings.greeted && frame.kind != kind::SETTINGS {
            return Err(Reason::PROTOCOL_ERROR);
        }
        if self
            .block
            .as_ref()
            .is_some_and(|block| frame.kind != kind::CONTINUATION || frame.stream != block.stream)
        {
            return Err(Reason::PROTOCOL_ERROR);
        }
        match frame.kind {
            kind::DATA => {
                self.data(frame, len, padding)?;
                return Ok(HEAD_BYTES + usize::from(padded));
            }
            kind::HEADERS => self.headers(frame, &payload[usize::from(padded)..][..frame.len as usize])?,
            kind::CONTINUATION => self.continuation(frame, payload)?,
            kind::PRIORITY => priority(frame, payload)?,
            kind::RST_STREAM => self.peer_resets(frame, payload)?,
            kind::SETTINGS => self.peer_sets(frame, payload)?,
            kind::PUSH_PROMISE => return Err(Reason::PROTOCOL_ERROR),
            kind::PING => self.ping(frame, payload)?,
            kind::GOAWAY => self.peer_goes(frame, payload)?,
            kind::WINDOW_UPDATE => self.window(frame, payload)?,
            _ => self.payload = Payload::Skipped(len),
        }
        Ok(HEAD_BYTES + needed)
    }

    /// The head of a DATA frame of `len` bytes in all.
    fn data(&mut self, frame: Frame, len: usize, padding: usize) -> Result<(), Reason> {
        if frame.stream == 0 || self.is_idle(frame.stream) {
            return Err(Reason::PROTOCOL_ERROR);
        }
        self.receive_window -= len as i64;
        if self.receive_window < 0 {
            return Err(Reason::FLOW_CONTROL_ERROR);
        }
        let (end, left) = (frame.has(flag::END_STREAM), frame.len as usize);
        let behind = padding.saturating_sub(1);
        let key = self.streams.key(frame.stream);
        let wrong = match key.and_then(|key| self.streams.get(key)) {
            None if self.resets.contains(&frame.stream) => None,
            None => Some(Reason::STREAM_CLOSED),
            Some(stream) if stream.remote_ended => Some(Reason::STREAM_CLOSED),
            // A client has had no head yet.
            Some(stream) if self.terms.peer == Side::Server && !stream.answered => {
                Some(Reason::PROTOCOL_ERROR)
            }
            Some(stream) => {
                stream.receive_window -= len as i64;
                let as_announced = match stream.length_left {
                    None => true,
                    Some(length) => {
                        let rest = length.checked_sub(left as u64);
                        stream.length_left = rest;
                        rest.is_some_and(|rest| !end || rest == 0)
                    }
                };
                match as_announced {
                    _ if stream.receive_window < 0 => Some(Reason::FLOW_CONTROL_ERROR),
                    false => Some(Reason::PROTOCOL_ERROR),
                    true => None,
                }
            }
        };
        match (wrong, key) {
            // Nobody uses padding.
            (None, Some(key)) => {
                self.release(key, padding);
                self.payload = Payload::Content { stream: frame.stream, left, padding: behind, end };
                if left == 0 {
                    self.content(&[], frame.stream, 0, behind, end);
                }
            }
            (wrong, _) => {
                if let Some(reason) = wrong {
                    self.reset(frame.stream, reason);
                }
                self.release_connection(len);
                self.payload = Payload::Skipped(left + behind);
            }
        }
        Ok(())
    }

    /// The next bytes of a body; how many.
    fn content(&mut self, bytes: &[u8], id: u32, left: usize, padding: usize, end: bool) -> usize {
        let taken = left.min(bytes.len());
        let padded = if taken == left { padding.min(bytes.len() - taken) } else { 0 };
        let (left, padding) = (left - taken, padding - padded);
        // By its id and not by its place, which may be another's by now.
        let key = self.streams.key(id);
        match key.and_then(|key| self.streams.get(key)) {
            Some(stream) => {
                if taken > 0 {
                    if stream.content.capacity() == 0 {
                        stream.content = self.buffers.scratch();
                    }
                    stream.content.extend_from_slice(&bytes[..taken]);
                }
                if end && left == 0 {
                    stream.remote_ended = true;
                    stream.wake();
                    if stream.local_ended {
                        self.streams.close(id);
                    }
                } else if taken > 0 {
                    stream.wake();
                }
            }
            None => self.release_connection(taken),
        }
        self.payload = match (left, padding) {
            (0, 0) => Payload::Head,
            // Padding alone is of no stream.
            (0, padding) => Payload::Skipped(padding),
            _ => Payload::Content { stream: id, left, padding, end },
        };
        taken + padded
    }

    fn headers(&mut self, frame: Frame, payload: &[u8]) -> Result<(), Reason> {
        /// RFC 9113 §6.2: the frame holds a priority as well.
        const PRIORITY: u8 = 0x20;
        // Each side names the streams that it opens; only clients do here.
        if frame.stream.is_multiple_of(2) {
            return Err(Reason::PROTOCOL_ERROR);
        }
        let mut fragment = payload;
        let mut is_its_own_parent = false;
        if frame.has(PRIORITY) {
            let (priority, rest) = payload.split_first_chunk::<5>().ok_or(Reason::FRAME_SIZE_ERROR)?;
            is_its_own_parent = depends_on(priority) == frame.stream;
            fragment = rest;
        }
        if is_its_own_parent {
            return Err(Reason::PROTOCOL_ERROR);
        }
        let end = frame.has(flag::END_STREAM);
        if !frame.has(flag::END_HEADERS) {
            self.block = Some(Block { stream: frame.stream, end, bytes: fragment.to_vec(), frames: 0 });
            return Ok(());
        }
        self.list(frame.stream, end, fragment)
    }

    fn continuation(&mut self, frame: Frame, payload: &[u8]) -> Result<(), Reason> {
        let Some(mut block) = self.block.take() else { return Err(Reason::PROTOCOL_ERROR) };
        block.frames += 1;
        // No list that is short enough takes so many bytes.
        let bytes_max = self.terms.announced.header_list_max as usize + FRAME_BYTES_MAX;
        if block.frames > CONTINUATIONS_MAX || block.bytes.len() + payload.len() > bytes_max {
            return Err(Reason::ENHANCE_YOUR_CALM);
        }
        block.bytes.extend_from_slice(payload);
        if frame.has(flag::END_HEADERS) {
            return self.list(block.stream, block.end, &block.bytes);
        }
        self.block = Some(block);
        Ok(())
    }

    /// A whole header block. Whatever becomes of it, it is decoded: the blocks behind it build on it.
    fn list(&mut self, id: u32, end: bool, block: &[u8]) -> Result<(), Reason> {
        let opens = self.terms.peer == Side::Client && id > self.newest;
        if opens {
            return self.request(id, end, block);
        }
        let known = self.streams.key(id);
        let (answered, ended) = match known.and_then(|key| self.streams.get(key)) {
            Some(stream) => (stream.answered, stream.remote_ended),
            None => (true, true),
        };
        if let (Some(key), false, Side::Server) = (known, answered, self.terms.peer) {
            return self.response(key, id, end, block);
        }
        let trailers = self.trailers(block)?;
        let Some(key) = known else {
            // It was answered or reset before the peer knew; anything else names a stream that was never there.
            return if self.resets.contains(&id) { Ok(()) } else { Err(Reason::PROTOCOL_ERROR) };
        };
        if ended {
            self.reset(id, Reason::STREAM_CLOSED);
            return Ok(());
        }
        let stream = self.streams.get(key);
        let whole = stream.is_some_and(|stream| stream.length_left.is_none_or(|left| left == 0));
        match trailers {
            Err(ListFault::Bomb) => return Err(Reason::ENHANCE_YOUR_CALM),
            // Anything behind a body is its end (RFC 9113 §8.1).
            Ok(trailers) if end && whole => self.end_received(key, Some(trailers)),
            _ => self.reset(id, Reason::PROTOCOL_ERROR),
        }
        Ok(())
    }

    fn trailers(&mut self, block: &[u8]) -> Result<Result<Fields, ListFault>, Reason> {
        let mut trailers = receive::Trailers::new(self.terms.announced.header_list_max as usize);
        let decoded = self.decoder.decode(block, |id, name, value| trailers.line(id, name, value));
        decoded.map_err(|_| Reason::COMPRESSION_ERROR)?;
        Ok(trailers.finish())
    }

    fn request(&mut self, id: u32, end: bool, block: &[u8]) -> Result<(), Reason> {
        let mut head = self.requests.pop().unwrap_or_default();
        let mut request = receive::Request::new(&mut head, self.terms.announced.header_list_max as usize);
        let decoded = self.decoder.decode(block, |id, name, value| request.line(id, name, value));
        decoded.map_err(|_| Reason::COMPRESSION_ERROR)?;
        let finished = request.finish(self.terms.announced.extended_connect);
        self.newest = id;
        if self.last.is_some_and(|last| id > last) {
            // It has been told that this one is not looked at.
            self.remember(id);
            self.give_back_request(head);
            return Ok(());
        }
        if self.streams.open_count() >= self.terms.announced.streams_max.unwrap_or(u32::MAX) as usize {
            self.reset(id, Reason::REFUSED_STREAM);
            return Ok(());
        }
        let length = framing::length(&head.fields).ok().flatten();
        let upgrade = match finished {
            Ok(Upgrade::None) if end && length.is_some_and(|length| length > 0) => None,
            Ok(upgrade) => Some(upgrade),
            Err(ListFault::TooLong) => {
                self.answer_too_long(id);
                if !end {
                    self.reset(id, Reason::NO_ERROR);
                }
                self.give_back_request(head);
                return Ok(());
            }
            Err(ListFault::Bomb) => return Err(Reason::ENHANCE_YOUR_CALM),
            Err(ListFault::Malformed(_)) => None,
        };
        let Some(upgrade) = upgrade else {
            self.reset(id, Reason::PROTOCOL_ERROR);
            self.give_back_request(head);
            return Ok(());
        };
        let stream =
            Stream { length_left: length.filter(|_| upgrade == Upgrade::None), ..self.stream(id, end) };
        let key = self.streams.insert(stream);
        self.arrived = Some(Arrived { key, head, upgrade });
        Ok(())
    }

    /// A header list that is too long has an answer of its own (RFC 6585 §5).
    fn answer_too_long(&mut self, id: u32) {
        let head = ResponseHead { status: 431, ..ResponseHead::default() };
        let _ = self.output.block(flag::END_STREAM, id, |out| {
            encode::response(&head, out);
            Ok::<(), ()>(())
        });
    }

    fn response(&mut self, key: Key, id: u32, end: bool, block: &[u8]) -> Result<(), Reason> {
        let mut head = self.responses.pop().unwrap_or_default();
        let mut response = receive::Response::new(&mut head, self.terms.announced.header_list_max as usize);
        let decoded = self.decoder.decode(block, |id, name, value| response.line(id, name, value));
        decoded.map_err(|_| Reason::COMPRESSION_ERROR)?;
        let finished = response.finish();
        let length = framing::length(&head.fields);
        let Some(stream) = self.streams.get(key) else { return Ok(()) };
        let interim = head.status < 200;
        let lengthless = stream.lengthless || matches!(head.status, 204 | 304);
        let fine = match (finished, length) {
            (Ok(()), Ok(_)) if interim => !end && stream.answers.len() < INTERIM_WAITING_MAX,
            (Ok(()), Ok(Some(length))) if end => lengthless || length == 0,
            (Ok(()), Ok(_)) => true,
            _ => false,
        };
        if !fine {
            self.reset(id, Reason::PROTOCOL_ERROR);
            return Ok(());
        }
        if !interim {
            stream.answered = true;
            stream.length_left = length.ok().flatten().filter(|_| !lengthless);
        }
        stream.answers.insert(0, head);
        if end {
            self.end_received(key, None);
        } else {
            stream.wake();
        }
        Ok(())
    }

    fn end_received(&mut self, key: Key, trailers: Option<Fields>) {
        let Some(stream) = self.streams.get(key) else { return };
        stream.remote_ended = true;
        stream.trailers = trailers;
        stream.wake();
        let (id, closes) = (stream.id, stream.local_ended);
        if closes {
            self.streams.close(id);
        }
    }

    fn peer_resets(&mut self, frame: Frame, payload: &[u8]) -> Result<(), Reason> {
        let code = payload.as_array::<4>().ok_or(Reason::FRAME_SIZE_ERROR)?;
        if frame.stream == 0 || self.is_idle(frame.stream) {
            return Err(Reason::PROTOCOL_ERROR);
        }
        let reason = Reason::from(u32::from_be_bytes(*code));
        if let Some(stream) = self.streams.key(frame.stream).and_then(|key| self.streams.get(key)) {
            stream.fault = Some(Fault::Reset(reason));
            stream.wake();
            self.streams.close(frame.stream);
        }
        Ok(())
    }

    fn peer_sets(&mut self, frame: Frame, payload: &[u8]) -> Result<(), Reason> {
        if frame.stream != 0 {
            return Err(Reason::PROTOCOL_ERROR);
        }
        if frame.has(flag::ACK) {
            return if payload.is_empty() { Ok(()) } else { Err(Reason::FRAME_SIZE_ERROR) };
        }
        let before = self.settings.initial_window;
        self.settings.take(payload, self.terms.peer == Side::Server)?;
        let grown = i64::from(self.settings.initial_window) - i64::from(before);
        let mut beyond = false;
        if grown != 0 {
            for stream in self.streams.iter_open() {
                stream.send_window += grown;
                beyond |= stream.send_window > WINDOW_MAX.into();
                if grown > 0 && stream.blocked {
                    stream.wake();
                }
            }
        }
        if beyond {
            return Err(Reason::FLOW_CONTROL_ERROR);
        }
        self.output.frame(kind::SETTINGS, flag::ACK, 0, &[]);
        if let Some(waiting) = self.greeting.take() {
            waiting.wake();
        }
        Ok(())
    }

    fn ping(&mut self, frame: Frame, payload: &[u8]) -> Result<(), Reason> {
        let echo = payload.as_array::<8>().ok_or(Reason::FRAME_SIZE_ERROR)?;
        if frame.stream != 0 {
            return Err(Reason::PROTOCOL_ERROR);
        }
        if !frame.has(flag::ACK) {
            self.output.frame(kind::PING, flag::ACK, 0, &[echo]);
        } else if *echo == QUESTION
            && let Some(keepalive) = &mut self.keepalive
        {
            keepalive.answered();
        } else if *echo == LAST_PING && self.last == Some(WINDOW_MAX) {
            // What the client sent before it knew has come.
            self.say_goaway(self.newest, Reason::NO_ERROR);
        }
        Ok(())
    }

    fn peer_goes(&mut self, frame: Frame, payload: &[u8]) -> Result<(), Reason> {
        let (last, _) = payload.split_first_chunk::<4>().ok_or(Reason::FRAME_SIZE_ERROR)?;
        if payload.len() < 8 {
            return Err(Reason::FRAME_SIZE_ERROR);
        }
        if frame.stream != 0 {
            return Err(Reason::PROTOCOL_ERROR);
        }
        let last = u32::from_be_bytes(*last) & WINDOW_MAX;
        if self.peer_last.is_some_and(|before| last > before) {
            return Err(Reason::PROTOCOL_ERROR);
        }
        self.peer_last = Some(last);
        if self.terms.peer == Side::Server {
            self.streams.fail(Fault::Unprocessed, |id| id > last);
        }
        Ok(())
    }

    fn window(&mut self, frame: Frame, payload: &[u8]) -> Result<(), Reason> {
        let more = payload.as_array::<4>().ok_or(Reason::FRAME_SIZE_ERROR)?;
        let more = u32::from_be_bytes(*more) & WINDOW_MAX;
        if frame.stream == 0 {
            self.send_window += i64::from(more);
            if more == 0 {
                return Err(Reason::PROTOCOL_ERROR);
            }
            if self.send_window > WINDOW_MAX.into() {
                return Err(Reason::FLOW_CONTROL_ERROR);
            }
            self.make_room();
            return Ok(());
        }
        if self.is_idle(frame.stream) {
            return Err(Reason::PROTOCOL_ERROR);
        }
        let Some(stream) = self.streams.key(frame.stream).and_then(|key| self.streams.get(key)) else {
            return Ok(());
        };
        stream.send_window += i64::from(more);
        if more == 0 || stream.send_window > WINDOW_MAX.into() {
            let reason = if more == 0 { Reason::PROTOCOL_ERROR } else { Reason::FLOW_CONTROL_ERROR };
            self.reset(frame.stream, reason);
        } else if stream.blocked {
            stream.wake();
        }
        Ok(())
    }

    /// Whether nobody has opened the stream.
    fn is_idle(&self, id: u32) -> bool {
        match self.terms.peer {
            Side::Client => id > self.newest || id.is_multiple_of(2),
            Side::Server => id >= self.newest || id.is_multiple_of(2),
        }
    }
}

fn frame_of(head: &[u8; HEAD_BYTES]) -> Frame {
    let [high, middle, low, kind, flags, a, b, c, d] = *head;
    Frame {
        kind,
        flags,
        stream: u32::from_be_bytes([a, b, c, d]) & WINDOW_MAX,
        len: u32::from_be_bytes([0, high, middle, low]),
        code: None,
    }
}

fn priority(frame: Frame, payload: &[u8]) -> Result<(), Reason> {
    let Some(priority) = payload.as_array::<5>() else {
        return Err(Reason::FRAME_SIZE_ERROR);
    };
    // Nobody asks for priorities any more, but they have to be said right (RFC 9113 §5.3.2).
    if frame.stream == 0 || depends_on(priority) == frame.stream {
        return Err(Reason::PROTOCOL_ERROR);
    }
    Ok(())
}

/// The stream that a priority names.
fn depends_on(priority: &[u8; 5]) -> u32 {
    let [a, b, c, d, _] = *priority;
    u32::from_be_bytes([a, b, c, d]) & WINDOW_MAX
}

#[cfg(test)]
mod tests {
    use super::super::super::settings::Announced;
    use super::super::Terms;
    use super::*;
    use crate::buffer::Buffers;
    use selvedge_http::head::RequestHead;
    use std::task::{Context, Poll, Waker};

    const WINDOW: u32 = 100_000;

    fn connection(peer: Side) -> Connection {
        let announced = Announced {
            streams_max: Some(4),
            window: WINDOW,
            header_list_max: 4096,
            extended_connect: false,
            forbids_push: false,
        };
        let terms = Terms { peer, announced, connection_window: 2 * WINDOW, keepalive: None };
        let mut connection = Connection::new(terms, &[], Buffers::default());
        feed(&mut connection, &frame(kind::SETTINGS, 0, 0, &[]));
        connection
    }

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let len = (payload.len() as u32).to_be_bytes();
        [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    fn feed(connection: &mut Connection, bytes: &[u8]) {
        assert_eq!(connection.input(bytes, 0), bytes.len(), "all of it is used");
    }

    fn head() -> RequestHead {
        let mut head = RequestHead::default();
        head.set_method("POST");
        head.set_path("/");
        head.set_authority("h");
        head
    }

    fn content(connection: &mut Connection, key: Key) -> Vec<u8> {
        connection.streams.get(key).map(|stream| stream.content.clone()).unwrap_or_default()
    }

    #[test]
    fn what_is_left_of_a_frame_never_goes_to_the_stream_that_took_the_place_of_its_own() {
        let mut connection = connection(Side::Server);
        let first = connection.open(&head(), Upgrade::None, true).unwrap();
        feed(&mut connection, &frame(kind::HEADERS, flag::END_HEADERS, 1, &[0x88]));
        let body = frame(kind::DATA, 0, 1, b"secret of the first");
        feed(&mut connection, &body[..15]);
        assert_eq!(content(&mut connection, first), b"secret");
        connection.let_go(first, Vec::new());
        let second = connection.open(&head(), Upgrade::None, true).unwrap();
        assert_eq!(first, second, "the place is used again");
        feed(&mut connection, &body[15..]);
        assert_eq!(content(&mut connection, second), b"");
        feed(&mut connection, &frame(kind::HEADERS, flag::END_HEADERS, 3, &[0x88]));
        feed(&mut connection, &frame(kind::DATA, flag::END_STREAM, 3, b"its own"));
        assert_eq!(content(&mut connection, second), b"its own");
        assert!(connection.error.is_none());
    }

    #[test]
    fn every_cut_of_frames_says_the_same() {
        let bytes = [
            frame(kind::HEADERS, flag::END_HEADERS, 1, &[0x83, 0x86, 0x84, 0x01, 1, b'h']),
            frame(kind::DATA, flag::PADDED, 1, &[&[3][..], b"abc", &[0; 3]].concat()),
            frame(0xbe, 0, 0, b"unknown"),
            frame(kind::DATA, 0, 1, b""),
            frame(kind::PING, 0, 0, &[7; 8]),
            frame(kind::DATA, flag::END_STREAM | flag::PADDED, 1, &[&[0][..], b"def"].concat()),
        ]
        .concat();
        for piece in 1..=bytes.len() {
            let (mut connection, mut held, mut key) = (connection(Side::Client), Vec::new(), None);
            for part in bytes.chunks(piece) {
                held.extend_from_slice(part);
                loop {
                    let used = connection.input(&held, 0);
                    held.drain(..used);
                    match connection.arrived.take() {
                        Some(arrived) => key = Some(arrived.key),
                        None => break,
                    }
                }
            }
            let key = key.expect("a request");
            assert_eq!(content(&mut connection, key), b"abcdef", "by {piece}");
            assert!(held.is_empty() && connection.error.is_none());
            assert!(connection.streams.get(key).is_some_and(|stream| stream.remote_ended));
            assert_eq!(connection.receive_window, i64::from(2 * WINDOW) - 11);
        }
    }

    #[test]
    fn a_window_opens_by_what_was_used_and_not_before() {
        let mut connection = connection(Side::Server);
        let key = connection.open(&head(), Upgrade::None, true).unwrap();
        feed(&mut connection, &frame(kind::HEADERS, flag::END_HEADERS, 1, &[0x88]));
        for _ in 0..6 {
            feed(&mut connection, &frame(kind::DATA, 0, 1, &[1; 16_000]));
        }
        let window =
            |connection: &mut Connection| connection.streams.get(key).map(|stream| stream.receive_window);
        assert_eq!(window(&mut connection), Some(4000));
        connection.release(key, 49_999);
        assert_eq!(window(&mut connection), Some(4000));
        connection.release(key, 1);
        assert_eq!(window(&mut connection), Some(54_000));
        // More than the window: the stream ends, the connection goes on.
        for _ in 0..4 {
            feed(&mut connection, &frame(kind::DATA, 0, 1, &[1; 16_000]));
        }
        let fault = connection.streams.get(key).and_then(|stream| stream.fault);
        assert_eq!((fault, connection.error), (Some(Fault::Protocol("HTTP/2")), None));
    }

    #[test]
    fn who_got_nothing_goes_first_when_there_is_room_again() {
        let mut connection = connection(Side::Server);
        feed(&mut connection, &frame(kind::WINDOW_UPDATE, 0, 0, &1_000_000u32.to_be_bytes()));
        let keys = [(); 3].map(|()| connection.open(&head(), Upgrade::None, false).unwrap());
        let mut cx = Context::from_waker(Waker::noop());
        // The first takes all the room that there is.
        while let Poll::Ready(sent) = connection.poll_send(&mut cx, keys[0], &[1; 16_000], false) {
            assert!(sent.is_ok());
        }
        for key in &keys[1..] {
            assert!(connection.poll_send(&mut cx, *key, &[1; 100], false).is_pending());
        }
        assert_eq!((&*connection.starved, &*connection.served), (&keys[1..], &keys[..1]));
    }
}
