//! A `lighttpd.conf` in our own form: what is made of it means the same, and what has no equal is told.

mod support;

use std::sync::Arc;

use selvedge_site::directive::SignIn;
use selvedge_site::directive::edge::ClientKey;
use selvedge_site::{Program, RequestFacts, edge_toml};

fn compiled(text: &str) -> Result<Arc<Program>, String> {
    let shown = |found: &[selvedge_site::Diagnostic], sources: &selvedge_site::Sources| -> String {
        found.iter().map(|one| one.shown(sources)).collect()
    };
    let document = edge_toml::parse("edge.toml", text).map_err(|(found, sources)| shown(&found, &sources))?;
    let (program, _) = edge_toml::compile(&document).map_err(|found| shown(&found, &document.sources))?;
    Ok(Arc::new(program))
}

fn facts<'a>(host: &'a str, path: &'a str) -> RequestFacts<'a> {
    let remote = Some("192.0.2.1".parse().expect("an address"));
    RequestFacts {
        host: Some(host),
        path: Some(path),
        method: Some("GET"),
        scheme: Some("http"),
        remote,
        ..RequestFacts::default()
    }
}

/// What is made of a `lighttpd.conf`, whose lines are of `/l.conf`.
fn converted(text: &str) -> String {
    let mut files = support::Memory::with(&[("/l.conf", text)]);
    let document =
        selvedge_site::lighttpd::parse("/l.conf", &mut files, selvedge_site::lighttpd::Options::default())
            .expect("it parses");
    selvedge_site::lighttpd::to_edge_toml(&document, selvedge_site::Compat::V1_4_85)
}

#[test]
fn a_lighttpd_conf_becomes_our_form_and_what_has_no_equal_a_comment() {
    let text = r#"
server.document-root = "/srv/www"
server.port = 8080
server.modules = ( "mod_redirect", "mod_expire", "mod_setenv", "mod_proxy", "mod_access", "mod_alias", "mod_ssi" )
mesh.gateway = "shop-gw"
server.max-request-size = 10240
mimetype.assign = ( ".html" => "text/html" )
index-file.names = ( "index.html" )
alias.url = ( "/docs/" => "/usr/share/doc/" )
ssi.extension = ( ".shtml" )
$SERVER["socket"] == ":8443" { ssl.engine = "enable" ssl.pemfile = "/etc/tls/chain.pem" }
$HTTP["host"] == "shop.example.com" {
  $HTTP["url"] =^ "/assets/" { expire.url = ( "" => "access plus 30 days" ) connection.kbytes-per-second = 512 }
  else $HTTP["url"] =^ "/private/" { url.access-deny = ( "" ) }
  else $HTTP["url"] =~ "^/(api|orders)/" { mesh.service = "orders.shop.local" }
  else $HTTP["url"] == "/place" { mesh.workflow = ( "machine" => "place-order", "wait" => 10, "else" => "202" ) }
}
$HTTP["host"] == "old.example.com" { url.redirect = ( "^/(.*)" => "https://shop.example.com/$1" ) }
$HTTP["host"] =~ "^odd[0-9]" { server.document-root = "/srv/odd" }
"#;
    let mut files = support::Memory::with(&[("/l.conf", text)]);
    let document =
        selvedge_site::lighttpd::parse("/l.conf", &mut files, selvedge_site::lighttpd::Options::default())
            .expect("it parses");
    let converted = selvedge_site::lighttpd::to_edge_toml(&document, selvedge_site::Compat::V1_4_69);
    let program = compiled(&converted).unwrap_or_else(|found| panic!("{found}\n{converted}"));
    let directives = |host, path| program.resolve(&facts(host, path)).expect("quick").directives.clone();
    let assets = directives("shop.example.com", "/assets/a");
    assert_eq!(assets.server.document_root.as_deref(), Some("/srv/www"));
    assert_eq!(assets.edge.cache_control.as_deref(), Some("max-age=2592000"));
    assert_eq!(assets.edge.bandwidth, 512 * 1024);
    let refused = directives("shop.example.com", "/private/a");
    assert_eq!(refused.edge.respond.as_ref().map(|answer| answer.status), Some(403));
    assert_eq!(
        directives("shop.example.com", "/orders/1").mesh.service.as_deref(),
        Some("orders.shop.local")
    );
    let place = directives("shop.example.com", "/place");
    assert_eq!(place.mesh.workflow.as_ref().map(|workflow| workflow.wait_ms), Some(10_000));
    let old = directives("old.example.com", "/a");
    assert_eq!((old.url.redirect.rules.len(), old.url.redirect_code), (1, 301));
    assert_eq!(&*directives("any.example", "/docs/a").alias.url[0].1, "/usr/share/doc/");
    assert_eq!(directives("any.example", "/a").index_file.names.len(), 1);
    assert_eq!(
        program.listeners.iter().map(|one| &*one.token).collect::<Vec<_>>(),
        ["0.0.0.0:8443", "0.0.0.0:8080"]
    );
    for comment in [
        "host_regex = \"^odd[0-9]\"",
        "# no equal here: ssi.extension = [\".shtml\"]  (/l.conf:10; pages with includes are not worked out)",
        "gateway = \"shop-gw\"",
    ] {
        assert!(converted.contains(comment), "{comment}\n{converted}");
    }
}

#[test]
fn whoever_passes_a_block_passes_what_is_made_of_it_and_nobody_else() {
    let made = converted(
        r#"
server.document-root = "/srv/www"
server.port = 8080
server.modules = ( "mod_proxy", "mod_alias", "mod_fastcgi" )
server.follow-symlink = "disable"
mesh.oidc = ( "staff" => ( "issuer" => "https://id.example.com", "client-id" => "shop", "client-secret-file" => "/s",
    "cookie-keys" => "/k", "scopes" => ( "openid", "email" ), "session-hours" => 8 ) )
mesh.jwt = ( "api" => ( "issuer" => "https://id.example.com", "audience" => ( "shop" ), "jwks-file" => "/keys" ) )
mesh.traces = ( "otlp" => "http://127.0.0.1:4318", "percent" => 5 )
mesh.per-client = "20/s"
mesh.cache-mbytes = 8
mesh.connections-per-client = 9
mesh.client-kbytes-per-second = 100
mesh.body-timeout = 30
mesh.redirect-https = "enable"
$HTTP["url"] =^ "/admin/" {
  mesh.sign-in = "oidc:staff"
  mesh.claims = ( "groups" => ( "ops", "dev" ), "email" => "*@example.com", "sub" => "" )
  mesh.identity-headers = ( "x-user" => "email" )
  alias.url = ( "/admin/manual/" => "/srv/manual/" )
  proxy.server = ( "/admin/old/" => (( "host" => "127.0.0.1", "port" => 9001 )), "" => (( "host" => "127.0.0.1", "port" => 9000 )) )
  $HTTP["url"] =^ "/admin/api/" { mesh.sign-in = "jwt:api" mesh.claims = () }
  $HTTP["url"] == "/admin/health" { mesh.sign-in = "" mesh.claims = () }
}
$HTTP["url"] =^ "/tools/" {
  mesh.forward-auth = ( "url" => "http://127.0.0.1:9100/check", "take" => ( "x-role" ), "subject" => "x-user" )
  mesh.per-client = ( "rate" => "5/min", "burst" => 2, "key" => "identity" )
}
$HTTP["url"] =^ "/pages/" {
  mesh.cache = "enable" mesh.precompressed = "enable" mesh.security-headers = "enable"
  mesh.early-hints = ( "</a.css>; rel=preload; as=style" )
  mesh.hsts = ( "max-age" => "730d", "include-subdomains" => "enable", "preload" => "enable" )
}
$SERVER["socket"] == ":8443" { ssl.engine = "enable" ssl.pemfile = "/t.pem" mesh.redirect-https = "disable" mesh.http3 = "enable" }
$HTTP["host"] == "shop.example.com" { mesh.service = "orders.shop.local" }
"#,
    );
    let program = compiled(&made).unwrap_or_else(|found| panic!("{found}\n{made}"));
    let directives =
        |path: &str| program.resolve(&facts("shop.example.com", path)).expect("quick").directives.clone();
    let proxied = |path: &str| {
        let directives = directives(path);
        directives.proxy.server.extensions.len() == 1 && directives.mesh.service.is_none()
    };
    for path in ["/admin/", "/admin/manual/a", "/admin/old/a", "/admin/x"] {
        let directives = directives(path);
        assert_eq!(directives.edge.sign_in, Some(SignIn::Oidc("staff".into())), "{path}\n{made}");
        let rules = format!("{:?}", directives.edge.claims);
        assert!(["ops", "dev", "*@example.com", "sub"].iter().all(|part| rules.contains(part)), "{rules}");
        assert!(format!("{:?}", directives.edge.identity_headers).contains("x-user"));
    }
    assert_eq!(&*directives("/admin/manual/a").alias.url[0].1, "/srv/manual/");
    assert!(proxied("/admin/old/a") && proxied("/admin/x"), "{made}");
    assert_eq!(directives("/admin/api/a").edge.sign_in, Some(SignIn::Jwt("api".into())), "{made}");
    assert_eq!(directives("/admin/health").edge.sign_in, None, "{made}");
    let tools = directives("/tools/a");
    let asked = tools.edge.forward_auth.as_ref().map(|asked| (asked.url.clone(), asked.subject.clone()));
    assert_eq!(asked, Some(("http://127.0.0.1:9100/check".into(), Some("x-user".into()))));
    let rate = |path: &str| {
        directives(path).edge.per_client.map(|rate| (rate.requests, rate.per_ms, rate.burst, rate.key))
    };
    assert_eq!(rate("/tools/a"), Some((5, 60_000, 2, ClientKey::Identity)));
    assert_eq!(rate("/any"), Some((20, 1_000, 20, ClientKey::Ip)));
    let pages = program.resolve(&facts("other.example.com", "/pages/a")).expect("quick").directives.clone();
    let switches = [pages.edge.cache, pages.edge.precompressed, pages.edge.security_headers];
    assert_eq!((switches, pages.edge.early_hints.len()), ([true; 3], 1), "{made}");
    assert_eq!(pages.edge.hsts.as_deref(), Some("max-age=63072000; includeSubDomains; preload"), "{made}");
    assert!(!pages.server.follow_symlink, "links that are not followed stay so");
    let base = &program.base().directives;
    assert_eq!(
        (base.mesh.cache_mbytes, base.mesh.connections_per_client, base.edge.client_kbytes_per_second),
        (8, 9, 100)
    );
    assert_eq!((base.edge.body_timeout, base.mesh.oidc.len(), base.mesh.jwt.len()), (30, 1, 1));
    assert_eq!(base.mesh.traces.as_ref().map(|traces| traces.percent), Some(5));
    assert!(program.listeners[0].http3 && made.contains("redirect = \"https\""), "{made}");
    assert!(!made.contains("no equal here: mesh."), "{made}");
}

#[test]
fn a_guard_without_an_equal_takes_its_block_with_it() {
    for (guard, why) in [
        (r#"mesh.claims = ( "sub" => "x" )"#, "rules on claims stand in auth"),
        (
            r#"mesh.sign-in = "certificate" auth.require = ( "/" => ( "method" => "basic", "realm" => "r", "require" => "valid-user" ) )"#,
            "a route has one sign-in",
        ),
        (r#"mesh.redirect-https = "enable""#, "a listener is sent to HTTPS as a whole"),
    ] {
        let made = converted(&format!(
            "server.document-root = \"/srv/www\"\nserver.modules = ( \"mod_auth\" )\n$HTTP[\"url\"] =^ \"/closed/\" {{ {guard} mesh.service = \"s.local\" }}\n"
        ));
        assert!(made.contains(why), "{made}");
        assert!(made.contains("#  service = \"s.local\"") && !made.contains("\n  service ="), "{made}");
        compiled(&made).unwrap_or_else(|found| panic!("{found}\n{made}"));
    }
}

#[test]
fn certificates_by_acme_are_for_all_listeners() {
    let made = converted(
        r#"
server.document-root = "/srv/www"
server.port = 80
mesh.acme = ( "directory" => "letsencrypt", "names" => ( "shop.example.com" ), "store" => "/var/lib/edge", "ca-file" => "/ca" )
$SERVER["socket"] == ":443" { ssl.engine = "enable" }
$SERVER["socket"] == "[::]:443" { ssl.engine = "enable" ssl.verifyclient.activate = "enable" ssl.verifyclient.ca-file = "/c" }
"#,
    );
    let program = compiled(&made).unwrap_or_else(|found| panic!("{found}\n{made}"));
    let acme = program.base().directives.mesh.acme.clone().expect("there is one");
    assert_eq!((&*acme.names[0], acme.roots.as_deref(), acme.http), ("shop.example.com", Some("/ca"), false));
    assert_eq!(program.listeners.iter().filter(|one| one.ssl.engine).count(), 2);
}

#[test]
fn the_redirect_to_https_is_that_of_the_listeners() {
    for (rules, status) in [
        (
            r#"$HTTP["scheme"] == "http" { url.redirect = ( "" => "https://${url.authority}${url.path}${qsa}" ) }"#,
            308,
        ),
        (
            r#"$HTTP["scheme"] == "http" { $HTTP["host"] =~ ".*" { url.redirect = ( ".*" => "https://%0$0" ) } }"#,
            308,
        ),
        (
            r#"$HTTP["scheme"] == "http" { $HTTP["host"] =~ "(.*)" { url.redirect = ( "^/(.*)" => "https://%1/$1" ) } }"#,
            308,
        ),
        (
            r#"$SERVER["socket"] == ":80" { $HTTP["host"] =~ "^([^:]+)(:.*)?$" { url.redirect = ( "^(.*)$" => "https://%1$1" ) url.redirect-code = 301 } }"#,
            301,
        ),
        (
            r#"$HTTP["scheme"] == "http" { url.redirect = ( "^/?(.*)" => "https://${url.authority.noport}/$1" ) url.redirect-code = "302" }"#,
            302,
        ),
    ] {
        let made = converted(&format!(
            "server.document-root = \"/srv\"\nserver.port = 8080\nserver.modules = ( \"mod_redirect\" )\n$SERVER[\"socket\"] == \":443\" {{ ssl.engine = \"enable\" ssl.pemfile = \"/c\" }}\n{rules}\n"
        ));
        let program = compiled(&made).unwrap_or_else(|found| panic!("{found}\n{made}"));
        let port = if rules.starts_with("$SERVER") { ":80" } else { ":8080" };
        let plain = program.listeners.iter().find(|one| one.token.ends_with(port)).expect("it is there");
        let asked = |socket| RequestFacts { socket, ..facts("any.example", "/a") };
        let edge = &program.resolve(&asked(Some(&*plain.token))).expect("quick").directives.edge.clone();
        assert_eq!((edge.redirect_https, edge.redirect_https_status), (true, status), "{rules}\n{made}");
        let tls = program.listeners.iter().find(|one| one.ssl.engine).expect("it is there");
        assert!(!program.resolve(&asked(Some(&*tls.token))).expect("quick").directives.edge.redirect_https);
        assert!(!made.contains("no equal here"), "{made}");
    }
}

/// Where `url` of the host leads by `scheme` once `rules` are converted, by the explanation.
fn answer_of(rules: &str, url: &str) -> String {
    let made = converted(&format!(
        "server.document-root = \"/srv\"\nserver.port = 80\nserver.modules = ( \"mod_redirect\", \"mod_rewrite\", \"mod_access\", \"mod_auth\" )\n{rules}\n"
    ));
    let program = compiled(&made).unwrap_or_else(|found| panic!("{found}\n{made}"));
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (host, path) = rest.split_at(rest.find('/').expect("a path"));
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let question = selvedge_site::explain::Question {
        scheme: scheme.into(),
        host: host.into(),
        path: path.into(),
        query: query.into(),
        method: "GET".into(),
        remote: "192.0.2.1".parse().expect("an address"),
        headers: Vec::new(),
    };
    let explained = selvedge_site::explain::explain(&program, &question).expect("quick").text();
    let answer = explained.lines().filter_map(|line| line.strip_prefix("answer: ")).next_back();
    format!("{} {}", answer.unwrap_or_default(), if made.contains("no equal here") { "(told)" } else { "" })
        .trim_end()
        .to_owned()
}

#[test]
fn a_redirect_is_for_the_requests_of_its_block_alone() {
    for (rules, url, expected) in [
        // Not everything is sent to HTTPS: the authority's questions stay.
        (
            r#"$HTTP["scheme"] == "http" { $HTTP["url"] !~ "^/\.well-known/" { url.redirect = ( "" => "https://${url.authority}${url.path}${qsa}" ) } }"#,
            "http://a.example/x?y=1",
            "a redirect (308) to https://a.example/x?y=1, by \"^(?![^?]*?(?:^/\\.well-known/))\"",
        ),
        (
            r#"$HTTP["scheme"] == "http" { $HTTP["url"] !~ "^/\.well-known/" { url.redirect = ( "" => "https://${url.authority}${url.path}${qsa}" ) } }"#,
            "http://a.example/.well-known/x",
            "files below /srv",
        ),
        (
            r#"$HTTP["scheme"] == "http" { $HTTP["url"] !~ "^/\.well-known/" { url.redirect = ( "" => "https://${url.authority}${url.path}${qsa}" ) } }"#,
            "https://a.example/x",
            "files below /srv",
        ),
        // Names with www lose it, and take the rest along.
        (
            r#"$HTTP["host"] =~ "^www\.(.+)$" { url.redirect = ( "^/(.*)" => "http://%1/$1" ) }"#,
            "http://www.shop.example:8080/a?b",
            "a redirect (308) to http://shop.example/a?b, by \"^/(.*)\"",
        ),
        (
            r#"$HTTP["host"] =~ "^www\.(.+)$" { url.redirect = ( "^/(.*)" => "http://%1/$1" ) }"#,
            "http://shop.example/a",
            "files below /srv",
        ),
        (
            r#"$HTTP["host"] != "www.shop.example" { url.redirect = ( "^/(.*)" => "http://www.shop.example/$1" ) }"#,
            "http://shop.example/a",
            "a redirect (308) to http://www.shop.example/a, by \"^/(.*)\"",
        ),
        (
            r#"$HTTP["host"] != "www.shop.example" { url.redirect = ( "^/(.*)" => "http://www.shop.example/$1" ) }"#,
            "http://www.shop.example/a",
            "files below /srv",
        ),
        // A block of some paths sends no others elsewhere.
        (
            r#"$HTTP["url"] =^ "/old/" { url.redirect = ( "" => "http://new.example/" ) }"#,
            "http://a.example/else",
            "files below /srv",
        ),
        (
            r#"$HTTP["url"] =^ "/old/" { url.redirect = ( "" => "http://new.example/" ) }"#,
            "http://a.example/old/a",
            "a redirect (308) to http://new.example/, by \"^(?=/old/)\"",
        ),
        (
            r#"$HTTP["url"] =~ "^/(old|older)$" { url.redirect = ( "^/(.*)" => "/new/$1" ) }"#,
            "http://a.example/older?x",
            "a redirect (308) to /new/older?x, by \"^(?=[^?]*?(?:^/(?:old|older)(?=\\?|$)))/(.*)\"",
        ),
        (
            r#"$HTTP["url"] =~ "^/(old|older)$" { url.redirect = ( "^/(.*)" => "/new/$1" ) }"#,
            "http://a.example/oldest",
            "files below /srv",
        ),
        // Both of two conditions on the path have to hold.
        (
            r#"$HTTP["url"] =^ "/admin/" { $HTTP["url"] =~ "\.ttf$" { url.redirect = ( "" => "/fonts" ) } }"#,
            "http://a.example/admin/a.ttf?x",
            "a redirect (308) to /fonts, by \"^(?=[^?]*\\.ttf(?:\\?|$))(?=/admin/)\"",
        ),
        (
            r#"$HTTP["url"] =^ "/admin/" { $HTTP["url"] =~ "\.ttf$" { url.redirect = ( "" => "/fonts" ) } }"#,
            "http://a.example/a.ttf",
            "files below /srv",
        ),
        (
            r#"$HTTP["url"] =^ "/admin/" { $HTTP["url"] =~ "\.ttf$" { url.redirect = ( "" => "/fonts" ) } }"#,
            "http://a.example/admin/a",
            "files below /srv",
        ),
        // What the form cannot say leads nowhere, and is told.
        (
            r#"$HTTP["url"] =~ "^/(a)/" { url.redirect = ( "" => "/b/%1" ) }"#,
            "http://a.example/a/",
            "files below /srv (told)",
        ),
        (r#"url.redirect = ( "^/a\?x=1" => "/b" )"#, "http://a.example/a?x=1", "files below /srv (told)"),
        // An `else` of one condition is its contrary.
        (
            r#"$HTTP["scheme"] == "http" { url.redirect = ( "" => "https://shop.example/" ) } else { server.document-root = "/srv/safe" }"#,
            "https://a.example/x",
            "files below /srv/safe",
        ),
        (
            r#"$HTTP["scheme"] == "http" { url.redirect = ( "" => "https://shop.example/" ) } else { server.document-root = "/srv/safe" }"#,
            "http://a.example/x",
            "a redirect (308) to https://shop.example/, by \"^\"",
        ),
        // The next comes before what is in it.
        (
            r#"url.rewrite-once = ( "^/a/(.*)" => "/x.php?a=$1", "^/b/(.*)" => "/y.php?b=$1" )"#,
            "http://a.example/b/c",
            "files below /srv",
        ),
        // A rewrite leads past nobody who is asked.
        (
            r#"auth.backend = "htpasswd" auth.backend.htpasswd.userfile = "/u"
            auth.require = ( "/private/" => ( "method" => "basic", "realm" => "r", "require" => "valid-user" ) )
            url.rewrite-once = ( "^/public/(.*)" => "/private/$1" )"#,
            "http://a.example/public/x",
            "files below /srv (told)",
        ),
    ] {
        assert_eq!(answer_of(rules, url), expected, "{rules}\n{url}");
    }
}

#[test]
fn a_route_is_dressed_as_its_block_is() {
    let made = converted(
        r#"
server.document-root = "/srv"
server.port = 80
server.modules = ( "mod_access", "mod_deflate", "mod_proxy", "mod_fastcgi", "mod_cgi", "mod_expire", "mod_setenv", "mod_alias", "mod_rewrite" )
server.upload-dirs = ( "/var/tmp" )
server.max-fds = 2048
server.error-handler-404 = "/missing.php"
url.access-deny = ( "~", ".inc" )
static-file.exclude-extensions = ( ".php", ".sh" )
index-file.names = ( "index.php", "index.html" )
deflate.mimetypes = ( "text/css", "application/json" )
deflate.allowed-encodings = ( "br", "x-gzip" )
deflate.cache-dir = "/var/cache"
setenv.add-response-header = ( "X-A" => "1" )
setenv.set-response-header = ( "X-B" => "2" )
setenv.add-environment = ( "STAGE" => "test" )
expire.url = ( "/static/" => "access plus 7 days", "" => "access plus 1 hours" )
cgi.assign = ( ".sh" => "/bin/sh" )
fastcgi.server = ( ".php" => (( "bin-path" => "/usr/bin/php-cgi", "socket" => "/run/php", "max-procs" => 2, "bin-copy-environment" => ( "PATH" ), "broken-scriptfilename" => "enable" )),
                   ".py" => (( "host" => "127.0.0.1", "port" => 9000, "check-local" => "disable" )) )
url.rewrite-if-not-file = ( "^/shop/(.*)" => "/shop.php?a=$1", "^/(.*)" => "/index.php?p=$1" )
alias.url = ( "/docs/" => "/usr/share/doc/" )
$HTTP["url"] =^ "/api/" {
  proxy.server = ( "" => (( "host" => "127.0.0.1", "port" => 9001 )) )
  proxy.forwarded = ( "for" => 1, "proto" => "enable", "by" => 0 )
}
"#,
    );
    let program = compiled(&made).unwrap_or_else(|found| panic!("{found}\n{made}"));
    assert!(!made.contains("no equal here"), "{made}");
    let of = |path: &str| program.resolve(&facts("any", path)).expect("quick").directives.clone();
    let base = &program.base().directives.global;
    assert_eq!((base.max_fds, &*base.upload_dirs[0]), (2048, "/var/tmp"));
    let files = of("/a.php");
    assert_eq!(files.access.deny.iter().map(|it| &**it).collect::<Vec<_>>(), ["~", ".inc"]);
    assert_eq!(files.static_file.exclude_extensions.len(), 2);
    assert_eq!(files.index_file.names.len(), 2);
    assert_eq!(format!("{:?}", files.deflate.allowed_encodings), "[Brotli, Gzip]");
    assert_eq!((files.deflate.mimetypes.len(), files.deflate.cache_dir.as_deref()), (2, Some("/var/cache")));
    assert_eq!(files.setenv.set_response_header.len(), 2);
    assert_eq!(&*files.setenv.set_environment[0].1, "test");
    assert_eq!(files.server.error_handler_404.as_deref(), Some("/missing.php"));
    assert_eq!(files.edge.cache_control.as_deref(), Some("max-age=3600"));
    assert_eq!(of("/static/a").edge.cache_control.as_deref(), Some("max-age=604800"));
    assert_eq!(&*files.cgi.assign[0].1, "/bin/sh");
    // A program that several routes name is started once.
    let number = |path: &str| of(path).fastcgi.server.extensions[0].hosts[0].id;
    assert_eq!(number("/a.php"), number("/static/a.php"));
    assert_eq!(program.backends().iter().filter(|host| host.bin_path.is_some()).count(), 1);
    let [php, python] = &*files.fastcgi.server.extensions else { panic!("{made}") };
    assert_eq!((&*php.key, php.hosts[0].max_procs, php.hosts[0].broken_scriptfilename), (".php", 2, true));
    assert_eq!(php.hosts[0].bin_copy_environment.as_ref().map(|names| names.len()), Some(1));
    assert_eq!(php.hosts[0].bin_path.as_deref(), Some("/usr/bin/php-cgi"));
    assert_eq!((&*python.key, python.hosts[0].port, python.hosts[0].check_local), (".py", 9000, false));
    assert_eq!(files.url.rewrite_if_not_file.rules.len(), 2);
    let docs = of("/docs/a.inc");
    assert_eq!(
        (docs.access.deny.len(), docs.alias.url.len(), docs.setenv.set_response_header.len()),
        (2, 1, 2)
    );
    let api = of("/api/x");
    let told = api.proxy.forwarded;
    assert_eq!((told.for_client, told.proto, told.by, told.host), (true, true, false, false), "{made}");
}

#[test]
fn what_is_shown_by_tls_is_no_older_than_before() {
    let of = |lines: &str, compat| {
        let text = format!(
            "server.port = 80\nserver.modules = ( \"mod_openssl\" )\n$SERVER[\"socket\"] == \":443\" {{ ssl.engine = \"enable\" ssl.pemfile = \"/c\" {lines} }}\n"
        );
        let mut files = support::Memory::with(&[("/l.conf", &text)]);
        let document = selvedge_site::lighttpd::parse(
            "/l.conf",
            &mut files,
            selvedge_site::lighttpd::Options::default(),
        )
        .expect("it parses");
        selvedge_site::lighttpd::to_edge_toml(&document, compat)
    };
    use selvedge_site::Compat::{V1_4_69, V1_4_85};
    let oldest = r#"ssl.openssl.ssl-conf-cmd = ( "MinProtocol" => "TLSv1.2" )"#;
    for (lines, compat, newest_only) in [
        ("", V1_4_69, false),
        ("", V1_4_85, true),
        (oldest, V1_4_85, false),
        (r#"ssl.openssl.ssl-conf-cmd = ( "MinProtocol" => "TLSv1.3" )"#, V1_4_69, true),
    ] {
        assert_eq!(of(lines, compat).contains("min_version = \"1.3\""), newest_only, "{lines} {compat:?}");
    }
    let made = of("ssl.ca-file = \"/chain\"", V1_4_69);
    assert!(
        made.contains("no equal here: ssl.ca-file = \"/chain\"  (/l.conf:3; certificate has the whole chain"),
        "{made}"
    );
}

#[test]
fn what_lets_websockets_through_does_so_converted() {
    let made = |header: &str| {
        converted(&format!(
            "server.document-root = \"/srv\"\nserver.modules = ( \"mod_proxy\" )\n\
             $HTTP[\"url\"] =^ \"/all/\" {{\n  proxy.server = ( \"\" => (( \"host\" => \"127.0.0.1\", \"port\" => 9 )) )\n  {header}\n}}\n\
             $HTTP[\"host\"] == \"h\" {{\n  proxy.server = ( \"/below/\" => (( \"host\" => \"127.0.0.1\", \"port\" => 9 )) )\n  {header}\n}}\n"
        ))
    };
    let on = made("proxy.header = ( \"upgrade\" => \"enable\" )");
    assert_eq!(on.matches("\n  websocket = true\n").count(), 2, "{on}");
    assert!(!on.contains("no equal here: proxy.header"), "{on}");
    assert!(compiled(&on).expect("it is right").offers_tunnels(), "{on}");
    for header in [
        "",
        "proxy.header = ( \"upgrade\" => \"disable\" )",
        "proxy.header = ( \"upgrade\" => \"enable\", \"force-http10\" => \"enable\" )",
    ] {
        let off = made(header);
        assert!(!off.contains("websocket"), "{off}");
        assert_eq!(off.contains("no equal here: proxy.header"), header.contains("force"), "{off}");
    }
}

#[test]
fn clients_of_the_meshs_authority_are_asked_for_in_the_form_too() {
    let arn = "arn:aws:acm-pca:us-west-2:123456789012:certificate-authority/4c1d";
    let made = converted(&format!(
        "server.document-root = \"/srv\"\nserver.port = 8080\nserver.modules = ( \"mod_openssl\" )\n\
         $SERVER[\"socket\"] == \":8443\" {{ ssl.engine = \"enable\" ssl.pemfile = \"/t.pem\" ssl.verifyclient.activate = \"enable\"\n\
         ssl.verifyclient.ca-file = \"/c\" mesh.client-authority = \"{arn}\" }}\n",
    ));
    assert!(
        made.contains(&format!("client_ca = \"{arn}\"")) && made.contains("client = \"require\""),
        "{made}"
    );
    assert!(!made.contains("no equal here: mesh."), "{made}");
    let program = compiled(&made).unwrap_or_else(|found| panic!("{found}\n{made}"));
    let tls = RequestFacts { socket: Some("0.0.0.0:8443"), ..RequestFacts::default() };
    let directives = program.resolve(&tls).expect("quick").directives.clone();
    assert_eq!(directives.mesh.client_authority.as_deref(), Some(arn), "{made}");
    let wrong = made.replace("acm-pca", "acm");
    assert!(compiled(&wrong).is_err_and(|found| found.contains("or the ARN of an authority")), "{wrong}");
}
