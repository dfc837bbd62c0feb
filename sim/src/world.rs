//! Control planes, proxies and clients on one network, over one store, in one time.

mod deliver;
mod verdict;

pub use verdict::Failure;
use verdict::Goal;

use crate::act::{Act, Cast};
use crate::chance::Chance;
use crate::client::{Answer, Call, Client};
use crate::control::{ControlPlane, Output};
use crate::intent::Intent;
use crate::moment::{Clock, Moment};
use crate::network::{Arrival, Host, Network};
use crate::reference::Reference;
use crate::schedule::Schedule;
use crate::sidecar::{Disk, Make, Sidecar};
use crate::storm::Storm;
use crate::trace::Trace;
use bytes::Bytes;
use selvedge_store::memory::{Fault, Memory};
use selvedge_store::{Store as _, Subscription};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long it takes until what a partition held back has been delivered and answered.
const AFTERMATH: Duration = Duration::from_secs(1);

/// What travels on the network.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// Discovery, encoded; either direction.
    Discovery(Bytes),
    /// A proxy ends its stream in good order.
    Goodbye,
    /// From a client.
    Call(Box<Call>),
    /// To a client, with the call's number.
    Answer(u64, Answer),
}

#[derive(Debug)]
enum Event {
    Arrive(Arrival<Message>),
    Act(Act),
    /// A host asked to be woken.
    Wake(Host),
    /// A control plane hears that the store has changed.
    Hear(u8),
}

/// A machine that is up or down.
struct Machine<T> {
    running: Option<T>,
    /// The wake-up that is scheduled, so that no second one is.
    wake_at: Option<Moment>,
}

/// A replica, and its ear at the store.
struct Replica {
    plane: ControlPlane,
    has_heard: Arc<AtomicBool>,
    _subscription: Subscription,
}

/// The simulated world.
pub struct World {
    now: Moment,
    clock: Clock,
    schedule: Schedule<Event>,
    network: Network<Message>,
    trace: Trace,
    chance: Chance,
    store: Arc<Memory>,
    storm: Storm,
    controls: Vec<Machine<Replica>>,
    proxies: Vec<Machine<Sidecar>>,
    /// What each proxy's machine has on disk.
    disks: Vec<Disk>,
    /// When each proxy last opened a connection.
    connected_at: Vec<Moment>,
    clients: Vec<Machine<Client>>,
    reference: Reference,
    failure: Option<Failure>,
    goal: Option<Goal>,
    /// Until then the network delivers what a partition held back.
    stalled_until: Moment,
}

impl World {
    /// A world with nothing running, in which everything follows from `seed`. The store's feed keeps `retained`
    /// revisions.
    pub fn new(seed: u64, cast: Cast, retained: u64) -> Self {
        let mut chance = Chance::new(seed);
        let (store, storm) = (Arc::new(Memory::new().retaining(retained)), Storm::default());
        store.fail_with(Some(storm.failpoints(chance.fork())));
        let clients: Vec<_> = (0..cast.clients).map(|name| Client::new(name, chance.fork())).collect();
        Self {
            now: Moment::START,
            clock: Clock::new(),
            schedule: Schedule::default(),
            network: Network::new(chance.fork()),
            trace: Trace::default(),
            store,
            storm,
            controls: (0..cast.controls).map(|_| Machine::default()).collect(),
            proxies: (0..cast.proxies).map(|_| Machine::default()).collect(),
            connected_at: vec![Moment::START; cast.proxies.into()],
            disks: (0..cast.proxies).map(disk_of).collect(),
            clients: clients.into_iter().map(Machine::running).collect(),
            reference: Reference::default(),
            failure: None,
            goal: None,
            stalled_until: Moment::START,
            chance,
        }
    }

    /// What happened since the trace was last drained.
    pub fn trace(&mut self) -> &mut Trace {
        &mut self.trace
    }

    /// The time.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// Gives a client something to do, and then `whims` more calls of its own choosing.
    pub fn tell(&mut self, client: u8, intents: Vec<Intent>, whims: u32) {
        let now = self.now;
        if let Some(client) = self.clients[usize::from(client)].running.as_mut() {
            client.tell(now, intents, whims);
        }
        self.rearm(Host::Client(client));
    }

    /// Has `act` happen at `at`.
    pub fn plan(&mut self, at: Moment, act: Act) {
        self.schedule.push(at, Event::Act(act));
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// The first thing that went against the rules of this world.
    pub fn run_for(&mut self, time: Duration) -> Result<(), Failure> {
        let until = self.now + time;
        while let Some((at, event)) = self.schedule.pop(until) {
            self.now = at;
            self.handle(event);
            if let Some(failure) = self.failure.clone() {
                return Err(failure);
            }
        }
        self.now = until;
        Ok(())
    }

    /// Does `act` at once.
    pub fn act(&mut self, act: Act) {
        self.note("fate", act);
        match act {
            Act::Start(host) => self.start(host),
            Act::Stop(host) => {
                self.say_goodbye(host);
                self.crash(host);
            }
            Act::Crash(host) => self.crash(host),
            Act::Cut(one, other) => {
                self.network.block(self.now, one, other, &mut self.schedule);
                self.network.block(self.now, other, one, &mut self.schedule);
            }
            Act::Mute(from, to) => self.network.block(self.now, from, to, &mut self.schedule),
            Act::Heal => {
                self.network.heal(self.now, &mut self.schedule);
                self.stalled_until = self.now + AFTERMATH;
            }
            Act::Reset(one, other) => {
                for id in self.network.connections_between(one, other) {
                    self.network.reset(self.now, id, &mut self.schedule);
                }
            }
            Act::Storm(per_mille) => self.storm.blow(per_mille),
            Act::Calm => self.storm.blow(0),
            Act::CrashStore => self.store.crash(),
            Act::StartStore => self.store.recover(),
        }
    }

    /// Has `fault` strike the next transaction of the store.
    pub fn strike(&mut self, fault: Fault) {
        self.note("fate", format_args!("the next write: {fault:?}"));
        self.storm.strike(fault);
    }

    fn start(&mut self, host: Host) {
        match host {
            Host::Control(index) => {
                let machine = &mut self.controls[usize::from(index)];
                if machine.running.is_none() {
                    machine.running = Some(Replica::start(&self.store, self.clock, self.chance.fork()));
                }
            }
            Host::Proxy(index) => {
                let machine = &mut self.proxies[usize::from(index)];
                if machine.running.is_none() {
                    let disk = self.disks[usize::from(index)].clone();
                    machine.running = Some(Sidecar::start(disk, self.clock, self.chance.fork()));
                }
            }
            // People do not crash.
            Host::Client(_) => {}
        }
        self.wake(host);
    }

    /// What a machine does before it ends in good order.
    fn say_goodbye(&mut self, host: Host) {
        match host {
            Host::Control(index) => {
                if let Some(replica) = self.controls[usize::from(index)].running.as_mut() {
                    replica.plane.drain();
                }
            }
            Host::Proxy(_) => {
                for id in self.network.connections_of(host) {
                    self.network.send(self.now, id, host, Message::Goodbye, &mut self.schedule);
                }
            }
            Host::Client(_) => {}
        }
    }

    fn crash(&mut self, host: Host) {
        match host {
            Host::Control(index) => self.controls[usize::from(index)].stop(),
            Host::Proxy(index) => self.proxies[usize::from(index)].stop(),
            Host::Client(_) => return,
        }
        self.network.crash(self.now, host, &mut self.schedule);
    }

    /// Schedules the wake-up that the host asks for.
    fn rearm(&mut self, host: Host) {
        let (wanted, armed) = match host {
            Host::Control(index) => {
                self.controls[usize::from(index)].timer(|it| it.plane.next_timeout(self.now))
            }
            Host::Proxy(index) => self.proxies[usize::from(index)].timer(|it| it.next_timeout(self.now)),
            Host::Client(index) => self.clients[usize::from(index)].timer(Client::next_timeout),
        };
        if let Some(at) = wanted.filter(|&at| armed.is_none_or(|armed| at < armed)) {
            let at = at.max(self.now);
            *self.armed(host) = Some(at);
            self.schedule.push(at, Event::Wake(host));
        }
    }

    fn armed(&mut self, host: Host) -> &mut Option<Moment> {
        match host {
            Host::Control(index) => &mut self.controls[usize::from(index)].wake_at,
            Host::Proxy(index) => &mut self.proxies[usize::from(index)].wake_at,
            Host::Client(index) => &mut self.clients[usize::from(index)].wake_at,
        }
    }

    /// Has those who listen at the store hear, each in its own time.
    fn spread_the_word(&mut self) {
        for (index, machine) in (0..).zip(&self.controls) {
            let Some(replica) = &machine.running else { continue };
            if replica.has_heard.swap(false, Ordering::SeqCst) {
                let delay = self.chance.between(Duration::ZERO, Duration::from_millis(20));
                self.schedule.push(self.now + delay, Event::Hear(index));
            }
        }
    }

    fn note(&mut self, who: impl std::fmt::Display, what: impl std::fmt::Display) {
        self.trace.note(self.now, who, what);
    }
}

/// The address that a proxy connects from.
fn address_of(proxy: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, proxy + 1).into()
}

/// What each proxy is: a caller, a callee and a gateway of our own, and callers that do as Envoy does.
fn disk_of(proxy: u8) -> Disk {
    match proxy % 5 {
        0 => Disk::new("mesh/m/virtualNode/web", Make::Own),
        1 => Disk::new("mesh/m/virtualNode/api-1", Make::Own),
        2 => Disk::new("mesh/m/virtualGateway/edge", Make::Own),
        3 => Disk::new("mesh/m/virtualNode/web", Make::Envoy),
        _ => Disk::new("mesh/m/virtualNode/web", Make::EnvoyOfTheWorld),
    }
}

impl From<Arrival<Message>> for Event {
    fn from(arrival: Arrival<Message>) -> Self {
        Self::Arrive(arrival)
    }
}

// === impl Replica ===

impl Replica {
    fn start(store: &Arc<Memory>, clock: Clock, chance: Chance) -> Self {
        let has_heard = Arc::new(AtomicBool::new(false));
        let ear = Arc::clone(&has_heard);
        let subscription = store.subscribe(Box::new(move |_| ear.store(true, Ordering::SeqCst)));
        let plane = ControlPlane::start(Arc::clone(store), clock, chance);
        Self { plane, has_heard, _subscription: subscription }
    }

    fn poll(&mut self) -> Option<Output> {
        self.plane.poll()
    }
}

// === impl Machine ===

impl<T> Default for Machine<T> {
    fn default() -> Self {
        Self { running: None, wake_at: None }
    }
}

impl<T> Machine<T> {
    fn running(it: T) -> Self {
        Self { running: Some(it), wake_at: None }
    }

    fn stop(&mut self) {
        self.running = None;
    }

    /// The wake-up that is wanted, and the one that is scheduled.
    fn timer(&self, wanted: impl Fn(&T) -> Option<Moment>) -> (Option<Moment>, Option<Moment>) {
        (self.running.as_ref().and_then(wanted), self.wake_at)
    }
}
