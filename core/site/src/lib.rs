//! The edge's configuration, as a language and as a program.
//!
//! - [`Program`]: listeners, conditions and what each block sets, compiled. A [`Resolver`] answers what holds for a
//!   request: typed [`Directives`] under lighttpd's names.
//! - [`RequestFacts`]: what a program is asked about; fields that are not known yet are `None`.
//! - [`Template`], [`directive::Rules`]: the right-hand sides of redirects and rewrites.
//! - [`Listener`]: what to listen on, with its TLS.
//! - [`ssi`]: the language of pages with server-side includes.
//!
//! Nothing here opens a file: texts are arguments.
//!
//! ```
//! use std::sync::Arc;
//! use selvedge_site::{Program, RequestFacts, Resolver};
//!
//! let mut resolver = Resolver::new(Arc::new(Program::default()));
//! let facts = RequestFacts { host: Some("example.org"), path: Some("/"), ..RequestFacts::default() };
//! let resolved = resolver.resolve(&facts)?;
//! assert_eq!(resolved.directives.server.max_keep_alive_requests, 1000);
//! # Ok::<(), selvedge_site::PatternExhausted>(())
//! ```

pub mod condition;
mod diagnostic;
pub mod directive;
pub mod edge_toml;
pub mod explain;
mod facts;
pub mod gateway;
pub mod lighttpd;
mod listener;
pub mod mention;
mod pattern;
mod place;
mod program;
mod route;
mod series;
pub mod ssi;
mod template;
pub mod value;

pub use condition::{Condition, ConditionId, Network};
pub use diagnostic::{Diagnostic, Severity, has_errors};
pub use directive::{Directives, Global};
pub use facts::{Headers, RequestFacts};
pub use listener::{ListenAddress, Listener};
pub use pattern::{
    Groups, PATTERN_BACKTRACKS_MAX, PATTERN_BYTES_MAX, PATTERN_COMPILED_BYTES_MAX, PATTERN_GROUPS_MAX,
    Pattern, PatternExhausted, PatternInvalid,
};
pub use place::{Place, Source, Sources};
pub use program::{CONDITIONS_MAX, Origin, Program, RESOLVED_MAX, Resolved, Resolver};
pub use route::Misfit;
pub use template::{EXPANDED_BYTES_MAX, Parts, Template, TooLong};
pub use value::{List, Value};

/// Whose meaning of `lighttpd.conf` counts where versions differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Compat {
    /// Debian 12's.
    V1_4_69,
    /// The newest.
    #[default]
    V1_4_85,
}
