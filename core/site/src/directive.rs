//! What a configuration sets: every directive under its name, typed, with its default.
//!
//! The fields carry the directives' names: `server.document-root` is `directives.server.document_root`. Units are those of
//! the directive: seconds and KiB unless a field says otherwise.

pub mod access_log;
pub mod auth;
pub mod backend;
pub mod deflate;
pub mod edge;
pub mod expire;
pub mod forwarded;
pub mod guard;
mod reading;
pub mod rules;
pub mod server;

use std::sync::Arc;

pub use auth::{Algorithm, AuthMethod, AuthRequirement, Require};
pub use backend::{Backend, BackendExtension, BackendId, Balance, Host, HostMode};
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

        /// Everything that is set for a request: defaults, and what the blocks that hold set over them.
        #[derive(Clone, Debug, Default)]
        pub struct Directives { $( $(#[$group_doc])* pub $group: $Group, )* }

        pub(crate) const TABLE: &[Entry] = &[ $( $( $(
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

/// The directive of this name.
pub(crate) fn entry(key: &str) -> Option<&'static Entry> {
    TABLE.iter().find(|entry| entry.key == key)
}

directives! {
    /// `server.*` and `connection.*` that are about a request.
    server: Server {
        /// Where files are.
        document_root: Option<Text> = None, "server.document-root" Connection optional_text;
        /// The server's own name, in redirects.
        name: Option<Text> = None, "server.name" Connection optional_text;
        /// The `Server` header; `None` sends none.
        tag: Option<Text> = Some("selvedge".into()), "server.tag" Connection optional_text;
        /// KiB of a request's body; 0 has no bound.
        max_request_size: u32 = 0, "server.max-request-size" Connection int;
        /// Requests of one connection.
        max_keep_alive_requests: u16 = 1000, "server.max-keep-alive-requests" Connection short;
        /// Seconds between two requests of a connection.
        max_keep_alive_idle: u16 = 5, "server.max-keep-alive-idle" Connection short;
        /// Seconds without a byte read, while one is awaited.
        max_read_idle: u16 = 60, "server.max-read-idle" Connection short;
        /// Seconds without a byte written, while there are some.
        max_write_idle: u16 = 360, "server.max-write-idle" Connection short;
        /// Where error pages are: the status and `.html` are appended.
        errorfile_prefix: Option<Text> = None, "server.errorfile-prefix" Connection optional_text;
        /// What answers in place of any error.
        error_handler: Option<Text> = None, "server.error-handler" Connection optional_text;
        /// What answers in place of 404 (and, before 1.4.77, 403).
        error_handler_404: Option<Text> = None, "server.error-handler-404" Connection optional_text;
        /// Whether backends' errors are replaced as well.
        error_intercept: bool = false, "server.error-intercept" Connection boolean;
        /// Whether paths are put in lower case; `None`: as the file system is.
        force_lowercase_filenames: Option<bool> = None, "server.force-lowercase-filenames" Connection some_boolean;
        /// Whether symbolic links are followed.
        follow_symlink: bool = true, "server.follow-symlink" Connection boolean;
        /// Whether HTTP/1.1 is spoken.
        protocol_http11: bool = true, "server.protocol-http11" Connection boolean;
        /// Whether ranges are answered.
        range_requests: bool = true, "server.range-requests" Connection boolean;
        /// Bits: 1 streams bodies to backends, 2 with little buffered (3 in effect).
        stream_request_body: u16 = 0, "server.stream-request-body" Connection stream_flags;
        /// Bits: 1 streams bodies from backends, 2 with little buffered (3 in effect).
        stream_response_body: u16 = 0, "server.stream-response-body" Connection stream_flags;
        /// A rate that everything under this value shares; `None` has no bound.
        kbytes_per_second: Option<SharedRate> = None, "server.kbytes-per-second" Connection shared_rate;
        /// `connection.kbytes-per-second`: KiB a second of one connection; 0 has no bound.
        connection_kbytes_per_second: u16 = 0, "connection.kbytes-per-second" Connection short;
        /// Where errors are written; `|command` is a pipe. In 1.4.69 a request may have its own.
        errorlog: Option<Text> = None, "server.errorlog" Connection optional_text;
        /// Where programs' standard error goes.
        breakagelog: Option<Text> = None, "server.breakagelog" Connection optional_text;
    }

    /// What is set once for the whole process; the same in every request's directives.
    global: Global {
        /// The modules that are loaded, as the configuration lists them.
        modules: Texts = empty(), "server.modules" Server texts;
        /// Whether modules are loaded that older configurations counted on.
        compat_module_load: bool = true, "server.compat-module-load" Server boolean;
        /// Whether sockets are taken from systemd.
        systemd_socket_activation: bool = false, "server.systemd-socket-activation" Server boolean;
        /// The port; `None`: 443 where `ssl.engine` is on, else 80.
        port: Option<u16> = None, "server.port" Server port;
        /// The address; `/path` is a socket in the file system.
        bind: Option<Text> = None, "server.bind" Server optional_text;
        /// The directory that the process is locked in.
        chroot: Option<Text> = None, "server.chroot" Server optional_text;
        /// Who the process becomes.
        username: Option<Text> = None, "server.username" Server optional_text;
        /// In which group.
        groupname: Option<Text> = None, "server.groupname" Server optional_text;
        /// Whether errors go to syslog.
        errorlog_use_syslog: bool = false, "server.errorlog-use-syslog" Server boolean;
        /// As which facility.
        syslog_facility: Option<Text> = None, "server.syslog-facility" Server optional_text;
        /// Whether a crash leaves its memory.
        core_files: bool = false, "server.core-files" Server boolean;
        /// How events are waited for; of no consequence here.
        event_handler: Option<Text> = None, "server.event-handler" Server optional_text;
        /// How bytes are written; of no consequence here.
        network_backend: Option<Text> = None, "server.network-backend" Server optional_text;
        /// How files' states are remembered: `disable`, `simple`, `inotify`.
        stat_cache_engine: Option<Text> = None, "server.stat-cache-engine" Server stat_cache_engine;
        /// Where the process's number is written.
        pid_file: Option<Text> = None, "server.pid-file" Server optional_text;
        /// Worker processes.
        max_worker: u16 = 0, "server.max-worker" Server short;
        /// Open files; 0 leaves it.
        max_fds: u16 = 0, "server.max-fds" Server short;
        /// Connections; 0: a third or a half of the open files.
        max_connections: u16 = 0, "server.max-connections" Server short;
        /// Bytes of a request's head.
        max_request_field_size: u32 = 8192, "server.max-request-field-size" Server int;
        /// Bytes of an internal buffer; of no consequence here.
        chunkqueue_chunk_sz: u32 = 0, "server.chunkqueue-chunk-sz" Server int;
        /// Where bodies wait.
        upload_dirs: Texts = empty(), "server.upload-dirs" Server texts;
        /// Bytes of one file of a body that waits.
        upload_temp_file_size: u32 = 0, "server.upload-temp-file-size" Server int;
        /// How requests are read.
        http_parseopts: ParseOptions = ParseOptions::default(), "server.http-parseopts" Server server::parse_options;
        /// `server.http-parseopt-header-strict`; already in `http_parseopts`.
        http_parseopt_header_strict: Option<bool> = None, "server.http-parseopt-header-strict" Server some_boolean;
        /// `server.http-parseopt-host-strict`; already in `http_parseopts`.
        http_parseopt_host_strict: Option<bool> = None, "server.http-parseopt-host-strict" Server some_boolean;
        /// `server.http-parseopt-host-normalize`; already in `http_parseopts`.
        http_parseopt_host_normalize: Option<bool> = None, "server.http-parseopt-host-normalize" Server some_boolean;
        /// Of no consequence, as in lighttpd.
        reject_expect_100_with_417: bool = false, "server.reject-expect-100-with-417" Server boolean;
        /// What else is switched.
        feature_flags: FeatureFlags = FeatureFlags::default(), "server.feature-flags" Server server::feature_flags;
        /// The extended attribute that a file's type is in.
        mimetype_xattr_name: Option<Text> = None, "mimetype.xattr-name" Server optional_text;
        /// Whether failed requests' heads are logged.
        log_request_header_on_error: bool = false, "debug.log-request-header-on-error" Server boolean;
        /// The gateway under which the edge publishes its routes to the mesh.
        mesh_gateway: Option<Text> = None, "mesh.gateway" Server optional_text;
        /// A file of keys, one a line and the first one seals: addresses of executions that one replica makes open at all.
        mesh_keys: Option<Text> = None, "mesh.keys" Server optional_text;
    }

    /// What is about a listening socket. Meant for the global block and `$SERVER["socket"] == "…"`.
    socket: Socket {
        /// Connections that the kernel holds.
        listen_backlog: u32 = 1024, "server.listen-backlog" Socket int;
        /// The mode of a socket in the file system, as octal digits.
        socket_perms: Option<Text> = None, "server.socket-perms" Socket optional_text;
        /// BSD's filter; of no consequence here.
        bsd_accept_filter: Option<Text> = None, "server.bsd-accept-filter" Socket optional_text;
        /// Whether a connection is handed on only with its first bytes.
        defer_accept: bool = false, "server.defer-accept" Socket boolean;
        /// Whether an address that is left out is IPv6's.
        use_ipv6: bool = false, "server.use-ipv6" Socket boolean;
        /// Whether an IPv6 socket leaves IPv4 alone.
        set_v6only: bool = true, "server.set-v6only" Socket boolean;
        /// Whether an IPv6 socket also takes IPv4; `None`: as `set_v6only` says.
        v4mapped: Option<bool> = None, "server.v4mapped" Socket some_boolean;
    }

    /// `mimetype.*`.
    mimetype: MimeType {
        /// Types by suffix of the file's name; the longest suffix that fits counts, `""` is for the rest.
        assign: Named<Text> = named_empty(), "mimetype.assign" Connection server::mimetypes;
        /// Whether a file's extended attribute counts before.
        use_xattr: bool = false, "mimetype.use-xattr" Connection boolean;
    }

    /// `etag.*`: what a file's tag is made of.
    etag: Etag {
        /// Its number in the file system.
        use_inode: bool = true, "etag.use-inode" Connection boolean;
        /// When it was written.
        use_mtime: bool = true, "etag.use-mtime" Connection boolean;
        /// How large it is.
        use_size: bool = true, "etag.use-size" Connection boolean;
    }

    /// `debug.*`.
    debug: Debug {
        /// Logs how conditions are judged.
        log_condition_handling: bool = false, "debug.log-condition-handling" Connection boolean;
        /// Logs files that are not there.
        log_file_not_found: bool = false, "debug.log-file-not-found" Connection boolean;
        /// Logs a request's way.
        log_request_handling: bool = false, "debug.log-request-handling" Connection boolean;
        /// Logs requests' heads.
        log_request_header: bool = false, "debug.log-request-header" Connection boolean;
        /// Logs responses' heads.
        log_response_header: bool = false, "debug.log-response-header" Connection boolean;
        /// Logs TLS failures of no consequence.
        log_ssl_noise: bool = false, "debug.log-ssl-noise" Connection boolean;
        /// Logs connections' states.
        log_state_handling: bool = false, "debug.log-state-handling" Connection boolean;
        /// Logs time-outs.
        log_timeouts: bool = false, "debug.log-timeouts" Connection boolean;
    }

    /// mod_access.
    access: Access {
        /// Suffixes of paths that are refused; `""` refuses all.
        deny: Texts = empty(), "url.access-deny" Connection texts;
        /// Suffixes of paths that are let through; all others are refused when it is not empty.
        allow: Texts = empty(), "url.access-allow" Connection texts;
    }

    /// mod_accesslog.
    accesslog: AccessLog {
        /// The file, or `|command`; `None` writes none.
        filename: Option<Text> = None, "accesslog.filename" Connection optional_text;
        /// What a line holds.
        format: access_log::Format = access_log::Format::default(), "accesslog.format" Connection access_log::format;
        /// Whether it goes to syslog.
        use_syslog: bool = false, "accesslog.use-syslog" Connection boolean;
        /// As which level.
        syslog_level: u16 = 6, "accesslog.syslog-level" Connection short;
        /// How what is unusual in a value is written.
        escaping: access_log::Escaping = access_log::Escaping::Default, "accesslog.escaping" Connection access_log::escaping;
    }

    /// mod_alias.
    alias: Alias {
        /// Prefixes of paths, and what takes their place below the file system's root.
        url: Named<Text> = named_empty(), "alias.url" Connection server::aliases;
    }

    /// mod_auth and mod_authn_file.
    auth: Auth {
        /// `plain`, `htpasswd`, `htdigest`.
        backend: Option<Text> = None, "auth.backend" Connection auth::backend;
        /// Who may see what is below a prefix; the first prefix that fits counts.
        require: Named<AuthRequirement> = named_empty(), "auth.require" Connection auth::require;
        /// Whether what another module found out is taken.
        extern_authn: bool = false, "auth.extern-authn" Connection boolean;
        /// Seconds for which a right password is remembered; `None`: not at all.
        cache: Option<u32> = None, "auth.cache" Connection auth::cache;
        /// `group: user user`.
        backend_plain_groupfile: Option<Text> = None, "auth.backend.plain.groupfile" Connection optional_text;
        /// `user:password`.
        backend_plain_userfile: Option<Text> = None, "auth.backend.plain.userfile" Connection optional_text;
        /// `user:realm:digest`.
        backend_htdigest_userfile: Option<Text> = None, "auth.backend.htdigest.userfile" Connection optional_text;
        /// `user:hash`.
        backend_htpasswd_userfile: Option<Text> = None, "auth.backend.htpasswd.userfile" Connection optional_text;
    }

    /// mod_cgi.
    cgi: Cgi {
        /// Suffixes of paths, and the interpreter; blank runs the file itself.
        assign: Named<Text> = named_empty(), "cgi.assign" Connection named_texts;
        /// Whether only files that are executable are run.
        execute_x_only: bool = false, "cgi.execute-x-only" Connection boolean;
        /// Whether a script may name a file to be sent.
        x_sendfile: bool = false, "cgi.x-sendfile" Connection boolean;
        /// Below which directories, each ending with a slash.
        x_sendfile_docroot: Texts = empty(), "cgi.x-sendfile-docroot" Connection backend::docroots;
        /// Whether a script's local redirect is followed here.
        local_redir: bool = false, "cgi.local-redir" Connection boolean;
        /// Whether a script may upgrade the connection.
        upgrade: bool = false, "cgi.upgrade" Connection boolean;
        /// Seconds for reading and writing, and the signal when a client leaves.
        limits: backend::CgiLimits = backend::CgiLimits::default(), "cgi.limits" Connection backend::cgi_limits;
    }

    /// mod_deflate, and mod_compress under its older names.
    deflate: Deflate {
        /// Types that are compressed; one that ends with `*` is a prefix, as is every one without parameters.
        mimetypes: Texts = empty(), "deflate.mimetypes" Connection texts, "compress.filetype" Connection texts;
        /// Encodings, the one that is liked best first.
        allowed_encodings: Arc<[ContentEncoding]> = deflate::all(), "deflate.allowed-encodings" Connection deflate::encodings, "compress.allowed-encodings" Connection deflate::encodings;
        /// KiB beyond which nothing is compressed.
        max_compress_size: u32 = 128 * 1024, "deflate.max-compress-size" Connection int, "compress.max-filesize" Connection int;
        /// Bytes below which nothing is.
        min_compress_size: u16 = 256, "deflate.min-compress-size" Connection short;
        /// 1 to 9; `None`: the library's.
        compression_level: Option<u8> = None, "deflate.compression-level" Connection deflate::level;
        /// Of no consequence here.
        output_buffer_size: u16 = 0, "deflate.output-buffer-size" Connection short;
        /// KiB that are compressed in one go.
        work_block_size: u16 = 2048, "deflate.work-block-size" Connection short;
        /// The load beyond which nothing is compressed, in hundredths; 0 has no bound.
        max_loadavg: u32 = 0, "deflate.max-loadavg" Connection deflate::load, "compress.max-loadavg" Connection deflate::load;
        /// Where compressed files are kept; `None`: nowhere.
        cache_dir: Option<Text> = None, "deflate.cache-dir" Connection optional_text, "compress.cache-dir" Connection optional_text;
        /// What each library is told.
        params: DeflateParams = DeflateParams::default(), "deflate.params" Connection deflate::params;
    }

    /// mod_dirlisting.
    dir_listing: DirListing {
        /// Whether directories are listed.
        activate: bool = false, "dir-listing.activate" Connection boolean, "server.dir-listing" Connection boolean;
        /// Whether the page's frame is made.
        auto_layout: bool = true, "dir-listing.auto-layout" Connection boolean;
        /// Seconds for which a listing is kept, and where; `None`: not at all.
        cache: Option<server::ListingCache> = None, "dir-listing.cache" Connection server::listing_cache;
        /// Whether the header file is text.
        encode_header: bool = true, "dir-listing.encode-header" Connection boolean;
        /// Whether the readme file is text.
        encode_readme: bool = true, "dir-listing.encode-readme" Connection boolean;
        /// The page's character set.
        encoding: Option<Text> = None, "dir-listing.encoding" Connection optional_text;
        /// Names that are left out.
        exclude: Arc<[Pattern]> = Arc::from([]), "dir-listing.exclude" Connection patterns;
        /// A style sheet.
        external_css: Option<Text> = None, "dir-listing.external-css" Connection optional_text;
        /// A script.
        external_js: Option<Text> = None, "dir-listing.external-js" Connection optional_text;
        /// Whether names that begin with a dot are left out.
        hide_dotfiles: bool = true, "dir-listing.hide-dotfiles" Connection boolean;
        /// Whether the header file is left out.
        hide_header_file: bool = false, "dir-listing.hide-header-file" Connection boolean;
        /// Whether the readme file is left out.
        hide_readme_file: bool = false, "dir-listing.hide-readme-file" Connection boolean;
        /// The last line.
        set_footer: Option<Text> = None, "dir-listing.set-footer" Connection optional_text;
        /// The file above the list; `enable` is HEADER.txt.
        show_header: Option<Text> = None, "dir-listing.show-header" Connection server::header_file;
        /// The file below it; `enable` is README.txt.
        show_readme: Option<Text> = None, "dir-listing.show-readme" Connection server::readme_file;
        /// Whether the list is in order of names.
        sort: bool = true, "dir-listing.sort" Connection boolean;
    }

    /// mod_evhost.
    evhost: Evhost {
        /// The document root with parts of the host: `%0` to `%9`, `%{1.2}`, `%_`.
        path_pattern: Option<server::HostPattern> = None, "evhost.path-pattern" Connection server::host_pattern;
    }

    /// mod_expire.
    expire: ExpireDirectives {
        /// By prefix of the path.
        url: Named<Expire> = named_empty(), "expire.url" Connection expire::named;
        /// By type; one that ends with `*` is a prefix.
        mimetypes: Named<Expire> = named_empty(), "expire.mimetypes" Connection expire::named;
    }

    /// mod_extforward.
    extforward: ExtForward {
        /// Whose forwarding headers are believed.
        forwarder: Forwarder = Forwarder::default(), "extforward.forwarder" Connection forwarded::forwarder;
        /// The headers, the one that counts first.
        headers: Texts = forwarded::default_headers(), "extforward.headers" Connection texts;
        /// What of `Forwarded` is taken besides `for`.
        params: ForwardedParts = ForwardedParts::default(), "extforward.params" Connection forwarded::params;
        /// Whether connections begin with the PROXY protocol.
        hap_proxy: bool = false, "extforward.hap-PROXY" Connection boolean;
        /// Whether its TLS parts become a verified client.
        hap_proxy_ssl_client_verify: bool = false, "extforward.hap-PROXY-ssl-client-verify" Connection forwarded::verified_elsewhere;
    }

    /// mod_fastcgi.
    fastcgi: FastCgi {
        /// The backends by suffix or prefix.
        server: Backend = Backend::default(), "fastcgi.server" Connection backend::fastcgi;
        /// How one of several is chosen.
        balance: Balance = Balance::LeastConnection, "fastcgi.balance" Connection backend::balance;
        /// How much is logged.
        debug: u32 = 0, "fastcgi.debug" Connection int;
        /// Suffixes that stand for others.
        map_extensions: Named<Text> = named_empty(), "fastcgi.map-extensions" Connection named_texts;
    }

    /// mod_scgi.
    scgi: Scgi {
        /// The backends by suffix or prefix.
        server: Backend = Backend::default(), "scgi.server" Connection backend::scgi;
        /// How one of several is chosen.
        balance: Balance = Balance::LeastConnection, "scgi.balance" Connection backend::balance;
        /// How much is logged.
        debug: u32 = 0, "scgi.debug" Connection int;
        /// Suffixes that stand for others.
        map_extensions: Named<Text> = named_empty(), "scgi.map-extensions" Connection named_texts;
        /// Whether uWSGI's protocol is spoken instead.
        protocol_uwsgi: bool = false, "scgi.protocol" Connection backend::scgi_protocol;
    }

    /// mod_proxy.
    proxy: Proxy {
        /// The backends by prefix or suffix.
        server: Backend = Backend::default(), "proxy.server" Connection backend::proxy;
        /// How one of several is chosen.
        balance: Balance = Balance::LeastConnection, "proxy.balance" Connection backend::balance;
        /// How much is logged.
        debug: u32 = 0, "proxy.debug" Connection int;
        /// Suffixes that stand for others.
        map_extensions: Named<Text> = named_empty(), "proxy.map-extensions" Connection named_texts;
        /// What a `Forwarded` header is made of.
        forwarded: Forwarded = Forwarded::default(), "proxy.forwarded" Connection forwarded::forwarded;
        /// How headers are changed on the way.
        header: ProxyHeader = ProxyHeader::default(), "proxy.header" Connection forwarded::proxy_header;
        /// Whether the backend is asked for itself as host.
        replace_http_host: bool = false, "proxy.replace-http-host" Connection boolean;
    }

    /// mod_wstunnel.
    wstunnel: WsTunnel {
        /// The backends by suffix or prefix.
        server: Backend = Backend::default(), "wstunnel.server" Connection backend::wstunnel;
        /// How one of several is chosen.
        balance: Balance = Balance::LeastConnection, "wstunnel.balance" Connection backend::balance;
        /// How much is logged.
        debug: u32 = 0, "wstunnel.debug" Connection int;
        /// Suffixes that stand for others.
        map_extensions: Named<Text> = named_empty(), "wstunnel.map-extensions" Connection named_texts;
        /// Whether frames are binary.
        frame_type_binary: bool = false, "wstunnel.frame-type" Connection server::binary;
        /// Origins that may connect; all when it is empty.
        origins: Texts = empty(), "wstunnel.origins" Connection server::origins;
        /// Seconds between pings; 0 sends none.
        ping_interval: u16 = 0, "wstunnel.ping-interval" Connection short;
    }

    /// mod_indexfile.
    index_file: IndexFile {
        /// Files that stand for their directory, the first that is there; one that begins with `/` is below the root.
        names: Texts = empty(), "index-file.names" Connection texts, "server.indexfiles" Connection texts;
    }

    /// mod_redirect and mod_rewrite.
    url: Url {
        /// Where to send the client.
        redirect: Rules = Rules::default(), "url.redirect" Connection rules::redirect;
        /// With which status.
        redirect_code: u16 = 0, "url.redirect-code" Connection rules::redirect_code;
        /// `url.rewrite-once` and `url.rewrite-repeat` of one block: what the path becomes.
        rewrite: Rules = Rules::default();
        /// The same, where the path is no file.
        rewrite_if_not_file: Rules = Rules::default();
    }

    /// mod_setenv. `add` appends to what a client sent, `set` replaces it.
    setenv: SetEnv {
        /// Variables of backends' environment.
        add_environment: Named<Text> = named_empty(), "setenv.add-environment" Connection named_texts;
        /// Headers of the request.
        add_request_header: Named<Text> = named_empty(), "setenv.add-request-header" Connection named_texts;
        /// Headers of the response.
        add_response_header: Named<Text> = named_empty(), "setenv.add-response-header" Connection named_texts;
        /// Variables of backends' environment.
        set_environment: Named<Text> = named_empty(), "setenv.set-environment" Connection named_texts;
        /// Headers of the request; a blank value takes one away.
        set_request_header: Named<Text> = named_empty(), "setenv.set-request-header" Connection named_texts;
        /// Headers of the response; a blank value takes one away.
        set_response_header: Named<Text> = named_empty(), "setenv.set-response-header" Connection named_texts;
    }

    /// mod_simple_vhost: `server_root` + host + `document_root`.
    simple_vhost: SimpleVhost {
        /// Logs what is looked for.
        debug: u16 = 0, "simple-vhost.debug" Connection short;
        /// The host that stands for unknown ones.
        default_host: Option<Text> = None, "simple-vhost.default-host" Connection optional_text;
        /// Below the host's directory.
        document_root: Option<Text> = None, "simple-vhost.document-root" Connection optional_text;
        /// Where hosts' directories are.
        server_root: Option<Text> = None, "simple-vhost.server-root" Connection optional_text;
    }

    /// mod_ssi.
    ssi: Ssi {
        /// Whether tags and times are sent.
        conditional_requests: bool = false, "ssi.conditional-requests" Connection boolean;
        /// The type of what is made.
        content_type: Option<Text> = None, "ssi.content-type" Connection optional_text;
        /// Whether commands are run.
        exec: bool = true, "ssi.exec" Connection boolean;
        /// Suffixes of files with includes.
        extension: Texts = empty(), "ssi.extension" Connection texts;
        /// How deep includes include.
        recursion_max: u16 = 0, "ssi.recursion-max" Connection short;
    }

    /// mod_staticfile.
    static_file: StaticFile {
        /// Whether a path that goes on behind a file is refused.
        disable_pathinfo: bool = false, "static-file.disable-pathinfo" Connection boolean;
        /// Whether tags are sent.
        etags: bool = true, "static-file.etags" Connection boolean;
        /// Suffixes of files that are not sent.
        exclude_extensions: Texts = empty(), "static-file.exclude-extensions" Connection texts;
    }

    /// mod_status. A blank path answers nothing.
    status: Status {
        /// The page of what is loaded.
        config_url: Option<Text> = None, "status.config-url" Connection optional_text;
        /// Whether the page sorts.
        enable_sort: bool = true, "status.enable-sort" Connection boolean;
        /// The page of counters.
        statistics_url: Option<Text> = None, "status.statistics-url" Connection optional_text;
        /// The page of connections.
        status_url: Option<Text> = None, "status.status-url" Connection optional_text;
    }

    /// mod_userdir.
    userdir: UserDir {
        /// Whether `/~user/` is a home.
        active: bool = true, "userdir.active" Connection boolean;
        /// Where homes are; `None`: as the system knows them.
        basepath: Option<Text> = None, "userdir.basepath" Connection optional_text;
        /// Users that have none.
        exclude_user: Texts = empty(), "userdir.exclude-user" Connection texts;
        /// Users that have one; all when it is empty.
        include_user: Texts = empty(), "userdir.include-user" Connection texts;
        /// Whether homes are below their first letter.
        letterhomes: bool = false, "userdir.letterhomes" Connection boolean;
        /// The directory in a home; `None` switches the module off.
        path: Option<Text> = None, "userdir.path" Connection some_text;
    }

    /// mod_openssl and its siblings.
    ssl: Ssl {
        /// Whether the socket speaks TLS.
        engine: bool = false, "ssl.engine" Socket boolean;
        /// The chain, perhaps with the key.
        pemfile: Option<Text> = None, "ssl.pemfile" Connection optional_text;
        /// The key.
        privkey: Option<Text> = None, "ssl.privkey" Connection optional_text;
        /// Intermediate certificates, or the authorities of clients.
        ca_file: Option<Text> = None, "ssl.ca-file" Connection optional_text;
        /// The authorities that are named to clients.
        ca_dn_file: Option<Text> = None, "ssl.ca-dn-file" Connection optional_text;
        /// Revoked clients.
        ca_crl_file: Option<Text> = None, "ssl.ca-crl-file" Connection optional_text;
        /// Ciphers in OpenSSL's words; of no consequence here: all that are spoken have forward secrecy and authenticate.
        cipher_list: Option<Text> = None, "ssl.cipher-list" Socket server::ciphers;
        /// OpenSSL's configuration commands: `MinProtocol`, `MaxProtocol`, `CipherString`, `Ciphersuites`, `Curves`, `Options`, ….
        openssl_ssl_conf_cmd: Named<Text> = named_empty(), "ssl.openssl.ssl-conf-cmd" Socket named_texts;
        /// Where challenge certificates are.
        acme_tls_1: Option<Text> = None, "ssl.acme-tls-1" Connection optional_text;
        /// Of no consequence here.
        read_ahead: bool = false, "ssl.read-ahead" Connection boolean;
        /// Of no consequence here: clients never renegotiate.
        disable_client_renegotiation: bool = true, "ssl.disable-client-renegotiation" Connection boolean;
        /// The authority's word that the certificate is good, in DER.
        stapling_file: Option<Text> = None, "ssl.stapling-file" Connection optional_text;
        /// Keys of session tickets.
        stek_file: Option<Text> = None, "ssl.stek-file" Server optional_text;
        /// Whether clients are asked for a certificate.
        verifyclient_activate: bool = false, "ssl.verifyclient.activate" Connection boolean;
        /// Revoked clients.
        verifyclient_ca_crl_file: Option<Text> = None, "ssl.verifyclient.ca-crl-file" Connection optional_text;
        /// The authorities that are named to clients.
        verifyclient_ca_dn_file: Option<Text> = None, "ssl.verifyclient.ca-dn-file" Connection optional_text;
        /// The authorities that clients are held to.
        verifyclient_ca_file: Option<Text> = None, "ssl.verifyclient.ca-file" Connection optional_text;
        /// How long a chain may be.
        verifyclient_depth: u16 = 9, "ssl.verifyclient.depth" Connection short;
        /// Whether a client without a certificate is refused.
        verifyclient_enforce: bool = true, "ssl.verifyclient.enforce" Connection boolean;
        /// Whether backends are shown the certificate.
        verifyclient_exportcert: bool = false, "ssl.verifyclient.exportcert" Connection boolean;
        /// The part of its name that becomes `REMOTE_USER`.
        verifyclient_username: Option<Text> = None, "ssl.verifyclient.username" Connection optional_text;
    }

    /// Ours: what of the mesh answers. lighttpd ignores these.
    mesh: Mesh {
        /// The virtual service that requests are handed to, in place of `proxy.server`.
        service: Option<Text> = None, "mesh.service" Connection optional_text;
        /// The state machine that requests start.
        workflow: Option<WorkflowRoute> = None, "mesh.workflow" Connection edge::workflow;
        /// Providers by whom people sign in, under the names that `mesh.sign-in` gives.
        oidc: Named<Arc<guard::Oidc>> = named_empty(), "mesh.oidc" Server guard::oidc;
        /// Issuers whose bearer tokens are taken, likewise.
        jwt: Named<Arc<guard::Jwt>> = named_empty(), "mesh.jwt" Server guard::jwt;
        /// The certificate of the mesh's that is shown, by its ARN; it comes before files.
        certificate: Option<Text> = None, "mesh.certificate" Connection edge::certificate;
        /// Certificates that an authority issues.
        acme: Option<Arc<guard::Acme>> = None, "mesh.acme" Server guard::acme;
        /// Where spans of requests are sent.
        traces: Option<Arc<guard::Traces>> = None, "mesh.traces" Server guard::traces;
        /// Megabytes of answers that are remembered.
        cache_mbytes: u32 = 64, "mesh.cache-mbytes" Server int;
        /// Connections that one client may hold at a time; 0 has no bound.
        connections_per_client: u32 = 0, "mesh.connections-per-client" Server int;
    }

    /// What only `edge.toml` can say.
    edge: Edge {
        /// The name of the route, for metrics and logs.
        route: Option<Text> = None;
        /// Variables of the route's path, in order: the names of the groups of `path_pattern`.
        path_variables: Texts = empty();
        /// The route's path as an expression, where it has variables.
        path_pattern: Option<Pattern> = None;
        /// The rate of each client.
        per_client: Option<edge::ClientRate> = None, "mesh.per-client" Connection guard::per_client;
        /// Networks that may ask; all when it is empty.
        allow: Arc<[crate::condition::Network]> = Arc::from([]);
        /// Networks that may not.
        deny: Arc<[crate::condition::Network]> = Arc::from([]);
        /// Who has to be signed in, and how.
        sign_in: Option<SignIn> = None, "mesh.sign-in" Connection guard::sign_in;
        /// What claims of whoever has signed in have to say.
        claims: selvedge_guard::claims::Rules = selvedge_guard::claims::Rules::default(), "mesh.claims" Connection guard::claims;
        /// Which claims services are told, and in which headers.
        identity_headers: selvedge_guard::identity::Headers = selvedge_guard::identity::Headers::default(), "mesh.identity-headers" Connection guard::identity_headers;
        /// A service that is asked whether a request may go on.
        forward_auth: Option<Arc<selvedge_guard::forward::Settings>> = None, "mesh.forward-auth" Connection guard::forward_auth;
        /// Answers of backends are remembered, as RFC 9111 has it.
        cache: bool = false, "mesh.cache" Connection boolean;
        /// Links that clients are told of before the answer is there: values of `Link`.
        early_hints: Texts = empty(), "mesh.early-hints" Connection guard::early_hints;
        /// The `Cache-Control` of what is sent.
        cache_control: Option<Text> = None;
        /// Whether the server's counters are the answer.
        metrics: bool = false;
        /// A fixed answer.
        respond: Option<edge::FixedAnswer> = None;
        /// Whether plain HTTP is sent to HTTPS.
        redirect_https: bool = false, "mesh.redirect-https" Connection boolean;
        /// HTTP/3 beside HTTP/2, on the UDP port of the same number.
        http3: bool = false, "mesh.http3" Connection boolean;
        /// Milliseconds for a request's whole head.
        header_timeout_ms: u64 = 10_000;
        /// Seconds for a request's whole body, however fast it comes; 0 has no bound.
        body_timeout: u16 = 0, "mesh.body-timeout" Connection short;
        /// Bytes a second of one connection; 0 has no bound.
        bandwidth: u64 = 0;
        /// KiB a second of all connections of one client together; 0 has no bound.
        client_kbytes_per_second: u32 = 0, "mesh.client-kbytes-per-second" Connection int;
        /// Whether a file that was compressed before is sent in place of the one that it stands beside.
        precompressed: bool = false, "mesh.precompressed" Connection boolean;
        /// Whether security headers are sent, HSTS among them.
        security_headers: bool = false, "mesh.security-headers" Connection boolean;
    }
}
