//! How long a proxy bears with clients that are slow, and how many it takes in at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A request's body may take so long before its rate is judged.
pub const BODY_GRACE: Duration = Duration::from_secs(10);
/// What a gateway asks of a body from then on, in bytes a second.
pub const BODY_RATE_MIN: u32 = 500;
/// A client of a gateway that takes no byte of its response for so long has gone.
pub const WRITE_STALL_MAX: Duration = Duration::from_secs(30);
/// Client connections of a process.
pub const CONNECTIONS_MAX: usize = 200_000;

/// What is asked of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// The least average of a request body that is not gRPC's, in bytes a second, after the grace and until the response
    /// begins; `None` as Envoy has it, with nothing but its time-outs.
    pub body_rate: Option<u32>,
    pub body_grace: Duration,
    pub write_stall: Option<Duration>,
    /// Connections of all listeners and workers.
    pub connections_max: usize,
    /// Connections of one listener.
    pub listener_connections_max: usize,
}

impl Patience {
    /// Towards a mesh's own: as Envoy.
    pub fn with_neighbours() -> Self {
        Self {
            body_rate: None,
            body_grace: BODY_GRACE,
            write_stall: None,
            connections_max: CONNECTIONS_MAX,
            listener_connections_max: CONNECTIONS_MAX,
        }
    }

    /// At the edge.
    pub fn with_strangers() -> Self {
        Self { body_rate: Some(BODY_RATE_MIN), write_stall: Some(WRITE_STALL_MAX), ..Self::with_neighbours() }
    }

    /// Leaves a quarter of the process's descriptors to upstreams, files and the control plane.
    #[must_use]
    pub fn within(self, descriptors: u64) -> Self {
        let room = usize::try_from(descriptors / 4 * 3).unwrap_or(usize::MAX).max(1);
        Self { connections_max: self.connections_max.min(room), ..self }
    }
}

/// A number of connections that has a limit, shared by those who accept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places(Arc<AtomicUsize>);

impl Places {
    /// Takes a place, to be given back; whether there was one.
    pub(crate) fn take(&self, max: usize) -> bool {
        let taken = self.0.fetch_add(1, Ordering::Relaxed) < max;
        if !taken {
            self.give_back();
        }
        taken
    }

    pub(crate) fn give_back(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back() {
        let places = Places::default();
        assert!(places.take(2) && places.take(2) && !places.take(2));
        places.give_back();
        assert!(places.take(2) && !places.take(2));
    }

    #[test]
    fn descriptors_are_left_for_upstreams() {
        assert_eq!(Patience::with_neighbours().within(1024).connections_max, 768);
        assert_eq!(Patience::with_neighbours().within(u64::MAX).connections_max, CONNECTIONS_MAX);
    }
}
