//! AWS's way of calling operations: which there are, how a request names one, and how answers and failures look.
//!
//! One value model – JSON's, read with the operation's [`Shape`](selvedge_model::Shape) – with a codec for each wire format beside it. Nothing
//! here touches a socket.

pub mod error;
pub mod operations;
pub mod service;

pub use error::{ApiError, ErrorShape};
pub use operations::{Location, Operation, Pagination};
pub use service::Service;
