//! The data plane within another service's process: it is asked on that service's own threads, and no socket lies between.
//!
//! A [`Seat`] is a worker without a thread. Whoever has threads takes one onto each, and gets a [`Door`]; what comes by it is
//! served as if it came by the socket in the file system, from a web server beside us.

use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;

use selvedge_http::head::RequestHead;
use selvedge_http::parse::RequestFacts;
use selvedge_wire::channel::Channel;
use selvedge_wire::deadline::Deadline;
use selvedge_wire::inner::Callee;

use crate::opening::{self, Client};
use crate::request::{self, After, Exchange};
use crate::serve::compile::Serving;
use crate::serve::worker::Worker;
use crate::serve::{Outbound, Seat};

/// Where a thread's requests go in.
#[derive(Debug)]
pub struct Door {
    worker: Rc<Worker>,
    outbound: Outbound,
}

impl Seat {
    /// Takes the seat on this thread, in its [`tokio::task::LocalSet`].
    pub fn take(self) -> Door {
        let outbound = Outbound::default();
        let (worker, life) = self.sit(Rc::clone(&outbound));
        tokio::task::spawn_local(life);
        Door { worker, outbound }
    }
}

impl Door {
    /// Serves a request; what becomes of it is known at the other end of `callee`. `head` is taken from. `None`: there is no
    /// listener yet that takes what goes out, and the head stays as it is.
    pub fn serve(
        &self,
        head: &mut RequestHead,
        facts: RequestFacts,
        callee: Callee,
    ) -> Option<impl Future<Output = ()> + use<>> {
        let listener = self.outbound.borrow().as_ref().map(|current| Arc::clone(&current.borrow()))?;
        let client = Client::by_socket();
        let chain = opening::choose(&listener, &client, None)?;
        let Serving::Http(manager) = &chain.network else { return None };
        // What is judged once for a connection is not judged for each request.
        if !chain.filters.is_empty() {
            return None;
        }
        let manager = Arc::clone(manager);
        let worker = Rc::clone(&self.worker);
        let peer = client.peer(&worker, &chain, None, None);
        let mut heads = worker.lease_heads();
        std::mem::swap(&mut heads.request, head);
        Some(async move {
            // While it is under way it counts as a connection: nobody leaves without it.
            let place = worker.place();
            let routes = manager.routes.load_full();
            let (mut channel, mut deadline) = (Channel::Inner(Box::new(callee)), Deadline::default());
            let exchange = Exchange::new(
                &worker,
                &manager,
                &routes,
                &peer,
                &mut channel,
                &mut heads,
                &mut deadline,
                facts,
            );
            // Boxed where it begins: whoever asked moves what is returned here, and not the whole life of a request.
            let after = {
                let mut served = Box::pin(request::serve(exchange, None));
                poll_fn(|cx| {
                    let polled = served.as_mut().poll(cx);
                    if polled.is_pending() && facts.upgrade.is_tunnel() {
                        // To look whether there is still time, when the configuration has gone.
                        place.park(cx);
                    }
                    polled
                })
                .await
            };
            if after == After::Cut {
                channel.reset(h2::Reason::INTERNAL_ERROR);
            }
            worker.give_back_heads(heads);
        })
    }
}
