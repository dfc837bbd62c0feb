//! The API, called without a socket: what App Mesh's users rely on, and what its errors say.

mod requests;
mod resources;
mod world;
