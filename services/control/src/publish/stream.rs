//! One discovery stream, and what is known of its proxy.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use selvedge_translate::Proxy;
use selvedge_xds::ServerSession;
use selvedge_xds::server::{Event, Form, Scope};

use super::registry::Place;

pub(super) struct Stream {
    pub(super) session: ServerSession,
    pub(super) peer: IpAddr,
    /// Private keys may be sent on it.
    pub(super) is_private: bool,
    pub(super) connected_at: Instant,
    /// Known after the first message.
    pub(super) attachment: Option<Attachment>,
    /// Where the sidecar's node is reached, while this stream says that it lives.
    pub(super) place: Option<Place>,
    /// When the present view was made.
    pub(super) shown_at: Instant,
    /// The last revision that the proxy has wholly taken.
    pub(super) acked: Option<u64>,
    /// How long that took, from the change's being read to the last ACK.
    pub(super) propagation: Option<Duration>,
}

/// The target that a stream is served from.
pub(super) struct Attachment {
    pub(super) mesh: String,
    pub(super) proxy: Proxy,
}

impl Stream {
    pub(super) fn new(now: Instant, peer: IpAddr, form: Form, scope: Scope) -> Self {
        Self {
            session: ServerSession::new(form, scope),
            is_private: peer.is_loopback(),
            peer,
            connected_at: now,
            attachment: None,
            place: None,
            shown_at: now,
            acked: None,
            propagation: None,
        }
    }

    pub(super) fn handle_event(&mut self, now: Instant, event: &Event) {
        if let Event::Settled { revision } = event {
            self.acked = Some(*revision);
            self.propagation = Some(now.saturating_duration_since(self.shown_at));
        }
    }
}
