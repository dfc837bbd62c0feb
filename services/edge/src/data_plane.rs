//! The mesh's data plane on a worker's own thread, where the process has it in itself.
//!
//! The edge knows no other service: whoever composes the process hands in how a request is served ([`DataPlane`]), and makes
//! it on each worker's thread, for nothing of it is shared between threads.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use selvedge_http::head::RequestHead;
use selvedge_http::parse::RequestFacts;
use selvedge_wire::inner::Callee;
use tokio::sync::oneshot;

/// A request under way in the data plane; polled by whoever asked.
pub type Work = Pin<Box<dyn Future<Output = ()>>>;

/// What serves requests to the mesh on one thread.
pub trait DataPlane {
    /// Begins to serve a request to `service`; what becomes of it is known at the other end of `callee`. `head` is taken from,
    /// and believed in what it says of its client. `None`: it cannot yet, and the head stays as it is.
    fn serve(
        &self,
        service: &Arc<str>,
        head: &mut RequestHead,
        facts: RequestFacts,
        callee: Callee,
    ) -> Option<Work>;
}

/// Makes a thread's data plane, on that thread, in its [`tokio::task::LocalSet`].
pub type Make = Box<dyn FnOnce() -> Box<dyn DataPlane> + Send>;

/// Told the number of workers; what each will be given once the mesh knows the edge.
pub type DataPlanes = Box<dyn FnOnce(usize) -> Vec<oneshot::Receiver<Make>> + Send + Sync>;
