//! A worker's thread: it accepts from the sockets that it is told of, until it is told to leave.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use selvedge_wire::listen;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::LocalSet;

use super::Orders;
use crate::connection::{self, Door};
use crate::data_plane::Make;
use crate::http3;
use crate::scoreboard::{self, Question};
use crate::sockets::{self, WorkerSocket};
use crate::worker::{Shared, Worker};

pub(super) fn work(
    shared: Arc<Shared>,
    orders: watch::Receiver<Orders>,
    index: usize,
    plane: Option<oneshot::Receiver<Make>>,
    questions: mpsc::Receiver<Question>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!(%error, "a worker cannot be started"),
    };
    let local = LocalSet::new();
    let worker = Worker::new(shared, index);
    local.spawn_local(scoreboard::answer(worker.scoreboard.clone(), questions));
    if let Some(plane) = plane {
        let worker = Rc::clone(&worker);
        local.spawn_local(async move {
            // Never, if the mesh is never joined.
            if let Ok(make) = plane.await {
                worker.join_mesh(make());
            }
        });
    }
    local.block_on(&runtime, worker_loop(worker, orders));
}

async fn worker_loop(worker: Rc<Worker>, mut orders: watch::Receiver<Orders>) {
    let mut accepting: Vec<(Arc<sockets::Open>, tokio::task::JoinHandle<()>)> = Vec::new();
    let mut tidy = tokio::time::interval(Duration::from_secs(5));
    loop {
        let order = orders.borrow_and_update().clone();
        // There may be another configuration: the one before ends with its last request.
        let _ = worker.site();
        if order.stop.is_some() {
            accepting.drain(..).for_each(|(_, task)| task.abort());
            worker.wake_all();
            return drained(&worker, &orders).await;
        }
        accepting.retain(|(open, task)| {
            let stays = order.listening.values().any(|wanted| Arc::ptr_eq(wanted, open));
            if !stays {
                task.abort();
            }
            stays
        });
        for open in order.listening.values() {
            if !accepting.iter().any(|(known, _)| Arc::ptr_eq(known, open)) {
                match open.socket.of_worker(worker.index) {
                    Ok(socket) => {
                        let door = Rc::new(Door {
                            token: Arc::clone(&open.token),
                            tls: open.tls,
                            proxied: open.proxied,
                        });
                        let task = tokio::task::spawn_local(accept(Rc::clone(&worker), door, socket));
                        accepting.push((Arc::clone(open), task));
                        // One worker speaks it for all: a connection of QUIC moves between addresses.
                        if let Some(task) = (worker.index == 0).then(|| http3::start(&worker, open)).flatten()
                        {
                            accepting.push((Arc::clone(open), task));
                        }
                    }
                    Err(error) => tracing::error!(%error, socket = &*open.token, "a worker cannot accept"),
                }
            }
        }
        loop {
            tokio::select! {
                changed = orders.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    break;
                }
                _ = tidy.tick() => worker.tidy(),
            }
        }
    }
}

/// Waits until all connections have ended, or time is up; how much there is may change meanwhile.
async fn drained(worker: &Rc<Worker>, orders: &watch::Receiver<Orders>) {
    let is_over = || orders.borrow().stop.is_none_or(|until| Instant::now() >= until);
    while worker.connections() > 0 && !is_over() {
        // Each looks what the drain means to it: who speaks HTTP/2 or HTTP/3 is told to go elsewhere.
        worker.wake_all();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn accept(worker: Rc<Worker>, door: Rc<Door>, socket: WorkerSocket) {
    match socket {
        WorkerSocket::Tcp(socket) => {
            let Ok(listener) = TcpListener::from_std(socket) else { return };
            while let Ok((stream, remote)) = listen::accept(&listener).await {
                take(&worker, &door, stream, remote);
            }
        }
        WorkerSocket::Unix(socket) => {
            let Ok(listener) = UnixListener::from_std(socket) else { return };
            let nobody = SocketAddr::from(([127, 0, 0, 1], 0));
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => match listen::as_tcp(stream) {
                        Ok(stream) => take(&worker, &door, stream, nobody),
                        Err(error) => tracing::warn!(%error, "a connection cannot be taken"),
                    },
                    Err(error) => {
                        tracing::warn!(%error, "accepting is paused");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            }
        }
    }
}

fn take(worker: &Rc<Worker>, door: &Rc<Door>, stream: TcpStream, remote: SocketAddr) {
    let stats = &worker.shared.stats;
    stats.accepted.add(1);
    if stats.connections() >= worker.shared.connections_max {
        return stats.turned_away.add(1);
    }
    tokio::task::spawn_local(connection::serve(Rc::clone(worker), Rc::clone(door), stream, remote));
}
