//! Why a call failed, by who failed.

use std::time::Duration;

use crate::endpoint::Endpoint;

/// A failed call.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller left out a member that the path needs, or gave it something else than text.
    #[error("the path needs '{member}' as a text that is not empty")]
    PathMember { member: &'static str },
    #[error("could not connect to {endpoint}")]
    Connect {
        endpoint: Endpoint,
        #[source]
        source: std::io::Error,
    },
    #[error("{endpoint} did not accept a connection within {} s", .timeout.as_secs_f64())]
    ConnectTimeout { endpoint: Endpoint, timeout: Duration },
    #[error("{endpoint} did not answer within {} s", .timeout.as_secs_f64())]
    ReadTimeout { endpoint: Endpoint, timeout: Duration },
    #[error("{endpoint} broke off the exchange")]
    Exchange {
        endpoint: Endpoint,
        #[source]
        source: hyper::Error,
    },
    #[error("{endpoint} answered more than {bytes_max} bytes")]
    TooLarge { endpoint: Endpoint, bytes_max: usize },
    #[error("{endpoint} answered status {status} with a body that is not JSON")]
    NotJson {
        endpoint: Endpoint,
        status: u16,
        #[source]
        source: serde_json::Error,
    },
    /// The server understood the request and refused it.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// An exception of the service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("An error occurred ({code}) when calling the {operation} operation: {message}")]
pub struct ServiceError {
    /// `NotFoundException`; the status in digits when the server named none.
    pub code: String,
    pub message: String,
    pub operation: String,
    pub status: u16,
}
