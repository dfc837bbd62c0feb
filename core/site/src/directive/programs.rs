//! Who answers in place of files: programs, and servers behind.

use super::*;

directives! {
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
}
