//! What a configuration sets: every directive under its name, typed, with its default.
//!
//! The fields carry the directives' names: `server.document-root` is `directives.server.document_root`. Units are those of
//! the directive: seconds and KiB unless a field says otherwise.

pub mod access_log;
pub mod auth;
pub mod backend;
mod defaults;
pub mod deflate;
pub mod edge;
pub mod expire;
pub mod forwarded;
pub mod guard;
pub mod hsts;
mod reading;
pub mod rules;
pub mod server;

use std::sync::Arc;

pub use auth::{Algorithm, AuthMethod, AuthRequirement, Require};
pub use backend::{Backend, BackendExtension, BackendId, Balance, Host, HostMode};
pub(crate) use defaults::media_types;
pub use deflate::{ContentEncoding, DeflateParams};
pub use edge::{SignIn, WorkflowElse, WorkflowRoute};
pub use expire::{Expire, ExpireBase};
pub use forwarded::{Forwarded, ForwardedParts, Forwarder, ProxyHeader, Trust};
pub(crate) use reading::{Ids, Reading, truth};
pub use rules::{Rule, Rules};
pub use server::{FeatureFlags, ParseOptions, SharedRate, UrlNormalize};

use crate::pattern::Pattern;
use crate::value::Value;
use reading::*;

/// Groups of directives as structures with their defaults, and a table of what reads them.
macro_rules! directives {
    ($(
        $(#[$group_doc:meta])*
        $group:ident: $Group:ident {
            $( $(#[$doc:meta])* $field:ident: $type:ty = $default:expr $(, $key:literal $scope:ident $read:path)* ; )*
        }
    )*) => {
        $(
            $(#[$group_doc])*
            #[derive(Clone, Debug)]
            pub struct $Group { $( $(#[$doc])* pub $field: $type, )* }

            impl Default for $Group {
                fn default() -> Self {
                    Self { $( $field: $default, )* }
                }
            }
        )*

        pub(super) const TABLE: &[Entry] = &[ $( $( $(
            Entry {
                key: $key,
                scope: Scope::$scope,
                read: |value, reading| {
                    let typed: $type = $read(value, reading)?;
                    Ok(Box::new(move |directives: &mut Directives| {
                        directives.$group.$field = typed.clone();
                    }))
                },
            },
        )* )* )* ];
    };
}

mod files;
mod own;
mod process;
mod programs;
mod requests;
mod tls;

pub use files::{
    Alias, Deflate, DirListing, Etag, Evhost, ExpireDirectives, IndexFile, MimeType, SimpleVhost, Ssi,
    StaticFile, UserDir,
};
pub use own::{Edge, Mesh};
pub use process::{AccessLog, Debug, Global, Socket, Status};
pub use programs::{Cgi, FastCgi, Proxy, Scgi, WsTunnel};
pub use requests::{Access, Auth, ExtForward, Server, SetEnv, Url};
pub use tls::Ssl;

/// Text that many requests share.
pub type Text = Arc<str>;
/// Several of them.
pub type Texts = Arc<[Text]>;
/// Values under names, in the order of the configuration, which is also the order in which prefixes and suffixes are
/// tried.
pub type Named<T> = Arc<[(Text, T)]>;

/// Where a directive may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Anywhere: it is about a request or a connection.
    Connection,
    /// Outside of conditions, or in `$SERVER["socket"] == "…"`.
    Socket,
    /// Outside of conditions.
    Server,
}

/// What applies a value to the directives.
pub(crate) type Setter = Box<dyn Fn(&mut Directives) + Send + Sync>;

/// A directive that is known.
pub(crate) struct Entry {
    pub(crate) key: &'static str,
    pub(crate) scope: Scope,
    /// Reads a value. The text is what is wrong with it.
    pub(crate) read: fn(&Value, &mut Reading<'_>) -> Result<Setter, String>,
}

/// Everything that is set for a request: defaults, and what the blocks that hold set over them.
#[derive(Clone, Debug, Default)]
pub struct Directives {
    /// `server.*` and `connection.*` that are about a request.
    pub server: Server,
    /// What is set once for the whole process; the same in every request's directives.
    pub global: Global,
    /// What is about a listening socket. Meant for the global block and `$SERVER["socket"] == "…"`.
    pub socket: Socket,
    /// `mimetype.*`.
    pub mimetype: MimeType,
    /// `etag.*`: what a file's tag is made of.
    pub etag: Etag,
    /// `debug.*`.
    pub debug: Debug,
    /// mod_access.
    pub access: Access,
    /// mod_accesslog.
    pub accesslog: AccessLog,
    /// mod_alias.
    pub alias: Alias,
    /// mod_auth and mod_authn_file.
    pub auth: Auth,
    /// mod_cgi.
    pub cgi: Cgi,
    /// mod_deflate, and mod_compress under its older names.
    pub deflate: Deflate,
    /// mod_dirlisting.
    pub dir_listing: DirListing,
    /// mod_evhost.
    pub evhost: Evhost,
    /// mod_expire.
    pub expire: ExpireDirectives,
    /// mod_extforward.
    pub extforward: ExtForward,
    /// mod_fastcgi.
    pub fastcgi: FastCgi,
    /// mod_scgi.
    pub scgi: Scgi,
    /// mod_proxy.
    pub proxy: Proxy,
    /// mod_wstunnel.
    pub wstunnel: WsTunnel,
    /// mod_indexfile.
    pub index_file: IndexFile,
    /// mod_redirect and mod_rewrite.
    pub url: Url,
    /// mod_setenv. `add` appends to what a client sent, `set` replaces it.
    pub setenv: SetEnv,
    /// mod_simple_vhost: `server_root` + host + `document_root`.
    pub simple_vhost: SimpleVhost,
    /// mod_ssi.
    pub ssi: Ssi,
    /// mod_staticfile.
    pub static_file: StaticFile,
    /// mod_status. A blank path answers nothing.
    pub status: Status,
    /// mod_userdir.
    pub userdir: UserDir,
    /// mod_openssl and its siblings.
    pub ssl: Ssl,
    /// Ours: what of the mesh answers. lighttpd ignores these.
    pub mesh: Mesh,
    /// What only `edge.toml` can say.
    pub edge: Edge,
}

/// Every directive that is known.
pub(crate) fn entries() -> impl Iterator<Item = &'static Entry> {
    let tables = [requests::TABLE, process::TABLE, files::TABLE, programs::TABLE, tls::TABLE, own::TABLE];
    tables.into_iter().flatten()
}

/// The directive of this name.
pub(crate) fn entry(key: &str) -> Option<&'static Entry> {
    entries().find(|entry| entry.key == key)
}
