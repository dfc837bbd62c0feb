//! lighttpd's modules: which there are, which we do without, and whose a directive is.

/// What is to be said of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It works.
    Supported,
    /// It is refused; the text says what to do instead.
    Refused(&'static str),
}

const MODULES: &[(&str, Known)] = {
    use Known::{Refused, Supported};
    &[
        ("mod_access", Supported),
        ("mod_accesslog", Supported),
        ("mod_alias", Supported),
        ("mod_auth", Supported),
        ("mod_authn_file", Supported),
        ("mod_cgi", Supported),
        ("mod_compress", Supported),
        ("mod_deflate", Supported),
        ("mod_dirlisting", Supported),
        ("mod_evhost", Supported),
        ("mod_expire", Supported),
        ("mod_extforward", Supported),
        ("mod_fastcgi", Supported),
        ("mod_gnutls", Supported),
        ("mod_h2", Supported),
        ("mod_indexfile", Supported),
        ("mod_mbedtls", Supported),
        ("mod_nss", Supported),
        ("mod_openssl", Supported),
        ("mod_proxy", Supported),
        ("mod_redirect", Supported),
        ("mod_rewrite", Supported),
        ("mod_scgi", Supported),
        ("mod_setenv", Supported),
        ("mod_simple_vhost", Supported),
        ("mod_ssi", Supported),
        ("mod_staticfile", Supported),
        ("mod_status", Supported),
        ("mod_userdir", Supported),
        ("mod_wolfssl", Supported),
        ("mod_wstunnel", Supported),
        ("mod_ajp13", Refused("speak HTTP to the application server, with proxy.server")),
        ("mod_authn_dbi", Refused("export the users to a file for auth.backend = \"htpasswd\"")),
        ("mod_authn_gssapi", Refused("let people sign in by OpenID Connect: see edge.toml's sign_in")),
        ("mod_authn_ldap", Refused("let people sign in by OpenID Connect: see edge.toml's sign_in")),
        ("mod_authn_mysql", Refused("export the users to a file for auth.backend = \"htpasswd\"")),
        ("mod_authn_pam", Refused("let people sign in by OpenID Connect: see edge.toml's sign_in")),
        ("mod_authn_sasl", Refused("let people sign in by OpenID Connect: see edge.toml's sign_in")),
        ("mod_cml", Refused("lighttpd has removed it; answer from a FastCGI or CGI program")),
        ("mod_evasive", Refused("lighttpd has removed it; limit each client with per_client in edge.toml")),
        ("mod_flv_streaming", Refused("lighttpd has removed it; players ask for ranges of the file")),
        ("mod_geoip", Refused("lighttpd has removed it; allow and deny networks by $HTTP[\"remoteip\"]")),
        (
            "mod_magnet",
            Refused("Lua is not run here: use conditions, url.rewrite, or a CGI or FastCGI program"),
        ),
        ("mod_maxminddb", Refused("allow and deny networks by $HTTP[\"remoteip\"]")),
        ("mod_mysql_vhost", Refused("lighttpd has removed it; use mod_evhost or mod_simple_vhost")),
        ("mod_rrdtool", Refused("scrape the edge's metrics with Prometheus")),
        (
            "mod_secdownload",
            Refused("lighttpd has removed it; give a workflow or a signed token the decision"),
        ),
        ("mod_sockproxy", Refused("listen with selvedge proxy: it passes TCP on")),
        ("mod_trigger_b4_dl", Refused("lighttpd has removed it; give a workflow the decision")),
        ("mod_uploadprogress", Refused("lighttpd has removed it; browsers show the progress of uploads")),
        ("mod_usertrack", Refused("lighttpd has removed it; set a cookie with setenv.add-response-header")),
        ("mod_vhostdb", Refused("use mod_evhost or mod_simple_vhost")),
        ("mod_vhostdb_dbi", Refused("use mod_evhost or mod_simple_vhost")),
        ("mod_vhostdb_ldap", Refused("use mod_evhost or mod_simple_vhost")),
        ("mod_vhostdb_mysql", Refused("use mod_evhost or mod_simple_vhost")),
        ("mod_vhostdb_pgsql", Refused("use mod_evhost or mod_simple_vhost")),
        ("mod_webdav", Refused("serve WebDAV from a server behind, with proxy.server")),
    ]
};

/// What is known of a module, if there is such a module.
pub(super) fn known(name: &str) -> Option<Known> {
    MODULES.iter().find(|(found, _)| *found == name).map(|(_, known)| *known)
}

/// The modules that work.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    MODULES.iter().filter(|(_, known)| *known == Known::Supported).map(|(name, _)| *name)
}

/// Whose a directive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The server's own, read with the file.
    Server,
    /// The server's own about sockets, read with the modules.
    Network,
    /// One of these modules'.
    AnyOf(&'static [&'static str]),
    /// Ours.
    Mesh,
}

const TLS: &[&str] = &["mod_openssl", "mod_gnutls", "mod_mbedtls", "mod_nss", "mod_wolfssl"];

/// Whose directive `key` is.
pub(super) fn owner(key: &str) -> Option<Owner> {
    let (group, rest) = key.split_once('.')?;
    Some(match (group, rest) {
        ("server", "dir-listing") => Owner::AnyOf(&["mod_dirlisting"]),
        ("server", "indexfiles") => Owner::AnyOf(&["mod_indexfile"]),
        (
            "server",
            "listen-backlog" | "socket-perms" | "bsd-accept-filter" | "defer-accept" | "use-ipv6"
            | "set-v6only" | "v4mapped",
        ) => Owner::Network,
        ("debug", "log-ssl-noise") => Owner::AnyOf(TLS),
        ("ssl", "engine") | ("server" | "connection" | "mimetype" | "etag" | "debug", _) => Owner::Server,
        ("mesh", _) => Owner::Mesh,
        ("ssl", _) => Owner::AnyOf(TLS),
        ("url", rest) if rest.starts_with("access-") => Owner::AnyOf(&["mod_access"]),
        ("url", rest) if rest.starts_with("redirect") => Owner::AnyOf(&["mod_redirect"]),
        ("url", _) => Owner::AnyOf(&["mod_rewrite"]),
        ("accesslog", _) => Owner::AnyOf(&["mod_accesslog"]),
        ("alias", _) => Owner::AnyOf(&["mod_alias"]),
        ("auth", rest) if rest.starts_with("backend.") => Owner::AnyOf(&["mod_authn_file"]),
        ("auth", _) => Owner::AnyOf(&["mod_auth"]),
        ("cgi", _) => Owner::AnyOf(&["mod_cgi"]),
        ("deflate" | "compress", _) => Owner::AnyOf(&["mod_deflate"]),
        ("dir-listing", _) => Owner::AnyOf(&["mod_dirlisting"]),
        ("evhost", _) => Owner::AnyOf(&["mod_evhost"]),
        ("expire", _) => Owner::AnyOf(&["mod_expire"]),
        ("extforward", _) => Owner::AnyOf(&["mod_extforward"]),
        ("fastcgi", _) => Owner::AnyOf(&["mod_fastcgi"]),
        ("index-file", _) => Owner::AnyOf(&["mod_indexfile"]),
        ("proxy", _) => Owner::AnyOf(&["mod_proxy"]),
        ("scgi", _) => Owner::AnyOf(&["mod_scgi"]),
        ("setenv", _) => Owner::AnyOf(&["mod_setenv"]),
        ("simple-vhost", _) => Owner::AnyOf(&["mod_simple_vhost"]),
        ("ssi", _) => Owner::AnyOf(&["mod_ssi"]),
        ("static-file", _) => Owner::AnyOf(&["mod_staticfile"]),
        ("status", _) => Owner::AnyOf(&["mod_status"]),
        ("userdir", _) => Owner::AnyOf(&["mod_userdir"]),
        ("wstunnel", _) => Owner::AnyOf(&["mod_wstunnel"]),
        _ => return None,
    })
}
