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
use selvedge_xds_proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};

use super::backoff::Backoff;
use super::{Refused, StreamFault};
use crate::secret::{self, SecretUpdate};
use crate::{Node, type_url};

/// The method of the stream that this session speaks on: state of the world, which every service speaks.
pub const SECRETS_METHOD: &str = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets";

/// A session about one secret, over any number of streams.
#[derive(Debug)]
pub struct SecretSession {
    node: Node,
    name: String,
    /// Of the answer that was accepted last.
    version: String,
    backoff: Backoff,
    retry_at: Option<Instant>,
    request: Option<DiscoveryRequest>,
    update: Option<SecretUpdate>,
}

impl SecretSession {
    /// A session that may connect at once; `seed` feeds the jitter of its back-off.
    pub fn new(node: Node, name: &str, seed: u64) -> Self {
        Self {
            node,
            name: name.to_owned(),
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

    /// A stream is open.
    pub fn handle_connected(&mut self) {
        self.request = Some(DiscoveryRequest { node: Some(self.node.encode()), ..self.request("") });
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
        let message =
            DiscoveryResponse::decode(bytes).map_err(|error| StreamFault::Malformed(error.to_string()))?;
        if message.type_url != type_url::SECRET {
            return Err(StreamFault::UnknownType(message.type_url));
        }
        self.backoff.reset();
        let mut update = secret::read_whole(message);
        // Others that a service sends along were not asked for.
        update.changed.retain(|received| received.secret.name == self.name);
        if update.changed.is_empty() && update.refused.is_empty() {
            update.removed.push(self.name.clone());
        }
        for refused in &mut update.refused {
            if refused.resource.is_empty() {
                refused.resource.clone_from(&self.name);
            }
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
        let request = self.request(&update.nonce);
        self.request = Some(DiscoveryRequest { error_detail: secret::error_detail(refused), ..request });
    }

    /// The next message to send.
    pub fn poll_request(&mut self) -> Option<Bytes> {
        self.request.take().map(|request| request.encode_to_vec().into())
    }

    fn request(&self, nonce: &str) -> DiscoveryRequest {
        DiscoveryRequest {
            version_info: self.version.clone(),
            resource_names: vec![self.name.clone()],
            type_url: type_url::SECRET.to_owned(),
            response_nonce: nonce.to_owned(),
            ..DiscoveryRequest::default()
        }
    }
}
