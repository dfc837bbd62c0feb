//! Which directives the form has elsewhere, and what there is in place of those that it has not.

use super::answer::says_upgrade_alone;
use super::{Value, mesh};
use crate::directive::truth;

/// Why a directive has no equal, and what there is in its place.
pub(super) fn reason(key: &str) -> &'static str {
    const REASONS: &[(&str, &str)] = &[
        ("$", "a route knows scheme, host, path, method, headers that are equal, networks of clients"),
        ("accesslog.", "one log is for the whole edge: [log]"),
        ("auth.", "auth takes htpasswd by basic and htdigest by digest; better, a sign-in by OpenID Connect"),
        ("cgi.", "a script has cgi and no more"),
        ("deflate.", "what can be compressed is, by compress"),
        ("dir-listing.", "a list of files has one form"),
        ("evhost.", "a site names its host, and a route its files"),
        ("expire.", "cache counts from the request, for all that a route answers"),
        ("fastcgi.", "scripts and fastcgi have servers, and programs that are started"),
        ("mesh.redirect-https", "a listener is sent to HTTPS as a whole: redirect"),
        ("mesh.http3", "a listener says what it speaks: protocols"),
        ("mesh.certificate", "[tls.NAME] has one of arn, acme and certificate"),
        ("mesh.client-authority", "[tls.NAME] has client_ca"),
        ("mesh.acme", "[tls.NAME] has one of arn, acme and certificate"),
        ("mesh.", "[limits] holds for the whole edge"),
        ("mimetype.", "[types] holds for the whole edge"),
        ("proxy.", "a service of the mesh decides how it is called"),
        ("scgi.", "serve it by FastCGI or HTTP"),
        ("server.errorfile-prefix", "not_found names the answer in place of 404"),
        ("server.error-handler", "not_found is for 404 alone, and a path"),
        ("server.max-keep-alive-requests", "connections are kept until keep_alive has passed"),
        (
            "server.stream-",
            "bodies of services and of proxy go on as they come, those of scripts are gathered",
        ),
        ("server.upload-dirs", "upload_folders holds for the whole edge"),
        ("setenv.add-environment", "environment is for the route with the scripts"),
        ("setenv.set-environment", "environment is for the route with the scripts"),
        ("setenv.", "request_headers and response_headers are set and not added"),
        ("simple-vhost.", "a site names its host, and a route its files"),
        ("ssi.", "pages with includes are not worked out"),
        ("ssl.ca-file", "certificate has the whole chain: put what issued it behind it"),
        ("ssl.cipher-list", "all ciphers have forward secrecy and authenticate"),
        ("ssl.pemfile", "a listener shows one certificate: name all hosts in it, or in acme"),
        ("ssl.", "[tls.NAME] has certificate, key, min_version, client_ca, client"),
        ("status.", "server_status = true answers with the page, metrics = true with the counters"),
        ("url.", "a route has one rewrite, of files that may all be read, or one redirect"),
        ("userdir.", "a site names its host, and a route its files"),
        ("wstunnel.", "a WebSocket goes to a service or a server that speaks it"),
    ];
    let found = REASONS.iter().find(|(family, _)| key.starts_with(family));
    found.map_or("the form decides it itself, or the system does", |(_, why)| why)
}

/// Keys that a route takes.
pub(super) fn in_route(key: &str) -> bool {
    mesh::in_route(key)
        || matches!(
            key,
            "server.document-root"
                | "index-file.names"
                | "server.indexfiles"
                | "dir-listing.activate"
                | "server.dir-listing"
                | "connection.kbytes-per-second"
                | "setenv.set-request-header"
                | "setenv.add-request-header"
                | "setenv.set-response-header"
                | "setenv.add-response-header"
                | "deflate.mimetypes"
                | "compress.filetype"
                | "expire.url"
                | "url.rewrite-once"
                | "url.rewrite"
                | "url.rewrite-final"
                | "url.rewrite-if-not-file"
                | "url.redirect"
                | "url.redirect-code"
                | "url.access-allow"
                | "url.access-deny"
                | "static-file.exclude-extensions"
                | "alias.url"
                | "proxy.forwarded"
                | "deflate.allowed-encodings"
                | "deflate.cache-dir"
                | "compress.allowed-encodings"
                | "compress.cache-dir"
                | "dir-listing.exclude"
                | "server.error-handler-404"
                | "setenv.add-environment"
                | "setenv.set-environment"
                | "mesh.service"
                | "mesh.workflow"
                | "proxy.server"
                | "fastcgi.server"
                | "auth.require"
                | "auth.backend"
                | "auth.backend.htpasswd.userfile"
                | "auth.backend.htdigest.userfile"
                | "auth.backend.plain.groupfile"
        )
}

/// Keys whose global value was told already.
pub(super) fn is_global(key: &str) -> bool {
    matches!(
        key,
        "server.modules" | "server.port" | "server.bind" | "mimetype.assign" | "server.name" | "server.tag"
    )
}

/// Whether a value says what the form does in any case.
pub(super) fn is_as_ever(key: &str, value: &Value) -> bool {
    let on = truth(value);
    match key {
        "server.range-requests"
        | "static-file.etags"
        | "dir-listing.hide-dotfiles"
        | "dir-listing.sort"
        | "etag.use-inode"
        | "etag.use-mtime"
        | "etag.use-size"
        | "ssl.disable-client-renegotiation"
        | "ssl.honor-cipher-order" => on == Some(true),
        "server.use-ipv6"
        | "server.core-files"
        | "ssl.use-sslv2"
        | "ssl.use-sslv3"
        | "ssl.use-compression" => on == Some(false),
        "fastcgi.debug" | "scgi.debug" | "proxy.debug" | "simple-vhost.debug" => {
            super::text::plain(value) == "0"
        }
        "proxy.header" => says_upgrade_alone(value),
        "server.stat-cache-engine" => super::text::plain(value) != "disable",
        "dir-listing.encoding" => super::text::plain(value).eq_ignore_ascii_case("utf-8"),
        "server.http-parseopts" => value.as_list().is_some_and(|list| {
            list.iter().all(|(key, value)| {
                let usual = !matches!(
                    key.map_or("", |key| &**key),
                    "method-get-body"
                        | "url-path-2f-reject"
                        | "url-path-dotseg-reject"
                        | "url-path-backslash-trans"
                        | "url-query-20-plus"
                        | "url-normalize-required"
                );
                truth(value) == Some(usual)
            })
        }),
        _ => false,
    }
}
