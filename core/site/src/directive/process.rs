//! What is about the process, its sockets and what it says of itself.

use super::*;

directives! {
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
}
