//! The data plane within another service's process: it is asked on that service's own threads, and no socket lies between.
//!
//! A [`Seat`] is a worker without a thread. Whoever has threads takes one onto each, and gets a [`Door`]; what comes by it is
//! served as if it came by the socket in the file system, from a web server beside us.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;

use selvedge_http::head::RequestHead;
use selvedge_http::parse::RequestFacts;
use selvedge_wire::channel::Channel;
use selvedge_wire::inner::Callee;

use crate::opening::{self, Client};
use crate::request::{self, After, Exchange, Peer};
use crate::serve::compile::{CompiledListener, HttpManager, Serving};
use crate::serve::worker::Worker;
use crate::serve::{Outbound, Seat};

/// Where a thread's requests go in.
#[derive(Debug)]
pub struct Door {
    worker: Rc<Worker>,
    outbound: Outbound,
    /// As it was for the last request.
    way: RefCell<Option<Rc<Way>>>,
}

/// What a request meets first under one configuration of the listener.
#[derive(Debug)]
struct Way {
    listener: Arc<CompiledListener>,
    manager: Arc<HttpManager>,
    /// The thread, as one connection of the listener: logs and limits by connection know it as that.
    peer: Rc<Peer>,
}

impl Seat {
    /// Takes the seat on this thread, in its [`tokio::task::LocalSet`].
    pub fn take(self) -> Door {
        let outbound = Outbound::default();
        let (worker, life) = self.sit(Rc::clone(&outbound));
        tokio::task::spawn_local(life);
        Door { worker, outbound, way: RefCell::default() }
    }
}

impl Door {
    /// Serves a request to `service`; what becomes of it is known at the other end of `callee`. `head` is taken from: it says of
    /// its client what is to be believed. `None`: there is no listener yet that takes what goes out, and the head stays as it is.
    pub fn serve(
        &self,
        service: &Arc<str>,
        head: &mut RequestHead,
        facts: RequestFacts,
        callee: Callee,
    ) -> Option<impl Future<Output = ()> + use<>> {
        let way = self.way()?;
        let worker = Rc::clone(&self.worker);
        let service = Arc::clone(service);
        let mut heads = worker.lease_heads();
        std::mem::swap(&mut heads.request, head);
        Some(async move {
            // While it is under way it counts as a connection: nobody leaves without it.
            let place = worker.place();
            let routes = way.manager.routes.load_full();
            let (mut channel, mut deadline) = (Channel::Inner(Box::new(callee)), worker.lease_deadline());
            // Boxed where it begins: whoever asked moves what is returned here, and not the whole life of a request.
            let mut served = Box::pin(async {
                let mut exchange = Exchange::new(
                    &worker,
                    &way.manager,
                    &routes,
                    &way.peer,
                    &mut channel,
                    &mut heads,
                    &mut deadline,
                    facts,
                );
                exchange.service = Some(service);
                request::serve(&mut exchange, None).await
            });
            let after = poll_fn(|cx| {
                let polled = served.as_mut().poll(cx);
                if polled.is_pending() && facts.upgrade.is_tunnel() {
                    // To look whether there is still time, when the configuration has gone.
                    place.park(cx);
                }
                polled
            })
            .await;
            drop(served);
            if after == After::Cut {
                channel.reset(h2::Reason::INTERNAL_ERROR);
            }
            worker.give_back_heads(heads);
            worker.give_back_deadline(deadline);
        })
    }

    /// The way of this moment; `None` where there is no listener, or one that judges connections: that is not done for each
    /// request.
    fn way(&self) -> Option<Rc<Way>> {
        let current = self.outbound.borrow();
        let listener = current.as_ref()?.borrow();
        if let Some(way) = self.way.borrow().as_ref().filter(|way| Arc::ptr_eq(&way.listener, &listener)) {
            return Some(Rc::clone(way));
        }
        let client = Client::by_socket();
        let chain = opening::choose(&listener, &client, None)?;
        let Serving::Http(manager) = &chain.network else { return None };
        if !chain.filters.is_empty() {
            return None;
        }
        let manager = Arc::clone(manager);
        let peer = client.peer(&self.worker, &chain, None, None);
        let way = Rc::new(Way { listener: Arc::clone(&listener), manager, peer });
        *self.way.borrow_mut() = Some(Rc::clone(&way));
        Some(way)
    }
}
