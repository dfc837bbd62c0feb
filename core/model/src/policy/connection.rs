//! How long connections live, and what they carry.

use super::{Rules, Span};
use crate::shape::{Bounds, Shape};
use crate::structure::structure;
use crate::violation::Violations;

const COUNT: Shape = Shape::integer("Count", Bounds::between(1, i32::MAX as i64));
const BYTES: Shape = Shape::integer("Bytes", Bounds::between(1, 64 << 20));

structure! {
    /// How long connections live, and what they carry.
    pub struct Connection {
        /// Connections that come in.
        optional listener "listener": ListenerConnection,
        /// Callers' connections to the node.
        optional callers "callers": CallerConnection,
    }
}

structure! {
    /// Connections that come in.
    pub struct ListenerConnection {
        /// A connection without requests is closed after this; an hour unless told otherwise.
        optional idle_timeout "idleTimeout": Span,
        /// A connection is closed after this, once its requests are done.
        optional max_age "maxAge": Span,
        /// A connection is closed after so many requests.
        optional max_requests "maxRequests": u32 => &COUNT,
        /// A request's head must have arrived within this.
        optional request_head_timeout "requestHeadTimeout": Span,
        /// A whole request must have arrived within this.
        optional request_timeout "requestTimeout": Span,
        /// How long a connection that is to end is still used; 5 s unless told otherwise.
        optional drain_timeout "drainTimeout": Span,
        /// So many connections at once; more are closed at once. Of listeners that speak TCP as well.
        optional max_connections "maxConnections": u32 => &COUNT,
        /// Requests are kept until they have arrived whole, at most so many bytes; a longer one is answered with 413.
        optional buffer_bytes "bufferBytes": u32 => &BYTES,
        /// gRPC as browsers speak it becomes gRPC.
        optional grpc_web "grpcWeb": bool,
        /// Clients that speak HTTP/2 may ask for WebSockets.
        optional extended_connect "extendedConnect": bool,
        /// The application says whether a client shall send its body (`100 Continue`), not its proxy.
        optional proxy_100_continue "proxy100Continue": bool,
        /// Clients that speak HTTP/2 are asked whether they are still there.
        optional keep_alive "keepAlive": KeepAlive,
    }
}

structure! {
    /// Callers' connections to the node.
    pub struct CallerConnection {
        /// A connection must be up within this; 1 s unless told otherwise.
        optional connect_timeout "connectTimeout": Span,
        /// A connection without requests is closed after this; an hour unless told otherwise.
        optional idle_timeout "idleTimeout": Span,
        /// A connection takes no further request after this.
        optional max_age "maxAge": Span,
        /// A connection takes so many requests.
        optional max_requests "maxRequests": u32 => &COUNT,
        /// A node that speaks HTTP/2 or gRPC is asked whether it is still there.
        optional keep_alive "keepAlive": KeepAlive,
    }
}

structure! {
    /// Whether the other end of a connection is still there, asked by HTTP/2's PING frames.
    pub struct KeepAlive {
        /// How long after an answer it is asked again.
        required interval "interval": Span,
        /// A connection is cut when nothing at all comes within this.
        required timeout "timeout": Span,
    }
}

impl Rules for Connection {
    fn check(&self, found: &mut Violations) {
        if self.listener.is_none() && self.callers.is_none() {
            found.rule("spec", "it says nothing of listener or callers");
        }
        let connect = self.callers.as_ref().and_then(|callers| callers.connect_timeout);
        if connect.is_some_and(|span| span.0.is_zero()) {
            found.rule("spec.callers.connectTimeout", "it must be more than nothing");
        }
        let listener = self.listener.as_ref().and_then(|listener| listener.keep_alive.as_ref());
        let callers = self.callers.as_ref().and_then(|callers| callers.keep_alive.as_ref());
        for (side, keep_alive) in [("listener", listener), ("callers", callers)] {
            let Some(keep_alive) = keep_alive else { continue };
            for (member, span) in [("interval", keep_alive.interval), ("timeout", keep_alive.timeout)] {
                if span.0.is_zero() {
                    found.rule(format!("spec.{side}.keepAlive.{member}"), "it must be more than nothing");
                }
            }
        }
    }
}
