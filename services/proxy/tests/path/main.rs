//! The request path over real sockets: clients and upstreams are plain threads, the proxy is the whole data plane with a
//! configuration given by hand.

mod access;
mod authority;
mod care;
mod downgrade;
mod filters;
mod floods;
mod forwarding;
mod frames;
mod framing;
mod h2spec;
mod headers;
mod hostile;
mod http2;
mod interception;
mod lies;
mod mesh;
mod rate_limits;
mod refusals;
mod retries;
mod shutdown;
mod slow;
mod tls;
mod tls_hostile;
mod tracing;
mod tunnels;
mod upstream;
