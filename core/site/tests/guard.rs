//! Who passes an edge, as `lighttpd.conf` says it in keys that lighttpd ignores.

mod support;

use selvedge_site::directive::edge::{ClientKey, ClientRate};
use selvedge_site::directive::guard::KeysFrom;
use selvedge_site::directive::{Directives, SignIn};
use selvedge_site::lighttpd::{Level, Options, compile, parse};
use selvedge_site::{Compat, RequestFacts, Severity};
use support::Memory;

/// What holds for `/admin/`, or what is wrong.
fn directives(text: &str) -> Result<Directives, String> {
    let text = format!("server.document-root = \"/srv\"\n{text}\n");
    let mut files = Memory::with(&[("/etc/l/lighttpd.conf", &text)]);
    let document = parse("/etc/l/lighttpd.conf", &mut files, Options::default()).map_err(|_| "no syntax")?;
    let compiled = compile(&document, Compat::V1_4_69, Level::Modules);
    let errors: String = compiled
        .diagnostics
        .iter()
        .filter(|one| one.severity == Severity::Error)
        .map(|one| format!("{one:?}"))
        .collect();
    let program = compiled.program.ok_or(errors)?;
    let facts = RequestFacts { path: Some("/admin/"), host: Some("a.example"), ..RequestFacts::default() };
    Ok(program.resolve(&facts).expect("no expression").directives.clone())
}

#[test]
fn a_whole_border_in_a_few_lines() {
    let found = directives(
        r#"
        mesh.oidc = ( "staff" => (
            "issuer" => "https://id.example", "client-id" => "shop", "client-secret-file" => "/etc/s/secret",
            "cookie-keys" => "/etc/s/keys", "scopes" => ( "openid", "email" ), "session-hours" => 8 ) )
        mesh.jwt = ( "api" => ( "issuer" => "https://id.example", "audience" => "shop", "jwks" => "https://id.example/keys" ) )
        mesh.acme = ( "directory" => "letsencrypt", "names" => ( "a.example" ), "store" => "/var/lib/s" )
        $HTTP["url"] =^ "/admin/" {
            mesh.sign-in = "oidc:staff"
            mesh.claims = ( "groups" => ( "ops", "dev" ), "email" => "*@a.example" )
            mesh.identity-headers = ( "x-user" => "email" )
            mesh.per-client = ( "rate" => "20/s", "burst" => 40, "key" => "identity" )
            mesh.forward-auth = ( "url" => "http://127.0.0.1:9/check", "take" => ( "X-Role" ) )
            mesh.cache = "enable"
            mesh.early-hints = ( "</a.css>; rel=preload; as=style" )
            mesh.hsts = ( "max-age" => "3650 s", "include-subdomains" => "enable", "preload" => "disable" )
        }"#,
    )
    .expect("it is in order");
    let (name, oidc) = &found.mesh.oidc[0];
    assert_eq!((&**name, oidc.settings.issuer.as_str()), ("staff", "https://id.example"));
    assert_eq!(oidc.settings.callback_path, "/.selvedge/staff/callback");
    assert_eq!(oidc.settings.session.as_secs(), 8 * 3600);
    assert_eq!(found.mesh.jwt[0].1.keys, KeysFrom::Url("https://id.example/keys".into()));
    let acme = found.mesh.acme.expect("certificates");
    assert!(acme.directory.starts_with("https://acme-v02.") && !acme.http, "{acme:?}");
    assert_eq!(found.edge.sign_in, Some(SignIn::Oidc("staff".into())));
    let rate = ClientRate { id: 1, requests: 20, per_ms: 1000, burst: 40, key: ClientKey::Identity };
    assert_eq!(found.edge.per_client, Some(rate));
    assert_eq!(found.edge.forward_auth.expect("a service").take, ["x-role"]);
    assert!(
        found.edge.identity_headers.is_ours("X_User") && found.edge.cache && !found.edge.claims.is_empty()
    );
    assert_eq!(found.edge.early_hints.len(), 1);
    assert_eq!(found.edge.hsts.as_deref(), Some("max-age=3650; includeSubDomains"));
}

#[test]
fn what_is_wrong_is_said() {
    for (text, said) in [
        (r#"mesh.oidc = ( "a b" => ( "issuer" => "https://x" ) )"#, "letters, digits and hyphens"),
        (r#"mesh.oidc = ( "a" => ( "issuer" => "id.example", "client-id" => "c" ) )"#, "no URL"),
        (r#"mesh.oidc = ( "a" => ( "issuer" => "https://x" ) )"#, "client-id"),
        (r#"mesh.oidc = ( "a" => ( "issuer" => "https://x", "client-id" => "c" ) )"#, "cookie-keys"),
        (
            r#"mesh.oidc = ( "a" => ( "issuer" => "https://x", "client-id" => "c", "cookie-keys" => "/k", "cookie-key" => "/k" ) )"#,
            r#"does not know \"cookie-key\""#,
        ),
        (
            r#"mesh.oidc = ( "a" => ( "issuer" => "https://x", "client-id" => "c", "cookie-keys" => "/k", "callback" => "//evil" ) )"#,
            "a path of this site",
        ),
        (
            r#"mesh.oidc = ( "a" => ( "issuer" => "https://x", "client-id" => "c", "cookie-keys" => "/k", "scopes" => ( "email" ) ) )"#,
            "openid",
        ),
        (r#"mesh.jwt = ( "a" => ( "issuer" => "i", "jwks-file" => "/k" ) )"#, "audience"),
        (r#"mesh.jwt = ( "a" => ( "issuer" => "i", "audience" => "x" ) )"#, "jwks"),
        (
            r#"mesh.acme = ( "directory" => "letsencrypt", "names" => ( "*.a" ), "store" => "/s" )"#,
            "wildcard",
        ),
        (
            r#"mesh.acme = ( "directory" => "letsencrypt", "names" => ( "a" ), "store" => "/s", "challenge" => "dns-01" )"#,
            "http-01",
        ),
        (r#"mesh.sign-in = "staff""#, "oidc:NAME"),
        (r#"mesh.claims = ( "groups" => "*" )"#, "asterisk"),
        (r#"mesh.identity-headers = ( "Host" => "sub" )"#, "meaning of its own"),
        (r#"mesh.per-client = "20""#, "20/s"),
        (r#"mesh.per-client = "0/s""#, "at least one"),
        (r#"mesh.per-client = ( "rate" => "1/s", "key" => "cookie" )"#, "header:NAME"),
        (r#"mesh.forward-auth = ( "url" => "/check" )"#, "no URL"),
        (r#"mesh.early-hints = ( "/a.css" )"#, "no link"),
        (r#"mesh.hsts = ( "preload" => "enable" )"#, "mesh.hsts needs"),
        (r#"mesh.hsts = ( "max-age" => "31536000" )"#, "at most ten years, such as"),
        (r#"mesh.hsts = ( "max-age" => "3651d" )"#, "at most ten years"),
        (r#"mesh.hsts = ( "max-age" => "1d", "include-subdomains" => "maybe" )"#, "include-subdomains"),
        (
            r#"mesh.hsts = ( "max-age" => "364d", "include-subdomains" => "enable", "preload" => "enable" )"#,
            "a year at least",
        ),
        (r#"mesh.hsts = ( "max-age" => "365d", "preload" => "enable" )"#, "browsers' list takes no other"),
        (r#"mesh.hsts = ( "max-age" => "365d", "subdomains" => "enable" )"#, "does not know"),
    ] {
        let found = directives(text).expect_err(text);
        assert!(found.contains(said), "{text}: {found}");
    }
}

#[test]
fn limits_of_clients_have_a_bound() {
    let lines = |count: u32| -> String {
        (0..count)
            .map(|n| format!("$HTTP[\"url\"] =^ \"/{n}/\" {{ mesh.per-client = \"{}/s\" }}\n", n + 1))
            .collect()
    };
    let most = selvedge_site::directive::edge::CLIENT_RATES_MAX;
    assert!(directives(&lines(most)).is_ok());
    let found = directives(&lines(most + 1)).expect_err("one too many");
    assert!(found.contains("more than 64 limits of clients"), "{found}");
}
