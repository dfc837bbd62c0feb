//! Differential tests: the same mesh, upstream and client once through a real Envoy and once through our proxy.
//!
//! A *suite* (one file under `scenarios/`) holds a mesh, the applications behind it and the sidecars before them; its
//! *scenarios* are what a client does and what the applications answer. Both planes are fed by the same control plane.
//! What a plane shows – answers, requests that reached an application, access logs, statistics – is an
//! [`Observation`](observation::Observation); [`compare`] lists where two of them part, and [`differences`] holds the
//! few places where they should.

pub mod access_log;
pub mod app;
pub mod certificates;
pub mod client;
pub mod compare;
pub mod control;
pub mod differences;
pub mod distribution;
pub mod envoy;
pub mod http1;
pub mod observation;
pub mod place;
pub mod placeholder;
pub mod run;
pub mod scenario;
pub mod sidecar;
pub mod stats;
