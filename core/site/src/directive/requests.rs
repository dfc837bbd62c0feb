//! What is about a request before anything answers it.

use super::*;

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
        /// Whether it answers in place of 403 as well.
        error_handler_of_403: bool = false;
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

    /// mod_access.
    access: Access {
        /// Suffixes of paths that are refused; `""` refuses all.
        deny: Texts = empty(), "url.access-deny" Connection texts;
        /// Suffixes of paths that are let through; all others are refused when it is not empty.
        allow: Texts = empty(), "url.access-allow" Connection texts;
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
}
