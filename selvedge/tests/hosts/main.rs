//! Real hosts – network namespaces joined by veth pairs – whose applications know nothing of a mesh: what they call is
//! led to the sidecar beside them, from there to the sidecar beside what they called, and answered.

mod egress;
mod mesh;
mod names;
mod network;
mod outside;
mod programs;
mod servers;
