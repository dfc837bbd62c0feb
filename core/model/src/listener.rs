//! Where a node or gateway listens, and how its connections are watched and bounded.

use crate::duration::Duration;
use crate::shape::{Bounds, Shape};
use crate::structure::{enumeration, structure, union};
use crate::tls::ListenerTls;
use crate::violation::Violations;

/// A TCP port.
pub(crate) const PORT_NUMBER: Shape = Shape::integer("PortNumber", Bounds::between(1, 65535));
pub(crate) const THRESHOLD: Shape = Shape::integer("HealthCheckThreshold", Bounds::between(2, 10));
pub(crate) const INTERVAL_MILLIS: Shape =
    Shape::long("HealthCheckIntervalMillis", Bounds::between(5_000, 300_000));
pub(crate) const TIMEOUT_MILLIS: Shape =
    Shape::long("HealthCheckTimeoutMillis", Bounds::between(2_000, 60_000));
const MAX_SERVER_ERRORS: Shape = Shape::long("OutlierDetectionMaxServerErrors", Bounds::at_least(1));
const MAX_EJECTION_PERCENT: Shape =
    Shape::integer("OutlierDetectionMaxEjectionPercent", Bounds::between(0, 100));
const MAX_CONNECTIONS: Shape = Shape::integer("MaxConnections", Bounds::at_least(1));
const MAX_PENDING_REQUESTS: Shape = Shape::integer("MaxPendingRequests", Bounds::at_least(1));
const MAX_REQUESTS: Shape = Shape::integer("MaxRequests", Bounds::at_least(1));

structure! {
    /// A port on which a virtual node takes traffic for its application.
    pub struct Listener {
        /// The port mapping information for the listener.
        required port_mapping "portMapping": PortMapping,
        /// The Transport Layer Security settings of the listener.
        optional tls "tls": ListenerTls,
        /// The health check that callers run against the listener.
        optional health_check "healthCheck": HealthCheckPolicy,
        /// Timeouts, in the member of the listener's protocol.
        optional timeout "timeout": ListenerTimeout,
        /// When callers stop sending to a failing instance.
        optional outlier_detection "outlierDetection": OutlierDetection,
        /// Bounds on connections and requests, in the member of the listener's protocol.
        optional connection_pool "connectionPool": ConnectionPool,
    }
}

structure! {
    /// A port and what is spoken on it.
    pub struct PortMapping {
        /// The port, 1 to 65535.
        required port "port": u16 => &PORT_NUMBER,
        /// The protocol.
        required protocol "protocol": PortProtocol,
    }
}

enumeration! {
    /// What is spoken on a port.
    pub enum PortProtocol {
        Http "http",
        Tcp "tcp",
        Http2 "http2",
        Grpc "grpc",
    }
}

structure! {
    /// An active health check.
    pub struct HealthCheckPolicy {
        /// Consecutive successes that make an unhealthy instance healthy, 2 to 10.
        required healthy_threshold "healthyThreshold": u32 => &THRESHOLD,
        /// Milliseconds between checks, 5000 to 300000; 30000 where a lenient server lets it be absent.
        lenient interval_millis "intervalMillis": u64 => &INTERVAL_MILLIS,
        /// The path to request; for http and http2 only.
        optional path "path": String,
        /// The port to check; must be the listener's own.
        optional port "port": u16 => &PORT_NUMBER,
        /// The protocol of the check.
        required protocol "protocol": PortProtocol,
        /// Milliseconds to wait for an answer, 2000 to 60000; 5000 where a lenient server lets it be absent.
        lenient timeout_millis "timeoutMillis": u64 => &TIMEOUT_MILLIS,
        /// Consecutive failures that make a healthy instance unhealthy, 2 to 10.
        required unhealthy_threshold "unhealthyThreshold": u32 => &THRESHOLD,
    }
}

impl HealthCheckPolicy {
    /// The interval of a health check that names none.
    pub const INTERVAL_MILLIS_DEFAULT: u64 = 30_000;
    /// The timeout of a health check that names none.
    pub const TIMEOUT_MILLIS_DEFAULT: u64 = 5_000;
}

structure! {
    /// Passive health: an instance that fails too often is left out for a while.
    pub struct OutlierDetection {
        /// How long an instance is left out the first time.
        required base_ejection_duration "baseEjectionDuration": Duration,
        /// The time between two looks at the failures.
        required interval "interval": Duration,
        /// The greatest share of instances that may be left out, in percent.
        required max_ejection_percent "maxEjectionPercent": u32 => &MAX_EJECTION_PERCENT,
        /// Consecutive 5xx answers that have an instance left out.
        required max_server_errors "maxServerErrors": u64 => &MAX_SERVER_ERRORS,
    }
}

union! {
    /// Timeouts of a listener.
    pub enum ListenerTimeout {
        Grpc "grpc": GrpcTimeout,
        Http "http": HttpTimeout,
        Http2 "http2": HttpTimeout,
        Tcp "tcp": TcpTimeout,
    }
}

structure! {
    /// Timeouts of HTTP and HTTP/2.
    pub struct HttpTimeout {
        /// How long a connection may be without a request.
        optional idle "idle": Duration,
        /// How long a request may take.
        optional per_request "perRequest": Duration,
    }
}

structure! {
    /// Timeouts of gRPC.
    pub struct GrpcTimeout {
        /// How long a connection may be without a request.
        optional idle "idle": Duration,
        /// How long a request may take.
        optional per_request "perRequest": Duration,
    }
}

structure! {
    /// Timeouts of plain TCP.
    pub struct TcpTimeout {
        /// How long a connection may be without bytes.
        optional idle "idle": Duration,
    }
}

union! {
    /// Bounds on connections and requests.
    pub enum ConnectionPool {
        Grpc "grpc": RequestConnectionPool,
        Http "http": HttpConnectionPool,
        Http2 "http2": RequestConnectionPool,
        Tcp "tcp": TcpConnectionPool,
    }
}

structure! {
    /// Bounds of an HTTP/1.1 listener.
    pub struct HttpConnectionPool {
        /// Connections at a time.
        required max_connections "maxConnections": u32 => &MAX_CONNECTIONS,
        /// Requests that may wait for a connection.
        optional max_pending_requests "maxPendingRequests": u32 => &MAX_PENDING_REQUESTS,
    }
}

structure! {
    /// Bounds of an HTTP/2 or gRPC listener.
    pub struct RequestConnectionPool {
        /// Requests at a time.
        required max_requests "maxRequests": u32 => &MAX_REQUESTS,
    }
}

structure! {
    /// Bounds of a TCP listener.
    pub struct TcpConnectionPool {
        /// Connections at a time.
        required max_connections "maxConnections": u32 => &MAX_CONNECTIONS,
    }
}

impl Listener {
    /// The rules between the members of one listener.
    pub(crate) fn check_rules(&self, path: &str, found: &mut Violations) {
        let protocol = self.port_mapping.protocol;
        if let Some(check) = &self.health_check {
            check.check_rules(path, &self.port_mapping, found);
        }
        if let Some(pool) = &self.connection_pool {
            pool.check_rules(path, protocol, found);
        }
        if let Some(timeout) = self.timeout.as_ref().map(ListenerTimeout::protocol).filter(|p| *p != protocol)
        {
            found.rule(
                format!("{path}.timeout.{timeout}"),
                format!("Timeout protocol {timeout} must match the listener protocol {protocol}."),
            );
        }
    }
}

impl ListenerTimeout {
    /// The protocol whose member is present.
    pub const fn protocol(&self) -> PortProtocol {
        match self {
            Self::Grpc(_) => PortProtocol::Grpc,
            Self::Http(_) => PortProtocol::Http,
            Self::Http2(_) => PortProtocol::Http2,
            Self::Tcp(_) => PortProtocol::Tcp,
        }
    }
}

impl ConnectionPool {
    /// The protocol whose member is present.
    pub const fn protocol(&self) -> PortProtocol {
        match self {
            Self::Grpc(_) => PortProtocol::Grpc,
            Self::Http(_) => PortProtocol::Http,
            Self::Http2(_) => PortProtocol::Http2,
            Self::Tcp(_) => PortProtocol::Tcp,
        }
    }

    pub(crate) fn check_rules(&self, path: &str, protocol: PortProtocol, found: &mut Violations) {
        let pool = self.protocol();
        if pool != protocol {
            found.rule(
                format!("{path}.connectionPool.{pool}"),
                format!("Connection pool protocol {pool} must match the listener protocol {protocol}."),
            );
        }
    }
}

impl HealthCheckPolicy {
    pub(crate) fn check_rules(&self, path: &str, mapping: &PortMapping, found: &mut Violations) {
        if let Some(port) = self.port.filter(|port| *port != mapping.port) {
            found.rule(
                format!("{path}.healthCheck.port"),
                format!("Health check port {port} must match the listener port {}.", mapping.port),
            );
        }
    }
}
