//! When a failed request is tried again.

use crate::duration::Duration;
use crate::shape::{Bounds, Shape};
use crate::structure::{Shaped, enumeration, structure};

const MAX_RETRIES: Shape = Shape::long("MaxRetries", Bounds::at_least(0));
const HTTP_RETRY_EVENT: Shape = Shape::string_of("HttpRetryPolicyEvent", 1, 25);
const HTTP_RETRY_EVENTS: Shape =
    Shape::list("HttpRetryPolicyEvents", &HTTP_RETRY_EVENT, Bounds::between(1, 25));
const TCP_RETRY_EVENTS: Shape =
    Shape::list("TcpRetryPolicyEvents", TcpRetryPolicyEvent::SHAPE, Bounds::between(1, 1));
const GRPC_RETRY_EVENTS: Shape =
    Shape::list("GrpcRetryPolicyEvents", GrpcRetryPolicyEvent::SHAPE, Bounds::between(1, 5));

structure! {
    /// When a failed HTTP request is tried again.
    pub struct HttpRetryPolicy {
        /// Answers and failures that are tried again; the words of [`HttpRetryEvent`].
        many http_retry_events "httpRetryEvents": String => &HTTP_RETRY_EVENTS,
        /// How often, at most.
        required max_retries "maxRetries": u64 => &MAX_RETRIES,
        /// How long each try may take.
        required per_retry_timeout "perRetryTimeout": Duration,
        /// Failures of the connection that are tried again.
        many tcp_retry_events "tcpRetryEvents": TcpRetryPolicyEvent => &TCP_RETRY_EVENTS,
    }
}

structure! {
    /// When a failed gRPC request is tried again.
    pub struct GrpcRetryPolicy {
        /// gRPC statuses that are tried again.
        many grpc_retry_events "grpcRetryEvents": GrpcRetryPolicyEvent => &GRPC_RETRY_EVENTS,
        /// Answers and failures of HTTP that are tried again; the words of [`HttpRetryEvent`].
        many http_retry_events "httpRetryEvents": String => &HTTP_RETRY_EVENTS,
        /// How often, at most.
        required max_retries "maxRetries": u64 => &MAX_RETRIES,
        /// How long each try may take.
        required per_retry_timeout "perRetryTimeout": Duration,
        /// Failures of the connection that are tried again.
        many tcp_retry_events "tcpRetryEvents": TcpRetryPolicyEvent => &TCP_RETRY_EVENTS,
    }
}

enumeration! {
    /// The HTTP events that App Mesh documents. Its model leaves them free text; the server refuses others.
    pub enum HttpRetryEvent {
        /// 500 to 511, except those of a gateway.
        ServerError "server-error",
        /// 502, 503 and 504.
        GatewayError "gateway-error",
        /// 409 only.
        ClientError "client-error",
        /// A stream that was refused.
        StreamError "stream-error",
    }
}

enumeration! {
    /// Failures of a connection.
    pub enum TcpRetryPolicyEvent {
        ConnectionError "connection-error",
    }
}

enumeration! {
    /// gRPC statuses.
    pub enum GrpcRetryPolicyEvent {
        Cancelled "cancelled",
        DeadlineExceeded "deadline-exceeded",
        Internal "internal",
        ResourceExhausted "resource-exhausted",
        Unavailable "unavailable",
    }
}
