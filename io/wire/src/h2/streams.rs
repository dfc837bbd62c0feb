//! The streams of one connection.

use std::collections::HashMap;
use std::task::Waker;

use foldhash::fast::FixedState;
use h2::Reason;
use selvedge_http::fields::Fields;
use selvedge_http::head::ResponseHead;
use slab::Slab;

use crate::channel::ChannelError;

/// Where a stream stands in the table, for as long as somebody holds it.
pub(super) type Key = usize;

/// Why a stream came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The peer gave it up.
    Reset(Reason),
    /// The peer goes away and has not looked at it.
    Unprocessed,
    /// The connection is gone.
    Closed,
    /// The peer broke the protocol.
    Protocol(&'static str),
    /// This side gave it up.
    Local,
}

impl From<Fault> for ChannelError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Reset(reason) => Self::Reset(reason),
            Fault::Unprocessed => Self::Unprocessed,
            Fault::Closed => Self::Closed,
            Fault::Protocol(why) => Self::Protocol(why),
            Fault::Local => Self::Protocol("the stream was given up"),
        }
    }
}

/// A stream, for as long as it is open or somebody holds it.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) id: u32,
    /// Bytes of the incoming body that nobody has taken.
    pub(super) content: Vec<u8>,
    /// What the head has announced and has not come.
    pub(super) length_left: Option<u64>,
    pub(super) trailers: Option<Fields>,
    /// Interim responses and the final one, the oldest last.
    pub(super) answers: Vec<ResponseHead>,
    /// A client has had the final response's head.
    pub(super) answered: bool,
    /// What the response's head announces is not the length of what follows it.
    pub(super) lengthless: bool,
    pub(super) remote_ended: bool,
    pub(super) local_ended: bool,
    pub(super) fault: Option<Fault>,
    /// Bytes that the peer may still send.
    pub(super) receive_window: i64,
    /// Bytes that were used and that the peer has not been told of.
    pub(super) released: u32,
    /// Bytes that may be sent; below zero when the peer has made its windows smaller.
    pub(super) send_window: i64,
    /// Waits for a window or for room.
    pub(super) blocked: bool,
    /// Stands among those who wait for room on the connection.
    pub(super) queued: bool,
    /// Has sent something since it last waited for room.
    pub(super) had_its_turn: bool,
    pub(super) waker: Option<Waker>,
}

impl Stream {
    /// Notes who is to be woken.
    pub(super) fn wait(&mut self, waker: &Waker) {
        if !self.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.waker = Some(waker.clone());
        }
    }

    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// All of them: by key for who holds one, by id while the peer may still name it.
#[derive(Debug, Default)]
pub(super) struct Streams {
    all: Slab<Stream>,
    open: HashMap<u32, Key, FixedState>,
}

impl Streams {
    pub(super) fn insert(&mut self, stream: Stream) -> Key {
        let id = stream.id;
        let key = self.all.insert(stream);
        self.open.insert(id, key);
        key
    }

    pub(super) fn get(&mut self, key: Key) -> Option<&mut Stream> {
        self.all.get_mut(key)
    }

    /// The key of a stream that is open.
    pub(super) fn key(&self, id: u32) -> Option<Key> {
        self.open.get(&id).copied()
    }

    pub(super) fn open_count(&self) -> usize {
        self.open.len()
    }

    pub(super) fn is_open(&self, id: u32) -> bool {
        self.open.contains_key(&id)
    }

    /// The peer has no more to say of it.
    pub(super) fn close(&mut self, id: u32) {
        self.open.remove(&id);
    }

    /// Nobody holds it any more.
    pub(super) fn remove(&mut self, key: Key) -> Option<Stream> {
        let stream = self.all.try_remove(key)?;
        self.open.remove(&stream.id);
        Some(stream)
    }

    /// Every stream that is open comes to nothing, if `of` says so of its id.
    pub(super) fn fail(&mut self, fault: Fault, of: impl Fn(u32) -> bool) {
        let all = &mut self.all;
        self.open.retain(|id, key| {
            let fails = of(*id);
            if fails && let Some(stream) = all.get_mut(*key) {
                stream.fault = Some(fault);
                stream.wake();
            }
            !fails
        });
    }

    pub(super) fn iter_open(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.all.iter_mut().map(|(_, stream)| stream).filter(|stream| stream.fault.is_none())
    }
}
