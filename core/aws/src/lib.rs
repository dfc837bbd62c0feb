//! AWS's way of calling operations: which there are, how a request names one, and how answers and failures look.
//!
//! One value model – JSON's, read with the operation's [`Shape`](selvedge_model::Shape) – with a codec for each wire format beside
//! it. Nothing here touches a socket.

mod codec;
pub mod dispatch;
pub mod error;
pub mod message;
pub mod operations;
pub mod page;
pub mod remote;
pub mod service;
pub mod sigv4;
pub mod xml;

pub use dispatch::{decode, encode, encode_error};
pub use error::{ApiError, ErrorShape};
pub use message::{BODY_BYTES_MAX, Call, CredentialScope, Protocol, Request, Response};
pub use operations::{Location, Operation, Pagination};
pub use service::Service;
