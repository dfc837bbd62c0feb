//! Services of AWS's at the same front door that another role performs.

use std::future::Future;
use std::pin::Pin;

use selvedge_aws::Call;
use selvedge_model::Value;

use crate::operations::Unperformed;

/// What there is to say, at once or when there is something.
pub enum Answer<T> {
    /// There it is.
    Now(T),
    /// A long poll, or a wait for something that was begun.
    Later(Pin<Box<dyn Future<Output = T> + Send>>),
}

/// A service with operations of its own. The composition root puts a role behind it.
pub trait Service: Send + Sync {
    /// As [`Service::name`](selvedge_aws::Service).
    fn name(&self) -> &str;

    /// Performs a call. May block on a store.
    fn perform(&self, caller: Caller, call: &Call) -> Answer<Result<Value, Unperformed>>;
}

/// What a call's signature says of who calls. Nothing of it is proven.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The region that it names.
    pub region: Option<String>,
    /// The name of the key.
    pub access_key: Option<String>,
    /// Who else could hear.
    pub channel: Channel,
}

/// Whether others could read what is said on a connection, or be at its other end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channel {
    /// Nobody but who is on this machine, or has shown a certificate: private keys may travel on it.
    Private,
    #[default]
    Open,
}
