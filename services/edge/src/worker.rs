//! What one worker thread owns, and what all share.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, ArcSwapOption, Cache as Cached};
use foldhash::fast::FixedState;
use selvedge_guard::nonce::Nonces;
use selvedge_http::date::{self, DATE_BYTES};
use selvedge_http::fields::Fields;
use selvedge_http::head::RequestHead;
use selvedge_outbound::traces::Spans;
use selvedge_site::directive::{BackendId, Named, Text};
use selvedge_site::{PatternExhausted, RequestFacts, Resolved, Resolver};
use selvedge_wire::buffer::Buffers;
use selvedge_wire::parking::{Parking, Place};
use selvedge_wire::stream::{Address, Stream};
use tokio::sync::{Semaphore, mpsc};

use crate::acme::Acme;
use crate::answer::file::MediaTypes;
use crate::cache::Cache;
use crate::clients::Clients;
use crate::data_plane::DataPlane;
use crate::handshakes::Handshakes;
use crate::rate::Rates;
use crate::ready::Shelf;
use crate::recent::Recent;
use crate::record::log::Logs;
use crate::scoreboard::{Question, Scoreboard};
use crate::site::{Current, InForce, Site};
use crate::standing::Standing;
use crate::stats::{OfWorker, Stats};

/// Idle connections to one backend address that a worker keeps.
pub(crate) const POOLED_MAX: usize = 32;
/// How long such a connection is kept; backends close theirs soon after.
const POOLED_IDLE: Duration = Duration::from_secs(4);
/// Sets of media types that are remembered.
const MEDIA_TYPES_MAX: usize = 64;
/// Addresses of backends that are remembered.
const ADDRESSES_MAX: usize = 4096;
/// Heads that are kept for the next request.
const HEADS_KEPT_MAX: usize = 64;
/// The longest of them.
const HEAD_KEPT_BYTES_MAX: usize = 32 * 1024;

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) site: ArcSwap<Site>,
    pub(crate) stats: Stats,
    /// What the last seconds saw.
    pub(crate) recent: Recent,
    pub(crate) handshakes: Handshakes,
    pub(crate) began: Instant,
    /// What makes nonces ours.
    pub(crate) secret: [u8; 32],
    pub(crate) rates: Rates,
    /// Nonces of digest sign-in that have been used. Locked for a look-up.
    pub(crate) nonces: Mutex<Nonces>,
    /// Who is connected.
    pub(crate) clients: Arc<Clients>,
    /// Answers that are remembered.
    pub(crate) cache: Cache,
    /// What answers an authority for certificates.
    pub(crate) acme: ArcSwapOption<Acme>,
    /// Where bodies wait.
    pub(crate) spool: PathBuf,
    pub(crate) logs: Arc<Logs>,
    /// The way to the collector of traces.
    pub(crate) spans: Spans,
    pub(crate) connections_max: u64,
    pub(crate) draining: AtomicBool,
    /// A successor listens on the sockets: whoever draws on a kept connection once more is answered, and sent there.
    pub(crate) followed: AtomicBool,
    pub(crate) mesh: Mesh,
    pub(crate) standing: Option<Arc<Standing>>,
    /// The way to each worker's scoreboard, by their indices.
    pub(crate) scoreboards: Box<[mpsc::Sender<Question>]>,
}

/// Where the mesh is.
#[derive(Clone, Debug)]
pub struct Mesh {
    /// The API: workflows are started there.
    pub endpoint: selvedge_client::Endpoint,
    /// The egress of the sidecar beside us, which knows virtual services by their names.
    pub egress: Address,
}

/// A connection that nobody uses, and since when.
type Idle = (Stream, Instant);

/// Passwords that a worker checks at a time: some hashes are slow on purpose, and whoever guesses shall not have all processors.
pub(crate) const PASSWORDS_AT_ONCE_MAX: usize = 4;

/// One worker's belongings.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) index: usize,
    pub(crate) buffers: Buffers,
    site: RefCell<(Cached<InForce, Arc<Site>>, Current)>,
    date: Cell<(u64, [u8; DATE_BYTES])>,
    /// The date of this second, and when the second ends.
    date_until: Cell<(Instant, [u8; DATE_BYTES])>,
    resolver: RefCell<Option<Resolver>>,
    media_types: RefCell<Vec<MediaTypes>>,
    pooled: RefCell<HashMap<Address, Vec<Idle>, FixedState>>,
    addresses: RefCell<HashMap<(BackendId, u16), Address, FixedState>>,
    turn: Cell<u32>,
    random: Cell<u64>,
    machines: RefCell<HashMap<String, String>>,
    pub(crate) shelf: RefCell<Shelf>,
    plane: RefCell<Option<Rc<dyn DataPlane>>>,
    parking: Parking,
    pub(crate) scoreboard: Scoreboard,
    /// Places for those whose passwords are checked.
    pub(crate) checking: Semaphore,
    #[expect(clippy::vec_box, reason = "what is lent is the box")]
    heads: RefCell<Vec<Box<RequestHead>>>,
    fields: RefCell<Vec<Fields>>,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, index: usize) -> Rc<Self> {
        let mut site = Cached::new(InForce(Arc::clone(&shared)));
        let current = Rc::new(Arc::clone(site.load()));
        Rc::new(Self {
            shared,
            site: RefCell::new((site, current)),
            index,
            buffers: Buffers::default(),
            date: Cell::new((0, date::imf_fixdate(0))),
            date_until: Cell::new((Instant::now(), date::imf_fixdate(0))),
            resolver: RefCell::default(),
            media_types: RefCell::default(),
            pooled: RefCell::default(),
            addresses: RefCell::default(),
            turn: Cell::default(),
            random: Cell::default(),
            machines: RefCell::default(),
            shelf: RefCell::default(),
            plane: RefCell::default(),
            parking: Parking::default(),
            scoreboard: Scoreboard::default(),
            checking: Semaphore::new(PASSWORDS_AT_ONCE_MAX),
            heads: RefCell::default(),
            fields: RefCell::default(),
        })
    }

    /// What this worker counts.
    pub(crate) fn counts(&self) -> &OfWorker {
        &self.shared.stats.workers[self.index]
    }

    /// A number that nobody can be sure of, for ids of traces; not for secrets (SplitMix64, Steele et al. 2014).
    pub(crate) fn random(&self) -> u64 {
        let mut state = self.random.get();
        if state == 0 {
            let mut seed = [0; 8];
            let _ = rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty());
            state = u64::from_le_bytes(seed);
        }
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The configuration in force.
    pub(crate) fn site(&self) -> Current {
        let (known, current) = &mut *self.site.borrow_mut();
        let in_force = known.load();
        if !Arc::ptr_eq(in_force, current) {
            *current = Rc::new(Arc::clone(in_force));
        }
        Rc::clone(current)
    }

    /// What holds for a request under a configuration.
    ///
    /// # Errors
    /// When an expression takes too long.
    pub(crate) fn resolve(
        &self,
        site: &Site,
        facts: &RequestFacts<'_>,
    ) -> Result<Arc<Resolved>, PatternExhausted> {
        let mut resolver = self.resolver.borrow_mut();
        match &mut *resolver {
            Some(resolver) if Arc::ptr_eq(resolver.program(), &site.program) => resolver.resolve(facts),
            other => {
                // Numbers of backends mean others under another configuration.
                self.addresses.borrow_mut().clear();
                other.insert(Resolver::new(Arc::clone(&site.program))).resolve(facts)
            }
        }
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

    /// `Date` for this moment, where the time of day is not needed for anything else.
    pub(crate) fn date_at(&self, now: Instant) -> [u8; DATE_BYTES] {
        let (until, text) = self.date_until.get();
        if now < until {
            return text;
        }
        let of_day = SystemTime::now();
        let since = of_day.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let left = Duration::from_secs(1) - Duration::from_nanos(u64::from(since.subsec_nanos()));
        let text = self.date(of_day);
        self.date_until.set((now + left, text));
        text
    }

    /// The type of a file under these assignments.
    pub(crate) fn media_type(&self, assign: &Named<Text>, path: &str) -> Option<Text> {
        let mut known = self.media_types.borrow_mut();
        if let Some(types) = known.iter().find(|types| Arc::ptr_eq(&types.of, assign)) {
            return types.find(path);
        }
        if known.len() >= MEDIA_TYPES_MAX {
            known.clear();
        }
        let types = MediaTypes::new(assign);
        let found = types.find(path);
        known.push(types);
        found
    }

    // === backends ===

    /// An idle connection to a backend.
    pub(crate) fn pooled(&self, address: &Address) -> Option<Stream> {
        let mut pooled = self.pooled.borrow_mut();
        let list = pooled.get_mut(address)?;
        let now = Instant::now();
        while let Some((stream, since)) = list.pop() {
            if now.saturating_duration_since(since) < POOLED_IDLE && stream.is_quiet() {
                return Some(stream);
            }
        }
        None
    }

    /// Keeps a connection for the next request.
    pub(crate) fn give_back(&self, address: Address, stream: Stream) {
        let mut pooled = self.pooled.borrow_mut();
        let list = pooled.entry(address).or_default();
        let now = Instant::now();
        // The longest unused stand in front: as a rule there is nothing to look through.
        let old = |since: &Instant| now.saturating_duration_since(*since) >= POOLED_IDLE;
        if list.first().is_some_and(|(_, since)| old(since)) {
            list.retain(|(_, since)| !old(since));
        }
        if list.len() < POOLED_MAX {
            list.push((stream, now));
        }
    }

    pub(crate) fn known_address(&self, id: BackendId, number: u16) -> Option<Address> {
        self.addresses.borrow().get(&(id, number)).cloned()
    }

    pub(crate) fn remember_address(&self, id: BackendId, number: u16, address: Address) {
        let mut addresses = self.addresses.borrow_mut();
        if addresses.len() >= ADDRESSES_MAX {
            addresses.clear();
        }
        addresses.insert((id, number), address);
    }

    /// Closes what has been idle too long, and forgets addresses, so that names are looked up again, and files.
    pub(crate) fn tidy(&self) {
        // A configuration that has gone is not held on to for want of requests.
        let _ = self.site();
        self.pooled.borrow_mut().retain(|_, list| {
            list.retain(|(_, since)| since.elapsed() < POOLED_IDLE);
            !list.is_empty()
        });
        self.addresses.borrow_mut().clear();
        self.shelf.borrow_mut().tidy(tokio::time::Instant::now());
    }

    pub(crate) fn next_turn(&self) -> u32 {
        self.turn.set(self.turn.get().wrapping_add(1));
        self.turn.get()
    }

    /// A state machine's ARN, if its name was looked up.
    pub(crate) fn known_machine(&self, name: &str) -> Option<String> {
        self.machines.borrow().get(name).cloned()
    }

    pub(crate) fn remember_machine(&self, name: &str, arn: &str) {
        // Names come from the configuration: there are no more than routes.
        self.machines.borrow_mut().insert(name.to_owned(), arn.to_owned());
    }

    // === the mesh ===

    /// Requests to the mesh are served on this thread from here on.
    pub(crate) fn join_mesh(&self, plane: Box<dyn DataPlane>) {
        *self.plane.borrow_mut() = Some(plane.into());
    }

    /// The mesh's data plane, where this thread has it.
    pub(crate) fn data_plane(&self) -> Option<Rc<dyn DataPlane>> {
        self.plane.borrow().clone()
    }

    // === heads ===

    pub(crate) fn lease_head(&self) -> Box<RequestHead> {
        self.heads.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn give_back_head(&self, mut head: Box<RequestHead>) {
        let mut kept = self.heads.borrow_mut();
        if kept.len() < HEADS_KEPT_MAX && head.fields.capacity_bytes() <= HEAD_KEPT_BYTES_MAX {
            head.clear();
            kept.push(head);
        }
    }

    /// No fields, and room for those of an answer.
    pub(crate) fn lease_fields(&self) -> Fields {
        self.fields.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn give_back_fields(&self, mut fields: Fields) {
        let mut kept = self.fields.borrow_mut();
        let room = fields.capacity_bytes();
        if kept.len() < HEADS_KEPT_MAX && room > 0 && room <= HEAD_KEPT_BYTES_MAX {
            fields.clear();
            kept.push(fields);
        }
    }

    // === the end ===

    pub(crate) fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::Relaxed)
    }

    /// Whether connections that say nothing end at once: they may have a request on its way, and where a successor serves it is
    /// answered before they go.
    pub(crate) fn ends_idle(&self) -> bool {
        self.is_draining() && !self.shared.followed.load(Ordering::Relaxed)
    }

    /// Wakes every connection to look at what has changed.
    pub(crate) fn wake_all(&self) {
        self.parking.wake_all();
    }

    /// Open connections of this worker.
    pub(crate) fn connections(&self) -> usize {
        self.parking.len()
    }

    /// A connection's place among those that are woken.
    pub(crate) fn place(&self) -> Place {
        self.parking.place()
    }
}
