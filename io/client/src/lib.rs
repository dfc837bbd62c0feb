//! The client of Selvedge's own front door: any operation of any service, called with the value model and answered with it.
//!
//! One connection a client, HTTP/1.1, opened on the first call and kept for the next ones. Requests are restJson1, unsigned.

mod call;
mod connection;
mod endpoint;
mod error;
mod request;

pub use call::Client;
pub use connection::{ANSWER_BYTES_MAX, CONNECT_TIMEOUT, READ_TIMEOUT};
pub use endpoint::{Endpoint, EndpointError};
pub use error::{Error, ServiceError};
