//! What each connection is doing, for the page of mod_status.
//!
//! Every worker has a scoreboard of its own, with a slot for each connection, and one for each request of HTTP/2. Whoever serves
//! there notes in it what is known anyway; nobody else is waited for, as nobody else looks: who asks for the page asks each
//! worker, which answers between two requests.
//!
//! ```text
//! connect ──▶ read ──▶ handle-req ◀──▶ readpost
//!               ▲          │
//!          keep-alive ◀── write ──▶ close
//! ```

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use selvedge_http::framing::Framing;
use slab::Slab;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::ready::Ready;
use crate::request::Exchange;
use crate::site::Current;
use crate::worker::Worker;

/// Connections and requests that one page shows.
pub(crate) const SHOWN_MAX: usize = 1_000;
/// Places that a scoreboard shows.
pub(crate) const LETTERS_MAX: usize = 16_384;
/// As much of a host, a target and a file's path is shown.
pub(crate) const TEXT_BYTES_MAX: usize = 512;
/// Pages that a worker may be asked for before it has answered.
pub(crate) const QUESTIONS_MAX: usize = 16;
/// How long a page waits for workers that are busy.
pub(crate) const PATIENCE: Duration = Duration::from_millis(500);
/// Slots that are kept for the next connection.
const SPARE_MAX: usize = 256;
/// Room for texts that a slot keeps between two requests, in bytes.
const ROOM_BYTES_MAX: usize = 512;

/// What a connection is doing, in lighttpd's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It shakes hands.
    Connect,
    /// A request's head is waited for.
    Read,
    /// A request's body is.
    ReadPost,
    Handle,
    Write,
    KeepAlive,
    Close,
}

impl State {
    pub(crate) const ALL: [Self; 7] =
        [Self::KeepAlive, Self::Connect, Self::Read, Self::ReadPost, Self::Handle, Self::Write, Self::Close];

    pub(crate) fn letter(self) -> char {
        match self {
            Self::Connect => '.',
            Self::Read => 'r',
            Self::ReadPost => 'R',
            Self::Handle => 'h',
            Self::Write => 'W',
            Self::KeepAlive => 'k',
            Self::Close => 'C',
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Read => "read",
            Self::ReadPost => "readpost",
            Self::Handle => "handle-req",
            Self::Write => "write",
            Self::KeepAlive => "keep-alive",
            Self::Close => "close",
        }
    }

    fn is_of_request(self) -> bool {
        matches!(self, Self::ReadPost | Self::Handle | Self::Write)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Connection,
    /// It has requests of its own, which are shown in its place.
    Crowd,
    Stream,
}

/// One worker's slots. Clones are the same ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scoreboard(Rc<Slots>);

#[derive(Debug, Default)]
struct Slots {
    taken: RefCell<Slab<Rc<Slot>>>,
    spare: RefCell<Vec<Rc<Slot>>>,
}

/// What is noted of a connection or a request.
#[derive(Debug)]
pub(crate) struct Slot {
    kind: Cell<Kind>,
    remote: Cell<SocketAddr>,
    state: Cell<State>,
    since: Cell<Instant>,
    /// Bytes of the body that came, and of the answer's that left.
    received: Cell<u64>,
    sent: Cell<u64>,
    /// How many there will be, where that is known.
    receives: Cell<Option<u64>>,
    sends: Cell<Option<u64>>,
    request: RefCell<Request>,
}

#[derive(Debug, Default)]
struct Request {
    protocol: &'static str,
    host: String,
    /// As the client sent it, and as it was rewritten.
    original: String,
    target: String,
    file: String,
    /// What it is counted under.
    of: Option<(Current, u32)>,
}

impl Slot {
    fn new(kind: Kind, remote: SocketAddr) -> Self {
        Self {
            kind: Cell::new(kind),
            remote: Cell::new(remote),
            state: Cell::new(State::Connect),
            since: Cell::new(Instant::now()),
            received: Cell::new(0),
            sent: Cell::new(0),
            receives: Cell::new(None),
            sends: Cell::new(None),
            request: RefCell::default(),
        }
    }

    /// Whose connection it is, by the word of a load balancer that is believed.
    pub(crate) fn belongs_to(&self, remote: SocketAddr) {
        self.remote.set(remote);
    }

    pub(crate) fn is(&self, state: State) {
        self.state.set(state);
    }

    /// A state that began at some moment.
    pub(crate) fn is_since(&self, state: State, since: Instant) {
        self.state.set(state);
        self.since.set(since);
    }

    /// Requests are under way on the connection, each with a slot of its own.
    pub(crate) fn has_streams(&self) {
        self.kind.set(Kind::Crowd);
        self.state.set(State::Handle);
    }

    /// None is, since some moment.
    pub(crate) fn has_no_streams(&self, since: Instant) {
        self.kind.set(Kind::Connection);
        self.is_since(State::KeepAlive, since);
    }

    /// A request is looked at.
    pub(crate) fn begin(&self, x: &Exchange<'_>) {
        self.is_since(State::Handle, x.begun);
        self.received.set(0);
        self.sent.set(0);
        self.receives.set(match x.facts.framing {
            Framing::Length(bytes) => Some(bytes),
            _ => None,
        });
        self.sends.set(None);
        let mut request = self.request.borrow_mut();
        request.protocol = x.protocol();
        put(&mut request.host, x.head.authority().unwrap_or_default());
        put(&mut request.original, x.head.path());
        request.target.clear();
        request.file.clear();
    }

    /// It is known what holds for it.
    pub(crate) fn resolved(&self, x: &Exchange<'_>) {
        let mut request = self.request.borrow_mut();
        put(&mut request.target, &x.target.text);
        request.of = (x.conf.0.route > 0).then(|| (Rc::clone(&x.site), x.conf.0.route));
    }

    /// Its answer begins, which will have so many bytes.
    pub(crate) fn answers(&self, path: &str, bytes: Option<u64>) {
        self.is(State::Write);
        self.sends.set(bytes);
        put(&mut self.request.borrow_mut().file, path);
    }

    /// A file that is kept ready is sent, and does not leave at once. Whoever asks for it again is not read any more: what they sent
    /// is known by what they get.
    pub(crate) fn sends_ready(&self, ready: &Ready, since: Instant) {
        self.is_since(State::Write, since);
        self.sends.set(Some(ready.content.length() as u64));
        let mut request = self.request.borrow_mut();
        request.protocol = "HTTP/1.1";
        request.host.clear();
        put(&mut request.original, &ready.target.text);
        put(&mut request.target, &ready.target.text);
        put(&mut request.file, &ready.path);
    }

    pub(crate) fn received(&self, bytes: u64) {
        self.received.set(bytes);
    }

    pub(crate) fn sent(&self, bytes: u64) {
        self.sent.set(bytes);
    }

    /// It is over: nothing is held for it.
    pub(crate) fn end(&self) {
        let mut request = self.request.borrow_mut();
        request.of = None;
        if request.room() > ROOM_BYTES_MAX {
            *request = Request::default();
        }
        self.receives.set(None);
        self.sends.set(None);
        self.received.set(0);
        self.sent.set(0);
    }

    fn row(&self, now: Instant) -> Row {
        let state = self.state.get();
        let mut row = Row {
            remote: self.remote.get().ip().to_canonical(),
            state,
            seconds: now.saturating_duration_since(self.since.get()).as_secs(),
            received: (self.received.get(), self.receives.get()),
            sent: (self.sent.get(), self.sends.get()),
            protocol: "",
            host: String::new(),
            original: String::new(),
            target: String::new(),
            file: String::new(),
            site: String::new(),
            route: String::new(),
        };
        // What is left of a request that is over says nothing of what comes next.
        if state.is_of_request() {
            let request = self.request.borrow();
            row.protocol = request.protocol;
            row.host.clone_from(&request.host);
            row.original.clone_from(&request.original);
            row.target.clone_from(if request.target.is_empty() {
                &request.original
            } else {
                &request.target
            });
            row.file.clone_from(&request.file);
            if let Some((site, route)) = &request.of
                && let Some((site, route)) = site.program.route_names().nth(*route as usize - 1)
            {
                (row.site, row.route) = (site.to_string(), route.to_string());
            }
        }
        row
    }
}

impl Request {
    fn room(&self) -> usize {
        [&self.host, &self.original, &self.target, &self.file].iter().map(|text| text.capacity()).sum()
    }
}

fn put(into: &mut String, text: &str) {
    into.clear();
    into.push_str(&text[..text.floor_char_boundary(TEXT_BYTES_MAX)]);
}

/// A slot for as long as somebody has it.
#[derive(Debug)]
pub(crate) struct Seat {
    key: usize,
    slot: Rc<Slot>,
    board: Scoreboard,
}

impl Deref for Seat {
    type Target = Rc<Slot>;

    fn deref(&self) -> &Rc<Slot> {
        &self.slot
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(slot) = self.board.0.taken.borrow_mut().try_remove(self.key) {
            slot.end();
            let mut spare = self.board.0.spare.borrow_mut();
            if spare.len() < SPARE_MAX {
                spare.push(slot);
            }
        }
    }
}

/// A connection or a request as a page shows it.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) remote: IpAddr,
    pub(crate) state: State,
    /// Since it began.
    pub(crate) seconds: u64,
    /// Bytes of its body, and how many it has, where that is known.
    pub(crate) received: (u64, Option<u64>),
    pub(crate) sent: (u64, Option<u64>),
    pub(crate) protocol: &'static str,
    pub(crate) host: String,
    pub(crate) original: String,
    pub(crate) target: String,
    pub(crate) file: String,
    pub(crate) site: String,
    pub(crate) route: String,
}

/// What was seen of workers.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The state of each connection.
    pub(crate) states: Vec<State>,
    pub(crate) rows: Vec<Row>,
    /// Rows that found no room.
    pub(crate) left_out: usize,
    /// Workers that were too busy to say.
    pub(crate) silent: usize,
}

impl Scoreboard {
    /// A slot for a connection.
    pub(crate) fn connection(&self, remote: SocketAddr) -> Seat {
        self.seat(Kind::Connection, remote)
    }

    /// A slot for a request that shares its connection with others.
    pub(crate) fn stream(&self, remote: SocketAddr) -> Seat {
        self.seat(Kind::Stream, remote)
    }

    fn seat(&self, kind: Kind, remote: SocketAddr) -> Seat {
        let slot = match self.0.spare.borrow_mut().pop() {
            Some(slot) => {
                slot.kind.set(kind);
                slot.remote.set(remote);
                slot.is_since(State::Connect, Instant::now());
                slot
            }
            None => Rc::new(Slot::new(kind, remote)),
        };
        let key = self.0.taken.borrow_mut().insert(Rc::clone(&slot));
        Seat { key, slot, board: self.clone() }
    }

    /// What is under way, and then who waits, in so many rows.
    pub(crate) fn look(&self, rows_max: usize, now: Instant) -> Seen {
        let taken = self.0.taken.borrow();
        let slots = || taken.iter().map(|(_, slot)| slot);
        let states = slots().filter(|slot| slot.kind.get() != Kind::Stream).map(|slot| slot.state.get());
        let states = states.take(LETTERS_MAX).collect();
        let shown = |of_request: bool| {
            slots().filter(move |slot| {
                slot.kind.get() != Kind::Crowd && slot.state.get().is_of_request() == of_request
            })
        };
        let rows: Vec<Row> =
            shown(true).chain(shown(false)).take(rows_max).map(|slot| slot.row(now)).collect();
        let left_out = shown(true).count() + shown(false).count() - rows.len();
        Seen { states, rows, left_out, silent: 0 }
    }
}

/// Somebody wants to see a worker's scoreboard: how many rows of it, and where to.
pub(crate) type Question = (usize, oneshot::Sender<Seen>);

/// Answers for one worker.
pub(crate) async fn answer(board: Scoreboard, mut questions: mpsc::Receiver<Question>) {
    while let Some((rows_max, asker)) = questions.recv().await {
        let _ = asker.send(board.look(rows_max, Instant::now()));
    }
}

/// Looks at all workers; those that do not answer soon are left out.
pub(crate) async fn look(worker: &Worker, rows_max: usize) -> Seen {
    let others = worker.shared.scoreboards.iter().enumerate().filter(|(index, _)| *index != worker.index);
    let asked: Vec<_> = others
        .map(|(_, questions)| {
            let (asker, answer) = oneshot::channel();
            questions.try_send((rows_max, asker)).ok().map(|()| answer)
        })
        .collect();
    let mut all = worker.scoreboard.look(rows_max, Instant::now());
    let until = Instant::now() + PATIENCE;
    for answer in asked {
        let answered = match answer {
            Some(answer) => tokio::time::timeout_at(until, answer).await.ok().and_then(Result::ok),
            None => None,
        };
        let Some(seen) = answered else {
            all.silent += 1;
            continue;
        };
        all.states.extend(seen.states);
        all.rows.extend(seen.rows);
        all.left_out += seen.left_out;
    }
    all.states.truncate(LETTERS_MAX);
    // What is under way comes first, of whichever worker it is.
    all.rows.sort_by_key(|row| !row.state.is_of_request());
    all.left_out += all.rows.len().saturating_sub(rows_max);
    all.rows.truncate(rows_max);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn somebody(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 1))
    }

    #[test]
    fn who_has_a_request_under_way_is_shown_before_who_waits() {
        let board = Scoreboard::default();
        let began = Instant::now();
        let seats: Vec<Seat> = (0..10).map(|last| board.connection(somebody(last))).collect();
        for seat in &seats {
            seat.is_since(State::KeepAlive, began);
        }
        seats[7].is(State::Write);
        let seen = board.look(3, began + Duration::from_secs(5));
        let shown: Vec<(String, State, u64)> =
            seen.rows.iter().map(|row| (row.remote.to_string(), row.state, row.seconds)).collect();
        assert_eq!(
            shown,
            [
                ("192.0.2.7".to_owned(), State::Write, 5),
                ("192.0.2.0".to_owned(), State::KeepAlive, 5),
                ("192.0.2.1".to_owned(), State::KeepAlive, 5)
            ]
        );
        assert_eq!((seen.left_out, seen.states.len()), (7, 10));
        drop(seats);
        let seen = board.look(3, began);
        assert_eq!((seen.rows.len(), seen.left_out, seen.states.len()), (0, 0, 0));
    }

    #[test]
    fn requests_of_one_connection_are_rows_and_no_connections() {
        let board = Scoreboard::default();
        let connection = board.connection(somebody(1));
        connection.has_streams();
        let streams = [board.stream(somebody(1)), board.stream(somebody(1))];
        let seen = board.look(SHOWN_MAX, Instant::now());
        assert_eq!((seen.rows.len(), seen.states), (2, vec![State::Handle]));
        drop(streams);
        connection.has_no_streams(Instant::now());
        let seen = board.look(SHOWN_MAX, Instant::now());
        assert_eq!((seen.rows.len(), seen.states), (1, vec![State::KeepAlive]));
    }

    #[test]
    fn a_scoreboard_and_its_texts_are_bounded() {
        let board = Scoreboard::default();
        let seats: Vec<Seat> = (0..LETTERS_MAX + 1).map(|_| board.connection(somebody(1))).collect();
        let seen = board.look(SHOWN_MAX, Instant::now());
        assert_eq!((seen.states.len(), seen.rows.len()), (LETTERS_MAX, SHOWN_MAX));
        assert_eq!(seen.left_out, LETTERS_MAX + 1 - SHOWN_MAX);
        let mut text = String::new();
        put(&mut text, &"a".repeat(TEXT_BYTES_MAX));
        assert_eq!(text.len(), TEXT_BYTES_MAX);
        put(&mut text, &"ü".repeat(TEXT_BYTES_MAX));
        assert_eq!(text.len(), TEXT_BYTES_MAX);
        put(&mut text, &format!("a{}", "ü".repeat(TEXT_BYTES_MAX)));
        assert_eq!(text.len(), TEXT_BYTES_MAX - 1);
        drop(seats);
        assert!(board.0.spare.borrow().len() <= SPARE_MAX);
    }
}
