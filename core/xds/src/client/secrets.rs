//! The proxy's end of a stream to a secret discovery service: one stream for one secret, as Envoy has it, so that one
//! name which the service does not know takes no other down.
//!
//! ```text
//!              handle_connected            handle_response          handle_applied
//!  Waiting ────────────────────▶ Asked ─────────────────────▶ … ──────────────────▶ ACK or NACK
//!     ▲                            │          poll_update
//!     └────────────────────────────┘
//!         handle_disconnected: what is in force stays; back-off with jitter
//! ```

use std::time::Instant;

use bytes::Bytes;
use prost::Message;
use selvedge_xds_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};

use super::backoff::Backoff;
use super::{Refused, StreamFault};
use crate::secret::{self, SecretUpdate};
use crate::{Node, type_url};

/// The method of a stream of state of the world, which every service speaks.
pub const SECRETS_METHOD: &str = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets";

/// The same of the protocol's other form: differences alone.
pub const DELTA_SECRETS_METHOD: &str = "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets";

/// A session about one secret, over any number of streams.
#[derive(Debug)]
pub struct SecretSession {
    node: Node,
    name: String,
    delta: bool,
    /// Of the answer that was accepted last.
    version: String,
    backoff: Backoff,
    retry_at: Option<Instant>,
    request: Option<Request>,
    update: Option<SecretUpdate>,
}

/// What is to be said next, in either form.
#[derive(Debug)]
enum Request {
    Whole(DiscoveryRequest),
    Delta(DeltaDiscoveryRequest),
}

impl SecretSession {
    /// A session that may connect at once; `seed` feeds the jitter of its back-off.
    pub fn new(node: Node, name: &str, delta: bool, seed: u64) -> Self {
        Self {
            node,
            name: name.to_owned(),
            delta,
            version: String::new(),
            backoff: Backoff::new(seed),
            retry_at: None,
            request: None,
            update: None,
        }
    }

    /// When the next attempt to connect is due; a time that has passed means at once.
    pub fn next_timeout(&self, now: Instant) -> Instant {
        self.retry_at.unwrap_or(now)
    }

    /// The method of the streams that it speaks on.
    pub fn method(&self) -> &'static str {
        if self.delta { DELTA_SECRETS_METHOD } else { SECRETS_METHOD }
    }

    /// A stream is open.
    pub fn handle_connected(&mut self) {
        let node = Some(self.node.encode());
        self.request = Some(if self.delta {
            let held = Some(self.version.clone()).filter(|version| !version.is_empty());
            Request::Delta(DeltaDiscoveryRequest {
                node,
                type_url: type_url::SECRET.to_owned(),
                resource_names_subscribe: vec![self.name.clone()],
                initial_resource_versions: held
                    .map(|version| (self.name.clone(), version))
                    .into_iter()
                    .collect(),
                ..DeltaDiscoveryRequest::default()
            })
        } else {
            Request::Whole(DiscoveryRequest { node, ..self.whole("") })
        });
        self.update = None;
    }

    /// The stream ended, or could not be opened.
    pub fn handle_disconnected(&mut self, now: Instant) {
        self.retry_at = Some(now + self.backoff.next());
        (self.request, self.update) = (None, None);
    }

    /// A message came.
    ///
    /// # Errors
    /// When it is no response to what was asked: the stream is to be closed and reopened.
    pub fn handle_response(&mut self, bytes: &[u8]) -> Result<(), StreamFault> {
        let malformed = |error: prost::DecodeError| StreamFault::Malformed(error.to_string());
        let mut update = if self.delta {
            let message = DeltaDiscoveryResponse::decode(bytes).map_err(malformed)?;
            check(&message.type_url)?;
            secret::read_delta(message)
        } else {
            let message = DiscoveryResponse::decode(bytes).map_err(malformed)?;
            check(&message.type_url)?;
            secret::read_whole(message)
        };
        self.backoff.reset();
        // Of differences none is no news; of the whole it is that there is no such secret.
        if !update.only(&self.name) && !self.delta {
            update.removed.push(self.name.clone());
        }
        self.update = Some(update);
        Ok(())
    }

    /// The change to apply; [`Self::handle_applied`] must follow.
    pub fn poll_update(&mut self) -> Option<SecretUpdate> {
        self.update.take()
    }

    /// The proxy has applied `update`, or not: an ACK or a NACK is queued.
    pub fn handle_applied(&mut self, update: &SecretUpdate, refused: &[Refused]) {
        if let (true, Some(received)) = (refused.is_empty(), update.changed.first()) {
            self.version.clone_from(&received.version);
        }
        let error_detail = secret::error_detail(refused);
        self.request = Some(if self.delta {
            Request::Delta(DeltaDiscoveryRequest {
                type_url: type_url::SECRET.to_owned(),
                response_nonce: update.nonce.clone(),
                error_detail,
                ..DeltaDiscoveryRequest::default()
            })
        } else {
            Request::Whole(DiscoveryRequest { error_detail, ..self.whole(&update.nonce) })
        });
    }

    /// The next message to send.
    pub fn poll_request(&mut self) -> Option<Bytes> {
        self.request.take().map(|request| match request {
            Request::Whole(request) => request.encode_to_vec().into(),
            Request::Delta(request) => request.encode_to_vec().into(),
        })
    }

    fn whole(&self, nonce: &str) -> DiscoveryRequest {
        DiscoveryRequest {
            version_info: self.version.clone(),
            resource_names: vec![self.name.clone()],
            type_url: type_url::SECRET.to_owned(),
            response_nonce: nonce.to_owned(),
            ..DiscoveryRequest::default()
        }
    }
}

fn check(url: &str) -> Result<(), StreamFault> {
    if url == type_url::SECRET { Ok(()) } else { Err(StreamFault::UnknownType(url.to_owned())) }
}
