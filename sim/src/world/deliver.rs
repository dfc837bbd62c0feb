//! One event: who meets it, and what follows.

use super::{Event, Failure, Message, Replica, World, address_of};
use crate::client::{Answer, Call, Request};
use crate::control::{Output, Parting};
use crate::network::{Arrival, ConnectionId, Host, Parcel};
use crate::sidecar::{Effect, Make, Sidecar};
use selvedge_xds::server::Form;

impl World {
    pub(super) fn handle(&mut self, event: Event) {
        match event {
            Event::Act(act) => self.act(act),
            Event::Wake(host) => {
                *self.armed(host) = None;
                self.wake(host);
            }
            Event::Hear(index) => {
                let now = self.now;
                if let Some(replica) = self.controls[usize::from(index)].running.as_mut() {
                    replica.plane.hear(now);
                }
                self.flush(Host::Control(index));
            }
            Event::Arrive(arrival) => self.arrive(arrival),
        }
        self.spread_the_word();
    }

    /// Tells a host that its time has come, and carries out what it then wants.
    pub(super) fn wake(&mut self, host: Host) {
        let now = self.now;
        match host {
            Host::Control(index) => {
                if let Some(replica) = self.controls[usize::from(index)].running.as_mut() {
                    replica.plane.wake(now);
                }
            }
            Host::Proxy(index) => {
                if let Some(sidecar) = self.proxies[usize::from(index)].running.as_mut() {
                    sidecar.wake(now);
                }
            }
            Host::Client(index) => self.wake_client(index),
        }
        self.flush(host);
    }

    fn arrive(&mut self, arrival: Arrival<Message>) {
        let Arrival { connection, from, to, .. } = arrival;
        let Some(parcel) = self.network.arrive(self.now, arrival, &mut self.schedule) else { return };
        match to {
            Host::Control(index) => self.meet_control(index, connection, from, parcel),
            Host::Proxy(index) => self.meet_proxy(index, connection, parcel),
            Host::Client(index) => self.meet_client(index, connection, parcel),
        }
        self.flush(to);
    }

    fn meet_control(&mut self, index: u8, id: ConnectionId, from: Host, parcel: Parcel<Message>) {
        let now = self.now;
        let host = Host::Control(index);
        let Some(replica) = self.controls[usize::from(index)].running.as_mut() else {
            // Nobody listens there.
            return self.network.close(self.now, id, host, &mut self.schedule);
        };
        match parcel {
            Parcel::Open => {
                if let Host::Proxy(proxy) = from {
                    let form = match self.disks[usize::from(proxy)].make() {
                        Make::Own | Make::Envoy => Form::Delta,
                        Make::EnvoyOfTheWorld => Form::StateOfTheWorld,
                    };
                    replica.plane.opened(now, id, address_of(proxy), form);
                }
            }
            Parcel::Message(Message::Discovery(bytes)) => replica.plane.received(now, id, &bytes),
            Parcel::Message(Message::Call(call)) => self.execute(index, id, from, &call),
            Parcel::Message(Message::Goodbye) => replica.plane.closed(now, id, Parting::Goodbye),
            Parcel::Close => replica.plane.closed(now, id, Parting::Broken),
            Parcel::Message(Message::Answer(..)) => {}
        }
    }

    fn meet_proxy(&mut self, index: u8, id: ConnectionId, parcel: Parcel<Message>) {
        let now = self.now;
        let Some(sidecar) = self.proxies[usize::from(index)].running.as_mut() else { return };
        match parcel {
            Parcel::Message(Message::Discovery(bytes)) => sidecar.received(now, id, &bytes),
            Parcel::Close => sidecar.closed(now, id),
            _ => {}
        }
    }

    fn meet_client(&mut self, index: u8, id: ConnectionId, parcel: Parcel<Message>) {
        let (host, now) = (Host::Client(index), self.now);
        let Some(client) = self.clients[usize::from(index)].running.as_mut() else { return };
        match parcel {
            Parcel::Message(Message::Answer(number, answer)) if client.answered(now, id, number, &answer) => {
                self.network.close(now, id, host, &mut self.schedule);
            }
            Parcel::Close => client.closed(now, id),
            _ => {}
        }
    }

    /// The control plane does what a client asks; what it answers is what everybody may rely on from here on.
    fn execute(&mut self, index: u8, id: ConnectionId, from: Host, call: &Call) {
        let (now, host) = (self.now, Host::Control(index));
        let Some(replica) = self.controls[usize::from(index)].running.as_mut() else { return };
        let answer = replica.plane.call(now, &call.request);
        self.note(host, format_args!("{from} asks {} → {answer}", call.request));
        self.remember(&call.request, &answer);
        self.network.send(self.now, id, host, Message::Answer(call.number, answer), &mut self.schedule);
    }

    fn remember(&mut self, request: &Request, answer: &Answer) {
        match (request, answer) {
            (Request::Write { intent, token }, Answer::Done(_)) => self.reference.acknowledge(intent, token),
            (Request::Write { intent, token }, Answer::Unknown) => self.reference.doubt(intent, token),
            (Request::Read(subject), answer) => {
                if let Some(seen) = answer.seen() {
                    let observed = self.reference.observe(subject, seen);
                    self.fail_if(observed);
                }
            }
            _ => {}
        }
    }

    fn wake_client(&mut self, index: u8) {
        let (host, now) = (Host::Client(index), self.now);
        let controls = u8::try_from(self.controls.len()).expect("a cast counts in u8");
        let Some(client) = self.clients[usize::from(index)].running.as_mut() else { return };
        let (hung_up, call) = client.wake(now);
        if let Some(id) = hung_up {
            self.network.close(now, id, host, &mut self.schedule);
        }
        if let Some(call) = call {
            let control = Host::Control(client.choice(controls));
            let id = self.network.connect(now, host, control, &mut self.schedule);
            client.called(now, id);
            self.network.send(now, id, host, Message::Call(Box::new(call)), &mut self.schedule);
        }
    }

    /// Carries out everything that a host wants done, checks what it has become, and sees to its next wake-up.
    fn flush(&mut self, host: Host) {
        match host {
            Host::Control(index) => self.flush_control(index),
            Host::Proxy(index) => self.flush_proxy(index),
            Host::Client(_) => {}
        }
        self.rearm(host);
    }

    fn flush_control(&mut self, index: u8) {
        let (host, now) = (Host::Control(index), self.now);
        while let Some(output) = self.controls[usize::from(index)].running.as_mut().and_then(Replica::poll) {
            match output {
                Output::Send(id, bytes) => {
                    self.network.send(now, id, host, Message::Discovery(bytes), &mut self.schedule);
                }
                Output::End(id, why) => {
                    self.note(host, format_args!("ends a stream: {why}"));
                    self.network.close(now, id, host, &mut self.schedule);
                }
            }
        }
    }

    fn flush_proxy(&mut self, index: u8) {
        let (host, now) = (Host::Proxy(index), self.now);
        let slot = usize::from(index);
        while let Some(effect) = self.proxies[slot].running.as_mut().and_then(Sidecar::poll) {
            match effect {
                Effect::Connect(choice) => {
                    let controls = u8::try_from(self.controls.len()).expect("a cast counts in u8");
                    let control = Host::Control(choice % controls);
                    let id = self.network.connect(self.now, host, control, &mut self.schedule);
                    self.connected_at[slot] = self.now;
                    self.note(host, format_args!("connects to {control}"));
                    if let Some(sidecar) = self.proxies[slot].running.as_mut() {
                        sidecar.connected(id);
                    }
                }
                Effect::Send(id, bytes) => {
                    self.network.send(self.now, id, host, Message::Discovery(bytes), &mut self.schedule);
                }
                Effect::Close(id) => self.network.close(now, id, host, &mut self.schedule),
                Effect::Keep(disk) => self.disks[slot] = disk,
                Effect::Tell(what) => self.note(host, what),
                Effect::Reject(why) => self.fail(Failure::Rejected { host, why }),
            }
        }
        self.check_proxy(index);
    }
}
