//! What one worker thread owns: nothing here is shared, so nothing here is locked.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use selvedge_http::date::{self, DATE_BYTES};
use selvedge_http::head::{RequestHead, ResponseHead};
use selvedge_upstream::Clusters;
use selvedge_upstream::pool::Pools;
use selvedge_wire::buffer::Buffers;
use selvedge_wire::deadline::Deadline;
use selvedge_wire::drain::{DrainState, Drains};
use selvedge_wire::parking::Parking;
pub(crate) use selvedge_wire::parking::Place;

use crate::patience::{Patience, Places};

/// Message heads that are kept for the next request of this worker.
const HEADS_KEPT_MAX: usize = 64;
/// Connections from clients that one worker holds at once; those beyond are closed as soon as they are accepted.
pub(crate) const CONNECTIONS_MAX: usize = 65_536;
/// Handshakes that one worker makes at once; connections beyond are closed as soon as they want one.
pub(crate) const HANDSHAKES_MAX: usize = 1024;
/// Time-outs whose timers are kept for the next request that has no connection's.
const DEADLINES_KEPT_MAX: usize = 64;
/// The largest pair of heads that is kept.
const HEADS_KEPT_BYTES_MAX: usize = 32 * 1024;

/// One worker's belongings.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) buffers: Buffers,
    pub(crate) pools: Pools,
    pub(crate) clusters: Arc<Clusters>,
    /// This node's own address, for `x-forwarded-for` in place of loopback.
    pub(crate) node_address: Option<IpAddr>,
    pub(crate) patience: Patience,
    /// Those of all workers.
    pub(crate) places: Places,
    drain: Cell<Drains>,
    date: Cell<(u64, [u8; DATE_BYTES])>,
    #[expect(
        clippy::vec_box,
        reason = "what is lent is the box: moving the heads themselves would copy them"
    )]
    heads: RefCell<Vec<Box<Heads>>>,
    deadlines: RefCell<Vec<Deadline>>,
    parking: Parking,
    connection_ids: Cell<u64>,
    handshakes: Cell<usize>,
    /// Copies of requests under way.
    pub(crate) mirrors: Cell<usize>,
}

/// The heads of one exchange.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    pub(crate) request: RequestHead,
    pub(crate) response: ResponseHead,
}

impl Worker {
    pub(crate) fn new(
        index: usize,
        clusters: Arc<Clusters>,
        node_address: Option<IpAddr>,
        patience: Patience,
        places: Places,
    ) -> Rc<Self> {
        let buffers = Buffers::default();
        Rc::new(Self {
            pools: Pools::new(buffers.clone()),
            buffers,
            clusters,
            node_address,
            patience,
            places,
            drain: Cell::default(),
            date: Cell::new((0, date::imf_fixdate(0))),
            heads: RefCell::default(),
            deadlines: RefCell::default(),
            parking: Parking::default(),
            // Ids of workers do not meet: each has 2^48 of them.
            connection_ids: Cell::new((index as u64) << 48),
            handshakes: Cell::new(0),
            mirrors: Cell::new(0),
        })
    }

    /// `Date` for this moment.
    pub(crate) fn date(&self, now: SystemTime) -> [u8; DATE_BYTES] {
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        let (of, text) = self.date.get();
        if of == seconds {
            return text;
        }
        let text = date::imf_fixdate(seconds);
        self.date.set((seconds, text));
        text
    }

    pub(crate) fn connection_id(&self) -> u64 {
        let id = self.connection_ids.get();
        self.connection_ids.set(id + 1);
        id
    }

    /// A place among the handshakes under way, if there is one.
    pub(crate) fn begin_handshake(self: &Rc<Self>) -> Option<UnderWay> {
        let under_way = self.handshakes.get();
        (under_way < HANDSHAKES_MAX).then(|| {
            self.handshakes.set(under_way + 1);
            UnderWay(Rc::clone(self))
        })
    }

    pub(crate) fn lease_heads(&self) -> Box<Heads> {
        self.heads.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn give_back_heads(&self, mut heads: Box<Heads>) {
        let bytes = heads.request.fields.capacity_bytes() + heads.response.fields.capacity_bytes();
        let mut kept = self.heads.borrow_mut();
        if kept.len() < HEADS_KEPT_MAX && bytes <= HEADS_KEPT_BYTES_MAX {
            heads.request.clear();
            heads.response.clear();
            kept.push(heads);
        }
    }

    /// A time-out for a request that has none of a connection's. To move a timer that is there costs a tenth of making one.
    pub(crate) fn lease_deadline(&self) -> Deadline {
        self.deadlines.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn give_back_deadline(&self, mut deadline: Deadline) {
        let mut kept = self.deadlines.borrow_mut();
        if kept.len() < DEADLINES_KEPT_MAX {
            deadline.set(None);
            kept.push(deadline);
        }
    }

    /// How far the drain of one side has come.
    pub(crate) fn drain_state(&self, inbound: bool) -> DrainState {
        self.drain.get().side(inbound)
    }

    pub(crate) fn is_draining(&self, inbound: bool) -> bool {
        self.drain_state(inbound).is_draining()
    }

    /// Whether who is answered is asked to leave.
    pub(crate) fn sends_away(&self, inbound: bool) -> bool {
        let drains = self.drain.get();
        drains.failing || drains.side(inbound).is_draining()
    }

    /// Notes a new state and wakes every connection to look at it.
    pub(crate) fn set_drains(&self, drains: Drains) {
        self.drain.set(drains);
        self.wake_all();
    }

    /// Wakes every connection.
    pub(crate) fn wake_all(&self) {
        self.parking.wake_all();
    }

    /// How many connections are open.
    pub(crate) fn connections(&self) -> usize {
        self.parking.len()
    }

    /// A place among those who are woken when the state changes.
    pub(crate) fn place(&self) -> Place {
        self.parking.place()
    }
}

/// A handshake under way.
#[derive(Debug)]
pub(crate) struct UnderWay(Rc<Worker>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.handshakes.set(self.0.handshakes.get().saturating_sub(1));
    }
}
