//! The edge: a web server at the border, which serves what `lighttpd.conf` says.
//!
//! - [`run`]: the process from start to end, with its signals and threads.
//! - `request`: the life of a request, step by step.
//! - `answer`: files, directories, scripts, programs, HTTP backends.
//! - `site`: a configuration in force: its program, its certificates, what is known of its backends.

mod acme;
mod admit;
mod answer;
mod cache;
mod clients;
mod connection;
mod control;
mod data_plane;
mod dress;
mod early;
mod handshakes;
mod http1;
mod http2;
mod http3;
mod identify;
mod pace;
mod rate;
mod ready;
mod recent;
mod record;
mod request;
mod run;
mod scoreboard;
mod site;
mod sockets;
mod standing;
mod stats;
mod trace;
mod upgrade;
mod verbatim;
mod way;
mod who;
mod worker;

pub use acme::issued;
pub use data_plane::{DataPlane, DataPlanes, Make, Work};
pub use run::{Error, InForce, Options, Reload, Terminate, Watch, run};
pub use selvedge_wire::stream::Address;
pub use site::{SiteInvalid, check};
pub use standing::Standing;
pub use worker::Mesh;
