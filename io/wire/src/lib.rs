//! The only sockets of the data plane: listening, connecting, and HTTP/1, HTTP/2 and opaque bytes on top.
//!
//! Everything here belongs to one worker thread, but for what the control thread prepares in [`tls`]: buffers are shared by `Rc`, and tasks are spawned on the worker's
//! [`tokio::task::LocalSet`]. What a message means is decided in `selvedge-http`.

pub mod buffer;
pub mod channel;
mod congestion;
pub mod connect;
pub mod deadline;
pub mod detect;
pub mod drain;
pub mod h1;
pub mod h2;
pub mod handover;
pub mod inner;
pub mod io;
pub mod listen;
pub mod original_dst;
pub mod parking;
mod pipe;
pub mod proxy_protocol;
pub mod relay;
pub mod stream;
pub mod tls;
pub mod udp;

pub use pipe::PIPES_MAX;
