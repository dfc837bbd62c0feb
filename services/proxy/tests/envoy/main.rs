//! Filters in our proxy and in a real Envoy: the same configuration over xDS, the same requests, the same answers.
//!
//! Without an Envoy (`SELVEDGE_ENVOY`, or the one in `target/venv`) our proxy alone is held to what is expected.

mod access;
mod agent;
#[allow(dead_code, reason = "shared with the tests of the request path")]
#[path = "../path/authority.rs"]
mod authority;
mod authorization;
mod certificates;
#[allow(dead_code, reason = "shared with the tests of discovery")]
#[path = "../run/control_plane.rs"]
mod control_plane;
mod envoy;
mod limits;
#[allow(dead_code, reason = "shared with the tests of the request path")]
#[path = "../path/mesh.rs"]
mod mesh;
#[path = "../path/mutual.rs"]
mod mutual;
mod planes;
#[path = "../run/ports.rs"]
mod ports;
mod revocation;
mod secrets;
mod service;
mod side;
mod svid;
mod tokens;
#[allow(dead_code, reason = "shared with the tests of the request path")]
#[path = "../path/upstream.rs"]
mod upstream;
